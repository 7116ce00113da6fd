//! Why a queue operation fails.

use crate::domain::{IllegalTransition, PoolId};

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
