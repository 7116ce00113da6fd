//! Which steps to start now: the fairness between jobs, the choice of a provider, and every limit.
//!
//! [`plan`] decides from a [`ClaimView`]; [`backlog()`] tells what is left after that, and when more
//! can be claimed. Due time, provider slot, submission rate and budget are checked here, in the
//! transaction that reads the view and writes the plan, so that any number of processes together
//! stay within them.

mod backlog;
mod placement;
mod request;
#[cfg(test)]
mod tests;
mod uploads;
mod view;

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::domain::{
    AttemptProgress, AttemptState, IllegalTransition, JobCounts, JobEvent, JobId, JobProgress,
    JobState, Money, ProviderName,
};

pub use backlog::{BacklogView, backlog, rate_window_start};
pub use placement::{PreparedRequest, request_digest};
pub use request::{Backlog, BudgetLimit, Capacity, ClaimRequest, ProviderLimits, Step};
pub use uploads::PlannedUpload;
pub use view::{
    BatchTotals, BatchView, ClaimView, DueStep, DueUpload, LaneView, Missing, ProviderView,
    QueuedJob, Reads, UnresolvedRequest, UploadKey, UploadView,
};

use placement::Placement;

/// Maximum number of jobs that one claim defers.
///
/// A manifest may contain the same row a million times; the limit bounds the cost of a claim.
const MAX_DEFERRED: usize = 64;

/// The steps to start, and what they use of every limit.
#[derive(Debug)]
pub struct ClaimPlan {
    /// The jobs to lease for a poll, a reconciliation or a download.
    pub steps: Vec<DueStep>,
    /// The submissions to start, in order.
    pub submissions: Vec<PlannedSubmission>,
    /// The queued jobs to move to a later due time, so that those behind them can go first.
    pub deferred: Vec<(JobId, Timestamp)>,
    /// The uploads to queue, or to queue again because their links expire too soon.
    pub new_uploads: Vec<PlannedUpload>,
    /// The uploads to lease, after `new_uploads` were queued.
    pub uploads: Vec<PlannedUpload>,
    /// The money and job counts of the view's batches after the plan.
    pub totals: Vec<BatchTotals>,
    /// Job counts over all batches after the plan.
    pub total_jobs: JobCounts,
    /// The view's providers after the plan.
    pub providers: Vec<ProviderView>,
    /// The budgets that blocked a submission: the index of a batch, or `None` for the request's
    /// own.
    pub exceeded_budgets: BTreeSet<Option<usize>>,
    /// Description of the first job that a provider of its list has no route for.
    pub unroutable: Option<String>,
    /// Whether an affordable job waits for the upload of its images.
    pub awaits_upload: bool,
}

/// A submission to start.
#[derive(Debug)]
pub struct PlannedSubmission {
    /// The index of the job's batch in the view.
    pub batch: usize,
    /// The job.
    pub job: QueuedJob,
    /// The provider to submit it to.
    pub provider: ProviderName,
    /// Consecutive failures of the provider, for the backoff of its next hold.
    pub provider_failures: u32,
    /// The request, and its price.
    pub prepared: PreparedRequest,
}

impl ClaimPlan {
    /// Returns the number of steps and uploads that the plan starts.
    pub fn len(&self) -> usize {
        self.steps.len() + self.submissions.len() + self.uploads.len()
    }

    /// Returns whether the plan starts nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

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

/// Returns a job whose next step is started. Polls and downloads are counted.
pub fn start(job: &JobProgress, step: Step) -> JobProgress {
    JobProgress {
        polls: job.polls + u32::from(step == Step::Poll),
        downloads: job.downloads + u32::from(step == Step::Download),
        ..job.clone()
    }
}

/// Returns a queued job that is submitted, and its new attempt, which reserves its price.
///
/// # Errors
///
/// Returns [`IllegalTransition`] if the job is not queued.
pub fn submit(
    job: &JobProgress,
    price: Money,
    now: Timestamp,
) -> Result<(JobProgress, AttemptProgress), IllegalTransition> {
    let job = JobProgress {
        state: job.state.after(JobEvent::Submit)?,
        state_since: now,
        due_at: None,
        ..job.clone()
    };
    let attempt = AttemptProgress {
        state: AttemptState::Submitting,
        estimate: price,
        answered_at: None,
        prediction: None,
        early_cost: None,
        output_url: None,
        processing: None,
        cost: None,
        error: None,
        finished_at: None,
    };
    Ok((job, attempt))
}

/// A plan in progress.
struct Planner<'a> {
    view: &'a ClaimView,
    request: &'a ClaimRequest,
    plan: ClaimPlan,
}

/// The position of the first job that is still to be considered in each lane of a batch.
type Fronts = Vec<usize>;

impl<'a> Planner<'a> {
    fn new(view: &'a ClaimView, request: &'a ClaimRequest) -> Self {
        let plan = ClaimPlan {
            steps: Vec::new(),
            submissions: Vec::new(),
            deferred: Vec::new(),
            new_uploads: Vec::new(),
            uploads: Vec::new(),
            totals: view.batches.iter().map(|batch| batch.totals).collect(),
            total_jobs: view.total_jobs,
            providers: view.providers.clone(),
            exceeded_budgets: BTreeSet::new(),
            unroutable: None,
            awaits_upload: false,
        };
        Self {
            view,
            request,
            plan,
        }
    }

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

    /// Plans up to `limit` submissions, batch by batch in order of creation.
    ///
    /// Jobs are taken one at a time, each for the first of its providers that can accept it.
    fn take_submissions(&mut self, limit: usize) -> Result<(), Missing> {
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
                    Some(job) => order.push((job.progress.due_at, job.job_id, lane)),
                    None if view.is_complete => {}
                    None => return Err(Missing::Rows(batch, lane)),
                }
            }
            order.sort_unstable();
            let mut has_deferred = false;
            for (_, job_id, lane) in order {
                let row = fronts[lane];
                let job = &lanes[lane].rows[row];
                match self.choose_provider(job, &lanes[lane].providers, batch) {
                    Placement::Submit(provider, prepared) => {
                        fronts[lane] += 1;
                        let provider = &self.plan.providers[provider];
                        return Ok(Some(PlannedSubmission {
                            batch,
                            job: job.clone(),
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
            }
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
