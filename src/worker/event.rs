//! What happened in a pool, for whoever shows it.

use crate::domain::{Cost, JobState, Money, ProviderName, SavedFile};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Work of a dead pool was taken over.
    TookOver {
        /// How many jobs.
        jobs: usize,
    },
    /// A provider took a job.
    Submitted {
        /// The job's row.
        row_key: String,
        /// Who took it.
        provider: ProviderName,
        /// The price reserved for it.
        estimate: Money,
    },
    /// A provider finished a clip.
    Made {
        /// The job's row.
        row_key: String,
        /// What it cost.
        cost: Cost,
    },
    /// A job moved to another state; the last event of its step.
    Moved {
        /// The job's row.
        row_key: String,
        /// Its batch.
        batch: String,
        /// The new state.
        state: JobState,
        /// Why, where something went wrong.
        reason: Option<String>,
    },
    /// A clip is on disk.
    Saved {
        /// The job's row.
        row_key: String,
        /// The file.
        file: SavedFile,
    },
    /// A provider refused the key or the balance.
    ProviderPaused {
        /// Which provider.
        provider: ProviderName,
        /// What it said, and what to do.
        reason: String,
    },
    /// The pool was asked to stop, and waits for the steps in hand.
    Stopping {
        /// How many steps.
        steps: usize,
    },
}

/// Sees what happens. Called on the pool's tasks: it must not block.
pub type Observer = std::sync::Arc<dyn Fn(Event) + Send + Sync>;
