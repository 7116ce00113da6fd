//! What changes add up to in the sums that a store keeps of its rows: the money and the job counts
//! of a batch, and the slots that a provider's attempts occupy.
//!
//! A store adds each change to a tally and writes the tally once, at the end of the transaction. A
//! batch is then written once for all the jobs of a turn.

use std::collections::BTreeMap;

use crate::domain::{AttemptProgress, AttemptState, JobState, ProviderName};

/// The sum of several changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By name of the batch.
    pub batches: BTreeMap<String, BatchTally>,
    /// The change in the number of open attempts of each provider.
    pub in_flight: BTreeMap<ProviderName, i64>,
}

/// What changes in a batch. Money is in micro-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchTally {
    /// The change in the booked cost of its attempts.
    pub spent: i64,
    /// The change in the estimates of its attempts that are open or presumed absent.
    pub reserved: i64,
    /// The change in the part of `reserved` that is in doubt or presumed absent.
    pub at_risk: i64,
    /// The change in the number of jobs in each state, in the order of [`JobState::ALL`].
    pub jobs: [i64; JobState::ALL.len()],
}

impl Tally {
    /// Adds a job that has entered another state.
    pub fn add_job(&mut self, batch: &str, from: JobState, to: JobState) {
        if from != to {
            let jobs = &mut self.batch(batch).jobs;
            jobs[from as usize] -= 1;
            jobs[to as usize] += 1;
        }
    }

    /// Adds jobs that are new in a batch, and queued.
    pub fn add_new_jobs(&mut self, batch: &str, jobs: u64) {
        let queued = &mut self.batch(batch).jobs[JobState::Queued as usize];
        *queued += i64::try_from(jobs).unwrap_or(i64::MAX);
    }

    /// Adds an attempt that has changed, or has been started if there was none before.
    pub fn add_attempt(
        &mut self,
        batch: &str,
        provider: ProviderName,
        before: Option<&AttemptProgress>,
        after: &AttemptProgress,
    ) {
        let before = before.map_or_else(Sums::default, Sums::of);
        let after = Sums::of(after);
        if before == after {
            return;
        }
        let batch = self.batch(batch);
        batch.spent += after.spent - before.spent;
        batch.reserved += after.reserved - before.reserved;
        batch.at_risk += after.at_risk - before.at_risk;
        *self.in_flight.entry(provider).or_default() += after.in_flight - before.in_flight;
    }

    /// Returns what has changed in a batch so far.
    pub fn of_batch(&self, name: &str) -> BatchTally {
        self.batches.get(name).copied().unwrap_or_default()
    }

    /// Returns what has changed in a provider's number of open attempts so far.
    pub fn of_provider(&self, provider: ProviderName) -> i64 {
        self.in_flight.get(&provider).copied().unwrap_or_default()
    }

    fn batch(&mut self, name: &str) -> &mut BatchTally {
        self.batches.entry(name.to_owned()).or_default()
    }
}

/// What one attempt adds to the sums.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    spent: i64,
    reserved: i64,
    at_risk: i64,
    in_flight: i64,
}

impl Sums {
    fn of(attempt: &AttemptProgress) -> Self {
        let is_open = attempt.state.is_open();
        let is_presumed = attempt.state == AttemptState::PresumedAbsent;
        let estimate = attempt.estimate.micros();
        let counted = |is_counted: bool| if is_counted { estimate } else { 0 };
        Self {
            spent: attempt.cost.map_or(0, |cost| cost.amount.micros()),
            reserved: counted(is_open || is_presumed),
            at_risk: counted(attempt.state == AttemptState::InDoubt || is_presumed),
            in_flight: i64::from(is_open),
        }
    }
}
