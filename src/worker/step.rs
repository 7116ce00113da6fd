//! One step of one job: check the lease, make one call of a port, and return what it found out. The
//! call may send several requests, such as the pages of a history, and a submission that is
//! rejected before it is sent needs none.
//!
//! [`run`] is the path that every step takes. The calls are in `submit`, `poll`, `reconcile`,
//! `download` and `upload`; their results are written to the queue by `record`.

use jiff::{SignedDuration, Timestamp};
use tracing::Instrument;

use crate::domain::{JobEvent, Outcome, ProviderSignal};
use crate::queue::{Claim, Step, UploadClaim, UploadLease, UploadOutcome};

use super::upload::UploadStepOutcome;
use super::{PoolError, StepContext, StopSignal};

/// Time that must be left on the lease before a submission is sent.
///
/// If the lease expired before the request is sent, the next owner of the job could search the
/// provider's history before our request arrives there, and wrongly conclude that it was never
/// sent. This covers the time until the request is sent. During the call, which may take longer,
/// the pool's heartbeat renews the lease; should that fail, the delay before a history counts as
/// proof keeps the next owner from concluding too early.
const MIN_LEASE_FOR_SUBMIT: SignedDuration = SignedDuration::from_secs(5);

/// The result of a step's call: what happened to the job, and what it says about the provider.
pub(super) struct StepOutcome {
    pub(super) outcome: Outcome,
    /// How the call changes what may be sent to its provider; `None` leaves that as it is.
    pub(super) provider_signal: Option<ProviderSignal>,
}

impl StepOutcome {
    /// Adds what the call revealed about the provider.
    pub(super) fn with_signal(self, signal: ProviderSignal) -> Self {
        Self {
            provider_signal: Some(signal),
            ..self
        }
    }
}

impl From<Outcome> for StepOutcome {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            provider_signal: None,
        }
    }
}

/// A step that has ended and is not recorded yet.
pub(super) enum CompletedStep {
    /// A step of a job.
    Job {
        claim: Box<Claim>,
        result: StepResult,
    },
    /// An upload of an image.
    Upload {
        lease: UploadLease,
        outcome: UploadStepOutcome,
    },
}

impl CompletedStep {
    /// Returns whether the step failed in a way that ends the whole run.
    pub(super) fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Job {
                result: StepResult::Fatal(_),
                ..
            }
        )
    }
}

/// How a step of a job ended.
pub(super) enum StepResult {
    /// The call was made and has an outcome.
    Outcome(StepOutcome),
    /// The call was not made, or was aborted and may be repeated at no cost. The lease is released.
    NotStarted,
    /// The call failed in a way that would fail every other step as well.
    Fatal(PoolError),
}

impl StepResult {
    /// Returns the event that recording this result causes for the job; `None` after a fatal error.
    ///
    /// A submission that was not sent counts as refused, although no provider was asked.
    pub(super) fn event(&self, step: Step) -> Option<JobEvent> {
        match self {
            Self::Outcome(result) => Some(result.outcome.event()),
            Self::NotStarted => (step == Step::Submit).then_some(JobEvent::Refuse),
            Self::Fatal(_) => None,
        }
    }
}

/// Runs one claimed step to its end. The result is not recorded yet.
pub(super) async fn run(
    context: &StepContext,
    claim: Claim,
    lease_expires_at: Timestamp,
    stop: StopSignal,
) -> CompletedStep {
    let span = tracing::error_span!(
        "step",
        job.id = claim.job.job_id.0,
        attempt = claim.attempt.number,
        provider = %claim.attempt.provider,
        step = claim.step.as_str(),
    );
    let result = context
        .run_step(&claim, lease_expires_at, stop)
        .instrument(span)
        .await;
    CompletedStep::Job {
        claim: Box::new(claim),
        result,
    }
}

/// Runs one claimed upload to its end. The result is not recorded yet.
pub(super) async fn run_upload(
    context: &StepContext,
    claim: UploadClaim,
    mut stop: StopSignal,
) -> CompletedStep {
    let span = tracing::error_span!(
        "upload",
        upload.id = claim.lease.upload_id,
        provider = %claim.provider,
    );
    let outcome = match context.providers.get(&claim.provider) {
        Some(provider) => tokio::select! {
            outcome = context.upload(&claim, provider.as_ref()).instrument(span) => outcome,
            // An upload may take minutes, and repeating it costs nothing.
            () = stopped(&mut stop) => UploadOutcome::NotStarted.into(),
        },
        // The queue only hands out uploads to the providers that the pool named.
        None => UploadOutcome::NotStarted.into(),
    };
    CompletedStep::Upload {
        lease: claim.lease,
        outcome,
    }
}

/// Waits until the pool is asked to stop.
pub(super) async fn stopped(stop: &mut StopSignal) {
    // Without a sender left, no stop can be requested any more.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl StepContext {
    async fn run_step(
        &self,
        claim: &Claim,
        lease_expires_at: Timestamp,
        mut stop: StopSignal,
    ) -> StepResult {
        let has_time = self.clock.now() + MIN_LEASE_FOR_SUBMIT <= lease_expires_at;
        let may_submit = has_time && !*stop.borrow();
        if claim.step == Step::Submit && !may_submit {
            return StepResult::NotStarted;
        }
        let result = if claim.step == Step::Download {
            tokio::select! {
                result = self.call(claim) => result,
                // A download may take minutes, and repeating it costs nothing.
                () = stopped(&mut stop) => return StepResult::NotStarted,
            }
        } else {
            self.call(claim).await
        };
        result.map_or_else(StepResult::Fatal, StepResult::Outcome)
    }

    /// Makes the step's one call of a port.
    async fn call(&self, claim: &Claim) -> Result<StepOutcome, PoolError> {
        let name = claim.attempt.provider;
        let Some(provider) = self.providers.get(&name) else {
            // The queue only hands out steps at the providers that the pool named, except for
            // downloads: these need no key.
            return match claim.step {
                Step::Download => self.download(claim, false).await,
                _ => Err(PoolError::Fault(format!(
                    "a step was claimed for {name}, which this run does not use"
                ))),
            };
        };
        match claim.step {
            Step::Submit => Ok(self.submit(claim, provider.as_ref()).await),
            Step::Poll => Ok(self.poll(claim, provider.as_ref()).await),
            Step::Reconcile => self.reconcile(claim, provider.as_ref()).await,
            Step::Download => self.download(claim, provider.is_loopback()).await,
        }
    }
}
