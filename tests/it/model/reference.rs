//! A reference model of the queue without disk or SQL: a few maps, and sums computed when needed.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use overnight::domain::{
    AttemptState, JobId, JobState, Outcome, PoolId, ProviderName, ProviderSignal,
};
use overnight::queue::{Claim, ProviderLimits, Step};

use JobState::{Downloading, Failed, InDoubt, Queued, Running, Submitting, Succeeded};

/// Why the queue must fail an operation. Nothing changes then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelError {
    LeaseLost,
    PoolLost,
    Illegal,
    Conflict,
    NotFound,
}

/// A manifest row as it was last loaded.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) row_key: String,
    pub(super) prompt: u8,
    /// Length of the clip in seconds.
    pub(super) seconds: i64,
    pub(super) providers: Vec<ProviderName>,
}

#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) batch: &'static str,
    pub(super) row: Row,
    pub(super) state: JobState,
    pub(super) due_at: Option<Timestamp>,
    pub(super) lease: Option<(i64, PoolId)>,
    /// Index of the open or last attempt since the job was last restarted.
    pub(super) attempt: Option<usize>,
    /// Submissions that a provider accepted or may have accepted.
    pub(super) paid_attempts: u32,
    pub(super) crashes: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) job_id: JobId,
    pub(super) provider: ProviderName,
    pub(super) state: AttemptState,
    pub(super) price: i64,
    pub(super) cost: i64,
    pub(super) prediction: Option<String>,
    pub(super) answered_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct ProviderState {
    pub(super) submits_held_until: Timestamp,
    pub(super) calls_held_until: Timestamp,
    pub(super) is_suspended: bool,
    pub(super) refuses_polls: bool,
    /// Whether it has returned ids of other jobs. Several in a row stop its submissions for a time
    /// that `policy::gate` tests: here the queue then decides whether it may be submitted to.
    pub(super) has_repeated_an_id: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Pool {
    pub(super) process: usize,
    pub(super) expires_at: Timestamp,
    /// Whether its process has died.
    pub(super) is_dead: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) jobs: BTreeMap<JobId, Job>,
    pub(super) attempts: Vec<Attempt>,
    /// Budgets by batch.
    pub(super) batches: BTreeMap<&'static str, Option<i64>>,
    pub(super) providers: BTreeMap<ProviderName, ProviderState>,
    pub(super) pools: HashMap<PoolId, Pool>,
    /// By process: the dead and expired pools that its last takeover found.
    pub(super) suspects: [HashSet<(PoolId, Timestamp)>; 2],
    /// The prices of the submissions that were proven absent and turn out to be accepted, by batch.
    /// They are paid for, so a budget does not stop them.
    pub(super) late: BTreeMap<&'static str, i64>,
}

/// Returns the price of `kling-v1-standard`, computed independently of the catalogue.
pub(super) fn price(provider: ProviderName, seconds: i64) -> i64 {
    let per_second = if provider == ProviderName::Aimlapi {
        47_250
    } else {
        45_000
    };
    seconds * per_second
}

impl Attempt {
    pub(super) fn reserved(&self) -> i64 {
        let is_reserved = self.state.is_open() || self.state == AttemptState::PresumedAbsent;
        if is_reserved { self.price } else { 0 }
    }

    /// Sets the state and the cost.
    pub(super) fn settle(&mut self, state: AttemptState, cost: i64) {
        self.state = state;
        self.cost = cost;
    }

    /// Abandons an open attempt. Its price stays booked, because nothing proves that it is unpaid.
    pub(super) fn abandon(&mut self) {
        if self.state.is_open() {
            self.settle(AttemptState::Abandoned, self.price);
        }
    }
}

impl Model {
    /// Loads rows and counts those that are new, changed, in progress, unchanged and removed.
    pub(super) fn load(
        &mut self,
        batch: &'static str,
        rows: Vec<Row>,
        now: Timestamp,
    ) -> [usize; 5] {
        let jobs_before = self.jobs.values().filter(|job| job.batch == batch).count();
        let mut new = 0;
        let mut changed = 0;
        let mut in_progress = 0;
        let mut unchanged = 0;
        for row in rows {
            let next_id = JobId(self.jobs.len() as i64 + 1);
            let has_key = |job: &&mut Job| job.batch == batch && job.row.row_key == row.row_key;
            let Some(job) = self.jobs.values_mut().find(has_key) else {
                new += 1;
                self.jobs.insert(
                    next_id,
                    Job {
                        batch,
                        row,
                        state: Queued,
                        due_at: Some(now),
                        lease: None,
                        attempt: None,
                        paid_attempts: 0,
                        crashes: 0,
                    },
                );
                continue;
            };
            if job.row.prompt == row.prompt {
                unchanged += 1;
                if job.state == Queued {
                    job.row = row;
                }
            } else if job.state == Queued || job.state.is_final() {
                changed += 1;
                job.row = row;
                job.crashes = 0;
                job.state = Queued;
                job.due_at = Some(now);
                job.attempt = None;
            } else {
                in_progress += 1;
            }
        }
        let removed = jobs_before - changed - in_progress - unchanged;
        [new, changed, in_progress, unchanged, removed]
    }

    pub(super) fn in_flight(&self, provider: ProviderName) -> u32 {
        self.attempts
            .iter()
            .map(|attempt| u32::from(attempt.provider == provider && attempt.state.is_open()))
            .sum()
    }

    /// Sums an amount over the attempts of a batch.
    pub(super) fn sum(&self, batch: &str, amount: impl Fn(&Attempt) -> i64) -> i64 {
        self.attempts
            .iter()
            .filter(|attempt| self.jobs[&attempt.job_id].batch == batch)
            .map(amount)
            .sum()
    }

    /// Returns what a batch has spent and reserved.
    pub(super) fn committed(&self, batch: &str) -> i64 {
        self.sum(batch, |attempt| attempt.cost + attempt.reserved())
    }

    /// Reports whether a provider allows another submit: it has a free slot, is not held, and its
    /// rate is not used up.
    ///
    /// A submit counts against the rate from its commit until 60 seconds after its answer, because
    /// the request reaches the provider at an unknown time between the two.
    pub(super) fn can_submit(&self, limits: &ProviderLimits, now: Timestamp) -> bool {
        let window_start = now - SignedDuration::from_secs(60);
        let counts_against_rate = |attempt: &&Attempt| {
            attempt.provider == limits.provider
                && attempt
                    .answered_at
                    .is_none_or(|answered_at| answered_at >= window_start)
        };
        let recent_submits = self.attempts.iter().filter(counts_against_rate).count();
        let provider = self
            .providers
            .get(&limits.provider)
            .cloned()
            .unwrap_or_default();
        !provider.is_suspended
            && provider.submits_held_until.max(provider.calls_held_until) <= now
            && self.in_flight(limits.provider) < limits.in_flight
            && recent_submits < limits.creates_per_minute as usize
    }

    /// Returns whether only the queue knows if a provider may be submitted to.
    pub(super) fn may_be_stopped(&self, provider: Option<ProviderName>) -> bool {
        let state = provider.and_then(|provider| self.providers.get(&provider));
        state.is_some_and(|state| state.has_repeated_an_id)
    }

    /// Returns when a job's attempt may be polled; `None` if only the user can change that.
    pub(super) fn poll_due_at(&self, job: &Job) -> Option<Timestamp> {
        let provider = &self.providers[&self.attempts[job.attempt?].provider];
        (!provider.refuses_polls).then_some(job.due_at?.max(provider.calls_held_until))
    }

    pub(super) fn submit(&mut self, job_id: JobId, provider: ProviderName) {
        let attempt = self.attempts.len();
        let job = self.jobs.get_mut(&job_id).expect("a job of the model");
        // The guarantee: a job is submitted again only if its last attempt can no longer produce a
        // clip, or if the job was restarted, which clears the attempt.
        let last_state = job.attempt.map(|attempt| self.attempts[attempt].state);
        assert!(matches!(
            last_state,
            None | Some(
                AttemptState::Refused
                    | AttemptState::PresumedAbsent
                    | AttemptState::Absent
                    | AttemptState::Failed
            )
        ));
        job.state = Submitting;
        job.due_at = None;
        job.attempt = Some(attempt);
        self.attempts.push(Attempt {
            job_id,
            provider,
            state: AttemptState::Submitting,
            price: price(provider, job.row.seconds),
            cost: 0,
            prediction: None,
            answered_at: None,
        });
        self.providers.entry(provider).or_default();
    }

    /// Records the outcome of a claimed step. What it revealed about the provider is recorded even
    /// if the lease was lost.
    pub(super) fn record_outcome(
        &mut self,
        claim: &Claim,
        outcome: &Outcome,
        signal: Option<&ProviderSignal>,
        now: Timestamp,
    ) -> Result<JobState, ModelError> {
        let lease = &claim.lease;
        let job = &self.jobs[&lease.job_id];
        if job
            .lease
            .as_ref()
            .is_none_or(|(token, _)| *token != lease.token)
        {
            self.record_signal(claim.attempt.provider, signal);
            return self.adopt_stray(claim, outcome);
        }
        let mut outcome = outcome.clone();
        if let (Submitting, Outcome::Accepted { prediction, .. })
        | (InDoubt, Outcome::Adopted { prediction, .. }) = (job.state, &outcome)
            && self.belongs_to_another(lease.job_id, &prediction.prediction_id)
        {
            // The prediction stays with its attempt, and this one remains in doubt.
            outcome = unusable_response(job.state, now);
            let provider = self.providers.entry(claim.attempt.provider).or_default();
            provider.has_repeated_an_id = true;
        }
        let state = self.apply(lease.job_id, &outcome, now)?;
        self.record_signal(claim.attempt.provider, signal);
        Ok(state)
    }

    /// Adopts the prediction of a submission whose lease was lost, if nothing else is known of it.
    fn adopt_stray(&mut self, claim: &Claim, outcome: &Outcome) -> Result<JobState, ModelError> {
        let Outcome::Accepted {
            prediction, due_at, ..
        } = outcome
        else {
            return Err(ModelError::LeaseLost);
        };
        let job_id = claim.lease.job_id;
        let is_of_job = |(_, attempt): &(usize, &Attempt)| attempt.job_id == job_id;
        let mut attempts = self.attempts.iter().enumerate().filter(is_of_job);
        let submitted = attempts.nth(claim.attempt.number as usize - 1);
        let index = submitted.map(|(index, _)| index);
        let index = index.expect("the claim's attempt");
        let is_stray = claim.step == Step::Submit
            && self.jobs[&job_id].attempt == Some(index)
            && self.attempts[index].prediction.is_none()
            && !self.belongs_to_another(job_id, &prediction.prediction_id);
        if !is_stray {
            return Err(ModelError::LeaseLost);
        }
        let job = self.jobs.get_mut(&job_id).expect("a job");
        let attempt = &mut self.attempts[index];
        match (job.state, attempt.state) {
            (InDoubt, AttemptState::InDoubt) => {}
            (Queued, AttemptState::PresumedAbsent) => job.paid_attempts += 1,
            (Queued, AttemptState::Absent) => {
                job.paid_attempts += 1;
                *self.late.entry(job.batch).or_default() += attempt.price;
            }
            (Failed, AttemptState::Abandoned) => {
                attempt.prediction = Some(prediction.prediction_id.clone());
                return Ok(Failed);
            }
            _ => return Err(ModelError::LeaseLost),
        }
        attempt.prediction = Some(prediction.prediction_id.clone());
        attempt.settle(AttemptState::Accepted, 0);
        job.state = Running;
        job.due_at = Some(*due_at);
        job.crashes = 0;
        job.lease = None;
        Ok(Running)
    }

    /// Gives the lease of a recorded step back to the pool that had it, if the job is running.
    pub(super) fn hold(&mut self, claim: &Claim, pool: PoolId) {
        let job = self.jobs.get_mut(&claim.lease.job_id).expect("a job");
        if job.state == Running && job.due_at.is_some() {
            job.lease = Some((claim.lease.token, pool));
        }
    }

    /// Returns whether a prediction belongs to another attempt than the job's current one.
    fn belongs_to_another(&self, job_id: JobId, id: &str) -> bool {
        let index = self.jobs[&job_id].attempt.expect("an attempt");
        let provider = self.attempts[index].provider;
        let mut others = self
            .attempts
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        others
            .any(|(_, other)| other.provider == provider && other.prediction.as_deref() == Some(id))
    }

    /// Applies an outcome to a job.
    pub(super) fn apply(
        &mut self,
        job_id: JobId,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Result<JobState, ModelError> {
        let job = &self.jobs[&job_id];
        let index = job.attempt.expect("an attempt");
        let old_state = job.state;
        let mut job = job.clone();
        let mut attempt = self.attempts[index].clone();
        let (state, due_at) = match (old_state, outcome) {
            (
                Submitting,
                Outcome::Accepted {
                    prediction, due_at, ..
                },
            )
            | (InDoubt, Outcome::Adopted { prediction, due_at }) => {
                if self.belongs_to_another(job_id, &prediction.prediction_id) {
                    return Err(ModelError::Conflict);
                }
                job.paid_attempts += u32::from(old_state == Submitting);
                attempt.state = AttemptState::Accepted;
                attempt.prediction = Some(prediction.prediction_id.clone());
                (Running, Some(*due_at))
            }
            (Submitting, Outcome::Refused { due_at, .. }) => {
                attempt.settle(AttemptState::Refused, 0);
                (Queued, Some(*due_at))
            }
            (Submitting, Outcome::Rejected { .. }) => {
                attempt.settle(AttemptState::Refused, 0);
                (Failed, None)
            }
            (Submitting, Outcome::LostResponse { due_at, .. }) => {
                job.paid_attempts += 1;
                attempt.state = AttemptState::InDoubt;
                (InDoubt, Some(*due_at))
            }
            (InDoubt, Outcome::Absent { due_at, is_proven }) => {
                job.paid_attempts -= 1;
                let state = if *is_proven {
                    AttemptState::Absent
                } else {
                    AttemptState::PresumedAbsent
                };
                attempt.settle(state, 0);
                (Queued, Some(*due_at))
            }
            (InDoubt | Running | Downloading, Outcome::Wait { due_at, .. }) => (old_state, *due_at),
            (Running, Outcome::Finished { cost, due_at, .. }) => {
                attempt.settle(AttemptState::Done, cost.amount.micros());
                (Downloading, Some(*due_at))
            }
            (Running, Outcome::PredictionFailed { cost, .. }) => {
                attempt.settle(AttemptState::Failed, cost.amount.micros());
                (Failed, None)
            }
            (Running, Outcome::FailedUnbilled { due_at, .. }) => {
                attempt.settle(AttemptState::Failed, 0);
                (Queued, Some(*due_at))
            }
            (Downloading, Outcome::LinkExpired { due_at, .. }) => (Running, Some(*due_at)),
            (Downloading, Outcome::Saved { .. }) => (Succeeded, None),
            (InDoubt | Running | Downloading, Outcome::GaveUp { .. }) => {
                attempt.abandon();
                (Failed, None)
            }
            _ => return Err(ModelError::Illegal),
        };
        if old_state == Submitting {
            attempt.answered_at = Some(now);
        }
        job.state = state;
        job.due_at = due_at;
        job.crashes = 0;
        job.lease = None;
        self.attempts[index] = attempt;
        self.jobs.insert(job_id, job);
        Ok(state)
    }

    fn record_signal(&mut self, provider: ProviderName, signal: Option<&ProviderSignal>) {
        let provider = self.providers.entry(provider).or_default();
        match signal {
            None | Some(ProviderSignal::Healthy) => {}
            Some(ProviderSignal::HoldSubmits { until }) => {
                provider.submits_held_until = provider.submits_held_until.max(*until);
            }
            Some(ProviderSignal::HoldAll { until }) => {
                provider.calls_held_until = provider.calls_held_until.max(*until);
            }
            Some(
                ProviderSignal::LimitSubmits { .. }
                | ProviderSignal::LostResponse { .. }
                | ProviderSignal::SubmissionFound
                | ProviderSignal::HoldRoute { .. }
                | ProviderSignal::BalanceInUse { .. },
            ) => unreachable!("operations do not signal this"),
            Some(ProviderSignal::Suspend { polls_too, .. }) => {
                provider.is_suspended = true;
                provider.refuses_polls |= *polls_too;
            }
        }
    }

    /// Releases a step that was not started.
    ///
    /// A submit that was not sent counts as refused. Any other job only becomes due again. Either
    /// keeps its crashes, because the step was not tried.
    pub(super) fn release(
        &mut self,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<JobState, ModelError> {
        let lease = &claim.lease;
        let job = &self.jobs[&lease.job_id];
        let crashes = job.crashes;
        let outcome = if job.state == Submitting {
            Outcome::Refused {
                reason: String::new(),
                due_at: now,
                counts_as_failure: false,
            }
        } else {
            Outcome::Wait {
                due_at: Some(now),
                failure: None,
            }
        };
        let state = self.record_outcome(claim, &outcome, None, now)?;
        let job = self
            .jobs
            .get_mut(&lease.job_id)
            .expect("a job of the model");
        job.crashes = crashes;
        Ok(state)
    }
}

/// Returns what is recorded in place of a prediction that belongs to another attempt.
fn unusable_response(state: JobState, now: Timestamp) -> Outcome {
    let due_at = now + SignedDuration::from_secs(1);
    let reason = "taken".to_owned();
    if state == Submitting {
        Outcome::LostResponse { reason, due_at }
    } else {
        Outcome::Wait {
            due_at: Some(due_at),
            failure: Some(reason),
        }
    }
}
