//! The options of a pool, and how it ends.

use std::time::Duration;

use tokio::sync::watch;

use crate::domain::{Money, ProviderName};
use crate::output::OutputError;
use crate::queue::{Backlog, ProviderLimits, QueueError};

use super::canary::Canary;

/// Usual time between two rounds of maintenance: taking over dead pools, applying live settings,
/// checking the clock.
pub const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);

/// What a pool works on, and how much at once.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    /// Maximum number of concurrent steps and uploads.
    pub workers: usize,
    /// The batch to work on; `None` works on all of them.
    pub batch: Option<String>,
    /// Upper limit for everything that the batches of this run have ever spent or reserved,
    /// including in earlier runs; `None` means no limit. No submission is claimed whose estimate
    /// would exceed it. The amount spent may still exceed it, if a provider bills more than the
    /// estimate.
    pub budget: Option<Money>,
    /// Jobs to run before the user approves the rest. Jobs that are already in progress continue
    /// meanwhile.
    pub canary: Option<Canary>,
    /// Whether to wait for more work when nothing is left to do.
    pub watch: bool,
    /// Time between two rounds of maintenance. [`MAINTENANCE_INTERVAL`], except where no other
    /// process can use the queue.
    pub maintenance_interval: Duration,
    /// The providers to use, with their limits.
    pub limits: Vec<ProviderLimits>,
}

/// Asks a pool to stop by becoming `true`.
pub type StopSignal = watch::Receiver<bool>;

/// Waits until the pool is asked to stop.
pub(super) async fn stopped(stop: &mut StopSignal) {
    // Without a sender left, no stop can be requested any more.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Why a pool ended without an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolExit {
    /// Nothing is left that can continue without the user. The backlog says what remains, and why.
    Drained(Backlog),
    /// The canary jobs have ended, and the user declined to continue.
    CanaryDeclined,
    /// The pool was asked to stop. Every step in progress is recorded or released.
    Interrupted,
}

/// Why a pool could not continue. The queue is consistent, and a new run resumes.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// A queue operation failed: the store is unusable, or this pool lost its registration.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The output folder cannot be written.
    #[error(transparent)]
    Output(OutputError),
    /// A run with another key of this provider has started at the same time.
    #[error("another run with another key of {0} has started at the same time")]
    OtherKey(ProviderName),
    /// A fault in the program: a step panicked, or was claimed for a provider this run cannot call.
    #[error("{0}")]
    Fault(String),
}

impl PoolError {
    /// Returns whether the queue's file or the output folder cannot be used, so that other steps
    /// fail likewise until the user has mended it.
    pub fn is_storage_failure(&self) -> bool {
        match self {
            Self::Output(_) => true,
            Self::Queue(error) => error.is_store_failure(),
            Self::OtherKey(_) | Self::Fault(_) => false,
        }
    }
}
