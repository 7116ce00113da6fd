//! What happened in a pool, for whoever shows it.

use crate::domain::{JobId, JobState, ProviderName};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum PoolEvent {
    /// Work of a dead pool was taken over.
    TookOver {
        /// How many jobs.
        jobs: usize,
    },
    /// A step of a job was recorded.
    Moved {
        /// The job's row.
        row_key: String,
        /// Its batch.
        batch: String,
        /// Its state after the step.
        state: JobState,
        /// Why, where something went wrong.
        reason: Option<String>,
    },
    /// The first jobs have come to an end, and the pool waits to be told whether to go on.
    CanaryReady {
        /// Which.
        jobs: Vec<JobId>,
    },
    /// An image on disk was not uploaded.
    UploadFailed {
        /// Why; it is tried again, or its rows fail.
        reason: String,
    },
    /// A provider refused the key or the balance.
    ProviderPaused {
        /// Which provider.
        provider: ProviderName,
        /// What it said, and what to do.
        reason: String,
    },
    /// A person changed something of the pool; the log tells what and who.
    SettingsChanged,
    /// The pool was asked to stop, and waits for the steps in hand.
    Stopping {
        /// How many steps.
        steps: usize,
    },
}

/// Sees what happens. Called on the pool's tasks: it must not block.
pub type Observer = std::sync::Arc<dyn Fn(PoolEvent) + Send + Sync>;
