//! What the queue tells about batches, jobs and attempts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::{AttemptState, CostSource, Input, JobId, JobState, Money, ProviderName};

use super::throughput::{self, Completion, Throughput};

/// How a queue stands.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Its batches, oldest first.
    pub batches: Vec<BatchStatus>,
    /// The providers it has called.
    pub providers: Vec<ProviderStatus>,
    /// The pools that work on it, as far as this machine can tell.
    pub pools: Vec<PoolRecord>,
}

impl Status {
    /// Tells since when somebody has been at work.
    pub fn working_since(&self, now: Timestamp) -> Option<Timestamp> {
        self.pools
            .iter()
            .filter(|pool| pool.expires_at > now)
            .map(|pool| pool.started_at)
            .min()
    }

    /// Tells how fast the jobs of its batches come to an end; `None` where nobody works, or nothing is known yet.
    pub fn throughput(&self, now: Timestamp) -> Option<Throughput> {
        let mut ended: Vec<Completion> = self
            .batches
            .iter()
            .flat_map(|batch| &batch.recent_completions)
            .copied()
            .collect();
        ended.sort_by_key(|job| std::cmp::Reverse(job.finished_at));
        ended.truncate(throughput::MAX_SAMPLES + 1);
        self.throughput_of(&ended, now)
    }

    /// Tells how many seconds a batch's open jobs will take at its own pace.
    pub fn eta_s(&self, batch: &BatchStatus, now: Timestamp) -> Option<u64> {
        self.throughput_of(&batch.recent_completions, now)?
            .seconds_for(batch.progressing())
    }

    fn throughput_of(&self, ended: &[Completion], now: Timestamp) -> Option<Throughput> {
        let in_flight = self
            .providers
            .iter()
            .map(|provider| provider.in_flight)
            .sum();
        Throughput::of(ended, self.working_since(now)?, in_flight, now)
    }
}

/// A process that works on the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolRecord {
    /// The machine it is on.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// When it is taken for dead unless it gives a sign of life.
    pub expires_at: Timestamp,
}

/// How a batch stands.
#[derive(Clone, Debug)]
pub struct BatchStatus {
    /// Its name.
    pub batch: String,
    /// The model its jobs ask for.
    pub model: String,
    /// Where its clips go.
    pub folder: String,
    /// Jobs by state; every state is there.
    pub jobs: BTreeMap<JobState, u64>,
    /// What it has cost.
    pub spent: Money,
    /// What its open attempts may cost.
    pub reserved: Money,
    /// The part of `reserved` whose attempts are in doubt.
    pub at_risk: Money,
    /// What it may cost.
    pub budget: Option<Money>,
    /// Jobs in doubt that wait for a person.
    pub held: u64,
    /// The last jobs that came to an end, newest first; none where none is left to do.
    pub recent_completions: Vec<Completion>,
}

impl BatchStatus {
    /// Tells how many jobs are in a state.
    pub fn count(&self, state: JobState) -> u64 {
        self.jobs.get(&state).copied().unwrap_or(0)
    }

    /// Tells how many jobs there are.
    pub fn total(&self) -> u64 {
        self.jobs.values().sum()
    }

    /// Tells how many jobs are not over.
    pub fn unfinished(&self) -> u64 {
        self.jobs
            .iter()
            .filter(|(state, _)| !state.is_final())
            .map(|(_, jobs)| jobs)
            .sum()
    }

    /// Tells how many jobs will come to an end by themselves. What is in doubt waits for proof, or for a person: no pace
    /// tells how long.
    pub fn progressing(&self) -> u64 {
        self.unfinished() - self.count(JobState::InDoubt)
    }
}

/// How a provider stands.
#[derive(Clone, Debug)]
pub struct ProviderStatus {
    /// Which provider.
    pub provider: ProviderName,
    /// Attempts submitting, in doubt or running.
    pub in_flight: u32,
    /// Why no create is sent, if none is.
    pub paused: Option<String>,
    /// No create before this time.
    pub creates_from: Option<Timestamp>,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Only this batch.
    pub batch: Option<String>,
    /// Only this state.
    pub state: Option<JobState>,
}

/// A job with its last attempt, for reading. The fields are those of `export`.
#[derive(Clone, Debug, Serialize)]
pub struct JobRecord {
    /// The job's number in the queue.
    #[serde(skip)]
    pub job_id: JobId,
    /// Its batch.
    pub batch: String,
    /// The row's key.
    pub id: String,
    /// The manifest line it was last loaded from.
    pub line: u64,
    /// What is true of it.
    pub state: JobState,
    /// The model.
    pub model: String,
    /// Who ran it, or runs it.
    pub provider: Option<ProviderName>,
    /// The provider's handle.
    pub prediction_id: Option<String>,
    /// Submissions a provider took, or may have taken.
    pub attempts: u32,
    /// What it should cost.
    pub estimate_usd: Money,
    /// What it did cost, over all attempts; `None` until something is settled.
    pub cost_usd: Option<Money>,
    /// How the cost is known.
    pub cost_source: Option<CostSource>,
    /// Where the clip is.
    pub output: Option<String>,
    /// Its length in bytes.
    pub bytes: Option<u64>,
    /// Its SHA-256.
    pub sha256: Option<String>,
    /// What went wrong last.
    pub error: Option<String>,
    /// When it was loaded, or changed.
    pub queued_at: Timestamp,
    /// When its last attempt was submitted.
    pub submitted_at: Option<Timestamp>,
    /// When it came to an end.
    pub finished_at: Option<Timestamp>,
    /// The input, in our words.
    #[serde(skip)]
    pub input: Input,
    /// When its next step is due; `None` while it waits for a person, or is over.
    #[serde(skip)]
    pub due_at: Option<Timestamp>,
    /// The price reserved by an attempt in doubt.
    #[serde(skip)]
    pub at_risk: Money,
}

/// An attempt, for reading.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptRecord {
    /// Its number in its job, from 1.
    pub number: u32,
    /// How far it got.
    pub state: AttemptState,
    /// Where it was sent.
    pub provider: ProviderName,
    /// The provider's name for the model.
    pub wire_model: String,
    /// Our name for it.
    pub client_token: String,
    /// The provider's handle.
    pub prediction_id: Option<String>,
    /// The price reserved for it.
    pub estimate_usd: Money,
    /// What it cost.
    pub cost_usd: Option<Money>,
    /// How the cost is known.
    pub cost_source: Option<CostSource>,
    /// What went wrong.
    pub error: Option<String>,
    /// When the intent was committed.
    pub submitted_at: Timestamp,
    /// When the prediction was seen to have ended.
    pub finished_at: Option<Timestamp>,
}
