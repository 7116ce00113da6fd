//! The one step that costs money: send the create call, once, and tell what became of it.

use std::time::Duration;

use crate::domain::{Failure, Outcome, ProviderSignal};
use crate::failpoint::fail_point;
use crate::image::ImageError;
use crate::provider::Provider;
use crate::queue::Claim;

use super::StepContext;
use super::step::StepOutcome;

/// How soon a lost answer is first looked for in the provider's history.
const FIRST_SEARCH: Duration = Duration::from_millis(500);

impl StepContext {
    /// Sends the create call. The intent is on disk already; whatever happens here, it is never sent twice from here.
    pub(super) async fn submit(&self, claim: &Claim, provider: &dyn Provider) -> StepOutcome {
        if let Some(reason) = claim.rejection.clone() {
            return Outcome::Rejected { reason }.into();
        }
        let submission = match self.submission(claim).await {
            Ok(submission) => submission,
            Err(ImageError {
                reason,
                transient: true,
            }) => {
                let due_at = self.retry_at(claim, None);
                return Outcome::Refused {
                    reason,
                    due_at,
                    counted: true,
                }
                .into();
            }
            Err(ImageError { reason, .. }) => return Outcome::Rejected { reason }.into(),
        };
        fail_point!("submit unsent");
        let answer = provider.submit(&submission).await;
        fail_point!("submit read");
        let failure = match answer {
            Ok(acceptance) => {
                let due_at = self.schedule_poll(
                    self.clock.now(),
                    self.plan(claim).next_poll(self.age(claim)),
                );
                let (prediction, early_cost) = (acceptance.prediction, acceptance.early_cost);
                return StepOutcome {
                    outcome: Outcome::Accepted {
                        prediction,
                        early_cost,
                        due_at,
                    },
                    provider_signal: Some(ProviderSignal::Healthy),
                };
            }
            Err(failure) => failure,
        };
        match failure {
            Failure::Transient {
                reason,
                retry_after,
            } => {
                let provider_signal = ProviderSignal::HoldSubmits {
                    until: self.gate_until(claim, retry_after),
                };
                let due_at = self.retry_at(claim, retry_after);
                StepOutcome {
                    outcome: Outcome::Refused {
                        reason,
                        due_at,
                        counted: true,
                    },
                    provider_signal: Some(provider_signal),
                }
            }
            Failure::RateLimited {
                reason,
                retry_after,
            } => {
                let until = self.gate_until(claim, retry_after);
                // With a time the provider means every call of this key; without one it may only lack a slot.
                let provider_signal = if retry_after.is_some() {
                    ProviderSignal::HoldAll { until }
                } else {
                    ProviderSignal::HoldSubmits { until }
                };
                StepOutcome {
                    outcome: Outcome::Refused {
                        reason,
                        due_at: until,
                        counted: false,
                    },
                    provider_signal: Some(provider_signal),
                }
            }
            Failure::AccessDenied { reason } => StepOutcome {
                outcome: Outcome::Refused {
                    reason: reason.clone(),
                    due_at: self.clock.now(),
                    counted: false,
                },
                provider_signal: Some(ProviderSignal::Suspend {
                    reason,
                    polls_too: false,
                }),
            },
            Failure::Rejected { reason } => StepOutcome {
                outcome: Outcome::Rejected { reason },
                provider_signal: Some(ProviderSignal::Healthy),
            },
            Failure::Unknown { reason } => StepOutcome {
                outcome: Outcome::LostResponse {
                    reason,
                    due_at: self.after(FIRST_SEARCH),
                },
                provider_signal: Some(ProviderSignal::HoldSubmits {
                    until: self.gate_until(claim, None),
                }),
            },
        }
    }

    /// When the provider's gate opens again: when it said, else by the backoff of its failures in a row.
    fn gate_until(&self, claim: &Claim, retry_after: Option<Duration>) -> jiff::Timestamp {
        self.policy.retry_at(
            self.clock.now(),
            claim.provider_failures + 1,
            retry_after,
            fastrand::f64(),
        )
    }
}
