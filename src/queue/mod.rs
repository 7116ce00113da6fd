//! The ports to the queue, by who calls, and their adapters.
//!
//! [`WorkQueue`] is what a pool works through, [`Loader`] what a load does, [`Reports`] what is
//! shown, and [`Operator`] what the user decides. Each method is one intent in domain types. A
//! write applies completely or not at all, and when it returns `Ok`, its effects survive power
//! loss.
//!
//! An adapter reads and writes; what it writes is decided by [`policy`](crate::policy). `turn`
//! holds the one transaction script that every adapter shares.

pub(crate) mod bill;
pub(crate) mod claim;
pub(crate) mod health;
pub mod job_reader;
pub(crate) mod live_setting;
pub(crate) mod operator;
pub(crate) mod reports;
pub mod sqlite;
pub(crate) mod staging;
pub(crate) mod throughput;
pub mod turn;
pub(crate) mod upload;
pub(crate) mod views;
pub(crate) mod work;

use crate::domain::{IllegalTransition, PoolId};

pub use crate::policy::claim::{
    Backlog, BudgetLimit, Capacity, ClaimRequest, ProviderLimits, Step,
};
pub use crate::policy::operator::Decision;
pub use bill::{BillGrouping, BillLine, BillSums};
pub use claim::{Claim, ClaimResponse};
pub use health::Health;
pub use live_setting::{LiveSetting, SettingChange};
pub use operator::{CancelResult, CounterMismatch, Operator, Selection};
pub use reports::Reports;
pub use staging::{LoadPlan, Loader, NewBatch, RowChange, Staging};
pub use throughput::{Completion, Throughput};
pub use upload::{UploadClaim, UploadLease, UploadOutcome};
pub use views::{
    AttemptRecord, BatchStatus, JobFilter, JobRecord, PoolRecord, ProviderStatus, Status,
};
pub use work::{Completed, Gates, LEASE_DURATION, Recorded, Turn, TurnResult, WorkQueue};

/// All ports of one queue.
pub trait Queue: WorkQueue + Loader + Reports + Operator {}

impl<Q: WorkQueue + Loader + Reports + Operator> Queue for Q {}

/// An error of a queue operation. Unless a method states otherwise, nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
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
