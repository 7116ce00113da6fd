//! Draws the tokens of leases.

use crate::domain::{JobId, Lease};

/// Returns a new lease of a job.
pub(super) fn new_lease(job_id: JobId) -> Lease {
    Lease {
        job_id,
        token: draw_token(),
    }
}

/// Returns a fencing token.
pub(super) fn draw_token() -> i64 {
    fastrand::i64(1..)
}
