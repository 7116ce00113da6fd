//! The port to the queue, and its adapters.
//!
//! The port has one method per transition and uses domain types only. A write applies completely or
//! not at all, and when it returns `Ok`, its effects survive power loss.
//!
//! Every write that advances a job takes the [`Lease`] that its claim returned. The queue rejects
//! the write if that lease is no longer current, so a pool that lost its jobs cannot overwrite the
//! work of the next one.

pub(crate) mod bill;
pub(crate) mod claim;
pub(crate) mod health;
pub mod job_reader;
pub(crate) mod live_setting;
pub mod sqlite;
pub(crate) mod staging;
pub(crate) mod throughput;
pub(crate) mod upload;
pub(crate) mod views;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::{
    Attempt, IllegalTransition, JobId, JobState, Lease, Money, Outcome, PoolId, PredictionHandle,
    ProviderName, ProviderSignal,
};

pub use bill::{BillGrouping, BillLine, BillSums};
pub use claim::{
    Backlog, BudgetLimit, Capacity, Claim, ClaimRequest, ClaimResponse, ProviderLimits, Step,
};
pub use health::Health;
pub use live_setting::{LiveSetting, SettingChange};
pub use staging::{LoadPlan, NewBatch, RowChange, Staging};
pub use throughput::{Completion, Throughput};
pub use upload::{UploadClaim, UploadLease, UploadOutcome};
pub use views::{
    AttemptRecord, BatchStatus, JobFilter, JobRecord, PoolRecord, ProviderStatus, Status,
};

/// An error of a queue operation. Unless a method states otherwise, nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The caller's lease is no longer current: another pool took the job over, or the user
    /// cancelled it. The caller drops the result of its step.
    #[error("the lease on job {0} is no longer held; nothing was written")]
    LeaseLost(JobId),
    /// The pool is not registered, because it did not renew its leases in time and its jobs were
    /// released to other pools. It must stop; a new run continues the work.
    #[error("pool {0} did not renew its leases in time, and its jobs were released to other pools")]
    PoolLost(PoolId),
    /// The job's state does not allow the event: a fault in the program. The caller cannot recover.
    #[error(transparent)]
    IllegalTransition(#[from] IllegalTransition),
    /// The queue has no such batch or job. The message names the nearest match if there is one.
    #[error("{0}")]
    NotFound(String),
    /// The request contradicts what the queue holds, for example another model for an existing
    /// batch. The message names both, and a hint says what to change where that is possible.
    #[error("{0}")]
    Conflict(String),
    /// The store cannot be opened, read or written, or is damaged as a whole. The message names the
    /// file, the reason and, where there is one, a remedy; the operation may be repeated after
    /// that.
    #[error("{0}")]
    Unusable(String),
    /// The store can be read but contains a value that no version of the program writes.
    #[error("the queue contains invalid data: {0}")]
    Corrupt(String),
    /// The storage layer failed for a reason that has no variant of its own.
    #[error("queue storage failed: {0}")]
    Store(String),
}

/// The result of a queue operation.
pub type Result<T> = std::result::Result<T, QueueError>;

/// The jobs that a command of the user applies to. All conditions must hold.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only jobs of this batch; `None` selects from every batch.
    pub batch: Option<String>,
    /// Only jobs in these states. If this is empty, jobs named in `jobs` match in any state;
    /// without named jobs, the command's default states apply.
    pub states: Vec<JobState>,
    /// Only these jobs, each given by row key or job number. If this is empty, every job matches.
    pub jobs: Vec<String>,
}

/// A stored sum or count that differed from the records it sums up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterMismatch {
    /// The counter's name, for messages: `spring: spent`, `slots at fal`.
    pub counter: String,
    /// The stored value; money in micro-dollars.
    pub stored: i64,
    /// The value computed from the rows, in the same unit.
    pub actual: i64,
}

/// The result of [`Queue::cancel`].
#[derive(Clone, Debug, Default)]
pub struct CancelResult {
    /// Number of cancelled jobs.
    pub jobs: usize,
    /// Attempts whose predictions were running. The caller may ask their providers to cancel them.
    pub in_progress: Vec<Attempt>,
}

/// The user's decision about a job in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The provider accepted the submission as this prediction; poll it.
    Adopt(PredictionHandle),
    /// The provider did not accept the submission; queue the job again. The attempt becomes
    /// [`Absent`](crate::domain::AttemptState::Absent), which costs nothing. If the provider did
    /// accept it, the job is paid for twice.
    Resubmit,
    /// Give up on the job: it fails, and its attempt becomes
    /// [`Abandoned`](crate::domain::AttemptState::Abandoned). The estimate is booked as its cost,
    /// because it is not proven that nothing was paid.
    Fail,
}

/// A durable queue of jobs, shared by any number of processes.
///
/// Callers pass the current time as `now`; the queue reads no clock.
///
/// Any method may return [`QueueError::Unusable`], [`QueueError::Store`] or
/// [`QueueError::Corrupt`]. The `# Errors` sections list only the other errors of a method.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Starts loading a manifest into `batch`, which may exist already. Nothing is queued until
    /// [`Staging::commit`].
    ///
    /// # Errors
    ///
    /// [`QueueError::Conflict`] if the batch exists with another model or output folder, if another
    /// batch uses the folder, or if the queue is open for a rehearsal.
    fn stage(&self, batch: NewBatch) -> Result<Box<dyn Staging>>;

    /// Registers a pool, which may claim steps from then on. Its leases last until `expires_at`
    /// unless [`Queue::heartbeat`] renews them, and end at once when its process dies.
    ///
    /// Clears all live settings if no other pool is active.
    async fn join(&self, pool: PoolId, now: Timestamp, expires_at: Timestamp) -> Result<()>;

    /// Renews all leases of a pool until `expires_at`.
    ///
    /// # Errors
    ///
    /// [`QueueError::PoolLost`] if the pool was removed.
    async fn heartbeat(&self, pool: PoolId, now: Timestamp, expires_at: Timestamp) -> Result<()>;

    /// Records that this machine's clock was changed, forward or back, and brings stored times that
    /// are now too far in the future to at most a minute after `now`.
    async fn record_clock_change(&self, now: Timestamp) -> Result<()>;

    /// Returns when this machine's clock was last changed; `None` if no change was detected. Times
    /// stored before that are unreliable.
    async fn last_clock_change(&self) -> Result<Option<Timestamp>>;

    /// Removes a pool that stops. Record or release every step before this: a job that the pool
    /// still has leased is released as after a crash; see [`Queue::take_over`].
    async fn leave(&self, pool: PoolId, now: Timestamp) -> Result<()>;

    /// Removes the pools that are dead or have expired, each in a transaction of its own, and
    /// returns how many jobs it released.
    ///
    /// A released job that was being submitted becomes in doubt, because the request may have been
    /// sent; any other keeps its state. Released jobs are due immediately, or after a delay if they
    /// were released several times in a row. A job released too often in a row waits for the user's
    /// decision if it is in doubt, and fails otherwise, which books the estimate of an open
    /// attempt.
    ///
    /// A pool whose process is known to have ended is removed at once. One that has expired but may
    /// only be slow is removed by the next call through this handle that finds it still expired, so
    /// the time between two calls is the time it has to renew its leases.
    async fn take_over(&self, now: Timestamp) -> Result<usize>;

    /// Compares the stored sums and counts with the rows, corrects those that differ, and returns
    /// them with the values before the correction.
    async fn verify_counters(&self) -> Result<Vec<CounterMismatch>>;

    /// Checks the store for damage, counter mismatches and jobs that need attention. Changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`QueueError::Unusable`] if the store is damaged.
    async fn health(&self, now: Timestamp) -> Result<Health>;

    /// Resumes all suspended providers and clears rejected uploads, so that they are tried again.
    /// Called whenever a run starts; it affects the runs that are active already, too.
    async fn reopen_providers(&self) -> Result<()>;

    /// Claims due steps and uploads, within the request's capacity, for the pool that asks.
    ///
    /// For each submission, the same transaction checks and reserves a slot, the provider's rate
    /// and the price, and commits the attempt. Any number of processes together stay within the
    /// limits, and the intent is durable before the caller sends the request.
    ///
    /// # Errors
    ///
    /// [`QueueError::PoolLost`] if the pool is not registered.
    async fn claim(&self, request: ClaimRequest) -> Result<ClaimResponse>;

    /// Records the outcome of a step, releases its lease, and returns the job's new state.
    ///
    /// `signal` is what the step learned about a provider; it is recorded in the same transaction.
    ///
    /// # Errors
    ///
    /// Nothing is written on an error, not even `signal`.
    ///
    /// - [`QueueError::LeaseLost`] if the lease is no longer current.
    /// - [`QueueError::Conflict`] if the prediction already belongs to another attempt, which keeps
    ///   it. The lease is still current: the caller records another outcome with it,
    ///   [`Outcome::LostResponse`] for a submission or [`Outcome::Wait`] for a reconciliation.
    /// - [`QueueError::IllegalTransition`] if the job's state does not allow the outcome.
    async fn record_outcome(
        &self,
        lease: Lease,
        outcome: Outcome,
        signal: Option<(ProviderName, ProviderSignal)>,
        now: Timestamp,
    ) -> Result<JobState>;

    /// Records the outcome of an upload and releases its lease. If the lease is no longer current,
    /// the outcome is dropped without an error, because a repeated upload costs nothing; `signal`
    /// is recorded either way.
    async fn record_upload(
        &self,
        lease: UploadLease,
        outcome: UploadOutcome,
        signal: Option<(ProviderName, ProviderSignal)>,
    ) -> Result<()>;

    /// Gives up the lease of a claimed step that was not started, or was aborted and may be
    /// repeated at no cost. The step is due again immediately.
    ///
    /// A submission must not have been sent: its attempt becomes
    /// [`Refused`](crate::domain::AttemptState::Refused), which frees its slot and its reservation,
    /// and its job is queued again.
    ///
    /// # Errors
    ///
    /// [`QueueError::LeaseLost`] if the lease is no longer current.
    async fn release(&self, lease: Lease, now: Timestamp) -> Result<()>;

    /// Returns the known prediction ids of a provider whose attempts were submitted at or after
    /// `since`.
    async fn owned_predictions(
        &self,
        provider: ProviderName,
        since: Timestamp,
    ) -> Result<Vec<String>>;

    /// Returns whether each of these jobs is in a final state or waits for the user's decision.
    async fn all_settled(&self, jobs: Vec<JobId>) -> Result<bool>;

    /// Returns the processing times of a route's latest finished predictions, of any clip length,
    /// newest first and at most `limit`. Each comes with the clip's length in seconds; `None` if
    /// that is not known.
    async fn processing_times(
        &self,
        provider: ProviderName,
        wire_model: String,
        limit: usize,
    ) -> Result<Vec<(Option<u32>, Duration)>>;

    /// Returns the job counts and money of one batch, or of every batch, as of one instant, and the
    /// state of the providers and pools.
    ///
    /// # Errors
    ///
    /// [`QueueError::NotFound`] if there is no such batch.
    async fn status(&self, batch: Option<String>) -> Result<Status>;

    /// Returns the cost of the attempts of one batch, or of every batch, with one line per batch,
    /// day, model or route.
    ///
    /// # Errors
    ///
    /// [`QueueError::NotFound`] if there is no such batch.
    async fn bill(&self, by: BillGrouping, batch: Option<String>) -> Result<Vec<BillLine>>;

    /// Returns the maximum price of the queued jobs of one batch, or of every batch: each job at
    /// its most expensive provider. An unknown batch costs nothing.
    async fn queued_estimate(&self, batch: Option<String>) -> Result<Money>;

    /// Returns the jobs that match `filter` in ascending order of their numbers: those after
    /// `after`, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`QueueError::NotFound`] if there is no such batch.
    async fn jobs(
        &self,
        filter: JobFilter,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<JobRecord>>;

    /// Returns the jobs that succeeded or failed most recently, newest first and at most `limit`.
    ///
    /// # Errors
    ///
    /// [`QueueError::NotFound`] if there is no such batch.
    async fn latest(&self, batch: Option<String>, limit: usize) -> Result<Vec<JobRecord>>;

    /// Returns the job with this row key or, if there is none, with this job number.
    ///
    /// # Errors
    ///
    /// - [`QueueError::NotFound`] if there is no such job or batch.
    /// - [`QueueError::Conflict`] if several batches have a job with this row key.
    async fn find(&self, job: String, batch: Option<String>) -> Result<JobRecord>;

    /// Returns the attempts of a job, oldest first; none if there is no such job.
    async fn attempts(&self, job_id: JobId) -> Result<Vec<AttemptRecord>>;

    /// Retries failed and cancelled jobs, and returns how many. Without states and jobs in the
    /// selection, only failed jobs.
    ///
    /// A job whose prediction is known and did not fail at the provider is polled again, at no
    /// further cost. If its attempt was abandoned, the attempt is open again: its booked estimate
    /// becomes a reservation and it occupies a slot, without a check of the budgets and limits. Any
    /// other job is queued for a new submission, which is paid for. Rejected uploads are cleared.
    ///
    /// # Errors
    ///
    /// - [`QueueError::NotFound`] if there is no such job or batch.
    /// - [`QueueError::Conflict`] if a selected job is neither failed nor cancelled, or if a row
    ///   key is ambiguous. No job is retried then.
    async fn retry(&self, selection: Selection, now: Timestamp) -> Result<usize>;

    /// Downloads the clips of succeeded jobs again, which costs nothing, and returns the number of
    /// jobs that were queued for it. Jobs in any other state are skipped. Call this when their
    /// files are missing or damaged.
    async fn requeue_downloads(&self, jobs: Vec<JobId>, now: Timestamp) -> Result<usize>;

    /// Cancels the selected jobs. Without states and jobs in the selection, only queued jobs, which
    /// have no open attempt.
    ///
    /// The attempt of a running prediction is abandoned: its estimate is booked as its cost,
    /// because the provider may bill it. That stays so even if the provider confirms the
    /// cancellation, unless the job is retried.
    ///
    /// # Errors
    ///
    /// - [`QueueError::NotFound`] if there is no such job or batch.
    /// - [`QueueError::Conflict`] if a selected job is being submitted, in doubt or in a final
    ///   state, or if a row key is ambiguous. No job is cancelled then.
    async fn cancel(&self, selection: Selection, now: Timestamp) -> Result<CancelResult>;

    /// Applies the user's decision to a job in doubt, and returns its new state.
    ///
    /// # Errors
    ///
    /// - [`QueueError::NotFound`] if there is no such job.
    /// - [`QueueError::Conflict`] if the job is not in doubt, or if the adopted prediction belongs
    ///   to another job.
    async fn resolve(&self, job_id: JobId, decision: Decision, now: Timestamp) -> Result<JobState>;

    /// Changes settings of the active runs, and returns the pools of those runs. `set_by` names who
    /// changed them, for the runs' logs. All settings are changed, or none.
    ///
    /// # Errors
    ///
    /// - [`QueueError::Conflict`] if no run is active; only the budget of a batch can be changed
    ///   then.
    /// - [`QueueError::NotFound`] if the batch of a budget does not exist.
    async fn set_live_settings(
        &self,
        settings: Vec<LiveSetting>,
        set_by: String,
        now: Timestamp,
    ) -> Result<Vec<PoolRecord>>;

    /// Returns the changes made to the active runs, oldest first; none if no run is active.
    async fn live_settings(&self) -> Result<Vec<SettingChange>>;

    /// Sets the budget of a batch; `None` removes it.
    ///
    /// # Errors
    ///
    /// [`QueueError::NotFound`] if there is no such batch.
    async fn set_budget(&self, batch: String, budget: Option<Money>) -> Result<()>;
}
