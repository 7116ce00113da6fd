//! Recording: writes what a step found out to the queue, and reports it to the log and the
//! observer.

use futures_util::future::join_all;

use crate::domain::redact::redact_prompts;
use crate::domain::{JobState, Outcome, ProviderName, ProviderSignal};
use crate::queue::{Claim, QueueError, Step, UploadLease, UploadOutcome};

use super::step::{CompletedStep, StepOutcome, StepResult};
use super::upload::UploadStepOutcome;
use super::{PoolError, PoolEvent, StepContext};

impl StepContext {
    /// Records steps that ended together, so that one commit can carry them all. An error in one of
    /// them does not keep the others from being recorded; the first error is returned.
    pub(super) async fn record_all(&self, completed: Vec<CompletedStep>) -> Result<(), PoolError> {
        join_all(completed.into_iter().map(|step| self.record(step)))
            .await
            .into_iter()
            .collect()
    }

    /// Records one completed step, or releases its lease if it was not started.
    pub(super) async fn record(&self, completed: CompletedStep) -> Result<(), PoolError> {
        match completed {
            CompletedStep::Upload { lease, outcome } => self.record_upload(lease, outcome).await,
            CompletedStep::Job { claim, result } => match result {
                StepResult::Outcome(outcome) => self.record_outcome(&claim, outcome).await,
                StepResult::NotStarted => self.release(*claim).await,
                StepResult::Fatal(error) => {
                    self.release(*claim).await?;
                    Err(error)
                }
            },
        }
    }

    async fn record_outcome(&self, claim: &Claim, result: StepOutcome) -> Result<(), PoolError> {
        let outcome = result.outcome;
        let provider = claim.attempt.provider;
        let now = self.clock.now();
        let signal = result.provider_signal.map(|signal| (provider, signal));
        let recorded = self
            .queue
            .record_outcome(claim.lease.clone(), outcome.clone(), signal.clone(), now)
            .await;
        let state = match recorded {
            Ok(state) => state,
            Err(QueueError::Conflict(reason)) => {
                let due_at = self.retry_at(claim, None);
                let substitute = if claim.step == Step::Submit {
                    // An id that belongs to another job is not a usable response: the provider may
                    // still have accepted this submission under an id that we do not know.
                    Outcome::LostResponse { reason, due_at }
                } else {
                    // The prediction that the history showed has been adopted by another job in the
                    // meantime: search again without it.
                    Outcome::Wait {
                        due_at: Some(due_at),
                        failure: Some(reason),
                    }
                };
                self.queue
                    .record_outcome(claim.lease.clone(), substitute, None, now)
                    .await?
            }
            Err(QueueError::LeaseLost(job_id)) => {
                // Another pool owns the job now, or the user cancelled it. Its record is the valid
                // one.
                tracing::warn!(
                    job.id = job_id.0,
                    step = claim.step.as_str(),
                    "lease lost, result dropped"
                );
                return Ok(());
            }
            Err(error) => {
                if let Outcome::Accepted { prediction, .. } = &outcome {
                    // The job will be in doubt. If the history does not list the prediction, this
                    // line is the only trace.
                    tracing::warn!(
                        job.id = claim.job.job_id.0,
                        %provider,
                        prediction_id = prediction.prediction_id,
                        "accepted by the provider, but not recorded"
                    );
                }
                return Err(error.into());
            }
        };
        if let Outcome::Finished {
            processing: Some(processing),
            ..
        } = &outcome
        {
            self.processing_times.learn(claim.into(), *processing);
        }
        self.report(claim, &outcome, state);
        if let Some((provider, ProviderSignal::Suspend { reason, .. })) = signal {
            self.report_suspended(provider, redact_prompts(&reason, &claim.job.input));
        }
        Ok(())
    }

    async fn record_upload(
        &self,
        lease: UploadLease,
        result: UploadStepOutcome,
    ) -> Result<(), PoolError> {
        let UploadStepOutcome {
            outcome,
            provider_signal,
        } = result;
        if let UploadOutcome::Failed { reason, .. } | UploadOutcome::Rejected { reason } = &outcome
        {
            tracing::info!(upload.id = lease.upload_id, "{reason}");
            (self.observer)(PoolEvent::UploadFailed {
                reason: reason.clone(),
            });
        }
        self.queue
            .record_upload(lease, outcome, provider_signal.clone())
            .await?;
        if let Some((provider, ProviderSignal::Suspend { reason, .. })) = provider_signal {
            self.report_suspended(provider, reason);
        }
        Ok(())
    }

    async fn release(&self, claim: Claim) -> Result<(), PoolError> {
        match self.queue.release(claim.lease, self.clock.now()).await {
            Ok(()) | Err(QueueError::LeaseLost(_)) => Ok(()),
            Err(error) => Err(error.into()),
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
        });
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
        | Outcome::GaveUp { reason } => Some(reason),
        Outcome::Wait { failure, .. } => failure.as_deref(),
        Outcome::Accepted { .. }
        | Outcome::Adopted { .. }
        | Outcome::ProvenAbsent { .. }
        | Outcome::Finished { .. }
        | Outcome::Saved { .. } => None,
    }
}
