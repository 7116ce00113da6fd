//! The jobs a pool begins first, where it shall make some, and wait to be told whether to go on.

use std::collections::HashSet;

use tokio::sync::watch;

use crate::domain::{JobEvent, JobId, JobState};
use crate::queue::{Claim, Step};

/// How many jobs to begin before anybody has said whether to go on.
#[derive(Clone, Debug)]
pub struct Canary {
    /// How many.
    pub jobs: u32,
    /// What was said: nothing yet, or whether to go on.
    pub go_on: watch::Receiver<Option<bool>>,
}

/// The jobs a pool has begun that have not come back to wait for a create again.
#[derive(Debug)]
pub(super) struct CanaryGate {
    /// `None` where it may begin all.
    first: Option<Canary>,
    jobs: HashSet<JobId>,
    is_shown: bool,
}

impl CanaryGate {
    /// None yet.
    pub(super) fn new(first: Option<Canary>) -> Self {
        Self {
            first,
            jobs: HashSet::new(),
            is_shown: false,
        }
    }

    /// For how many more there is room.
    pub(super) fn remaining(&self) -> usize {
        let most = self.first.as_ref().map(|first| first.jobs as usize);
        most.map_or(usize::MAX, |most| most.saturating_sub(self.jobs.len()))
    }

    /// Counts a job whose create is claimed.
    pub(super) fn count(&mut self, claim: &Claim) {
        if self.first.is_some() && claim.step == Step::Submit {
            self.jobs.insert(claim.lease.job_id);
        }
    }

    /// Counts a job no more that a step has sent back to wait for a create: another may be begun in its place.
    pub(super) fn remove(&mut self, claim: &Claim, event: JobEvent) {
        if claim.job.state.after(event) == Ok(JobState::Queued) {
            self.jobs.remove(&claim.lease.job_id);
        }
    }

    /// The jobs that are all it may begin for now, until they were shown.
    pub(super) fn ready_for_review(&self) -> Option<Vec<JobId>> {
        (self.remaining() == 0 && !self.is_shown).then(|| self.jobs.iter().copied().collect())
    }

    /// Notes that they were shown.
    pub(super) fn mark_reviewed(&mut self) {
        self.is_shown = true;
    }

    /// Tells whether they were shown, and nobody has said whether to go on.
    pub(super) fn awaits_answer(&self) -> bool {
        self.first.is_some() && self.is_shown
    }

    /// Waits for what is said; `true` goes on with all there are.
    pub(super) async fn answer(&mut self) -> bool {
        let Some(first) = self.first.as_mut().filter(|_| self.is_shown) else {
            return std::future::pending().await;
        };
        // Whoever is gone without a word has not said yes.
        let goes_on = first
            .go_on
            .wait_for(Option::is_some)
            .await
            .is_ok_and(|said| *said == Some(true));
        if goes_on {
            self.first = None;
        }
        goes_on
    }
}
