//! Notices that the machine's clock was changed while a pool runs.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Difference between the clock and elapsed time beyond which the clock was changed, or the machine
/// slept.
const MAX_CLOCK_DRIFT: SignedDuration = SignedDuration::from_secs(2);

/// Compares the wall clock with the monotonic clock, which cannot be set.
pub(super) struct ClockCheck {
    wall: Timestamp,
    monotonic: Instant,
}

impl ClockCheck {
    /// Starts with the wall clock at `now`.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            wall: now,
            monotonic: Instant::now(),
        }
    }

    /// Returns by how much the wall clock has moved more than time has elapsed since the last call
    /// (negative if it moved back); `None` if that is within [`MAX_CLOCK_DRIFT`].
    pub(super) fn jump(&mut self, now: Timestamp) -> Option<SignedDuration> {
        let last = std::mem::replace(self, Self::new(now));
        let elapsed = SignedDuration::try_from(last.monotonic.elapsed()).unwrap_or_default();
        let jump = now.duration_since(last.wall) - elapsed;
        (jump.abs() > MAX_CLOCK_DRIFT).then_some(jump)
    }
}
