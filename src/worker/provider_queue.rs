//! Predictions that wait in a provider's queue and do not start.
//!
//! While one waits for long, nothing more is submitted to its provider: the queue does not move, and
//! every further submission would only wait behind it. The jobs go to another provider, or wait
//! where they can still be changed at no cost. One that has not started when a prediction is given up
//! is cancelled first, so that it cannot start, and be billed, after the job has gone on.

use std::time::Duration;

use crate::domain::{CostReport, Outcome, ProviderSignal};
use crate::provider::{Cancellation, PollResult, Provider};

use super::completed_step::StepOutcome;
use super::poll::Poll;

/// A prediction waits for long if it has not started after this part of the time after which it is
/// given up: three usual processing times, and at least seven minutes.
const LONG_WAIT_DIVISOR: u32 = 4;

/// How long after the next poll of a prediction that waits for long its provider is held, so that the
/// hold does not end before that poll has shown whether it still waits.
const HOLD_MARGIN: Duration = Duration::from_secs(10);

impl Poll<'_> {
    /// Interprets a response that the prediction waits in the provider's queue.
    pub(super) async fn queued(
        &self,
        position: Option<u64>,
        provider: &dyn Provider,
    ) -> StepOutcome {
        if self.was_done() || self.age < self.plan.deadline() / LONG_WAIT_DIVISOR {
            return self.answered(PollResult::Queued { position });
        }
        if self.is_late() {
            return self.cancel_queued(position, provider).await;
        }
        let due_at = self.next_poll();
        let until = due_at.saturating_add(HOLD_MARGIN).unwrap_or(due_at);
        let waiting = Outcome::Wait {
            due_at: Some(due_at),
            failure: Some(self.describe_wait(position)),
        };
        StepOutcome::from(waiting).with_signal(ProviderSignal::HoldSubmits { until })
    }

    /// Cancels the prediction at the provider. If it never ran, nothing is booked, and the job is
    /// submitted again as after any other failure of the provider. Otherwise the job fails, and a
    /// retry polls the prediction again.
    async fn cancel_queued(&self, position: Option<u64>, provider: &dyn Provider) -> StepOutcome {
        let wait = self.describe_wait(position);
        let wire_model = &self.claim.attempt.wire_model;
        let cancelled = provider.cancel(self.prediction, wire_model).await;
        let unconfirmed = match cancelled {
            Ok(Cancellation::NeverRan) => None,
            Ok(Cancellation::Requested) => Some("it may have started meanwhile".to_owned()),
            Err(failure) => Some(failure.to_string()),
        };
        let outcome = match unconfirmed {
            None => self.answered(PollResult::Failed {
                reason: format!("{wait}; cancelled before it ran, so it costs nothing"),
                cost: Some(CostReport::ZERO),
                retryable: true,
            }),
            // It may have started, and even ended, just before it was cancelled.
            Some(reason) => match provider.poll(self.prediction, wire_model).await {
                Ok(done @ (PollResult::Done { .. } | PollResult::DoneWithoutLink { .. })) => {
                    return self.answered(done);
                }
                _ => self.give_up(&format!(
                    "{wait}; its cancellation is not confirmed: {reason}"
                )),
            },
        };
        // One usual processing time later it may have moved, and what is submitted then is watched
        // likewise.
        let until = self.context.after(self.plan.median);
        outcome.with_signal(ProviderSignal::HoldSubmits { until })
    }

    fn describe_wait(&self, position: Option<u64>) -> String {
        let provider = self.claim.attempt.provider;
        let minutes = self.age.as_secs() / 60;
        let position =
            position.map_or(String::new(), |position| format!(" at position {position}"));
        format!("it waits in {provider}'s queue{position}, for {minutes} minutes now")
    }
}
