//! What the simulated providers have room for: a rate of creates, and runners that work on one prediction each.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// The creates of the last while.
#[derive(Debug, Default)]
pub(super) struct RateWindow {
    taken_at: VecDeque<i64>,
}

impl RateWindow {
    /// Tells whether another create fits, now, into a window of so many milliseconds.
    pub(super) fn has_room(&mut self, limit: u32, window: i64, now: i64) -> bool {
        while self.taken_at.front().is_some_and(|at| *at <= now - window) {
            self.taken_at.pop_front();
        }
        self.taken_at.len() < limit as usize
    }

    /// Notes a create.
    pub(super) fn take(&mut self, now: i64) {
        self.taken_at.push_back(now);
    }
}

/// The runners of one provider, by when each is free.
#[derive(Debug)]
pub(super) struct Runners {
    free_at: BinaryHeap<Reverse<i64>>,
}

impl Runners {
    /// Makes so many runners, some of which are busy until the given times.
    pub(super) fn new(count: u32, mut busy_until: Vec<i64>, now: i64) -> Self {
        let count = count.max(1) as usize;
        // Where more run than there are runners, the limit was lowered: the first to end leave no room behind.
        busy_until.sort_unstable_by_key(|until| Reverse(*until));
        busy_until.resize(count, now);
        Self {
            free_at: busy_until.into_iter().map(Reverse).collect(),
        }
    }

    /// Gives the runner that is free first work of so many milliseconds, and tells when it begins.
    pub(super) fn give(&mut self, takes: i64, now: i64) -> i64 {
        let Reverse(free_at) = self.free_at.pop().unwrap_or(Reverse(now));
        let starts_at = free_at.max(now);
        self.free_at.push(Reverse(starts_at + takes));
        starts_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_free_again_exactly_when_its_first_create_has_left_it() {
        let mut window = RateWindow::default();
        window.take(0);
        assert!(!window.has_room(1, 60_000, 59_999));
        assert!(window.has_room(1, 60_000, 60_000));
    }

    #[test]
    fn work_goes_to_the_runner_that_is_free_first() {
        let mut runners = Runners::new(2, vec![50], 10);
        assert_eq!(runners.give(100, 10), 10);
        assert_eq!(runners.give(100, 10), 50);
        assert_eq!(runners.give(100, 10), 110);
    }

    #[test]
    fn fewer_runners_than_are_busy_begin_nothing_until_enough_have_ended() {
        let mut runners = Runners::new(1, vec![50, 70, 60], 10);
        assert_eq!(runners.give(100, 10), 70);
    }
}
