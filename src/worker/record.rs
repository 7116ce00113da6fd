//! Recording: takes a turn at the queue with the steps that have completed, and reports what became
//! of them to the log and the observer.

use std::sync::Arc;

use crate::domain::redact::redact_prompts;
use crate::domain::{JobState, Outcome, ProviderName, ProviderSignal};
use crate::policy::operator::{self, Remedy};
use crate::queue::{
    Claim, Completed, Gates, QueueError, Recorded, Turn, TurnResult, UploadClaim, UploadOutcome,
};

use super::{PoolEvent, StepContext};

impl StepContext {
    /// Records completed steps and claims new ones, in one transaction.
    ///
    /// If that fails, each step is recorded on its own, so that what can be recorded is.
    ///
    /// # Errors
    /// Returns the queue's error.
    pub(super) async fn take_turn(&self, turn: Turn) -> Result<TurnResult, QueueError> {
        let turn = Arc::new(turn);
        match self.queue.turn(Arc::clone(&turn)).await {
            Ok(result) => {
                self.report_all(&turn, &result);
                Ok(result)
            }
            Err(error) => {
                if !error.is_of_a_made_write() {
                    self.record_each(&turn).await;
                }
                Err(error)
            }
        }
    }

    async fn record_each(&self, turn: &Turn) {
        for completed in &turn.completed {
            let alone = Arc::new(Turn {
                completed: vec![completed.clone()],
                claim: None,
                holds_leases_at: Vec::new(),
                pool_id: turn.pool_id.clone(),
            });
            match self.queue.turn(Arc::clone(&alone)).await {
                Ok(result) => self.report_all(&alone, &result),
                Err(_) => log_unrecorded(completed),
            }
        }
    }

    fn report_all(&self, turn: &Turn, result: &TurnResult) {
        for (completed, recorded) in turn.completed.iter().zip(&result.recorded) {
            match completed {
                Completed::Step {
                    claim,
                    outcome,
                    signal,
                    ..
                } => {
                    self.report_gate(claim, signal.as_ref(), &result.gates);
                    self.report_step(claim, outcome, recorded);
                }
                Completed::Panicked { claim, message } => {
                    self.report_panic(claim, message, recorded)
                }
                Completed::NotStarted { .. } | Completed::Released { .. } => {}
                Completed::Upload {
                    claim,
                    outcome,
                    signal,
                } => self.report_upload(claim, outcome, signal.as_ref()),
            }
        }
    }

    /// Reports what a step has revealed about its provider, as far as the user should know it.
    fn report_gate(&self, claim: &Claim, signal: Option<&ProviderSignal>, gates: &Gates) {
        let provider = claim.attempt.provider;
        let is_suspended = gates
            .get(&provider)
            .is_some_and(|gate| gate.suspended.is_some());
        match signal {
            Some(ProviderSignal::Suspend { reason, .. }) => {
                self.report_suspended(provider, redact_prompts(reason, &claim.job.input));
            }
            Some(ProviderSignal::BalanceInUse { reason }) if is_suspended => {
                self.report_suspended(provider, redact_prompts(reason, &claim.job.input));
            }
            Some(ProviderSignal::BalanceInUse { reason }) => {
                self.report_held(
                    provider.to_string(),
                    redact_prompts(reason, &claim.job.input),
                );
            }
            Some(ProviderSignal::HoldRoute { reason, .. }) => {
                let route = format!("{provider}/{}", claim.attempt.wire_model);
                self.report_held(route, redact_prompts(reason, &claim.job.input));
            }
            _ => {}
        }
    }

    fn report_held(&self, what: String, reason: String) {
        tracing::info!("submits to {what} held: {reason}");
        (self.observer)(PoolEvent::SubmitsHeld { what, reason });
    }

    fn report_step(&self, claim: &Claim, outcome: &Outcome, recorded: &Recorded) {
        let Recorded::Job { state, instead, .. } = recorded else {
            tracing::warn!(
                job.id = claim.job.job_id.0,
                step = claim.step.as_str(),
                prediction_id = accepted_id(outcome),
                "lease lost, result dropped"
            );
            return;
        };
        if let Outcome::Finished {
            processing: Some(processing),
            ..
        } = outcome
        {
            self.processing_times.learn(claim.into(), *processing);
        }
        self.report(claim, instead.as_ref().unwrap_or(outcome), *state);
    }

    /// Reports a fault of the program, which users should report to its developers.
    fn report_panic(&self, claim: &Claim, message: &str, recorded: &Recorded) {
        let Recorded::Job { state, .. } = recorded else {
            return;
        };
        tracing::error!(
            job.id = claim.job.job_id.0,
            step = claim.step.as_str(),
            state = state.as_str(),
            "a fault of the program: {message}"
        );
        (self.observer)(PoolEvent::StepRecorded {
            row_key: claim.job.row_key.clone(),
            batch: claim.job.batch.clone(),
            state: *state,
            reason: Some(format!("a fault of the program: {message}")),
            remedy: None,
        });
    }

    fn report_upload(
        &self,
        claim: &UploadClaim,
        outcome: &UploadOutcome,
        signal: Option<&ProviderSignal>,
    ) {
        if let UploadOutcome::Failed { reason, .. } | UploadOutcome::Rejected { reason } = outcome {
            tracing::info!(upload.id = claim.lease.upload_id, "{reason}");
            (self.observer)(PoolEvent::UploadFailed {
                reason: reason.clone(),
            });
        }
        if let Some(ProviderSignal::Suspend { reason, .. }) = signal {
            self.report_suspended(claim.provider, reason.clone());
        }
    }

    fn report_suspended(&self, provider: ProviderName, reason: String) {
        tracing::warn!(%provider, "provider paused: {reason}");
        (self.observer)(PoolEvent::ProviderSuspended { provider, reason });
    }

    fn report(&self, claim: &Claim, outcome: &Outcome, state: JobState) {
        let job = &claim.job;
        let attempt = &claim.attempt;
        let step = claim.step.as_str();
        // The queue keeps the reason as it is; logs travel further.
        let reason = failure(outcome).map(|reason| redact_prompts(reason, &job.input));
        match &reason {
            Some(reason) => tracing::info!(
                job.id = job.job_id.0,
                attempt = attempt.number,
                provider = %attempt.provider,
                step,
                state = state.as_str(),
                "{reason}"
            ),
            None => tracing::debug!(
                job.id = job.job_id.0,
                attempt = attempt.number,
                provider = %attempt.provider,
                step,
                state = state.as_str(),
                "step done"
            ),
        }
        (self.observer)(PoolEvent::StepRecorded {
            row_key: job.row_key.clone(),
            batch: job.batch.clone(),
            state,
            reason,
            remedy: remedy(claim, outcome, state),
        });
    }
}

/// Returns what the user can do about a job after a step.
fn remedy(claim: &Claim, outcome: &Outcome, state: JobState) -> Option<Remedy> {
    let is_due = !matches!(outcome, Outcome::Wait { due_at: None, .. });
    // Every other failure is one of the prediction, or before there was one.
    let has_clip =
        matches!(outcome, Outcome::GaveUp { .. }) && claim.attempt.progress.prediction.is_some();
    operator::remedy(state, is_due, has_clip)
}

/// Logs an accepted submission that could not be recorded. Its job will be in doubt, and if the
/// history does not list the prediction, this line is the only trace.
fn log_unrecorded(completed: &Completed) {
    if let Completed::Step { claim, outcome, .. } = completed
        && let Some(prediction_id) = accepted_id(outcome)
    {
        tracing::warn!(
            job.id = claim.job.job_id.0,
            provider = %claim.attempt.provider,
            prediction_id,
            "accepted by the provider, but not recorded"
        );
    }
}

/// Returns the id of the prediction of an accepted submission.
fn accepted_id(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Accepted { prediction, .. } => Some(&prediction.prediction_id),
        _ => None,
    }
}

/// Returns what went wrong in a step, if something did.
fn failure(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Refused { reason, .. }
        | Outcome::Rejected { reason }
        | Outcome::LostResponse { reason, .. }
        | Outcome::PredictionFailed { reason, .. }
        | Outcome::FailedUnbilled { reason, .. }
        | Outcome::LinkExpired { reason, .. }
        | Outcome::Postponed { reason, .. }
        | Outcome::GaveUp { reason } => Some(reason),
        Outcome::Wait { failure, .. } => failure.as_deref(),
        Outcome::Accepted { .. }
        | Outcome::Adopted { .. }
        | Outcome::Absent { .. }
        | Outcome::Finished { .. }
        | Outcome::Saved { .. } => None,
    }
}
