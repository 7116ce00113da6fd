//! The result of a read-only check of the queue's store.

use super::CounterMismatch;

/// The condition of a queue's store. A damaged store is an error instead.
///
/// If the store has an older version, only the versions are set: the next command that writes to
/// the queue migrates it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// The schema version of the store, from 1.
    pub version: usize,
    /// The schema version that this program writes.
    pub supported_version: usize,
    /// Stored sums and counts that differ from the rows.
    pub counter_mismatches: Vec<CounterMismatch>,
    /// Number of jobs in doubt that wait for the user's decision.
    pub held: u64,
    /// Number of pools whose process has ended, or which have not renewed their leases in time, but
    /// are still registered.
    pub dead_pools: usize,
    /// Number of jobs that are still leased to dead pools.
    pub orphaned_jobs: u64,
}

impl Health {
    /// Returns whether the store has the schema version that this program writes, or a newer one that serves it.
    pub fn is_current(&self) -> bool {
        self.version >= self.supported_version
    }
}
