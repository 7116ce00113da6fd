//! A failure and how often it happened → again at t, or give up. Whether is apart from when.

use std::time::Duration;

use jiff::Timestamp;

use super::Backoff;

/// Why a call to a provider did not give what it should, named by what can be done about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It will pass: the same call may be repeated later. For a create this says that nothing was accepted.
    #[error("{reason}")]
    Transient {
        /// What happened.
        reason: String,
        /// When the provider said to come back, if it did.
        retry_after: Option<Duration>,
    },
    /// Too many calls: nobody using this key should call before the time has passed.
    #[error("{reason}")]
    RateLimited {
        /// What happened.
        reason: String,
        /// When the provider said to come back, if it did.
        retry_after: Option<Duration>,
    },
    /// The key or the balance was refused: says nothing about the job.
    #[error("{reason}")]
    AccessDenied {
        /// What the provider said, and what to do.
        reason: String,
    },
    /// This request will never be taken.
    #[error("{reason}")]
    Rejected {
        /// What the provider said.
        reason: String,
    },
    /// Nobody knows whether the provider took it. Only a create can end so.
    #[error("{reason}")]
    Unknown {
        /// What happened.
        reason: String,
    },
}

/// How often and how long to try.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// The delays between two tries.
    pub backoff: Backoff,
    /// Paid submissions of one job, at most.
    pub attempts: u32,
    /// Failed downloads in a row before a job is given up; `retry` goes on without paying.
    pub downloads: u32,
}

impl RetryPolicy {
    /// Tells when to try again after the `failures`-th failure in a row: when the server said, else by backoff.
    /// `chance` is in `0.0..1.0`.
    pub fn retry_at(
        &self,
        now: Timestamp,
        failures: u32,
        retry_after: Option<Duration>,
        chance: f64,
    ) -> Timestamp {
        let delay = retry_after.unwrap_or_else(|| self.backoff.delay(failures, chance));
        now.saturating_add(delay).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_retry_after_wins_over_the_backoff() {
        let policy = RetryPolicy {
            backoff: Backoff {
                base: Duration::from_secs(1),
                cap: Duration::from_secs(60),
            },
            attempts: 3,
            downloads: 5,
        };
        let now = Timestamp::UNIX_EPOCH;
        let after = policy.retry_at(now, 6, Some(Duration::from_secs(7)), 0.99);
        assert_eq!(after.as_second(), 7);
        assert!(policy.retry_at(now, 6, None, 0.99).as_second() > 7);
    }
}
