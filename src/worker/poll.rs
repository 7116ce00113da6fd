//! The poll step: asks a provider about one prediction. It is free of charge.

use std::time::Duration;

use crate::domain::{
    AttemptState, Cost, CostReport, Failure, Money, Outcome, PollPlan, PredictionHandle, PriceRule,
    ProviderSignal,
};
use crate::failpoint::fail_point;
use crate::provider::{PollResult, Provider};
use crate::queue::Claim;

use super::StepContext;
use super::completed_step::StepOutcome;
use super::timing::elapsed;

/// How long a 404 for a newly accepted prediction is treated as temporary: users of AI/ML API saw
/// 404 right after a successful create call.
const MISSING_GRACE: Duration = Duration::from_secs(10 * 60);

/// Maximum time in `running` during which failed polls of the transient kind are repeated. A poll
/// that fails after a day fails for another reason than an outage. A prediction that the provider
/// still reports as running is given up by [`PollPlan::deadline`] instead.
const MAX_OUTAGE: Duration = Duration::from_secs(24 * 3600);

impl StepContext {
    /// Polls the claim's prediction once.
    pub(super) async fn poll(&self, claim: &Claim, provider: &dyn Provider) -> StepOutcome {
        let Some(prediction) = &claim.attempt.progress.prediction else {
            let reason = "the prediction id is missing from the queue".into();
            return Outcome::GaveUp { reason }.into();
        };
        let polled_at = self.clock.now();
        fail_point!("poll unsent");
        let response = provider.poll(prediction, &claim.attempt.wire_model).await;
        fail_point!("poll read");
        let poll = Poll {
            context: self,
            claim,
            prediction,
            plan: &self.poll_plan(claim),
            polled_at,
            age: elapsed(claim.attempt.submitted_at, polled_at),
            polling_for: elapsed(claim.job.progress.state_since, polled_at),
        };
        match response {
            Ok(result) => poll.answered(result),
            Err(failure) => poll.failed(failure),
        }
    }

    /// Returns the outcome of a poll or search that failed and is retried.
    pub(super) fn retry_later(
        &self,
        claim: &Claim,
        failure: String,
        retry_after: Option<Duration>,
    ) -> StepOutcome {
        let due_at = Some(self.retry_at(claim, retry_after));
        Outcome::Wait {
            due_at,
            failure: Some(failure),
        }
        .into()
    }
}

/// A poll whose response is being interpreted.
struct Poll<'a> {
    context: &'a StepContext,
    claim: &'a Claim,
    prediction: &'a PredictionHandle,
    plan: &'a PollPlan,
    /// When the request was sent.
    polled_at: jiff::Timestamp,
    /// Age of the attempt at that time.
    age: Duration,
    /// Time since the job became `running`. Shorter than `age` if it is polled again later, for a
    /// fresh link or after a retry.
    polling_for: Duration,
}

impl Poll<'_> {
    fn answered(&self, result: PollResult) -> StepOutcome {
        let is_late = self.age > self.plan.deadline();
        // A prediction that was done once is not still running: its clip is gone, and what it cost
        // stays booked.
        let was_done = self.claim.attempt.progress.state == AttemptState::Done;
        match result {
            PollResult::Missing { reason } | PollResult::Failed { reason, .. } if was_done => {
                self.give_up(&format!("the clip is gone: {reason}"))
            }
            PollResult::Running if is_late => self.give_up(&format!(
                "{} has not finished it in {} minutes",
                self.claim.attempt.provider,
                self.age.as_secs() / 60
            )),
            PollResult::Running => {
                // Counted from request to request: a slow response must not delay the next poll.
                let wait = self.plan.next_poll(self.age);
                let due_at = Some(self.context.schedule_poll(self.polled_at, wait));
                Outcome::Wait {
                    due_at,
                    failure: None,
                }
                .into()
            }
            PollResult::Done {
                output_url,
                cost,
                processing,
            } => {
                let cost = cost.or_else(|| self.claim.attempt.progress.early_cost.clone());
                Outcome::Finished {
                    output_url,
                    cost: self.settle(cost),
                    processing: self.plan.processing_time(self.age, processing),
                    due_at: self.context.clock.now(),
                }
                .into()
            }
            PollResult::Failed {
                reason,
                cost,
                retryable,
            } => {
                let cost = self.settle(cost);
                let is_free = cost.amount == Money::ZERO;
                let attempts = self.claim.job.progress.attempts;
                let outcome = if retryable && is_free && attempts < self.context.policy.max_attempts
                {
                    Outcome::FailedUnbilled {
                        reason,
                        source: cost.source,
                        due_at: self.context.retry_at(self.claim, None),
                    }
                } else {
                    Outcome::PredictionFailed { reason, cost }
                };
                outcome.into()
            }
            PollResult::Missing { reason } if self.age > MISSING_GRACE => self.give_up(&reason),
            PollResult::Missing { reason } => self.retry(reason, None),
        }
    }

    fn failed(&self, failure: Failure) -> StepOutcome {
        let is_late = self.age > self.plan.deadline();
        match failure {
            Failure::RateLimited {
                reason,
                retry_after,
            } => {
                let result = self.retry(reason, retry_after);
                match retry_after.map(|delay| self.context.after(delay)) {
                    Some(until) => result.with_signal(ProviderSignal::HoldAll { until }),
                    None => result,
                }
            }
            // Only submissions are locked or short of money: what was accepted is polled.
            Failure::Locked { reason } | Failure::BalanceInUse { reason } => {
                self.retry(reason, None)
            }
            Failure::AccessDenied { reason } => {
                let signal = ProviderSignal::Suspend {
                    reason: reason.clone(),
                    polls_too: true,
                };
                self.retry(reason, None).with_signal(signal)
            }
            Failure::Rejected { reason } if is_late => self.give_up(&reason),
            Failure::Transient { reason, .. } if self.polling_for > MAX_OUTAGE => {
                self.give_up(&reason)
            }
            Failure::Transient {
                reason,
                retry_after,
            } => self.retry(reason, retry_after),
            Failure::Rejected { reason } | Failure::Unknown { reason } => self.retry(reason, None),
        }
    }

    fn retry(&self, failure: String, retry_after: Option<Duration>) -> StepOutcome {
        self.context.retry_later(self.claim, failure, retry_after)
    }

    fn give_up(&self, problem: &str) -> StepOutcome {
        let prediction_id = &self.prediction.prediction_id;
        let reason = format!("{problem} (prediction {prediction_id})");
        Outcome::GaveUp { reason }.into()
    }

    /// Returns what the prediction cost: what the provider reported, converted at the rates of
    /// today's catalogue, else the estimate that was reserved for the attempt.
    fn settle(&self, report: Option<CostReport>) -> Cost {
        let attempt = &self.claim.attempt;
        let route = self
            .context
            .catalog
            .route(attempt.provider, &attempt.wire_model);
        // A route that is no longer in the catalogue still has the price that was reserved.
        let rule = route.map_or_else(PriceRule::default, |route| route.price.clone());
        rule.settle(report.as_ref(), attempt.progress.estimate)
    }
}
