//! When to look at a prediction.

use std::time::Duration;

/// Decides when to look next at a running prediction.
///
/// One early look finds what fails at once (an image that cannot be read frees its slot in seconds, not minutes).
/// The next comes shortly before the typical time, where most predictions end; from there looks come at a steady
/// interval that trades lag for calls, and wider in the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollPlan {
    /// How long the route usually takes.
    pub typical: Duration,
    /// Shortest time between two looks at one prediction.
    pub shortest: Duration,
}

/// The early look, at most this long after the create.
const EARLY_LOOK: Duration = Duration::from_secs(10);

/// Nobody wants to wait longer than this to see that a clip is done.
const LONGEST: Duration = Duration::from_secs(60);

/// A prediction that takes this many times as long as usual, and at least `SHORTEST_DEADLINE`, never ends.
const DEADLINE_FACTOR: u32 = 12;
const SHORTEST_DEADLINE: Duration = Duration::from_secs(30 * 60);

impl PollPlan {
    /// Tells how long to wait before the next look, `elapsed` after the create.
    pub fn next_look(&self, elapsed: Duration) -> Duration {
        let typical = self.typical.max(self.shortest);
        let early = (typical / 10).min(EARLY_LOOK);
        let close = typical.mul_f64(0.85);
        let wait = if elapsed < early {
            early - elapsed
        } else if elapsed < close {
            close - elapsed
        } else if elapsed < typical.mul_f64(1.5) {
            typical / 25
        } else {
            (elapsed / 10).min(LONGEST)
        };
        wait.max(self.shortest)
    }

    /// Tells when a prediction that has not ended never will.
    pub fn deadline(&self) -> Duration {
        (self.typical * DEADLINE_FACTOR).max(SHORTEST_DEADLINE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn looks(plan: PollPlan, end: Duration) -> (u32, Duration) {
        let (mut at, mut looks) = (Duration::ZERO, 0);
        while at < end {
            at += plan.next_look(at);
            looks += 1;
        }
        (looks, at - end)
    }

    #[test]
    fn a_usual_prediction_takes_few_looks_and_little_lag() {
        let plan = PollPlan { typical: 270 * SECOND, shortest: 2 * SECOND };
        for end in [240, 270, 300, 330] {
            let (looks, lag) = looks(plan, end * SECOND);
            assert!(looks <= 13, "{looks} looks for {end} s");
            assert!(lag <= 11 * SECOND, "{lag:?} late for {end} s");
        }
    }

    #[test]
    fn a_prediction_that_fails_at_once_is_seen_within_ten_seconds() {
        let plan = PollPlan { typical: 270 * SECOND, shortest: 2 * SECOND };
        assert_eq!(plan.next_look(Duration::ZERO), 10 * SECOND);
    }

    #[test]
    fn two_looks_are_never_closer_than_the_shortest_interval() {
        let plan = PollPlan { typical: SECOND, shortest: 2 * SECOND };
        for millis in (0..60_000).step_by(250) {
            assert!(plan.next_look(Duration::from_millis(millis)) >= 2 * SECOND);
        }
    }
}
