//! The poll step: asks a provider about one prediction. It is free of charge.

use std::time::Duration;

use crate::domain::redact::quote;
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
            Ok(PollResult::Queued { position }) => poll.queued(position, provider).await,
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
pub(super) struct Poll<'a> {
    pub(super) context: &'a StepContext,
    pub(super) claim: &'a Claim,
    pub(super) prediction: &'a PredictionHandle,
    pub(super) plan: &'a PollPlan,
    /// When the request was sent.
    polled_at: jiff::Timestamp,
    /// Age of the attempt at that time.
    pub(super) age: Duration,
    /// Time since the job became `running`. Shorter than `age` if it is polled again later, for a
    /// fresh link or after a retry.
    polling_for: Duration,
}

impl Poll<'_> {
    /// Interprets a response that is about the prediction.
    pub(super) fn answered(&self, result: PollResult) -> StepOutcome {
        let was_done = self.was_done();
        match result {
            PollResult::Missing { reason } | PollResult::Failed { reason, .. } if was_done => {
                self.give_up(&format!("the clip is gone: {reason}"))
            }
            PollResult::Running | PollResult::Queued { .. } if self.is_late() => {
                self.give_up(&format!(
                    "{} has not finished it in {} minutes",
                    self.claim.attempt.provider,
                    self.age.as_secs() / 60
                ))
            }
            PollResult::Running | PollResult::Queued { .. } => Outcome::Wait {
                due_at: Some(self.next_poll()),
                failure: None,
            }
            .into(),
            PollResult::Done {
                output_url,
                cost,
                processing,
            } => self.finished(Some(output_url), cost, processing),
            PollResult::DoneWithoutLink { response, .. } if was_done && self.is_last_failure() => {
                let response = quote(&response, &self.claim.job.input);
                self.give_up(&format!(
                    "{} finished it without a usable link, {} times in a row: `{response}`",
                    self.claim.attempt.provider, self.context.policy.max_downloads
                ))
            }
            PollResult::DoneWithoutLink {
                cost, processing, ..
            } => self.finished(None, cost, processing),
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

    /// Returns the outcome of a prediction that is done: its slot is free and its cost booked.
    /// Without a link, the download step sends the job back for another poll.
    fn finished(
        &self,
        output_url: Option<String>,
        cost: Option<CostReport>,
        processing: Option<Duration>,
    ) -> StepOutcome {
        let cost = cost.or_else(|| self.claim.attempt.progress.early_cost.clone());
        Outcome::Finished {
            output_url,
            cost: self.settle(cost),
            processing: self.plan.processing_time(self.age, processing),
            due_at: self.context.clock.now(),
        }
        .into()
    }

    /// Returns whether the prediction was done once. It is not still running then: if its clip is
    /// gone, what it cost stays booked.
    pub(super) fn was_done(&self) -> bool {
        self.claim.attempt.progress.state == AttemptState::Done
    }

    /// Returns whether a prediction that has not ended is given up.
    pub(super) fn is_late(&self) -> bool {
        self.age > self.plan.deadline()
    }

    /// Returns when to poll a prediction again that has not ended.
    pub(super) fn next_poll(&self) -> jiff::Timestamp {
        // Counted from request to request: a slow response must not delay the next poll.
        let wait = self.plan.next_poll(self.age);
        self.context.schedule_poll(self.polled_at, wait)
    }

    /// Returns whether one more failure of the finished clip uses up its retries.
    fn is_last_failure(&self) -> bool {
        self.claim.job.progress.failures + 1 >= self.context.policy.max_downloads
    }

    fn failed(&self, failure: Failure) -> StepOutcome {
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
            Failure::Rejected { reason } if self.is_late() => self.give_up(&reason),
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

    pub(super) fn give_up(&self, problem: &str) -> StepOutcome {
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
