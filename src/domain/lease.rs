//! The right to write to a job.

use std::fmt;

use super::JobId;

/// Identifies one pool, which is one run, from its start to its end. Never reused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolId(pub String);

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The exclusive right to write to one job, granted by a claim and consumed when the step's outcome
/// is recorded.
///
/// The expiry is stored with the pool, which renews all of its leases with one write, however many
/// there are and however long a step takes. A pool that dies or stops renewing loses all of its
/// leases at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The leased job.
    pub job_id: JobId,
    /// Fencing token drawn for this claim. The queue accepts a write only while the job still
    /// carries the same token.
    pub token: i64,
}
