//! Who may write to a job.

use std::fmt;

use super::JobId;

/// Names one running pool: one `run` process, from its start to its end. Never used twice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolId(pub String);

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The exclusive right to write to one job, given by a claim and spent by one advance.
///
/// The expiry belongs to the pool, which renews it for all its leases at once: a download of ten minutes and a
/// thousand polls cost the same one write. A pool that stops renewing, or dies, loses every lease together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The job it is for.
    pub job_id: JobId,
    /// Its proof: a number no other claim of this queue ever gets.
    pub token: i64,
}
