//! When things are due: the next poll, the next retry, and how long a prediction has been running.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::PollPlan;
use crate::queue::Claim;

use super::StepContext;
use super::processing_times::RouteKey;

/// Polls are scheduled on multiples of this many milliseconds, so that several fall due together:
/// they are then claimed together and recorded in few commits.
const POLL_GRID_MS: i64 = 50;

/// Shortest wait that is rounded to the grid. With shorter ones the rounding would be noticeable.
const MIN_WAIT_FOR_GRID: Duration = Duration::from_secs(1);

impl StepContext {
    /// Returns the poll plan for the claim's prediction.
    pub(super) fn poll_plan(&self, claim: &Claim) -> Arc<PollPlan> {
        self.processing_times.plan(&self.catalog, &claim.into())
    }

    /// Returns the time since the claim's attempt was submitted.
    pub(super) fn attempt_age(&self, claim: &Claim) -> Duration {
        elapsed(claim.attempt.submitted_at, self.clock.now())
    }

    /// Returns when to retry after one more failure of the claim's step. `retry_after` is the delay
    /// that the provider asked for, if it did.
    pub(super) fn retry_at(&self, claim: &Claim, retry_after: Option<Duration>) -> Timestamp {
        self.retry_after_failures(claim.job.progress.failures + 1, retry_after)
    }

    /// Returns when submissions to the claim's provider may be sent again: when the provider asked
    /// for it, else after a backoff that grows with its failures in a row.
    pub(super) fn provider_retry_at(
        &self,
        claim: &Claim,
        retry_after: Option<Duration>,
    ) -> Timestamp {
        self.retry_after_failures(claim.provider_failures + 1, retry_after)
    }

    /// Returns when to retry after the given number of failures in a row.
    pub(super) fn retry_after_failures(
        &self,
        failures: u32,
        retry_after: Option<Duration>,
    ) -> Timestamp {
        let now = self.clock.now();
        self.policy
            .retry_at(now, failures, retry_after, fastrand::f64())
    }

    /// Returns when to poll a prediction next: `wait` after the last poll, rounded to the nearest
    /// multiple of [`POLL_GRID_MS`] unless that would be less than the configured minimum after the
    /// last poll.
    pub(super) fn schedule_poll(&self, last_poll: Timestamp, wait: Duration) -> Timestamp {
        let exact = last_poll.saturating_add(wait).unwrap_or(Timestamp::MAX);
        let slot = (exact.as_millisecond() + POLL_GRID_MS / 2) / POLL_GRID_MS;
        let rounded = Timestamp::from_millisecond(slot * POLL_GRID_MS).unwrap_or(exact);
        let is_too_soon = elapsed(last_poll, rounded) < self.processing_times.poll_min;
        if wait < MIN_WAIT_FOR_GRID || is_too_soon {
            exact
        } else {
            rounded
        }
    }

    /// Returns the time `delay` from now.
    pub(super) fn after(&self, delay: Duration) -> Timestamp {
        self.clock
            .now()
            .saturating_add(delay)
            .unwrap_or(Timestamp::MAX)
    }
}

impl From<&Claim> for RouteKey {
    fn from(claim: &Claim) -> Self {
        Self {
            provider: claim.attempt.provider,
            wire_model: claim.attempt.wire_model.clone(),
            clip_s: claim.job.input.duration(),
        }
    }
}

/// Returns the time between two instants; zero if the clock was set back between them.
pub(super) fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from).max(SignedDuration::ZERO)).unwrap_or(Duration::ZERO)
}
