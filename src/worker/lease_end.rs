//! When the leases of a pool end unless they are renewed.

use std::time::Duration;

use tokio::time::Instant;

use crate::queue::LEASE_DURATION;

/// Time that must be left on the lease before a submission is sent: the next owner of the job could
/// otherwise search the provider's history before our request arrives there. During the call the
/// pool's heartbeat renews the lease; should that fail, the delay of the history protects the job.
const MIN_LEASE_FOR_SUBMIT: Duration = Duration::from_secs(5);

/// When leases end, measured from before they were taken or renewed.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaseEnd(Instant);

impl LeaseEnd {
    /// Returns the end of leases that are taken or renewed after this call.
    pub(super) fn of_next() -> Self {
        Self(Instant::now() + LEASE_DURATION)
    }

    /// Returns whether enough time is left for a submission to be sent.
    pub(super) fn allows_submit(self) -> bool {
        Instant::now() + MIN_LEASE_FOR_SUBMIT <= self.0
    }
}
