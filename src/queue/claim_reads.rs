//! What a store reads to plan a claim, and how the view of a claim is made of that.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::{Input, JobCounts, JobState, ProviderName};
use crate::policy::claim::{
    BacklogView, BatchTotals, BatchView, ClaimPlan, ClaimRequest, ClaimView, DueQuery, DueStep,
    LaneView, Missing, NextSubmit, ProviderView, QueuedJob, UnresolvedRequest, rate_window_start,
};
use crate::policy::gate::ProviderGate;
use crate::policy::upload::{Upload, UploadKey, UploadProgress};

pub use crate::policy::claim::{RouteGates, RouteId};

use super::Result;
use super::rate_counts::RateCounts;

/// Minimum number of jobs that a lane is extended to.
const MIN_EXTENDED_ROWS: usize = 8;

/// How much of a provider is in use.
#[derive(Clone, Debug, Default)]
pub struct ProviderUse {
    /// Number of open attempts.
    pub in_flight: u32,
    /// Its gate.
    pub gate: ProviderGate,
}

/// The submissions that count against a provider's rate: their number, and when the first of those
/// that are answered was.
pub type RecentSubmits = (u32, Option<Timestamp>);

/// A lane: the queued jobs of a batch that have the same list of providers.
#[derive(Clone, Copy, Debug)]
pub struct Lane<'a> {
    /// The batch.
    pub batch: &'a BatchView,
    /// The lane's number in the store.
    pub lane_id: i64,
    /// The providers, in order of preference.
    pub providers: &'a [ProviderName],
}

/// A lane that has queued jobs.
#[derive(Clone, Debug)]
pub struct WaitingLane {
    /// The lane's number in the store.
    pub lane_id: i64,
    /// The providers, in order of preference.
    pub providers: Vec<ProviderName>,
    /// When its first job is due.
    pub due_at: Timestamp,
}

/// What a store reads to plan a claim: each method one bounded read, for which an index suffices.
///
/// [`read_view`](Self::read_view), [`read_missing`](Self::read_missing) and
/// [`read_backlog`](Self::read_backlog) make the view of it. A store that pays for every statement
/// reads the same in fewer of them.
pub trait ClaimReads {
    /// Returns every batch, in order of creation, without its lanes.
    fn batches(&self) -> Result<Vec<BatchView>>;

    /// Returns the providers that were called.
    fn providers(&self) -> Result<BTreeMap<ProviderName, ProviderUse>>;

    /// Returns the gates of the routes that have one.
    fn routes(&self) -> Result<RouteGates>;

    /// Returns what each query finds: the jobs that are due first.
    fn due_steps(&self, queries: &[DueQuery<'_>]) -> Result<Vec<DueStep>>;

    /// Returns the lanes of a batch that have queued jobs.
    fn lanes(&self, batch: &BatchView) -> Result<Vec<WaitingLane>>;

    /// Returns the first jobs of a lane that are due, in the order in which they are submitted.
    fn queued_jobs(&self, lane: Lane<'_>, now: Timestamp, limit: usize) -> Result<Vec<QueuedJob>>;

    /// Returns the inputs of the first jobs of a lane, due or not.
    fn upcoming_inputs(&self, lane: Lane<'_>, limit: usize) -> Result<Vec<Input>> {
        let jobs = self.queued_jobs(lane, Timestamp::MAX, limit)?;
        Ok(jobs.into_iter().map(|queued| queued.job.input).collect())
    }

    /// Returns the requests that are submitting or in doubt.
    fn unresolved(&self) -> Result<Vec<UnresolvedRequest>>;

    /// Returns the highest number of an attempt, at any provider; 0 if there is none.
    fn last_attempt_id(&self) -> Result<i64>;

    /// Returns a provider's submissions that are not answered yet or were answered at or after
    /// `since`.
    fn recent_submits(&self, provider: ProviderName, since: Timestamp) -> Result<RecentSubmits>;

    /// Returns the uploads with these keys, as far as there are any.
    fn uploads(&self, keys: &BTreeSet<UploadKey>) -> Result<BTreeMap<UploadKey, UploadProgress>>;

    /// Returns the unleased uploads to a provider that wait for their due time, those that are due
    /// first and at most `limit`. Each comes with its number, which grows with every new upload.
    fn waiting_uploads(&self, provider: ProviderName, limit: usize) -> Result<Vec<(i64, Upload)>>;

    /// Returns the number of unleased jobs in doubt that are not due, of a batch or of every batch.
    fn count_held(&self, batch: Option<&str>) -> Result<u64>;

    /// Returns whether a job is leased, of a batch or of every batch.
    fn has_leased_job(&self, batch: Option<&str>) -> Result<bool>;

    /// Returns whether an upload is leased.
    fn has_leased_upload(&self) -> Result<bool>;

    /// Reads what a claim is planned from, as far as the request is known to need it.
    fn read_view(
        &self,
        request: &ClaimRequest,
        now: Timestamp,
        rate_counts: &mut RateCounts,
    ) -> Result<ClaimView> {
        read_view(self, request, now, rate_counts)
    }

    /// Reads into a view what a plan turned out to need as well.
    fn read_missing(
        &self,
        request: &ClaimRequest,
        view: &mut ClaimView,
        missing: Missing,
        rate_counts: &mut RateCounts,
    ) -> Result<()> {
        read_missing(self, request, view, missing, rate_counts)
    }

    /// Reads what the backlog after a plan is computed from, after the plan was written.
    fn read_backlog(
        &self,
        request: &ClaimRequest,
        view: &ClaimView,
        plan: &ClaimPlan,
    ) -> Result<BacklogView> {
        read_backlog(self, request, view, plan)
    }
}

fn read_view<R: ClaimReads + ?Sized>(
    reads: &R,
    request: &ClaimRequest,
    now: Timestamp,
    rate_counts: &mut RateCounts,
) -> Result<ClaimView> {
    let mut batches = reads.batches()?;
    let mut total_jobs = JobCounts::default();
    batches
        .iter()
        .for_each(|batch| total_jobs += batch.totals.jobs);
    let requested_batch = request.batch.as_deref();
    batches.retain(|batch| requested_batch.is_none_or(|name| batch.name == name));
    let mut used = reads.providers()?;
    let providers = request.providers.iter().map(|limits| {
        let used = used.remove(&limits.provider).unwrap_or_default();
        ProviderView {
            limits: *limits,
            gate: used.gate,
            in_flight: used.in_flight,
            recent_submits: 0,
            is_exact: false,
        }
    });
    let providers = providers.collect();
    let mut view = ClaimView::new(now, batches, total_jobs, providers);
    if view.batches.iter().any(BatchView::has_queued_jobs) {
        view.routes = reads.routes()?;
        let last_attempt = reads.last_attempt_id()?;
        for provider in &mut view.providers {
            let bound = rate_counts.bound(provider.limits.provider, last_attempt);
            provider.recent_submits = bound.unwrap_or(0);
            if bound.is_none() || provider.needs_exact_count() {
                count_recent_submits(reads, provider, last_attempt, now, rate_counts)?;
            }
        }
    }
    let needed = view.reads(request);
    view.due = reads.due_steps(&view.due_queries(request, &needed))?;
    if needed.rows > 0 {
        view.unresolved = reads.unresolved()?;
    }
    if needed.uploads > 0 {
        view.due_uploads = read_due_uploads(reads, &view, needed.uploads)?;
    }
    Ok(view)
}

/// Sets a provider's recent submissions to the exact count, and keeps that.
fn count_recent_submits<R: ClaimReads + ?Sized>(
    reads: &R,
    provider: &mut ProviderView,
    last_attempt: i64,
    now: Timestamp,
    rate_counts: &mut RateCounts,
) -> Result<()> {
    let name = provider.limits.provider;
    let (submits, _) = reads.recent_submits(name, rate_window_start(now))?;
    provider.recent_submits = submits;
    provider.is_exact = true;
    rate_counts.insert(name, submits, last_attempt);
    Ok(())
}

/// Returns the uploads that are due, in the order in which they were queued.
fn read_due_uploads<R: ClaimReads + ?Sized>(
    reads: &R,
    view: &ClaimView,
    limit: usize,
) -> Result<Vec<Upload>> {
    let mut due: Vec<(i64, Upload)> = Vec::new();
    for provider in view.providers.iter().filter(|view| view.receives_uploads()) {
        due.extend(reads.waiting_uploads(provider.limits.provider, limit)?);
    }
    due.retain(|(_, upload)| upload.progress.due_at.is_some_and(|at| at <= view.now));
    due.sort_by_key(|(upload_id, _)| *upload_id);
    Ok(due.into_iter().map(|(_, upload)| upload).collect())
}

fn read_missing<R: ClaimReads + ?Sized>(
    reads: &R,
    request: &ClaimRequest,
    view: &mut ClaimView,
    missing: Missing,
    rate_counts: &mut RateCounts,
) -> Result<()> {
    let now = view.now;
    match missing {
        Missing::RecentSubmits(provider) => {
            let last_attempt = reads.last_attempt_id()?;
            let provider = &mut view.providers[provider];
            count_recent_submits(reads, provider, last_attempt, now, rate_counts)
        }
        Missing::Lanes(first) => {
            // The first batch usually fills a claim. Where it does not, because its budget is used
            // up or its jobs are not due, the next ones are read by twos, fours, eights.
            let is_read = |batch: &&BatchView| batch.lanes.is_some();
            let read_ahead = view.batches.iter().filter(is_read).count() + 1;
            let last = view.batches.len().min(first + read_ahead);
            (first..last).try_for_each(|batch| read_lanes(reads, request, view, batch))
        }
        Missing::Rows(batch, index) => {
            let batch_view = &view.batches[batch];
            let lanes = batch_view.lanes.iter().flatten();
            let Some(read) = lanes.into_iter().nth(index) else {
                return Ok(());
            };
            let limit = (read.rows.len() * 2).max(MIN_EXTENDED_ROWS);
            let lane = Lane {
                batch: batch_view,
                lane_id: read.lane_id,
                providers: &read.providers,
            };
            let rows = reads.queued_jobs(lane, now, limit)?;
            if let Some(lanes) = &mut view.batches[batch].lanes {
                lanes[index].is_complete = rows.len() < limit;
                lanes[index].rows = rows;
            }
            read_uploads(reads, view, batch)
        }
    }
}

fn read_lanes<R: ClaimReads + ?Sized>(
    reads: &R,
    request: &ClaimRequest,
    view: &mut ClaimView,
    batch: usize,
) -> Result<()> {
    let needed = view.reads(request);
    let batch_view = &view.batches[batch];
    if batch_view.lanes.is_some() {
        return Ok(());
    }
    let mut lanes = Vec::new();
    if batch_view.has_queued_jobs() {
        for waiting in reads.lanes(batch_view)? {
            let lane = Lane {
                batch: batch_view,
                lane_id: waiting.lane_id,
                providers: &waiting.providers,
            };
            let rows = reads.queued_jobs(lane, view.now, needed.rows)?;
            let upcoming = if batch_view.has_local_images && needed.upcoming > 0 {
                reads.upcoming_inputs(lane, needed.upcoming)?
            } else {
                Vec::new()
            };
            lanes.push(LaneView {
                is_complete: rows.len() < needed.rows,
                rows,
                upcoming,
                lane_id: waiting.lane_id,
                providers: waiting.providers,
            });
        }
    }
    view.batches[batch].lanes = Some(lanes);
    read_uploads(reads, view, batch)
}

/// Reads the uploads of the images that the jobs of a batch name.
fn read_uploads<R: ClaimReads + ?Sized>(
    reads: &R,
    view: &mut ClaimView,
    batch: usize,
) -> Result<()> {
    if !view.batches[batch].has_local_images {
        return Ok(());
    }
    let lanes = view.batches[batch].lanes.iter().flatten();
    let inputs = lanes.flat_map(|lane| {
        let due = lane.rows.iter().map(|row| &row.job.input);
        due.chain(&lane.upcoming)
    });
    let mut keys = BTreeSet::new();
    for image in inputs.flat_map(Input::local_images) {
        let stores = view.providers.iter().filter(|view| view.limits.has_storage);
        keys.extend(stores.map(|view| (view.limits.provider, image.sha256().to_owned())));
    }
    keys.retain(|key| !view.uploads.contains_key(key));
    view.uploads.extend(reads.uploads(&keys)?);
    Ok(())
}

fn read_backlog<R: ClaimReads + ?Sized>(
    reads: &R,
    request: &ClaimRequest,
    view: &ClaimView,
    plan: &ClaimPlan,
) -> Result<BacklogView> {
    let mut rest = BacklogView::default();
    if plan.total_jobs.count(JobState::InDoubt) > 0 {
        rest.held = reads.count_held(request.batch.as_deref())?;
    }
    // Not counted: a pool may hold the leases of thousands of running jobs.
    rest.has_leased = reads.has_leased_job(view.polled_batch(request))?;
    if view.has_queued_local_images() && !rest.has_leased {
        rest.has_leased = reads.has_leased_upload()?;
    }
    rest.next_steps = reads.due_steps(&view.next_step_queries(plan, request))?;
    let queued = view.batches.iter().zip(&plan.totals);
    for (batch, _) in queued.filter(|(_, totals)| BatchTotals::has_queued_jobs(totals)) {
        let lanes = reads.lanes(batch)?.into_iter();
        rest.next_submits.extend(lanes.map(|lane| NextSubmit {
            model: batch.model.clone(),
            providers: lane.providers,
            due_at: lane.due_at,
        }));
    }
    for provider in plan.providers.iter().filter(|view| view.is_rate_used_up()) {
        let name = provider.limits.provider;
        let (_, oldest) = reads.recent_submits(name, rate_window_start(view.now))?;
        rest.oldest_submits
            .extend(oldest.map(|oldest| (name, oldest)));
    }
    if plan.awaits_upload {
        let receivers = plan.providers.iter().filter(|view| view.receives_uploads());
        for name in receivers.map(|view| view.limits.provider) {
            let next = reads.waiting_uploads(name, 1)?;
            let due = next.iter().filter_map(|(_, upload)| upload.progress.due_at);
            rest.next_uploads.extend(due.map(|due_at| (name, due_at)));
        }
    }
    Ok(rest)
}
