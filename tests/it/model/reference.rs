//! The queue as one writes it with no disk and no SQL: a few maps, and sums that are counted anew each time.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use overnight::domain::{
    AttemptState, JobId, JobState, Lease, Outcome, PoolId, ProviderName, ProviderSignal,
};
use overnight::queue::ProviderLimits;

use JobState::{Downloading, Failed, InDoubt, Queued, Running, Submitting, Succeeded};

/// Why the queue must refuse; nothing changes then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    LeaseLost,
    PoolLost,
    Illegal,
    Conflict,
    NotFound,
}

/// A row as it was loaded last.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) row_key: String,
    pub(super) prompt: u8,
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
    /// The attempt under way, or the last one since the job began anew.
    pub(super) attempt: Option<usize>,
    pub(super) paid: u32,
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
pub(super) struct Gates {
    pub(super) creates_from: Timestamp,
    pub(super) calls_from: Timestamp,
    pub(super) paused: bool,
    pub(super) refuses_looks: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Pool {
    pub(super) process: usize,
    pub(super) expires_at: Timestamp,
    pub(super) is_dead: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) jobs: BTreeMap<JobId, Job>,
    pub(super) attempts: Vec<Attempt>,
    /// Budgets by batch.
    pub(super) batches: BTreeMap<&'static str, Option<i64>>,
    pub(super) gates: BTreeMap<ProviderName, Gates>,
    pub(super) pools: HashMap<PoolId, Pool>,
    /// By process: the pools whose expiry had passed at its last look.
    pub(super) suspects: [HashSet<(PoolId, Timestamp)>; 2],
}

/// The prices of `kling-v1-standard`, by hand.
pub(super) fn price(provider: ProviderName, seconds: i64) -> i64 {
    seconds
        * if provider == ProviderName::Aimlapi {
            47_250
        } else {
            45_000
        }
}

impl Attempt {
    pub(super) fn reserved(&self) -> i64 {
        if self.state.is_open() { self.price } else { 0 }
    }

    pub(super) fn end(&mut self, state: AttemptState, cost: i64) {
        (self.state, self.cost) = (state, cost);
    }

    /// Nobody proved it unpaid, so that its price stays booked.
    pub(super) fn abandon(&mut self) {
        if self.state.is_open() {
            self.end(AttemptState::Abandoned, self.price);
        }
    }
}

impl Model {
    /// Takes rows, and counts the new, the changed, the busy, the same and the gone.
    pub(super) fn load(
        &mut self,
        batch: &'static str,
        rows: Vec<Row>,
        now: Timestamp,
    ) -> [usize; 5] {
        let before = self.jobs.values().filter(|job| job.batch == batch).count();
        let [mut new, mut changed, mut busy, mut same] = [0; 4];
        for row in rows {
            let next = JobId(self.jobs.len() as i64 + 1);
            let is_its = |job: &&mut Job| job.batch == batch && job.row.row_key == row.row_key;
            let Some(job) = self.jobs.values_mut().find(is_its) else {
                new += 1;
                let (state, due_at, lease, attempt) = (Queued, Some(now), None, None);
                self.jobs.insert(
                    next,
                    Job {
                        batch,
                        row,
                        state,
                        due_at,
                        lease,
                        attempt,
                        paid: 0,
                        crashes: 0,
                    },
                );
                continue;
            };
            if job.row.prompt == row.prompt {
                same += 1;
                if job.state == Queued {
                    job.row = row;
                }
            } else if job.state == Queued || job.state.is_final() {
                changed += 1;
                (job.row, job.crashes) = (row, 0);
                (job.state, job.due_at, job.attempt) = (Queued, Some(now), None);
            } else {
                busy += 1;
            }
        }
        [new, changed, busy, same, before - changed - busy - same]
    }

    pub(super) fn in_flight(&self, provider: ProviderName) -> u32 {
        self.attempts
            .iter()
            .map(|attempt| u32::from(attempt.provider == provider && attempt.state.is_open()))
            .sum()
    }

    /// Sums something over the attempts of a batch.
    pub(super) fn sum(&self, batch: &str, amount: impl Fn(&Attempt) -> i64) -> i64 {
        self.attempts
            .iter()
            .filter(|attempt| self.jobs[&attempt.job_id].batch == batch)
            .map(amount)
            .sum()
    }

    pub(super) fn committed(&self, batch: &str) -> i64 {
        self.sum(batch, |attempt| attempt.cost + attempt.reserved())
    }

    /// Tells whether a create may be sent: a slot is free, the gates are open, and no 60 seconds that this create can
    /// fall into hold as many as the limit already, wherever between commit and answer the others took place.
    pub(super) fn has_room(&self, limits: &ProviderLimits, now: Timestamp) -> bool {
        let minute = now - SignedDuration::from_secs(60);
        let counts = |attempt: &&Attempt| {
            attempt.provider == limits.provider && attempt.answered_at.is_none_or(|at| at >= minute)
        };
        let gates = self
            .gates
            .get(&limits.provider)
            .cloned()
            .unwrap_or_default();
        !gates.paused
            && gates.creates_from.max(gates.calls_from) <= now
            && self.in_flight(limits.provider) < limits.in_flight
            && self.attempts.iter().filter(counts).count() < limits.creates_per_minute as usize
    }

    /// When a job's present attempt may be looked at; `None` is never by itself.
    pub(super) fn looks_from(&self, job: &Job) -> Option<Timestamp> {
        let gates = &self.gates[&self.attempts[job.attempt?].provider];
        (!gates.refuses_looks).then_some(job.due_at?.max(gates.calls_from))
    }

    pub(super) fn submit(&mut self, job_id: JobId, provider: ProviderName) {
        let at = self.attempts.len();
        let job = self.jobs.get_mut(&job_id).expect("a job of the model");
        // The promise: another create only after an end that nothing lives beyond, or after a person's word.
        let earlier = job.attempt.map(|attempt| self.attempts[attempt].state);
        assert!(matches!(
            earlier,
            None | Some(AttemptState::Refused | AttemptState::Absent | AttemptState::Failed)
        ));
        (job.state, job.due_at, job.attempt) = (Submitting, None, Some(at));
        let (state, price) = (AttemptState::Submitting, price(provider, job.row.seconds));
        self.attempts.push(Attempt {
            job_id,
            provider,
            state,
            price,
            cost: 0,
            prediction: None,
            answered_at: None,
        });
        self.gates.entry(provider).or_default();
    }

    pub(super) fn record_outcome(
        &mut self,
        lease: &Lease,
        outcome: &Outcome,
        gate: Option<&ProviderSignal>,
        now: Timestamp,
    ) -> Result<JobState, Refusal> {
        let job = &self.jobs[&lease.job_id];
        if job
            .lease
            .as_ref()
            .is_none_or(|(token, _)| *token != lease.token)
        {
            return Err(Refusal::LeaseLost);
        }
        let (at, was) = (job.attempt.expect("an attempt"), job.state);
        let provider = self.attempts[at].provider;
        let belongs_to_another = |id: &str| {
            let mut others = self
                .attempts
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != at);
            others.any(|(_, other)| {
                other.provider == provider && other.prediction.as_deref() == Some(id)
            })
        };
        let mut job = job.clone();
        let mut attempt = self.attempts[at].clone();
        (job.state, job.due_at) = match (was, outcome) {
            (
                Submitting,
                Outcome::Accepted {
                    prediction, due_at, ..
                },
            )
            | (InDoubt, Outcome::Adopted { prediction, due_at }) => {
                if belongs_to_another(&prediction.prediction_id) {
                    return Err(Refusal::Conflict);
                }
                job.paid += u32::from(was == Submitting);
                attempt.state = AttemptState::Accepted;
                attempt.prediction = Some(prediction.prediction_id.clone());
                (Running, Some(*due_at))
            }
            (Submitting, Outcome::Refused { due_at, .. }) => {
                attempt.end(AttemptState::Refused, 0);
                (Queued, Some(*due_at))
            }
            (Submitting, Outcome::Rejected { .. }) => {
                attempt.end(AttemptState::Refused, 0);
                (Failed, None)
            }
            (Submitting, Outcome::LostResponse { due_at, .. }) => {
                job.paid += 1;
                attempt.state = AttemptState::InDoubt;
                (InDoubt, Some(*due_at))
            }
            (InDoubt, Outcome::ProvenAbsent { due_at }) => {
                job.paid -= 1;
                attempt.end(AttemptState::Absent, 0);
                (Queued, Some(*due_at))
            }
            (InDoubt | Running | Downloading, Outcome::Wait { due_at, .. }) => (was, *due_at),
            (Running, Outcome::Finished { cost, due_at, .. }) => {
                attempt.end(AttemptState::Done, cost.amount.micros());
                (Downloading, Some(*due_at))
            }
            (Running, Outcome::PredictionFailed { cost, retry_at, .. }) => {
                attempt.end(AttemptState::Failed, cost.amount.micros());
                (if retry_at.is_some() { Queued } else { Failed }, *retry_at)
            }
            (Downloading, Outcome::LinkExpired { due_at, .. }) => (Running, Some(*due_at)),
            (Downloading, Outcome::Saved { .. }) => (Succeeded, None),
            (InDoubt | Running | Downloading, Outcome::GaveUp { .. }) => {
                attempt.abandon();
                (Failed, None)
            }
            _ => return Err(Refusal::Illegal),
        };
        if was == Submitting {
            attempt.answered_at = Some(now);
        }
        job.crashes = 0;
        job.lease = None;
        let state = job.state;
        self.attempts[at] = attempt;
        self.jobs.insert(lease.job_id, job);
        let gates = self.gates.entry(provider).or_default();
        match gate {
            None | Some(ProviderSignal::Healthy) => {}
            Some(ProviderSignal::HoldSubmits { until }) => {
                gates.creates_from = gates.creates_from.max(*until)
            }
            Some(ProviderSignal::HoldAll { until }) => {
                gates.calls_from = gates.calls_from.max(*until)
            }
            Some(ProviderSignal::Suspend { polls_too, .. }) => {
                (gates.paused, gates.refuses_looks) = (true, gates.refuses_looks || *polls_too);
            }
        }
        Ok(state)
    }

    pub(super) fn release(&mut self, lease: &Lease, now: Timestamp) -> Result<JobState, Refusal> {
        let not_sent = Outcome::Refused {
            reason: String::new(),
            due_at: now,
            counted: false,
        };
        let not_begun = Outcome::Wait {
            due_at: Some(now),
            failure: None,
        };
        let outcome = if self.jobs[&lease.job_id].state == Submitting {
            not_sent
        } else {
            not_begun
        };
        self.record_outcome(lease, &outcome, None, now)
    }
}
