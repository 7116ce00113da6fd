//! Failed calls to a provider: whether they may be repeated is the variant of [`Failure`], when they
//! are is decided by [`RetryPolicy::retry_at`].

use std::time::Duration;

use jiff::Timestamp;

use super::Backoff;

/// Why a call to a provider failed, named by what the caller can do about it. The reasons are shown
/// to the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The same call may be repeated later; a submission was certainly not accepted.
    #[error("{reason}")]
    Transient {
        /// What happened.
        reason: String,
        /// The delay the provider asked for; `None` if it named none.
        retry_after: Option<Duration>,
    },
    /// The provider limits the calls of this key; no call should be made before the delay has
    /// passed. Nothing was accepted.
    #[error("{reason}")]
    RateLimited {
        /// What happened.
        reason: String,
        /// The delay the provider asked for; `None` if it named none.
        retry_after: Option<Duration>,
    },
    /// The provider denied access because of the key or the balance. Nothing was accepted.
    #[error("{reason}")]
    AccessDenied {
        /// What the provider reported, and what the user can do about it.
        reason: String,
    },
    /// The provider has locked the account, which it may do for one model only, and for a time.
    /// Nothing was accepted.
    #[error("{reason}")]
    Locked {
        /// What the provider reported.
        reason: String,
    },
    /// The balance does not cover one more prediction beside those in progress. Nothing was
    /// accepted.
    #[error("{reason}")]
    BalanceInUse {
        /// What the provider reported, and what the user can do about it.
        reason: String,
    },
    /// The provider will never accept this request.
    #[error("{reason}")]
    Rejected {
        /// What the provider reported.
        reason: String,
    },
    /// The provider may have accepted the request: a submission must be reconciled before it is
    /// repeated.
    #[error("{reason}")]
    Unknown {
        /// What happened.
        reason: String,
    },
}

/// How often, and after which delays, failed work is repeated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Delays after consecutive failures for which the server named no delay.
    pub backoff: Backoff,
    /// Maximum number of submissions of one job that a provider accepted or may have accepted; after
    /// that, a prediction that fails without being billed is not submitted again. Refused and absent
    /// submissions do not count and are not limited.
    pub max_attempts: u32,
    /// Number of consecutive failed downloads after which the job fails. Retrying it resumes the
    /// download without paying again.
    pub max_downloads: u32,
    /// How long nothing is submitted to a provider that limits submissions twice in a row and names
    /// no delay. At a low balance each::labs refuses a submission that comes sooner.
    pub silence: Duration,
    /// How long nothing is submitted on a route that the provider has locked.
    pub locked_route: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            backoff: Backoff {
                base: Duration::from_secs(1),
                cap: Duration::from_secs(60),
            },
            max_attempts: 3,
            max_downloads: 8,
            silence: Duration::from_secs(120),
            locked_route: Duration::from_secs(3600),
        }
    }
}

impl RetryPolicy {
    /// Returns when to try again after the `failures`-th consecutive failure, counted from 1: after
    /// `retry_after` if the server sent one, else after the backoff.
    ///
    /// `random` is a random number in `0.0..1.0` and selects the jitter; see [`Backoff::delay`].
    pub fn retry_at(
        &self,
        now: Timestamp,
        failures: u32,
        retry_after: Option<Duration>,
        random: f64,
    ) -> Timestamp {
        let delay = retry_after.unwrap_or_else(|| self.backoff.delay(failures, random));
        now.saturating_add(delay).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_retry_after_of_the_server_takes_precedence_over_the_backoff() {
        let policy = RetryPolicy {
            backoff: Backoff {
                base: Duration::from_secs(1),
                cap: Duration::from_secs(60),
            },
            ..RetryPolicy::default()
        };
        let now = Timestamp::UNIX_EPOCH;
        let retry_at = policy.retry_at(now, 6, Some(Duration::from_secs(7)), 0.99);
        assert_eq!(retry_at.as_second(), 7);
        assert!(policy.retry_at(now, 6, None, 0.99).as_second() > 7);
    }
}
