//! Plans a claim: the order of its kinds of steps, and the steps of submitted jobs.

use crate::domain::ProviderName;

use super::claim_plan::ClaimPlan;
use super::planner::Planner;
use super::request::{ClaimRequest, Step};
use super::view::{ClaimView, DueStep, Missing};

/// Plans a claim.
///
/// # Errors
///
/// Returns what the view lacks; the caller reads it into the view and plans again.
pub fn plan(view: &ClaimView, request: &ClaimRequest) -> Result<ClaimPlan, Missing> {
    let mut planner = Planner::new(view, request);
    let capacity = request.capacity;
    // Polls free provider slots, submissions fill them, and downloads occupy none. Planning in this
    // order keeps the provider's slots in use.
    let polls = capacity.polls.min(capacity.steps);
    planner.take_due(Step::Poll, polls);
    let reconciles = (capacity.polls - planner.plan.len()).min(capacity.steps - planner.plan.len());
    planner.take_due(Step::Reconcile, reconciles);
    let submits = capacity.submits.min(capacity.steps - planner.plan.len());
    planner.take_submissions(submits)?;
    let downloads = capacity.downloads.min(capacity.steps - planner.plan.len());
    planner.take_due(Step::Download, downloads);
    // Uploads come last because they serve later submissions; the submissions planned above need
    // none.
    let uploads = capacity.uploads.min(capacity.steps - planner.plan.len());
    planner.take_uploads(uploads)?;
    Ok(planner.plan)
}

impl Planner<'_> {
    /// Plans up to `limit` due steps of a kind, in order of due time.
    fn take_due(&mut self, step: Step, limit: usize) {
        let now = self.view.now;
        let accepts_polls = |name: ProviderName| {
            self.plan.providers.iter().any(|provider| {
                provider.limits.provider == name && provider.gate.accepts_polls(now)
            })
        };
        // A download uses the stored link and calls no provider API, so a provider that is held or
        // suspended does not delay it.
        let may_start = |due: &&DueStep| {
            due.step == step && (step == Step::Download || accepts_polls(due.provider))
        };
        let mut due: Vec<DueStep> = self.view.due.iter().filter(may_start).copied().collect();
        due.sort_by_key(|due| (due.due_at, due.job_id));
        due.truncate(limit);
        self.plan.steps.extend(due);
    }
}
