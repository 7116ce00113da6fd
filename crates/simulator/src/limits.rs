//! The capacity of the simulated providers: a rate limit on creates, and runners that process one
//! prediction each.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// A sliding window over the times of accepted creates.
#[derive(Debug, Default)]
pub(crate) struct RateWindow {
    accepted_at: VecDeque<i64>,
}

impl RateWindow {
    /// Returns whether the window that ends at `now` holds fewer than `limit` creates. `window` is
    /// in milliseconds.
    pub(crate) fn has_capacity(&mut self, limit: u32, window: i64, now: i64) -> bool {
        while self
            .accepted_at
            .front()
            .is_some_and(|at| *at <= now - window)
        {
            self.accepted_at.pop_front();
        }
        self.accepted_at.len() < limit as usize
    }

    /// Records an accepted create.
    pub(crate) fn record(&mut self, now: i64) {
        self.accepted_at.push_back(now);
    }
}

/// The runners of one provider, ordered by when each becomes free.
#[derive(Debug)]
pub(crate) struct Runners {
    free_at: BinaryHeap<Reverse<i64>>,
}

impl Runners {
    /// Creates `count` runners, at least one, some of which are busy until the given times.
    pub(crate) fn new(count: u32, mut busy_until: Vec<i64>, now: i64) -> Self {
        let count = count.max(1) as usize;
        // If more predictions run than there are runners, the limit was lowered: the runners that
        // become free first are the ones that no longer exist.
        busy_until.sort_unstable_by_key(|until| Reverse(*until));
        busy_until.resize(count, now);
        Self {
            free_at: busy_until.into_iter().map(Reverse).collect(),
        }
    }

    /// Assigns work of `processing` milliseconds to the runner that is free first and returns when
    /// it starts.
    pub(crate) fn assign(&mut self, processing: i64, now: i64) -> i64 {
        let Reverse(free_at) = self.free_at.pop().unwrap_or(Reverse(now));
        let starts_at = free_at.max(now);
        self.free_at.push(Reverse(starts_at + processing));
        starts_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_capacity_again_exactly_when_its_first_create_leaves_it() {
        let mut window = RateWindow::default();
        window.record(0);
        assert!(!window.has_capacity(1, 60_000, 59_999));
        assert!(window.has_capacity(1, 60_000, 60_000));
    }

    #[test]
    fn work_is_assigned_to_the_runner_that_is_free_first() {
        let mut runners = Runners::new(2, vec![50], 10);
        assert_eq!(runners.assign(100, 10), 10);
        assert_eq!(runners.assign(100, 10), 50);
        assert_eq!(runners.assign(100, 10), 110);
    }

    #[test]
    fn after_the_limit_is_lowered_nothing_starts_until_enough_runners_are_free() {
        let mut runners = Runners::new(1, vec![50, 70, 60], 10);
        assert_eq!(runners.assign(100, 10), 70);
    }
}
