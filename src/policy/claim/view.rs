//! What a claim is planned from: a bounded view of the queue, read in the transaction that writes
//! the plan.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::{Input, Job, JobCounts, JobId, JobState, Money, ProviderName};
use crate::policy::gate::ProviderGate;
use crate::policy::route_gate::RouteGate;
use crate::policy::tally::BatchTally;
use crate::policy::upload::{Upload, UploadKey, UploadProgress};

use super::request::{ClaimRequest, ProviderLimits, Step};

/// A route: a provider, and its name for a model.
pub type RouteId = (ProviderName, String);

/// The gates of routes.
pub type RouteGates = BTreeMap<RouteId, RouteGate>;

/// What a claim is planned from. The number of rows in it depends on the request and on the
/// providers' limits, never on how many jobs the queue holds.
#[derive(Clone, Debug)]
pub struct ClaimView {
    /// The current time.
    pub now: Timestamp,
    /// The batches that the request includes, in the order in which they are worked on.
    pub batches: Vec<BatchView>,
    /// Job counts over all batches, including those that the request excludes.
    pub total_jobs: JobCounts,
    /// The request's providers, in the request's order.
    pub providers: Vec<ProviderView>,
    /// The gates of the routes that have one; read only if a requested batch has queued jobs.
    pub routes: RouteGates,
    /// The unleased jobs whose next step is due, as far as [`Reads`](super::Reads) asks for them.
    pub due: Vec<DueStep>,
    /// The requests that are submitting or in doubt, at any provider.
    pub unresolved: Vec<UnresolvedRequest>,
    /// The uploads of the images that the jobs in the view name, as far as there are any.
    pub uploads: BTreeMap<UploadKey, UploadProgress>,
    /// The unleased uploads that are due, in the order in which they were queued, as far as
    /// [`Reads`](super::Reads) asks for them.
    pub due_uploads: Vec<Upload>,
}

/// A batch, its money and its job counts.
#[derive(Clone, Debug, Default)]
pub struct BatchView {
    /// The batch's number in the store.
    pub batch_id: i64,
    /// Name of the batch.
    pub name: String,
    /// Name of the model that its jobs request.
    pub model: String,
    /// Folder for its clips.
    pub folder: String,
    /// Its own budget; `None` means no limit.
    pub budget: Option<Money>,
    /// Whether its rows may name images on disk.
    pub has_local_images: bool,
    /// Its money and job counts.
    pub totals: BatchTotals,
    /// Its queued jobs, by their list of providers; `None` if they were not read yet.
    pub lanes: Option<Vec<LaneView>>,
}

/// The money and the job counts of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchTotals {
    /// The booked cost of its attempts.
    pub spent: Money,
    /// The estimates of its open attempts.
    pub reserved: Money,
    /// The part of `reserved` whose attempts are in doubt.
    pub at_risk: Money,
    /// Number of its jobs in each state.
    pub jobs: JobCounts,
}

/// A provider: its limits, how much of them is used, and its gate.
#[derive(Clone, Debug)]
pub struct ProviderView {
    /// The limits, as the request states them.
    pub limits: ProviderLimits,
    /// Whether and from when it may be called.
    pub gate: ProviderGate,
    /// Number of open attempts. Each occupies a slot.
    pub in_flight: u32,
    /// Number of submissions that count against the rate: those that were answered in the last 60
    /// seconds or are not answered yet.
    ///
    /// A submission reaches the provider at an unknown time between the commit of the intent and
    /// the answer. Counting it from the one until 60 seconds after the other keeps the limit in
    /// every window of 60 seconds.
    pub recent_submits: u32,
    /// Whether `recent_submits` is exact; an upper bound otherwise.
    pub is_exact: bool,
}

/// The queued jobs of a batch that have the same list of providers, in the order in which they are
/// submitted. A batch has only a few distinct lists. A job whose providers are all full blocks only
/// the jobs with the same list.
#[derive(Clone, Debug)]
pub struct LaneView {
    /// The lane's number in the store.
    pub lane_id: i64,
    /// The providers that may run the jobs, in order of preference.
    pub providers: Vec<ProviderName>,
    /// The first due jobs.
    pub rows: Vec<QueuedJob>,
    /// Whether there are no due jobs behind `rows`.
    pub is_complete: bool,
    /// The inputs of the first queued jobs, due or not, for uploads ahead of their submissions; as
    /// many as [`Reads`](super::Reads) asks for.
    pub upcoming: Vec<Input>,
}

/// A queued job that is due.
#[derive(Clone, Debug)]
pub struct QueuedJob {
    /// The job.
    pub job: Job,
    /// Number of its last attempt, including refused ones; 0 before the first.
    pub last_attempt_number: u32,
}

/// An unleased job whose next step is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueStep {
    /// The step: a poll, a reconciliation or a download.
    pub step: Step,
    /// The provider that has or may have the job.
    pub provider: ProviderName,
    /// When the step became due.
    pub due_at: Timestamp,
    /// The job's number.
    pub job_id: JobId,
}

/// A request that is submitting or in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnresolvedRequest {
    /// The provider it was submitted to.
    pub provider: ProviderName,
    /// The provider's id of the model.
    pub wire_model: String,
    /// The digest of the request; see [`request_digest`](super::request_digest).
    pub digest: i64,
    /// Whether its job waits for the user's decision.
    pub is_held: bool,
}

/// A part of the queue that a plan turned out to need as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The lanes of the batch with this index.
    Lanes(usize),
    /// More due jobs of a lane, given by the indexes of its batch and of itself.
    Rows(usize, usize),
    /// The exact number of recent submissions at the provider with this index.
    RecentSubmits(usize),
}

impl ClaimView {
    /// Returns a view of batches and providers, into which the jobs are still to be read.
    pub fn new(
        now: Timestamp,
        batches: Vec<BatchView>,
        total_jobs: JobCounts,
        providers: Vec<ProviderView>,
    ) -> Self {
        Self {
            now,
            batches,
            total_jobs,
            providers,
            routes: RouteGates::new(),
            due: Vec::new(),
            unresolved: Vec::new(),
            uploads: BTreeMap::new(),
            due_uploads: Vec::new(),
        }
    }

    /// Returns the batch whose jobs are polled and reconciled; `None` for all batches.
    ///
    /// Always `None` while a requested batch has queued jobs: the provider slots that they wait for
    /// may be occupied by another batch.
    pub fn polled_batch<'a>(&self, request: &'a ClaimRequest) -> Option<&'a str> {
        let has_queued_jobs = self.batches.iter().any(BatchView::has_queued_jobs);
        request.batch.as_deref().filter(|_| !has_queued_jobs)
    }

    /// Returns whether a queued job of the requested batches may name a local image.
    pub fn has_queued_local_images(&self) -> bool {
        self.batches
            .iter()
            .any(|batch| batch.has_local_images && batch.has_queued_jobs())
    }
}

impl BatchView {
    /// Returns whether jobs of the batch wait to be submitted.
    pub fn has_queued_jobs(&self) -> bool {
        self.totals.has_queued_jobs()
    }
}

impl BatchTotals {
    /// Returns the totals after a change.
    pub fn after(self, change: &BatchTally) -> Self {
        let mut jobs = self.jobs;
        for (state, change) in JobState::ALL.into_iter().zip(change.jobs) {
            jobs.set(state, jobs.count(state).saturating_add_signed(change));
        }
        Self {
            spent: self.spent + Money::from_micros(change.spent),
            reserved: self.reserved + Money::from_micros(change.reserved),
            at_risk: self.at_risk + Money::from_micros(change.at_risk),
            jobs,
        }
    }

    /// Returns whether jobs wait to be submitted.
    pub const fn has_queued_jobs(&self) -> bool {
        self.jobs.count(JobState::Queued) > 0
    }
}

impl ProviderView {
    /// Returns the number of submissions that slots, rate and gate allow now.
    pub fn available_submits(&self, now: Timestamp) -> u32 {
        if !self.gate.accepts_submits(now)
            || self.gate.waits_for_end(self.in_flight)
            || self.lost_until() > now
        {
            return 0;
        }
        let slots = self.limits.in_flight.saturating_sub(self.in_flight);
        let rate = self
            .limits
            .creates_per_minute
            .saturating_sub(self.recent_submits);
        let at_once = if self.gate.goes_alone() { 1 } else { u32::MAX };
        slots.min(rate).min(at_once)
    }

    /// Returns until when nothing is submitted because responses were lost; in the past if that
    /// prevents no submission now.
    pub fn lost_until(&self) -> Timestamp {
        let until = self.gate.lost_until(self.limits.history_delay);
        until.unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Returns whether the rate is used up as far as is known, but perhaps not in fact.
    pub fn needs_exact_count(&self) -> bool {
        !self.is_exact && self.recent_submits >= self.limits.creates_per_minute
    }

    /// Returns whether the provider stores uploads and may receive submissions.
    pub fn receives_uploads(&self) -> bool {
        self.limits.has_storage && self.limits.in_flight > 0 && self.gate.suspended.is_none()
    }
}
