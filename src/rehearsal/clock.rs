//! A clock that shows the time of a runtime whose time is virtual.

use jiff::Timestamp;
use tokio::time::Instant;

use crate::clock::Clock;

/// A clock that shows the time of a runtime whose time is virtual.
#[derive(Clone, Copy, Debug)]
pub(super) struct VirtualClock {
    began: Instant,
    began_at: Timestamp,
}

impl VirtualClock {
    /// Shows this time now.
    pub(super) fn showing(began_at: Timestamp) -> Self {
        Self {
            began: Instant::now(),
            began_at,
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.began_at
            .saturating_add(self.began.elapsed())
            .unwrap_or(Timestamp::MAX)
    }
}
