//! The submit step: sends one paid submission, once, and returns what became of it. No other step
//! can cost money.

use crate::domain::{Failure, Outcome, ProviderSignal};
use crate::failpoint::fail_point;
use crate::image::ImageError;
use crate::provider::Provider;
use crate::queue::Claim;

use super::StepContext;
use super::completed_step::StepOutcome;
use super::submit_failure::refused;

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
            Err(failure) => {
                let failure = with_balance(failure, provider).await;
                self.submit_failed(claim, failure)
            }
        }
    }
}

/// Adds the balance to a refusal of money, if the provider tells it.
async fn with_balance(failure: Failure, provider: &dyn Provider) -> Failure {
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
