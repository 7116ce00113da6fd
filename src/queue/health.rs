//! What a look over the queue's store shows, which changes nothing in it.

use super::CounterMismatch;

/// How a queue's store was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// The version of its form.
    pub version: usize,
    /// The version this program writes. An older one is brought over by the next command that works with it, and nothing
    /// below is known until then.
    pub supported_version: usize,
    /// Sums and counts that do not agree with the rows.
    pub counter_mismatches: Vec<CounterMismatch>,
    /// Jobs in doubt that wait for a person.
    pub held: u64,
    /// Pools that have ended, or have not renewed in time, without leaving.
    pub dead_pools: usize,
    /// Jobs those pools still have under lease.
    pub orphaned_jobs: u64,
}

impl Health {
    /// Tells whether it has the form this program works with.
    pub fn is_current(&self) -> bool {
        self.version == self.supported_version
    }
}
