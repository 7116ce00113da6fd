//! A clock that follows the virtual time of a paused Tokio runtime.

use jiff::Timestamp;
use tokio::time::Instant;

use crate::clock::Clock;

/// A clock that follows the virtual time of a paused Tokio runtime.
#[derive(Clone, Copy, Debug)]
pub(super) struct VirtualClock {
    started: Instant,
    /// The time that the clock showed at `started`.
    started_at: Timestamp,
}

impl VirtualClock {
    /// Creates a clock that shows `started_at` now. Must be called in the runtime whose time it
    /// follows.
    pub(super) fn new(started_at: Timestamp) -> Self {
        Self {
            started: Instant::now(),
            started_at,
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.started_at
            .saturating_add(self.started.elapsed())
            .unwrap_or(Timestamp::MAX)
    }
}
