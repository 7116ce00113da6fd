//! How long a pool waits when it can do nothing, and whether it waits at all.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::queue::Backlog;

use super::Pool;

/// Longest time between two claims when nothing is due. The end of a step, or maintenance, causes
/// one long before.
const MAX_SLEEP: Duration = Duration::from_secs(3600);

impl Pool {
    /// Returns whether the pool stays although nothing can be claimed: to watch for new jobs, for
    /// the user's approval of the canary, or for the end of a pause.
    pub(super) fn must_wait(&self, backlog: &Backlog) -> bool {
        let is_paused = self.settings.paused && backlog.queued > 0;
        self.options.watch || self.canary.awaits_answer() || is_paused
    }

    /// Returns how long it takes until a held job can be polled. Without a free worker, the end of a
    /// step comes first.
    pub(super) fn time_until_held_poll(&mut self) -> Duration {
        if self.slots.capacity(self.settings.workers).polls == 0 {
            return MAX_SLEEP;
        }
        let now = self.context.clock.now();
        let next = self.held.next_due(&self.gates, now);
        next.map_or(MAX_SLEEP, |due| {
            due.saturating_duration_since(Instant::now())
        })
    }

    pub(super) fn time_until(&self, due: Option<Timestamp>) -> Duration {
        let Some(due) = due else { return MAX_SLEEP };
        let left = due.duration_since(self.context.clock.now());
        Duration::try_from(left)
            .unwrap_or(Duration::ZERO)
            .min(MAX_SLEEP)
    }
}

/// Returns a timer that ticks at once and then after each period. Missed ticks delay the later
/// ones.
pub(super) fn ticks_every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
