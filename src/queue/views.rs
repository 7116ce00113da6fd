//! Read-only views of batches, providers, pools, jobs and attempts.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::domain::{
    Attempt, AttemptState, CostSource, Input, JobId, JobState, Money, ProviderName,
};
use crate::policy::claim::BatchView;
use crate::policy::gate::ProviderGate;
use crate::policy::operator::{self, Remedy};
use crate::policy::route_gate::RouteGate;

use super::ClipVersion;
use super::throughput::{self, Completion, Throughput};

/// The state of a queue as of one instant.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The requested batches, oldest first.
    pub batches: Vec<BatchStatus>,
    /// The providers that have been called from this queue, by name.
    pub providers: Vec<ProviderStatus>,
    /// The routes that are held, or that bill another price than the catalogue's, by provider.
    pub routes: Vec<RouteStatus>,
    /// The pools that work on the queue, oldest first. Pools of this machine whose process has
    /// ended are left out; whether a process on another machine still runs is not known.
    pub pools: Vec<PoolRecord>,
}

impl Status {
    /// Returns the number of jobs in a state, over all batches.
    pub fn count(&self, state: JobState) -> u64 {
        self.batches.iter().map(|batch| batch.count(state)).sum()
    }

    /// Returns when the oldest pool that is still active started; `None` if no pool is active.
    pub fn working_since(&self, now: Timestamp) -> Option<Timestamp> {
        self.pools
            .iter()
            .filter(|pool| pool.expires_at > now)
            .map(|pool| pool.started_at)
            .min()
    }

    /// Returns the throughput of all batches together; `None` if no pool is active or too few jobs
    /// have completed.
    pub fn throughput(&self, now: Timestamp) -> Option<Throughput> {
        let mut completions: Vec<Completion> = self
            .batches
            .iter()
            .flat_map(|batch| &batch.recent_completions)
            .copied()
            .collect();
        completions.sort_by_key(|job| std::cmp::Reverse(job.finished_at));
        completions.truncate(throughput::MAX_SAMPLES + 1);
        self.measure(&completions, now)
    }

    /// Returns the estimated time until a batch's progressing jobs are finished, in seconds, from
    /// the batch's own throughput. `None` if that is not known or no job is progressing.
    pub fn eta_s(&self, batch: &BatchStatus, now: Timestamp) -> Option<u64> {
        self.measure(&batch.recent_completions, now)?
            .seconds_for(batch.progressing_jobs())
    }

    fn measure(&self, completions: &[Completion], now: Timestamp) -> Option<Throughput> {
        let in_flight = self
            .providers
            .iter()
            .map(|provider| provider.in_flight)
            .sum();
        Throughput::measure(completions, self.working_since(now)?, in_flight, now)
    }
}

/// A pool, which is one run, that works on the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolRecord {
    /// The host name of its machine.
    pub host: String,
    /// Its process id on that machine.
    pub pid: u32,
    /// When it joined the queue.
    pub started_at: Timestamp,
    /// When its leases expire unless it renews them.
    pub expires_at: Timestamp,
}

/// The state of a batch.
#[derive(Clone, Debug)]
pub struct BatchStatus {
    /// The name of the batch, unique in the queue.
    pub batch: String,
    /// The model that its jobs request.
    pub model: String,
    /// The absolute path of the folder for its clips.
    pub folder: String,
    /// Number of jobs in each state; contains every state.
    pub jobs: BTreeMap<JobState, u64>,
    /// The booked cost of its attempts, abandoned ones at their estimate.
    pub spent: Money,
    /// The price reserved by its attempts that are open or presumed absent.
    pub reserved: Money,
    /// The part of `reserved` whose attempts are in doubt or presumed absent.
    pub at_risk: Money,
    /// The part of `at_risk` whose attempts are presumed absent.
    pub presumed: Money,
    /// The upper limit for `spent + reserved`; `None` means no limit.
    pub budget: Option<Money>,
    /// Number of jobs in doubt that wait for the user's decision.
    pub held: u64,
    /// The latest jobs that succeeded or failed, newest first. Empty if no job is progressing.
    pub recent_completions: Vec<Completion>,
}

impl BatchStatus {
    /// Creates the state of a batch from its totals.
    pub(super) fn new(batch: BatchView) -> Self {
        let totals = batch.totals;
        let count = |state| (state, totals.jobs.count(state));
        Self {
            batch: batch.name,
            model: batch.model,
            folder: batch.folder,
            jobs: JobState::ALL.into_iter().map(count).collect(),
            spent: totals.spent,
            reserved: totals.reserved,
            at_risk: totals.at_risk,
            presumed: Money::ZERO,
            budget: batch.budget,
            held: 0,
            recent_completions: Vec::new(),
        }
    }

    /// Returns the number of jobs in a state.
    pub fn count(&self, state: JobState) -> u64 {
        self.jobs.get(&state).copied().unwrap_or(0)
    }

    /// Returns whether the batch has queued jobs, and none of its jobs was ever submitted.
    pub fn is_never_submitted(&self) -> bool {
        let submitted_states = [
            JobState::Submitting,
            JobState::InDoubt,
            JobState::Running,
            JobState::Downloading,
            JobState::Succeeded,
        ];
        let has_submitted = submitted_states
            .into_iter()
            .any(|state| self.count(state) > 0);
        self.count(JobState::Queued) > 0
            && !has_submitted
            && self.spent + self.reserved == Money::ZERO
    }

    /// Returns the number of jobs in all states.
    pub fn total_jobs(&self) -> u64 {
        self.jobs.values().sum()
    }

    /// Returns the number of jobs that are not in a final state.
    pub fn unfinished_jobs(&self) -> u64 {
        self.jobs
            .iter()
            .filter(|(state, _)| !state.is_final())
            .map(|(_, jobs)| jobs)
            .sum()
    }

    /// Returns the number of unfinished jobs that are not in doubt. A job in doubt waits for proof
    /// or for the user, so that its finish time cannot be estimated.
    pub fn progressing_jobs(&self) -> u64 {
        self.unfinished_jobs() - self.count(JobState::InDoubt)
    }
}

/// The state of a provider.
#[derive(Clone, Debug)]
pub struct ProviderStatus {
    /// The provider's name.
    pub provider: ProviderName,
    /// Number of open attempts: submitting, in doubt or accepted. Each occupies a slot.
    pub in_flight: u32,
    /// Why nothing is submitted until any run starts; `None` if the provider is not suspended.
    pub paused: Option<String>,
    /// The earliest time of the next submission, which may have passed; `None` if it was never
    /// held.
    pub submits_from: Option<Timestamp>,
    /// Why submissions are held; `None` if they are not, or no reason was given. A reason without a
    /// time in [`submits_from`](Self::submits_from) waits for a prediction in progress.
    pub hold_reason: Option<String>,
    /// Whether submissions wait until one of the predictions in progress has ended.
    pub waits_for_end: bool,
    /// Whether submissions wait until one of those whose responses were lost is found, or could have
    /// been.
    pub waits_for_history: bool,
}

/// The state of a route: a provider's way to run a model.
#[derive(Clone, Debug)]
pub struct RouteStatus {
    /// The provider.
    pub provider: ProviderName,
    /// The provider's name for the model.
    pub wire_model: String,
    /// Its gate.
    pub gate: RouteGate,
}

impl ProviderStatus {
    /// Creates the state of a provider from its gate and its open attempts.
    pub(super) fn new(provider: ProviderName, in_flight: u32, gate: ProviderGate) -> Self {
        let held_until = gate.submits_held_until.max(gate.calls_held_until);
        Self {
            waits_for_end: gate.waits_for_end(in_flight),
            waits_for_history: gate.lost_until(Duration::ZERO).is_some(),
            hold_reason: gate.hold_reason,
            provider,
            in_flight,
            paused: gate.suspended,
            submits_from: Some(held_until).filter(|time| *time > Timestamp::UNIX_EPOCH),
        }
    }
}

/// The jobs to list. All conditions must hold.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Only jobs of this batch; `None` lists every batch.
    pub batch: Option<String>,
    /// Only jobs in this state; `None` lists every state.
    pub state: Option<JobState>,
}

/// A job with its last attempt. The serialised fields are those of `export`.
#[derive(Clone, Debug, Serialize)]
pub struct JobRecord {
    /// The job's number in the queue.
    #[serde(skip)]
    pub job_id: JobId,
    /// The name of its batch.
    pub batch: String,
    /// The manifest row's key, unique in the batch.
    pub id: String,
    /// The manifest line it was last loaded from.
    pub line: u64,
    /// The job's state.
    pub state: JobState,
    /// The model that the job requests.
    pub model: String,
    /// The provider of its last attempt; `None` before the first.
    pub provider: Option<ProviderName>,
    /// The provider's id for the prediction; `None` until it is known.
    pub prediction_id: Option<String>,
    /// Number of attempts that a provider accepted or may have accepted; refused and absent ones
    /// are left out.
    pub attempts: u32,
    /// The price reserved for its last attempt; before the first, the price at its most expensive
    /// provider.
    pub estimate_usd: Money,
    /// The booked cost of all its attempts, abandoned ones at their estimate; `None` until the cost
    /// of one is booked.
    pub cost_usd: Option<Money>,
    /// How the cost of the latest attempt with a booked cost is known; `None` if there is none.
    pub cost_source: Option<CostSource>,
    /// The location of the stored clip; `None` until one is stored. Of a job that is rendered anew, the
    /// earlier one.
    pub output: Option<String>,
    /// The size of the clip, in bytes.
    pub bytes: Option<u64>,
    /// The SHA-256 of the clip, in hexadecimal.
    pub sha256: Option<String>,
    /// Why its last step failed; `None` if it did not.
    pub error: Option<String>,
    /// When the job was loaded, or its row last changed.
    pub queued_at: Timestamp,
    /// When its last attempt was submitted; `None` before the first.
    pub submitted_at: Option<Timestamp>,
    /// When it entered its final state; `None` until then.
    pub finished_at: Option<Timestamp>,
    /// Its clips, oldest first.
    pub versions: Vec<ClipVersion>,
    /// The model input, in Overnight's field names.
    #[serde(skip)]
    pub input: Input,
    /// When its next step is due; `None` if none is scheduled, because the job is being submitted,
    /// waits for the user's decision, or is in a final state.
    #[serde(skip)]
    pub due_at: Option<Timestamp>,
    /// The state of its last attempt; `None` before the first.
    #[serde(skip)]
    pub attempt_state: Option<AttemptState>,
}

impl JobRecord {
    /// Returns the price reserved by its attempt if that is in doubt; zero otherwise.
    pub fn at_risk(&self) -> Money {
        match self.attempt_state {
            Some(AttemptState::InDoubt) => self.estimate_usd,
            _ => Money::ZERO,
        }
    }

    /// Returns what the user can do about it at no further cost; `None` if it continues without them,
    /// or if there is nothing but to pay for another submission.
    pub fn remedy(&self) -> Option<Remedy> {
        let may_have_clip = self.attempt_state.is_some_and(operator::may_have_clip);
        let has_clip = self.prediction_id.is_some() && may_have_clip;
        operator::remedy(self.state, self.due_at.is_some(), has_clip)
    }
}

/// An attempt of a job.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptRecord {
    /// The attempt's number in its job, from 1.
    pub number: u32,
    /// The attempt's state.
    pub state: AttemptState,
    /// The provider it was submitted to.
    pub provider: ProviderName,
    /// The provider's name for the model.
    pub wire_model: String,
    /// The name Overnight gave the submission, unique over all queues.
    pub client_token: String,
    /// The provider's id for the prediction; `None` until it is known.
    pub prediction_id: Option<String>,
    /// The price reserved for it while it was open.
    pub estimate_usd: Money,
    /// The booked cost, which is the estimate of an abandoned attempt; `None` until it is booked.
    pub cost_usd: Option<Money>,
    /// How the cost is known; `None` until it is booked.
    pub cost_source: Option<CostSource>,
    /// Why it failed; `None` if it did not.
    pub error: Option<String>,
    /// When the attempt was committed, before its request was sent.
    pub submitted_at: Timestamp,
    /// When it ended; `None` while it is open.
    pub finished_at: Option<Timestamp>,
}

impl From<Attempt> for AttemptRecord {
    fn from(attempt: Attempt) -> Self {
        let progress = attempt.progress;
        let prediction = progress.prediction;
        Self {
            number: attempt.number,
            state: progress.state,
            provider: attempt.provider,
            wire_model: attempt.wire_model,
            client_token: attempt.client_token,
            prediction_id: prediction.map(|prediction| prediction.prediction_id),
            estimate_usd: progress.estimate,
            cost_usd: progress.cost.map(|cost| cost.amount),
            cost_source: progress.cost.map(|cost| cost.source),
            error: progress.error,
            submitted_at: attempt.submitted_at,
            finished_at: progress.finished_at,
        }
    }
}
