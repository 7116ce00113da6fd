//! The steps that only look: at a prediction, and for a lost submission in a provider's history. Neither can cost.

use std::time::Duration;

use crate::domain::{AttemptState, Cost, CostReport, Failure, Outcome, PriceRule, ProviderSignal};
use crate::failpoint::fail_point;
use crate::provider::{LostSubmission, PollResult, Provider, Reconciliation, Submission};
use crate::queue::Claim;

use super::step::{StepOutcome, span};
use super::{PoolError, StepContext};

/// A provider may not know a prediction it has just accepted: users of AI/ML API saw 404 right after a good create.
const MISSING_AT_FIRST: Duration = Duration::from_secs(10 * 60);

/// An outage is waited out, but a look that has failed for a day fails for another reason.
const LONGEST_OUTAGE: Duration = Duration::from_secs(24 * 3600);

/// A history that fails this often in a row is not asked any more; a person decides.
const MOST_SEARCHES_FAILED: u32 = 6;

/// How much longer than its typical time a prediction may run before a history that lists only ended ones proves,
/// by its silence, that there is none.
const ENDED_BY_NOW: u32 = 3;

impl StepContext {
    /// Looks at the prediction.
    pub(super) async fn poll(&self, claim: &Claim, provider: &dyn Provider) -> StepOutcome {
        let Some(prediction) = &claim.attempt.prediction else {
            return Outcome::GaveUp {
                reason: "the prediction id is missing from the queue".into(),
            }
            .into();
        };
        let plan = self.plan(claim);
        let (asked_at, age) = (self.clock.now(), self.age(claim));
        let is_late = age > plan.deadline();
        // Of a clip that is lost long after it was made, only the looks since count.
        let looked_for = span(claim.job.state_since, self.clock.now());
        let was_made = claim.attempt.state == AttemptState::Done;
        let give_up = |what: &str| {
            let reason = format!(
                "{what} (prediction {}); `retry` looks again without paying",
                prediction.prediction_id
            );
            StepOutcome::from(Outcome::GaveUp { reason })
        };
        fail_point!("poll unsent");
        let look = provider
            .poll(prediction, &Submission::from(&claim.attempt))
            .await;
        fail_point!("poll read");
        match look {
            // What was made once is not on its way: its clip is gone, and what was paid stays booked.
            Ok(PollResult::Missing { reason } | PollResult::Failed { reason, .. }) if was_made => {
                give_up(&format!("the clip is gone: {reason}"))
            }
            Ok(PollResult::Running) if is_late => give_up(&format!(
                "{} has not finished it in {} minutes",
                claim.attempt.provider,
                age.as_secs() / 60
            )),
            Ok(PollResult::Running) => {
                // From question to question: an answer that takes its time must not put the next off.
                let due_at = self.schedule_poll(asked_at, plan.next_poll(age));
                Outcome::Wait {
                    due_at: Some(due_at),
                    failure: None,
                }
                .into()
            }
            Ok(PollResult::Done {
                output_url,
                cost,
                processing,
            }) => Outcome::Finished {
                output_url,
                cost: self.settle(claim, cost.or_else(|| claim.attempt.early_cost.clone())),
                processing: plan.processing_time(age, processing),
                due_at: self.clock.now(),
            }
            .into(),
            Ok(PollResult::Failed {
                reason,
                cost,
                retryable,
            }) => {
                let cost = self.settle(claim, cost);
                let is_free = cost.amount == crate::domain::Money::ZERO;
                let again = retryable && is_free && claim.job.attempts < self.policy.attempts;
                let retry_at = again.then(|| self.retry_at(claim, None));
                Outcome::PredictionFailed {
                    reason,
                    cost,
                    retry_at,
                }
                .into()
            }
            Ok(PollResult::Missing { reason }) if age > MISSING_AT_FIRST => give_up(&reason),
            Ok(PollResult::Missing { reason }) => self.wait(claim, reason, None),
            Err(Failure::RateLimited {
                reason,
                retry_after,
            }) => {
                let mut finding = self.wait(claim, reason, retry_after);
                finding.provider_signal = retry_after.map(|delay| ProviderSignal::HoldAll {
                    until: self.after(delay),
                });
                finding
            }
            Err(Failure::AccessDenied { reason }) => {
                let mut finding = self.wait(claim, reason.clone(), None);
                finding.provider_signal = Some(ProviderSignal::Suspend {
                    reason,
                    polls_too: true,
                });
                finding
            }
            Err(Failure::Rejected { reason }) if is_late => give_up(&reason),
            Err(Failure::Transient { reason, .. }) if looked_for > LONGEST_OUTAGE => {
                give_up(&reason)
            }
            Err(Failure::Transient {
                reason,
                retry_after,
            }) => self.wait(claim, reason, retry_after),
            Err(Failure::Rejected { reason } | Failure::Unknown { reason }) => {
                self.wait(claim, reason, None)
            }
        }
    }

    /// Looks for a lost submission in the provider's history.
    pub(super) async fn reconcile(
        &self,
        claim: &Claim,
        provider: &dyn Provider,
    ) -> Result<StepOutcome, PoolError> {
        let (now, sent_at) = (self.clock.now(), claim.attempt.submitted_at);
        let submission = match self.submission(claim).await {
            Ok(submission) => submission,
            // What was sent cannot be told, and nothing that differs from it would prove anything.
            Err(no_image) if claim.job.failures + 1 >= MOST_SEARCHES_FAILED => {
                let failure =
                    format!("{no_image}; nobody can tell whether it was paid: `resolve` it");
                return Ok(Outcome::Wait {
                    due_at: None,
                    failure: Some(failure),
                }
                .into());
            }
            Err(no_image) => return Ok(self.wait(claim, no_image.reason, None)),
        };
        let clock_set_at = self
            .queue
            .last_clock_change()
            .await?
            .filter(|at| *at >= sent_at);
        let mut doubt = LostSubmission {
            submission,
            sent_at,
            clock_was_set: clock_set_at.is_some(),
            now,
            owned: Vec::new(),
        };
        doubt.owned = self
            .queue
            .owned_predictions(claim.attempt.provider, doubt.window().0)
            .await?;
        let plan = self.plan(claim);
        fail_point!("history unsent");
        let trace = provider.reconcile(&doubt).await;
        fail_point!("history read");
        Ok(match trace {
            Ok(Reconciliation::Found(prediction)) => Outcome::Adopted {
                prediction,
                due_at: self.clock.now(),
            }
            .into(),
            Ok(Reconciliation::Ambiguous(ids)) => {
                let failure = format!(
                    "{} has several predictions that may be this job: {}; `resolve` it",
                    claim.attempt.provider,
                    ids.join(", ")
                );
                Outcome::Wait {
                    due_at: None,
                    failure: Some(failure),
                }
                .into()
            }
            Ok(Reconciliation::Absent { lists_running }) => {
                let processing = if lists_running {
                    Duration::ZERO
                } else {
                    plan.typical * ENDED_BY_NOW
                };
                let proof =
                    self.processing_times.history_delay(claim.attempt.provider) + processing;
                // Time that was only set on the clock has not passed at the provider.
                let age = span(clock_set_at.unwrap_or(sent_at), now);
                if age >= proof {
                    Outcome::ProvenAbsent {
                        due_at: self.clock.now(),
                    }
                    .into()
                } else {
                    let pause = (proof / 6)
                        .clamp(plan.shortest, Duration::from_secs(60))
                        .min(proof - age);
                    Outcome::Wait {
                        due_at: Some(self.after(pause)),
                        failure: None,
                    }
                    .into()
                }
            }
            Err(Failure::RateLimited {
                reason,
                retry_after,
            }) => self.wait(claim, reason, retry_after),
            Err(failure) if claim.job.failures + 1 >= MOST_SEARCHES_FAILED => {
                let failure = format!(
                    "no history: {failure}; nobody can tell whether it was paid: `resolve` it"
                );
                Outcome::Wait {
                    due_at: None,
                    failure: Some(failure),
                }
                .into()
            }
            Err(failure) => self.wait(claim, format!("no history: {failure}"), None),
        })
    }

    fn wait(&self, claim: &Claim, failure: String, retry_after: Option<Duration>) -> StepOutcome {
        Outcome::Wait {
            due_at: Some(self.retry_at(claim, retry_after)),
            failure: Some(failure),
        }
        .into()
    }

    fn settle(&self, claim: &Claim, report: Option<CostReport>) -> Cost {
        let route = self
            .catalog
            .route(claim.attempt.provider, &claim.attempt.wire_model);
        // A route that has left the catalogue since still has the price it was reserved at.
        let rule = route.map_or_else(PriceRule::default, |route| route.price.clone());
        rule.settle(report.as_ref(), claim.attempt.estimate)
    }
}
