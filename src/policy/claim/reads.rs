//! How much of the queue is read to plan a claim.

use jiff::Timestamp;

use crate::domain::{JobId, JobState, ProviderName};

use super::claim_plan::ClaimPlan;
use super::request::{ClaimRequest, Step};
use super::view::{ClaimView, DueStep};

/// Number of queued jobs per provider slot whose images are uploaded ahead of their submissions.
const PREFETCH_PER_SLOT: u32 = 2;

/// Maximum number of queued jobs of each lane whose images are uploaded ahead, however many slots
/// there are.
const MAX_PREFETCH: u32 = 64;

/// How much of the queue a view needs, beside its batches and providers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Maximum number of due polls, at each of the request's providers.
    pub polls: usize,
    /// Maximum number of due reconciliations, at each of the request's providers.
    pub reconciles: usize,
    /// Maximum number of due downloads, at each provider there is.
    pub downloads: usize,
    /// Maximum number of due jobs of each lane.
    pub rows: usize,
    /// Maximum number of inputs of each lane for uploads ahead of their submissions, and of due
    /// uploads to each provider.
    pub upcoming: usize,
    /// Maximum number of due uploads to each provider.
    pub uploads: usize,
}

/// A query for the first unleased jobs at a provider whose next step is due in a period.
#[derive(Clone, Copy, Debug)]
pub struct DueQuery<'a> {
    /// The step: a poll, a reconciliation or a download.
    pub step: Step,
    /// The provider that has or may have them.
    pub provider: ProviderName,
    /// Only jobs that are due later than this.
    pub after: Timestamp,
    /// Only jobs that are due then, or before.
    pub until: Timestamp,
    /// Only jobs of this batch; `None` for every batch.
    pub batch: Option<&'a str>,
    /// Maximum number of jobs.
    pub limit: usize,
}

impl DueQuery<'_> {
    /// Returns a job that the query finds.
    pub fn found(&self, job_id: JobId, due_at: Timestamp) -> DueStep {
        DueStep {
            step: self.step,
            provider: self.provider,
            due_at,
            job_id,
        }
    }
}

impl ClaimView {
    /// Returns the queries for the steps of a request that are due.
    pub fn due_queries<'a>(&self, request: &'a ClaimRequest, reads: &Reads) -> Vec<DueQuery<'a>> {
        let polled_batch = self.polled_batch(request);
        let requested = || request.providers.iter().map(|limits| limits.provider);
        let query = |step, batch, limit| {
            move |provider| DueQuery {
                step,
                provider,
                after: Timestamp::MIN,
                until: self.now,
                batch,
                limit,
            }
        };
        let poll = query(Step::Poll, polled_batch, reads.polls);
        let reconcile = query(Step::Reconcile, polled_batch, reads.reconciles);
        let batch = request.batch.as_deref();
        let download = query(Step::Download, batch, reads.downloads);
        let polls = requested().map(poll);
        let reconciles = requested().map(reconcile);
        let downloads = ProviderName::ALL.into_iter().map(download);
        let queries = polls.chain(reconciles).chain(downloads);
        queries.filter(|query| query.limit > 0).collect()
    }

    /// Returns the queries for the first step of each kind at each provider that will be due after a
    /// plan was written.
    pub fn next_step_queries<'a>(
        &self,
        plan: &ClaimPlan,
        request: &'a ClaimRequest,
    ) -> Vec<DueQuery<'a>> {
        let polled_batch = self.polled_batch(request);
        let next = |step, provider, batch, after| DueQuery {
            step,
            provider,
            after,
            until: Timestamp::MAX,
            batch,
            limit: 1,
        };
        let mut queries = Vec::new();
        for provider in &plan.providers {
            let name = provider.limits.provider;
            let after = provider.due_after(self.now);
            for step in [Step::Poll, Step::Reconcile] {
                queries.push(next(step, name, polled_batch, after));
            }
        }
        for name in ProviderName::ALL {
            let batch = request.batch.as_deref();
            queries.push(next(Step::Download, name, batch, self.now));
        }
        queries.retain(|query| plan.total_jobs.count(query.step.state()) > 0);
        queries
    }

    /// Returns what has to be read into the view for a request.
    pub fn reads(&self, request: &ClaimRequest) -> Reads {
        let capacity = request.capacity;
        let up_to = |state: JobState, limit: usize| {
            if self.total_jobs.count(state) == 0 {
                0
            } else {
                limit.min(capacity.steps)
            }
        };
        let uploads = if self.has_queued_local_images() {
            capacity.uploads.min(capacity.steps)
        } else {
            0
        };
        let available: usize = self
            .providers
            .iter()
            .map(|provider| provider.available_submits(self.now) as usize)
            .sum();
        Reads {
            polls: up_to(JobState::Running, capacity.polls),
            reconciles: up_to(JobState::InDoubt, capacity.polls),
            downloads: up_to(JobState::Downloading, capacity.downloads),
            rows: available.min(capacity.submits).min(capacity.steps),
            upcoming: if uploads > 0 {
                self.prefetch_limit()
            } else {
                0
            },
            uploads,
        }
    }

    /// Returns how many jobs of each lane have their images uploaded ahead of their submissions.
    fn prefetch_limit(&self) -> usize {
        let slots = self
            .providers
            .iter()
            .filter(|provider| provider.receives_uploads())
            .map(|provider| provider.limits.in_flight)
            .fold(0, u32::saturating_add);
        slots.saturating_mul(PREFETCH_PER_SLOT).min(MAX_PREFETCH) as usize
    }
}
