//! What a failed submission means for its job, and for other calls to the provider.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::{Failure, Outcome, ProviderSignal};
use crate::provider::Provider;
use crate::queue::Claim;

use super::StepContext;
use super::completed_step::StepOutcome;

/// Time from a lost response to the first search of the provider's history.
const FIRST_RECONCILE_AFTER: Duration = Duration::from_millis(500);

impl StepContext {
    /// Returns the outcome of a submission that failed, and what it revealed about the provider.
    pub(super) fn submit_failed(&self, claim: &Claim, failure: Failure) -> StepOutcome {
        let (outcome, signal) = match failure {
            Failure::Transient {
                reason,
                retry_after,
            } => {
                let until = self.provider_retry_at(claim, retry_after);
                let refused = refused(reason, self.retry_at(claim, retry_after), true);
                (refused, ProviderSignal::HoldSubmits { until })
            }
            Failure::RateLimited {
                reason,
                retry_after,
            } => {
                // A submission that was claimed after a refusal, and is refused as well. Several that
                // were sent together are one refusal.
                let is_repeated = claim.provider_failures > 0;
                let mut until = self.provider_retry_at(claim, retry_after);
                if is_repeated && retry_after.is_none() {
                    until = until.max(self.after(self.policy.silence));
                }
                let signal = ProviderSignal::LimitSubmits {
                    until,
                    reason: reason.clone(),
                    is_repeated,
                };
                (refused(reason, until, false), signal)
            }
            Failure::Locked { reason } => {
                let until = self.after(self.policy.locked_route);
                let refused = refused(reason.clone(), self.clock.now(), false);
                (refused, ProviderSignal::HoldRoute { until, reason })
            }
            Failure::BalanceInUse { reason } => {
                let refused = refused(reason.clone(), self.clock.now(), false);
                (refused, ProviderSignal::BalanceInUse { reason })
            }
            Failure::AccessDenied { reason } => {
                let refused = refused(reason.clone(), self.clock.now(), false);
                let polls_too = false;
                (refused, ProviderSignal::Suspend { reason, polls_too })
            }
            Failure::Rejected { reason } => (Outcome::Rejected { reason }, ProviderSignal::Healthy),
            Failure::Unknown { reason } => {
                let until = self.provider_retry_at(claim, None);
                let due_at = self.after(FIRST_RECONCILE_AFTER);
                let lost = Outcome::LostResponse { reason, due_at };
                let at = self.clock.now();
                (lost, ProviderSignal::LostResponse { until, at })
            }
        };
        StepOutcome::from(outcome).with_signal(signal)
    }
}

/// Returns the outcome of a submission that was not accepted, for now.
pub(super) fn refused(reason: String, due_at: Timestamp, counts_as_failure: bool) -> Outcome {
    Outcome::Refused {
        reason,
        due_at,
        counts_as_failure,
    }
}

/// Adds the balance to a refusal of money, if the provider tells it.
pub(super) async fn with_balance(failure: Failure, provider: &dyn Provider) -> Failure {
    let is_about_money = matches!(
        failure,
        Failure::AccessDenied { .. } | Failure::BalanceInUse { .. } | Failure::Locked { .. }
    );
    let balance = if is_about_money {
        provider.balance().await
    } else {
        None
    };
    let Some(balance) = balance else {
        return failure;
    };
    let add = |reason: String| format!("{reason} (balance ${balance:#})");
    match failure {
        Failure::AccessDenied { reason } => Failure::AccessDenied {
            reason: add(reason),
        },
        Failure::BalanceInUse { reason } => Failure::BalanceInUse {
            reason: add(reason),
        },
        Failure::Locked { reason } => Failure::Locked {
            reason: add(reason),
        },
        other => other,
    }
}
