//! The jobs a pool has begun, where it was told to begin only so many.

use std::collections::HashSet;

use crate::domain::{Event, JobId, JobState};
use crate::queue::{Claim, Step};

/// The jobs a pool has begun that have not come back to wait for a create again.
#[derive(Debug)]
pub(super) struct Begun {
    /// `None` where it may begin all.
    most: Option<u32>,
    jobs: HashSet<JobId>,
}

impl Begun {
    /// None yet, of at most so many.
    pub(super) fn at_most(most: Option<u32>) -> Self {
        Self { most, jobs: HashSet::new() }
    }

    /// For how many more there is room.
    pub(super) fn room(&self) -> usize {
        self.most.map_or(usize::MAX, |most| (most as usize).saturating_sub(self.jobs.len()))
    }

    /// Counts a job whose create is claimed.
    pub(super) fn take(&mut self, claim: &Claim) {
        if self.most.is_some() && claim.step == Step::Submit {
            self.jobs.insert(claim.lease.job_id);
        }
    }

    /// Counts a job no more that a step has sent back to wait for a create: another may be begun in its place.
    pub(super) fn let_go(&mut self, claim: &Claim, event: Event) {
        if claim.job.state.after(event) == Ok(JobState::Queued) {
            self.jobs.remove(&claim.lease.job_id);
        }
    }
}
