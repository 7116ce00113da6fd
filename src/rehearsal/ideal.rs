//! The shortest a night could be: what the real ones are held against.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Creates are counted over this span.
const MINUTE: Duration = Duration::from_secs(60);

/// Tells how long predictions of these lengths take in their order, when each begins the instant a slot is free and the
/// rate of creates allows it: with calls that take no time, by somebody who sees every end at once.
pub fn ideal(times: &[Duration], at_once: u32, creates_per_minute: u32) -> Duration {
    let mut slots: BinaryHeap<Reverse<Duration>> =
        (0..at_once).map(|_| Reverse(Duration::ZERO)).collect();
    let mut starts: Vec<Duration> = Vec::with_capacity(times.len());
    let mut last_end = Duration::ZERO;
    for (number, time) in times.iter().enumerate() {
        let Some(Reverse(free_at)) = slots.pop() else {
            break;
        };
        let rate = number
            .checked_sub(creates_per_minute as usize)
            .map(|before| starts[before] + MINUTE);
        let start = free_at.max(rate.unwrap_or_default());
        starts.push(start);
        slots.push(Reverse(start + *time));
        last_end = last_end.max(start + *time);
    }
    last_end
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_next_begins_when_the_first_slot_is_free() {
        let times = [4, 1, 2, 3].map(|seconds| seconds * SECOND);
        assert_eq!(ideal(&times, 2, 100), 6 * SECOND);
        assert_eq!(ideal(&[], 2, 100), Duration::ZERO);
    }

    #[test]
    fn no_sixty_seconds_hold_more_starts_than_the_rate_allows() {
        assert_eq!(ideal(&[SECOND; 5], 10, 2), 121 * SECOND);
    }
}
