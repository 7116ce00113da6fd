//! What a claim starts: the result of a plan.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::domain::{JobCounts, JobId, ProviderName};
use crate::policy::upload::Upload;

use super::prepared::PreparedRequest;
use super::view::{BatchTotals, DueStep, ProviderView, QueuedJob, RouteGates};

/// The steps to start, and what they use of every limit.
#[derive(Debug)]
pub struct ClaimPlan {
    /// The jobs to lease for a poll, a reconciliation or a download.
    pub steps: Vec<DueStep>,
    /// The submissions to start, in order.
    pub submissions: Vec<PlannedSubmission>,
    /// The queued jobs to move to a later due time, so that those behind them can go first.
    pub deferred: Vec<(JobId, Timestamp)>,
    /// The uploads to queue, or to queue again because their links expire too soon; without those
    /// that are leased at once.
    pub new_uploads: Vec<Upload>,
    /// The uploads to lease, whether they are queued already or new.
    pub uploads: Vec<Upload>,
    /// The money and job counts of the view's batches after the plan.
    pub totals: Vec<BatchTotals>,
    /// Job counts over all batches after the plan.
    pub total_jobs: JobCounts,
    /// The view's providers after the plan.
    pub providers: Vec<ProviderView>,
    /// The gates of the view's routes after the plan.
    pub routes: RouteGates,
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
    pub queued: QueuedJob,
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

    /// Returns a provider of the request by its name.
    pub fn provider(&self, name: ProviderName) -> Option<&ProviderView> {
        self.providers
            .iter()
            .find(|provider| provider.limits.provider == name)
    }
}
