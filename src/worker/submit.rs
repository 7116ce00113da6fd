//! The one step that costs money: send the create call, once, and tell what became of it.

use std::time::Duration;

use crate::cut::cut;
use crate::domain::{Failure, Gate, Outcome};
use crate::image::NoImage;
use crate::provider::Provider;
use crate::queue::Claim;

use super::Tools;
use super::step::Finding;

/// How soon a lost answer is first looked for in the provider's history.
const FIRST_SEARCH: Duration = Duration::from_millis(500);

impl Tools {
    /// Sends the create call. The intent is on disk already; whatever happens here, it is never sent twice from here.
    pub(super) async fn submit(&self, claim: &Claim, provider: &dyn Provider) -> Finding {
        if let Some(reason) = claim.refusal.clone() {
            return Outcome::Rejected { reason }.into();
        }
        let submission = match self.submission(claim).await {
            Ok(submission) => submission,
            Err(NoImage { reason, may_pass: true }) => {
                let due_at = self.again_at(claim, None);
                return Outcome::Refused { reason, due_at, counted: true }.into();
            }
            Err(NoImage { reason, .. }) => return Outcome::Rejected { reason }.into(),
        };
        cut!("create unsent");
        let answer = provider.submit(&submission).await;
        cut!("create read");
        let failure = match answer {
            Ok(acceptance) => {
                let due_at = self.look_after(self.clock.now(), self.plan(claim).next_look(self.age(claim)));
                let (prediction, early_cost) = (acceptance.prediction, acceptance.early_cost);
                return Finding {
                    outcome: Outcome::Accepted { prediction, early_cost, due_at },
                    gate: Some(Gate::Open),
                };
            }
            Err(failure) => failure,
        };
        match failure {
            Failure::Transient { reason, retry_after } => {
                let gate = Gate::Creates { until: self.gate_until(claim, retry_after) };
                let due_at = self.again_at(claim, retry_after);
                Finding { outcome: Outcome::Refused { reason, due_at, counted: true }, gate: Some(gate) }
            }
            Failure::RateLimited { reason, retry_after } => {
                let until = self.gate_until(claim, retry_after);
                // With a time the provider means every call of this key; without one it may only lack a slot.
                let gate =
                    if retry_after.is_some() { Gate::Calls { until } } else { Gate::Creates { until } };
                Finding {
                    outcome: Outcome::Refused { reason, due_at: until, counted: false },
                    gate: Some(gate),
                }
            }
            Failure::Closed { reason } => Finding {
                outcome: Outcome::Refused {
                    reason: reason.clone(),
                    due_at: self.clock.now(),
                    counted: false,
                },
                gate: Some(Gate::Paused { reason, looks_too: false }),
            },
            Failure::Rejected { reason } => {
                Finding { outcome: Outcome::Rejected { reason }, gate: Some(Gate::Open) }
            }
            Failure::Unknown { reason } => Finding {
                outcome: Outcome::LostAnswer { reason, due_at: self.after(FIRST_SEARCH) },
                gate: Some(Gate::Creates { until: self.gate_until(claim, None) }),
            },
        }
    }

    /// When the provider's gate opens again: when it said, else by the backoff of its failures in a row.
    fn gate_until(&self, claim: &Claim, retry_after: Option<Duration>) -> jiff::Timestamp {
        self.policy.again_at(self.clock.now(), claim.provider_failures + 1, retry_after, fastrand::f64())
    }
}
