//! The shortest possible makespan of a run: the bound that simulated runs are compared with.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// The window over which the rate limit counts submissions.
const RATE_WINDOW: Duration = Duration::from_secs(60);

/// Returns the makespan of predictions that take these times, in order, if each starts the instant
/// a slot is free and the rate limit allows it, calls take no time, and the end of a prediction is
/// noticed at once.
pub fn ideal_makespan(times: &[Duration], at_once: u32, creates_per_minute: u32) -> Duration {
    let mut slots: BinaryHeap<Reverse<Duration>> =
        (0..at_once).map(|_| Reverse(Duration::ZERO)).collect();
    let mut starts: Vec<Duration> = Vec::with_capacity(times.len());
    let mut makespan = Duration::ZERO;
    for (index, time) in times.iter().enumerate() {
        let Some(Reverse(free_at)) = slots.pop() else {
            break;
        };
        let allowed_at = index
            .checked_sub(creates_per_minute as usize)
            .map(|earlier| starts[earlier] + RATE_WINDOW);
        let start = free_at.max(allowed_at.unwrap_or_default());
        starts.push(start);
        slots.push(Reverse(start + *time));
        makespan = makespan.max(start + *time);
    }
    makespan
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_prediction_starts_when_the_first_slot_is_free() {
        let times = [4, 1, 2, 3].map(|seconds| seconds * SECOND);
        assert_eq!(ideal_makespan(&times, 2, 100), 6 * SECOND);
        assert_eq!(ideal_makespan(&[], 2, 100), Duration::ZERO);
    }

    #[test]
    fn no_60_seconds_hold_more_starts_than_the_rate_limit_allows() {
        assert_eq!(ideal_makespan(&[SECOND; 5], 10, 2), 121 * SECOND);
    }
}
