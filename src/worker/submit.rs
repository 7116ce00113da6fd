//! The submit step: sends one paid submission, once, and returns what became of it. No other step
//! can cost money.

use crate::domain::{Outcome, ProviderSignal};
use crate::failpoint::fail_point;
use crate::image::ImageError;
use crate::provider::Provider;
use crate::queue::Claim;

use super::StepContext;
use super::completed_step::StepOutcome;
use super::lease_end::LeaseEnd;
use super::submit_failure::{refused, with_balance};

impl StepContext {
    /// Sends the submission. Its intent is on disk before this is called, and the request is never
    /// repeated here, whatever the response is. Nothing is sent if the claim has a `rejection` or a
    /// local image cannot be read. Returns `None`, and sends nothing, if the lease ends too soon.
    pub(super) async fn submit(
        &self,
        claim: &Claim,
        provider: &dyn Provider,
        lease: LeaseEnd,
    ) -> Option<StepOutcome> {
        if let Some(reason) = claim.rejection.clone() {
            return Some(Outcome::Rejected { reason }.into());
        }
        let submission = match self.build_submission(claim).await {
            Ok(submission) => submission,
            Err(ImageError { reason, transient }) if transient => {
                return Some(refused(reason, self.retry_at(claim, None), true).into());
            }
            Err(ImageError { reason, .. }) => return Some(Outcome::Rejected { reason }.into()),
        };
        fail_point!("submit unsent");
        // Reading an image takes a while, and a machine may fall asleep at any time.
        if !lease.allows_submit() {
            return None;
        }
        let response = provider.submit(&submission).await;
        fail_point!("submit read");
        Some(match response {
            Ok(acceptance) => {
                let first_poll = self.poll_plan(claim).next_poll(self.attempt_age(claim));
                let accepted = Outcome::Accepted {
                    prediction: acceptance.prediction,
                    early_cost: acceptance.early_cost,
                    due_at: self.schedule_poll(self.clock.now(), first_poll),
                };
                StepOutcome::from(accepted).with_signal(ProviderSignal::Healthy)
            }
            Err(failure) => self.submit_failed(claim, with_balance(failure, provider).await),
        })
    }
}
