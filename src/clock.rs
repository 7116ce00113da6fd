//! The clock: the only module that reads the system time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// A source of the current time. All other code takes the time as an argument or asks a `Clock`.
pub trait Clock: Send + Sync {
    /// Returns the current time, in UTC.
    fn now(&self) -> Timestamp;
}

/// The system clock, truncated to whole milliseconds because the queue stores no more.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the Clock that all other code asks"
    )]
    fn now(&self) -> Timestamp {
        let now = Timestamp::now() + skew();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }
}

/// Returns by how much the system clock is wrong. Tests of several hosts set it, in debug builds, by an environment
/// variable.
fn skew() -> SignedDuration {
    #[cfg(debug_assertions)]
    if let Ok(seconds) = std::env::var("OVERNIGHT_TEST_SKEW_S") {
        return SignedDuration::from_secs(seconds.parse().unwrap_or(0));
    }
    SignedDuration::ZERO
}

/// The system clock, corrected by how far the clock of a shared queue is ahead: a time that one host writes
/// means the same to all.
#[derive(Debug, Default)]
pub struct AdjustedClock {
    ahead_ms: AtomicI64,
}

impl AdjustedClock {
    /// Corrects the clock, so that it shows this time now.
    pub fn set(&self, now: Timestamp) {
        let ahead = now.as_millisecond() - SystemClock.now().as_millisecond();
        self.ahead_ms.store(ahead, Ordering::Relaxed);
    }

    /// Returns by how much it is ahead of the system clock.
    pub fn ahead(&self) -> SignedDuration {
        SignedDuration::from_millis(self.ahead_ms.load(Ordering::Relaxed))
    }
}

impl Clock for AdjustedClock {
    fn now(&self) -> Timestamp {
        let system = SystemClock.now();
        system.saturating_add(self.ahead()).unwrap_or(system)
    }
}

/// A clock for tests, which stands still until it is set.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// Creates a clock that shows the given time.
    pub fn new(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    /// Sets the clock. Like a real one, it may be set back.
    pub fn set(&self, now: Timestamp) {
        *self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
