//! The reconcile step: searches a provider's history for a submission whose response was lost. It
//! is free of charge.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::{Attempt, Failure, LaterSubmissions, Outcome, ProviderSignal};
use crate::failpoint::fail_point;
use crate::policy::claim::attempt_digest;
use crate::policy::reconcile::{self, Absence, HoldReason, Verdict};
use crate::provider::{AbsenceEvidence, LostSubmission, Provider, Reconciliation, Submission};
use crate::queue::{self, Claim};

use super::completed_step::StepOutcome;
use super::timing::elapsed;
use super::{PoolError, StepContext};

/// Number of failed searches in a row after which the job waits for the user's decision.
const MAX_FAILED_SEARCHES: u32 = 6;

/// How long after a submission was sent it may arrive: a submit call ends after a minute.
const MAX_CALL: Duration = Duration::from_secs(60);

/// Added to that for submissions that were sent at the same time.
const ARRIVAL_MARGIN: Duration = Duration::from_millis(500);

impl StepContext {
    /// Searches the provider's history once for the claim's attempt.
    ///
    /// # Errors
    /// Returns the queue's error if it cannot be read.
    pub(super) async fn reconcile(
        &self,
        claim: &Claim,
        provider: &dyn Provider,
    ) -> Result<StepOutcome, PoolError> {
        let provider_name = claim.attempt.provider;
        let submitted_at = claim.attempt.submitted_at;
        let is_last_try = claim.job.progress.failures + 1 >= MAX_FAILED_SEARCHES;
        let submission = match self.build_submission(claim).await {
            Ok(submission) => submission,
            // Without the image, the request that was sent cannot be rebuilt, and no other request
            // would prove anything.
            Err(error) if is_last_try => {
                return Ok(hold(format!("{error}; it is unknown whether it was paid")));
            }
            Err(error) => return Ok(self.retry_later(claim, error.reason, None)),
        };
        let (lost, clock_change) = self.lost_submission(submission, &claim.attempt).await?;
        fail_point!("history unsent");
        let mut response = provider.reconcile(&lost).await;
        fail_point!("history read");
        if let Ok(Reconciliation::Absent(evidence)) = &response
            && evidence.later == LaterSubmissions::Listed
            && !evidence.is_later_certain
            && elapsed(lost.call_ended_at, lost.now)
                >= self.processing_times.history_delay(provider_name)
        {
            // This one may have arrived after those that are listed, and be listed as much later.
            let longest = lost
                .call_ended_at
                .duration_since(submitted_at)
                .unsigned_abs();
            tokio::time::sleep(longest.min(MAX_CALL) + ARRIVAL_MARGIN).await;
            response = provider.reconcile(&lost).await;
        }
        Ok(match response {
            Ok(Reconciliation::Found(prediction)) => {
                let adopted = Outcome::Adopted {
                    prediction,
                    due_at: self.clock.now(),
                };
                StepOutcome::from(adopted).with_signal(ProviderSignal::SubmissionFound)
            }
            Ok(Reconciliation::Ambiguous(ids)) => hold(format!(
                "{provider_name} has several predictions that may be this job: {}",
                ids.join(", ")
            )),
            Ok(Reconciliation::Taken(id)) => hold(format!(
                "{provider_name} lists prediction {id} as this job's, but returned the id for another \
                 job too, which may have the wrong clip"
            )),
            Ok(Reconciliation::Absent(evidence)) => {
                // Time that the clock was merely moved by has not passed at the provider.
                let since =
                    clock_change.map_or(lost.call_ended_at, |at| at.max(lost.call_ended_at));
                let key_changed_at = self.queue.key_changed_at(provider_name).await?;
                let key_was_changed = key_changed_at.is_some_and(|at| at >= submitted_at);
                self.absent(claim, evidence, elapsed(since, lost.now), key_was_changed)
            }
            Err(Failure::RateLimited {
                reason,
                retry_after,
            }) => self.retry_later(claim, reason, retry_after),
            Err(failure) if is_last_try => hold(format!(
                "no history: {failure}; it is unknown whether it was paid"
            )),
            Err(failure) => self.retry_later(claim, format!("no history: {failure}"), None),
        })
    }

    /// Returns what is needed to search a provider's history for a submission, and when this machine's
    /// clock was changed since that; `None` if it was not.
    ///
    /// # Errors
    /// Returns the queue's error if it cannot be read.
    pub(super) async fn lost_submission(
        &self,
        submission: Submission,
        attempt: &Attempt,
    ) -> queue::Result<(LostSubmission, Option<Timestamp>)> {
        let submitted_at = attempt.submitted_at;
        // Read before the changes: one in between is then known.
        let now = self.clock.now();
        let clock_change = self.queue.last_clock_change().await?;
        let clock_change = clock_change.filter(|at| *at >= submitted_at);
        let mut lost = LostSubmission {
            submission,
            submitted_at,
            call_ended_at: attempt.call_ended_at(),
            clock_was_changed: clock_change.is_some(),
            now,
            owned: BTreeMap::new(),
            request_digest: attempt_digest(attempt),
        };
        let wire_model = lost.submission.wire_model.clone();
        let (from, _) = lost.window();
        lost.owned = self
            .queue
            .owned_predictions(attempt.provider, wire_model, from)
            .await?;
        Ok((lost, clock_change))
    }

    /// Returns the outcome of a complete search that did not find the submission, `waited` after
    /// the submit call ended.
    fn absent(
        &self,
        claim: &Claim,
        evidence: AbsenceEvidence,
        waited: Duration,
        key_was_changed: bool,
    ) -> StepOutcome {
        let plan = self.poll_plan(claim);
        let earlier_absences = claim.job.absent_attempts;
        let provider = claim.attempt.provider;
        let absence = Absence {
            waited,
            history_delay: self.processing_times.history_delay(provider),
            lists_running: evidence.lists_running,
            later: evidence.later,
            processing: plan.median,
            earlier_absences,
            min_interval: plan.min_interval,
            key_was_changed,
        };
        match reconcile::judge(&absence) {
            verdict @ (Verdict::Absent | Verdict::PresumedAbsent) => Outcome::Absent {
                due_at: self.clock.now(),
                is_proven: verdict == Verdict::Absent,
            }
            .into(),
            Verdict::SearchAgain(pause) => Outcome::Wait {
                due_at: Some(self.after(pause)),
                failure: None,
            }
            .into(),
            Verdict::Hold(HoldReason::SecondAbsence) => hold(format!(
                "the responses to {} submissions were lost and {provider}'s history lists none of \
                 them; they may be paid",
                earlier_absences + 1
            )),
            Verdict::Hold(HoldReason::KeyChanged) => hold(format!(
                "the response was lost and {provider}'s key was changed since, so its history, which \
                 does not list the submission, proves nothing; it may be paid"
            )),
            Verdict::Hold(HoldReason::NotCurrent) => hold(format!(
                "the response was lost, and {provider}'s history, which omits later submissions too, \
                 proves nothing; it may be paid"
            )),
        }
    }
}

/// Returns the outcome that makes a job in doubt wait for the user's decision.
fn hold(failure: String) -> StepOutcome {
    Outcome::Wait {
        due_at: None,
        failure: Some(failure),
    }
    .into()
}
