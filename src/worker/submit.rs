//! The submit step: sends one paid submission, once, and returns what became of it. No other step
//! can cost money.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::{Failure, Outcome, ProviderSignal};
use crate::failpoint::fail_point;
use crate::image::ImageError;
use crate::provider::Provider;
use crate::queue::Claim;

use super::StepContext;
use super::completed_step::StepOutcome;

/// Time from a lost response to the first search of the provider's history.
const FIRST_RECONCILE_AFTER: Duration = Duration::from_millis(500);

impl StepContext {
    /// Sends the submission. Its intent is on disk before this is called, and the request is never
    /// repeated here, whatever the response is. Nothing is sent if the claim has a `rejection` or a
    /// local image cannot be read.
    pub(super) async fn submit(&self, claim: &Claim, provider: &dyn Provider) -> StepOutcome {
        if let Some(reason) = claim.rejection.clone() {
            return Outcome::Rejected { reason }.into();
        }
        let submission = match self.build_submission(claim).await {
            Ok(submission) => submission,
            Err(ImageError { reason, transient }) if transient => {
                return refused(reason, self.retry_at(claim, None), true).into();
            }
            Err(ImageError { reason, .. }) => return Outcome::Rejected { reason }.into(),
        };
        fail_point!("submit unsent");
        let response = provider.submit(&submission).await;
        fail_point!("submit read");
        match response {
            Ok(acceptance) => {
                let first_poll = self.poll_plan(claim).next_poll(self.attempt_age(claim));
                let accepted = Outcome::Accepted {
                    prediction: acceptance.prediction,
                    early_cost: acceptance.early_cost,
                    due_at: self.schedule_poll(self.clock.now(), first_poll),
                };
                StepOutcome::from(accepted).with_signal(ProviderSignal::Healthy)
            }
            Err(failure) => self.submit_failed(claim, failure),
        }
    }

    fn submit_failed(&self, claim: &Claim, failure: Failure) -> StepOutcome {
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
                let until = self.provider_retry_at(claim, retry_after);
                // A response with a time applies to every call with this key; one without may only
                // mean that all slots are taken.
                let signal = match retry_after {
                    Some(_) => ProviderSignal::HoldAll { until },
                    None => ProviderSignal::HoldSubmits { until },
                };
                (refused(reason, until, false), signal)
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
                (lost, ProviderSignal::HoldSubmits { until })
            }
        };
        StepOutcome::from(outcome).with_signal(signal)
    }
}

fn refused(reason: String, due_at: Timestamp, counts_as_failure: bool) -> Outcome {
    Outcome::Refused {
        reason,
        due_at,
        counts_as_failure,
    }
}
