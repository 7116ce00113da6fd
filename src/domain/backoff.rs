//! Exponential backoff with a cap and jitter.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// Intervals that double up to a cap, with jitter between a tenth of the interval and the whole.
///
/// The jitter is nearly the "full jitter" of "Exponential Backoff And Jitter", AWS Architecture
/// Blog, 2015: callers which an outage synchronised drift apart again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Interval after the first failure.
    pub base: Duration,
    /// Maximum interval.
    pub cap: Duration,
}

/// Maximum number of doublings; every sensible cap is reached earlier.
const MAX_STEPS: u32 = 32;

/// Minimum delay, as a fraction of its interval: a delay of zero would be no backoff at all.
const MIN_FRACTION: f64 = 0.1;

impl Backoff {
    /// Returns the interval after the `failures`-th consecutive failure, counted from 1, before
    /// jitter.
    pub fn interval(&self, failures: u32) -> Duration {
        // The crate draws jitter from a random generator of its own. A randomisation factor of zero
        // limits it to a nanosecond, so that randomness remains an argument of this module.
        let mut intervals = ExponentialBackoff {
            current_interval: self.base,
            initial_interval: self.base,
            randomization_factor: 0.0,
            multiplier: 2.0,
            max_interval: self.cap,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        let mut interval = self.base;
        for _ in 0..failures.clamp(1, MAX_STEPS) {
            interval = intervals.next_backoff().unwrap_or(self.cap);
        }
        Duration::from_millis(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX)).min(self.cap)
    }

    /// Returns the delay after the `failures`-th consecutive failure, counted from 1.
    ///
    /// `random` is a random number in `0.0..1.0` and selects a point between a tenth of the
    /// interval and the whole.
    pub fn delay(&self, failures: u32, random: f64) -> Duration {
        self.interval(failures)
            .mul_f64(MIN_FRACTION + (1.0 - MIN_FRACTION) * random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(60),
    };

    #[test]
    fn intervals_double_up_to_the_cap() {
        let seconds: Vec<u64> = (1..=9)
            .map(|failures| BACKOFF.interval(failures).as_secs())
            .collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(BACKOFF.interval(u32::MAX), BACKOFF.cap);
    }

    #[test]
    fn jitter_ranges_from_a_tenth_of_the_interval_to_all_of_it() {
        assert_eq!(BACKOFF.delay(3, 0.0), Duration::from_millis(400));
        assert_eq!(BACKOFF.delay(3, 0.5), Duration::from_millis(2200));
        assert_eq!(BACKOFF.delay(3, 1.0), Duration::from_secs(4));
    }
}
