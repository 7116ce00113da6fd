//! Canary support: runs the first N jobs, then holds further submissions until the user approves.

use std::collections::HashSet;

use tokio::sync::watch;

use crate::domain::{JobEvent, JobId, JobState};
use crate::queue::{Claim, Step};

/// A request to run some jobs first, and to ask before submitting more.
#[derive(Clone, Debug)]
pub struct Canary {
    /// Number of jobs to run before the question.
    pub jobs: u32,
    /// The user's answer: `None` until there is one, then whether to submit the rest. If the sender
    /// is dropped without an answer, nothing more is submitted.
    pub decision: watch::Receiver<Option<bool>>,
}

/// Limits a pool's submissions to the canary jobs until the user has approved them.
#[derive(Debug)]
pub(super) struct CanaryGate {
    /// `None` if there is no limit, or no longer one.
    canary: Option<Canary>,
    /// The jobs submitted by this pool, without those that a step has put back into the queue.
    jobs: HashSet<JobId>,
    is_in_review: bool,
}

impl CanaryGate {
    /// Returns a gate that limits nothing if `canary` is `None`.
    pub(super) fn new(canary: Option<Canary>) -> Self {
        Self {
            canary,
            jobs: HashSet::new(),
            is_in_review: false,
        }
    }

    /// Returns how many more jobs may be submitted now.
    pub(super) fn remaining(&self) -> usize {
        match &self.canary {
            Some(canary) => (canary.jobs as usize).saturating_sub(self.jobs.len()),
            None => usize::MAX,
        }
    }

    /// Notes the job of a claim as a canary job, if the claim is for a submission.
    pub(super) fn count(&mut self, claim: &Claim) {
        if self.canary.is_some() && claim.step == Step::Submit {
            self.jobs.insert(claim.lease.job_id);
        }
    }

    /// Stops counting a job that a step has put back into the queue: another may be submitted in
    /// its place.
    pub(super) fn remove(&mut self, claim: &Claim, event: JobEvent) {
        if claim.job.progress.state.after(event) == Ok(JobState::Queued) {
            self.jobs.remove(&claim.lease.job_id);
        }
    }

    /// Returns the canary jobs once all of them are submitted, until [`Self::mark_in_review`] is
    /// called.
    pub(super) fn ready_for_review(&self) -> Option<Vec<JobId>> {
        (self.remaining() == 0 && !self.is_in_review).then(|| self.jobs.iter().copied().collect())
    }

    /// Notes that the user is being asked.
    pub(super) fn mark_in_review(&mut self) {
        self.is_in_review = true;
    }

    /// Returns whether the user has been asked and has not answered yet.
    pub(super) fn awaits_answer(&self) -> bool {
        self.canary.is_some() && self.is_in_review
    }

    /// Waits for the user's answer and returns it; `true` lifts the limit. Never returns unless the
    /// user is being asked.
    pub(super) async fn answer(&mut self) -> bool {
        let Some(canary) = self.canary.as_mut().filter(|_| self.is_in_review) else {
            return std::future::pending().await;
        };
        let answer = canary.decision.wait_for(Option::is_some).await;
        // A sender that is gone without an answer has not approved.
        let is_approved = answer.is_ok_and(|answer| *answer == Some(true));
        if is_approved {
            self.canary = None;
        }
        is_approved
    }
}
