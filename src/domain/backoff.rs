//! Growing, capped, jittered delays.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// Delays that double up to a cap, with full jitter.
///
/// Full jitter spreads the callers over the whole interval, so that those an outage pushed together come apart
/// again; see "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first interval.
    pub base: Duration,
    /// The longest interval.
    pub cap: Duration,
}

/// Past this many doublings every sensible cap is reached.
const MAX_DOUBLINGS: u32 = 32;

/// A delay is never shorter than this part of its interval: zero would be no backoff at all.
const SHORTEST: f64 = 0.1;

impl Backoff {
    /// Tells the interval after the `failures`-th failure in a row, from 1, before jitter.
    pub fn interval(&self, failures: u32) -> Duration {
        // The crate draws its jitter from a generator of its own; with a factor of zero it draws nothing that
        // matters (a nanosecond), and chance stays an argument here.
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
        for _ in 0..failures.clamp(1, MAX_DOUBLINGS) {
            interval = intervals.next_backoff().unwrap_or(self.cap);
        }
        Duration::from_millis(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX)).min(self.cap)
    }

    /// Tells the delay after the `failures`-th failure in a row. `chance` is in `0.0..1.0`.
    pub fn delay(&self, failures: u32, chance: f64) -> Duration {
        self.interval(failures)
            .mul_f64(SHORTEST + (1.0 - SHORTEST) * chance.clamp(0.0, 1.0))
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
    fn jitter_reaches_from_nearly_nothing_to_the_whole_interval() {
        assert_eq!(BACKOFF.delay(3, 0.0), Duration::from_millis(400));
        assert_eq!(BACKOFF.delay(3, 0.5), Duration::from_millis(2200));
        assert_eq!(BACKOFF.delay(3, 1.0), Duration::from_secs(4));
    }
}
