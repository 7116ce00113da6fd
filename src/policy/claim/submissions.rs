//! Plans submissions: which batch and which job goes first.

use crate::domain::JobState;

use super::claim_plan::PlannedSubmission;
use super::placement::Placement;
use super::planner::Planner;
use super::view::{LaneView, Missing};

/// Maximum number of jobs that one claim defers.
///
/// A manifest may contain the same row a million times; the limit bounds the cost of a claim.
pub(super) const MAX_DEFERRED: usize = 64;

/// The position of the first job that is still to be considered in each lane of a batch.
type Fronts = Vec<usize>;

impl Planner<'_> {
    /// Plans up to `limit` submissions, batch by batch in order of creation.
    ///
    /// Jobs are taken one at a time, each for the first of its providers that can accept it.
    pub(super) fn take_submissions(&mut self, limit: usize) -> Result<(), Missing> {
        for (index, batch) in self.view.batches.iter().enumerate() {
            if self.plan.submissions.len() == limit || self.available_submits()? == 0 {
                break;
            }
            if !batch.has_queued_jobs() {
                continue;
            }
            let lanes = batch.lanes.as_deref().ok_or(Missing::Lanes(index))?;
            let mut fronts = vec![0; lanes.len()];
            while self.plan.submissions.len() < limit
                && let Some(submission) = self.next_submission(index, lanes, &mut fronts)?
            {
                self.reserve(submission);
            }
        }
        Ok(())
    }

    /// Returns the number of submissions that all providers together allow now.
    fn available_submits(&self) -> Result<usize, Missing> {
        let mut available = 0;
        for (index, provider) in self.plan.providers.iter().enumerate() {
            if provider.needs_exact_count() && provider.gate.accepts_submits(self.view.now) {
                return Err(Missing::RecentSubmits(index));
            }
            available += provider.available_submits(self.view.now) as usize;
        }
        Ok(available)
    }

    /// Returns the next submission of a batch; `None` if no due job can be submitted and paid for.
    ///
    /// The lane whose first job has been due longest goes first. A lane whose first job is blocked
    /// is skipped as a whole, so that no later job of the same providers overtakes it; a deferred
    /// job makes way for the job behind it.
    fn next_submission(
        &mut self,
        batch: usize,
        lanes: &[LaneView],
        fronts: &mut Fronts,
    ) -> Result<Option<PlannedSubmission>, Missing> {
        if self.available_submits()? == 0 {
            return Ok(None);
        }
        loop {
            let mut order = Vec::with_capacity(lanes.len());
            for (lane, front) in lanes.iter().zip(fronts.iter()).enumerate() {
                let (view, front) = front;
                match view.rows.get(*front) {
                    Some(row) => order.push((row.job.progress.due_at, row.job.job_id, lane)),
                    None if view.is_complete => {}
                    None => return Err(Missing::Rows(batch, lane)),
                }
            }
            order.sort_unstable();
            let mut has_deferred = false;
            for (_, job_id, lane) in order {
                let queued = &lanes[lane].rows[fronts[lane]];
                match self.choose_provider(&queued.job, &lanes[lane].providers, batch) {
                    Placement::Submit(provider, prepared) => {
                        fronts[lane] += 1;
                        let provider = &self.plan.providers[provider];
                        return Ok(Some(PlannedSubmission {
                            batch,
                            queued: queued.clone(),
                            provider: provider.limits.provider,
                            provider_failures: provider.gate.failures,
                            prepared,
                        }));
                    }
                    Placement::DeferUntil(until) if self.plan.deferred.len() < MAX_DEFERRED => {
                        self.plan.deferred.push((job_id, until));
                        fronts[lane] += 1;
                        has_deferred = true;
                        break;
                    }
                    Placement::DeferUntil(_) | Placement::Blocked => {}
                }
            }
            if !has_deferred {
                return Ok(None);
            }
        }
    }

    /// Adds a submission to the plan: it occupies a slot and a part of the rate, and reserves its
    /// price.
    fn reserve(&mut self, submission: PlannedSubmission) {
        for provider in &mut self.plan.providers {
            if provider.limits.provider == submission.provider {
                provider.in_flight += 1;
                provider.recent_submits += 1;
                provider.gate = provider.gate.submitting(self.view.now);
            }
        }
        let route = (
            submission.provider,
            submission.prepared.quote.wire_model.clone(),
        );
        if let Some(gate) = self.plan.routes.get_mut(&route) {
            *gate = gate.submitting(self.view.now);
        }
        let totals = &mut self.plan.totals[submission.batch];
        totals.reserved += submission.prepared.quote.price;
        totals.jobs.move_one(JobState::Queued, JobState::Submitting);
        self.plan
            .total_jobs
            .move_one(JobState::Queued, JobState::Submitting);
        self.plan.submissions.push(submission);
    }
}
