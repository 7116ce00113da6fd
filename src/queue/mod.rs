//! The port to the queue, and its adapters.
//!
//! The rule of this folder: one verb per transition, domain types only. Every write that moves a job takes the
//! [`Lease`] its claim gave, and is refused when the lease has passed to somebody else. What a call returned as done
//! survives power loss.

pub mod bill;
pub mod claim;
pub mod health;
pub mod live_setting;
pub mod sqlite;
pub mod staging;
pub mod throughput;
pub mod upload;
pub mod views;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::{
    Attempt, IllegalTransition, JobId, JobState, Lease, Money, Outcome, PoolId, PredictionHandle,
    ProviderName, ProviderSignal,
};

pub use bill::{BillBy, BillLine, BillSums};
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

/// What the queue could not do.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The lease has passed to somebody else; nothing was written.
    #[error("the lease of job {0} has passed to another worker; nothing was written")]
    LeaseLost(JobId),
    /// This pool was taken for dead and its work given away; it must stop.
    #[error("pool {0} was taken for dead and its work given to another")]
    PoolLost(PoolId),
    /// A fault in the program.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// There is no such thing in the queue.
    #[error("{0}")]
    NotFound(String),
    /// What was asked for does not fit what the queue holds.
    #[error("{0}")]
    Conflict(String),
    /// The queue file cannot be used; the message says why and what to do.
    #[error("{0}")]
    Unusable(String),
    /// The queue holds something it should not.
    #[error("the queue holds something unexpected: {0}")]
    Corrupt(String),
    /// The store below failed.
    #[error("the queue failed: {0}")]
    Store(String),
}

/// The result of a queue call.
pub type Result<T> = std::result::Result<T, QueueError>;

/// Which jobs a person's decision is about.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only this batch.
    pub batch: Option<String>,
    /// Only these states; empty takes those the verb is usually for.
    pub states: Vec<JobState>,
    /// Only these jobs, by number or by row key.
    pub jobs: Vec<String>,
}

/// A sum or count that did not agree with the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterMismatch {
    /// Of what.
    pub counter: String,
    /// What was kept; money in micro-dollars.
    pub stored: i64,
    /// What the rows say.
    pub actual: i64,
}

/// What was taken back.
#[derive(Clone, Debug, Default)]
pub struct CancelResult {
    /// How many jobs.
    pub jobs: usize,
    /// The attempts among them that a provider was working on, and may be asked to drop.
    pub in_progress: Vec<Attempt>,
}

/// What a person decides about a job in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The provider took it, under this prediction id.
    Adopt(PredictionHandle),
    /// The provider did not take it; send it again.
    Resubmit,
    /// Give it up; its price stays booked, because nobody proved that it was not paid.
    Fail,
}

/// The queue.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Begins to load a manifest; nothing is queued until the staging is committed.
    fn stage(&self, batch: NewBatch) -> Result<Box<dyn Staging>>;

    /// Enters a pool, whose leases end at `expires_at` unless it renews, or at once when its process dies. Where no other is
    /// at work, what a person changed of earlier ones is forgotten.
    async fn join(&self, pool: PoolId, now: Timestamp, expires_at: Timestamp) -> Result<()>;

    /// Renews all leases of a pool.
    async fn heartbeat(&self, pool: PoolId, now: Timestamp, expires_at: Timestamp) -> Result<()>;

    /// Notes that this machine's clock was set, forward or back: times stored before say little now.
    async fn record_clock_change(&self, now: Timestamp) -> Result<()>;

    /// Tells when this machine's clock was set last, if anybody noticed.
    async fn last_clock_change(&self) -> Result<Option<Timestamp>>;

    /// Removes a pool that ends. What it still held is freed as if it had died.
    async fn leave(&self, pool: PoolId, now: Timestamp) -> Result<()>;

    /// Removes the pools that are dead or have not renewed in time, and frees the jobs they held: what they were
    /// submitting is in doubt, the rest is due now. A pool that may only be slow is given until the next call. Returns
    /// how many jobs were freed.
    async fn take_over(&self, now: Timestamp) -> Result<usize>;

    /// Checks every sum and count that is kept beside the rows against the rows, and corrects it. Tells which were wrong.
    async fn verify_counters(&self) -> Result<Vec<CounterMismatch>>;

    /// Looks the store over without changing it: whether it is whole, what does not add up, what waits for somebody.
    async fn health(&self, now: Timestamp) -> Result<Health>;

    /// Opens the providers that were paused, and forgets which uploads were refused: a new run asks again.
    async fn reopen_providers(&self) -> Result<()>;

    /// Claims due steps, and for creates reserves slot, rate and money, in one transaction.
    async fn claim(&self, request: ClaimRequest) -> Result<ClaimResponse>;

    /// Records what a step found out, ends its lease, and tells the job's new state.
    async fn record_outcome(
        &self,
        lease: Lease,
        outcome: Outcome,
        gate: Option<(ProviderName, ProviderSignal)>,
        now: Timestamp,
    ) -> Result<JobState>;

    /// Records what became of an upload, and ends its lease.
    async fn record_upload(
        &self,
        lease: UploadLease,
        outcome: UploadOutcome,
        gate: Option<(ProviderName, ProviderSignal)>,
    ) -> Result<()>;

    /// Gives a claimed step that was not begun back, due at once.
    async fn release(&self, lease: Lease, now: Timestamp) -> Result<()>;

    /// Lists the prediction ids of one provider that belong to attempts submitted since `since`.
    async fn owned_predictions(
        &self,
        provider: ProviderName,
        since: Timestamp,
    ) -> Result<Vec<String>>;

    /// Tells whether these jobs have all come to an end, or wait for a person.
    async fn all_settled(&self, jobs: Vec<JobId>) -> Result<bool>;

    /// Lists how long the latest finished predictions of a route took, newest first, each with the length of its clip in
    /// seconds.
    async fn processing_times(
        &self,
        provider: ProviderName,
        wire_model: String,
        most: usize,
    ) -> Result<Vec<(Option<u32>, Duration)>>;

    /// Tells counts, spend and pace.
    async fn status(&self, batch: Option<String>) -> Result<Status>;

    /// Sums what the attempts of a batch, or of all, have cost.
    async fn bill(&self, by: BillBy, batch: Option<String>) -> Result<Vec<BillLine>>;

    /// Tells what the jobs that wait cost at most, each on its dearest provider.
    async fn queued_price(&self, batch: Option<String>) -> Result<Money>;

    /// Lists jobs in order, from the one after `after`, at most `most`.
    async fn jobs(
        &self,
        filter: JobFilter,
        after: Option<JobId>,
        most: usize,
    ) -> Result<Vec<JobRecord>>;

    /// Lists the jobs that succeeded or failed last, newest first, at most `most`.
    async fn latest(&self, batch: Option<String>, most: usize) -> Result<Vec<JobRecord>>;

    /// Finds one job by number or by row key.
    async fn find(&self, job: String, batch: Option<String>) -> Result<JobRecord>;

    /// Lists the attempts of a job, oldest first.
    async fn attempts(&self, job_id: JobId) -> Result<Vec<AttemptRecord>>;

    /// Makes failed and cancelled jobs go on: where a prediction is known it is looked at again, which costs nothing.
    async fn retry(&self, selection: Selection, now: Timestamp) -> Result<usize>;

    /// Sends those of these jobs that have succeeded back to fetch their clips again, which costs nothing: their files
    /// are lost.
    async fn requeue_downloads(&self, jobs: Vec<JobId>, now: Timestamp) -> Result<usize>;

    /// Takes jobs back. Without states in the selection only what has not been paid for.
    async fn cancel(&self, selection: Selection, now: Timestamp) -> Result<CancelResult>;

    /// Settles a job in doubt as a person decided.
    async fn resolve(&self, job_id: JobId, decision: Decision, now: Timestamp) -> Result<JobState>;

    /// Changes the runs that are going on, and tells which these are. Without any, only a batch's budget can be changed.
    async fn set_live_settings(
        &self,
        settings: Vec<LiveSetting>,
        set_by: String,
        now: Timestamp,
    ) -> Result<Vec<PoolRecord>>;

    /// Lists what a person changed of the runs that are going on; nothing, where none is.
    async fn live_settings(&self) -> Result<Vec<SettingChange>>;

    /// Sets a batch's budget.
    async fn set_budget(&self, batch: String, budget: Option<Money>) -> Result<()>;
}
