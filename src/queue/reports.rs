//! The port of everything that is shown. Its methods change nothing.

use async_trait::async_trait;

use crate::domain::{JobId, Money};

use super::{
    AttemptRecord, BillGrouping, BillLine, Health, JobFilter, JobRecord, Lineage, Result,
    SettingChange, Status,
};

/// What the queue holds, for people to see.
///
/// Any method may fail because the store does. The `# Errors` sections list only other errors.
#[async_trait]
pub trait Reports: Send + Sync {
    /// Returns the job counts and money of one batch, or of every batch, as of one instant, and the
    /// state of the providers and pools.
    ///
    /// # Errors
    ///
    /// [`QueueError::NoSuchBatch`](super::QueueError::NoSuchBatch) if there is no such batch.
    async fn status(&self, batch: Option<String>) -> Result<Status>;

    /// Returns the cost of the attempts of one batch, or of every batch, with one line per batch,
    /// day, model or route.
    ///
    /// # Errors
    ///
    /// [`QueueError::NoSuchBatch`](super::QueueError::NoSuchBatch) if there is no such batch.
    async fn bill(&self, by: BillGrouping, batch: Option<String>) -> Result<Vec<BillLine>>;

    /// Returns the maximum price of the queued jobs of one batch, or of every batch: each job at
    /// its most expensive provider.
    ///
    /// # Errors
    ///
    /// [`QueueError::NoSuchBatch`](super::QueueError::NoSuchBatch) if there is no such batch.
    async fn queued_estimate(&self, batch: Option<String>) -> Result<Money>;

    /// Returns the jobs that match `filter` in ascending order of their numbers: those after
    /// `after`, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`QueueError::NoSuchBatch`](super::QueueError::NoSuchBatch) if there is no such batch.
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
    /// [`QueueError::NoSuchBatch`](super::QueueError::NoSuchBatch) if there is no such batch.
    async fn latest(&self, batch: Option<String>, limit: usize) -> Result<Vec<JobRecord>>;

    /// Returns the job with this row key or, if there is none, with this job number.
    ///
    /// # Errors
    ///
    /// - [`QueueError::NoSuchBatch`](super::QueueError::NoSuchBatch) if there is no such batch.
    /// - [`QueueError::NoSuchJob`](super::QueueError::NoSuchJob) if there is no such job.
    /// - [`QueueError::AmbiguousJob`](super::QueueError::AmbiguousJob) if several batches
    ///   have a job with this row key.
    async fn find(&self, job: String, batch: Option<String>) -> Result<JobRecord>;

    /// Returns the attempts of a job, oldest first; none if there is no such job.
    async fn attempts(&self, job_id: JobId) -> Result<Vec<AttemptRecord>>;

    /// Checks the store for damage, counter mismatches and jobs that need attention. Changes
    /// nothing, and removes nothing that dead pools have left.
    ///
    /// # Errors
    ///
    /// [`QueueError::Store`](super::QueueError::Store) if the store is damaged.
    async fn health(&self) -> Result<Health>;

    /// Returns which queue this is, and how old.
    async fn lineage(&self) -> Result<Lineage>;

    /// Returns the changes made to the active runs, oldest first; none if no run is active.
    async fn settings(&self) -> Result<Vec<SettingChange>>;
}
