//! One step of one job: check the lease, make one call of a port, and return what it found out. The
//! call may send several requests, such as the pages of a history, and a submission that is
//! rejected before it is sent needs none.
//!
//! [`run`] is the path that every step takes. The calls are in `submit`, `poll`, `reconcile`,
//! `download` and `upload`; their results are written to the queue by `record`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Instrument;

use crate::domain::{JobEvent, Outcome, ProviderSignal};
use crate::queue::{Claim, Completed, Step, UploadClaim, UploadOutcome};

use super::{PoolError, StepContext, StopSignal};

/// Time that must be left on the lease before a submission is sent.
///
/// If the lease expired before the request is sent, the next owner of the job could search the
/// provider's history before our request arrives there, and wrongly conclude that it was never
/// sent. This covers the time until the request is sent. During the call, which may take longer,
/// the pool's heartbeat renews the lease; should that fail, the delay before a history counts as
/// proof keeps the next owner from concluding too early.
const MIN_LEASE_FOR_SUBMIT: Duration = Duration::from_secs(5);

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
pub(super) struct CompletedStep {
    /// What the queue records.
    pub(super) completed: Completed,
    /// The error that ends the whole run, because it would fail every other step as well.
    pub(super) fatal: Option<PoolError>,
}

impl CompletedStep {
    /// Returns the event that recording the step causes for its job; `None` for an upload.
    ///
    /// A submission that was not sent counts as refused, although no provider was asked.
    pub(super) fn event(&self) -> Option<(&Claim, JobEvent)> {
        match &self.completed {
            Completed::Step { claim, outcome, .. } => Some((claim, outcome.event())),
            Completed::NotStarted { claim } => {
                (claim.step == Step::Submit).then_some((claim, JobEvent::Refuse))
            }
            Completed::Released { .. } | Completed::Upload { .. } => None,
        }
    }
}

/// Runs one claimed step to its end. The result is not recorded yet. `unrecorded_polls` counts this
/// one, if it is a poll under a lease that the pool holds.
pub(super) async fn run(
    context: &StepContext,
    claim: Arc<Claim>,
    unrecorded_polls: u32,
    lease_ends: Instant,
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
        .run_step(&claim, lease_ends, stop)
        .instrument(span)
        .await;
    let (completed, fatal) = match result {
        Ok(Some(StepOutcome {
            outcome,
            provider_signal: signal,
        })) => (
            Completed::Step {
                claim,
                unrecorded_polls,
                outcome,
                signal,
            },
            None,
        ),
        Ok(None) => (Completed::NotStarted { claim }, None),
        Err(error) => (Completed::NotStarted { claim }, Some(error)),
    };
    CompletedStep { completed, fatal }
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
    let result = match context.providers.get(&claim.provider) {
        Some(provider) => tokio::select! {
            result = context.upload(&claim, provider.as_ref()).instrument(span) => result,
            // An upload may take minutes, and repeating it costs nothing.
            () = stopped(&mut stop) => UploadOutcome::NotStarted.into(),
        },
        // The queue only hands out uploads to the providers that the pool named.
        None => UploadOutcome::NotStarted.into(),
    };
    CompletedStep {
        completed: Completed::Upload {
            claim,
            outcome: result.outcome,
            signal: result.provider_signal,
        },
        fatal: None,
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
    /// Checks the lease and makes the step's call. `None` if the call was not made, or was aborted
    /// and may be repeated at no cost.
    async fn run_step(
        &self,
        claim: &Claim,
        lease_ends: Instant,
        mut stop: StopSignal,
    ) -> Result<Option<StepOutcome>, PoolError> {
        let has_time = Instant::now() + MIN_LEASE_FOR_SUBMIT <= lease_ends;
        let may_submit = has_time && !*stop.borrow();
        if claim.step == Step::Submit && !may_submit {
            return Ok(None);
        }
        if claim.step == Step::Download {
            return tokio::select! {
                result = self.call(claim) => result.map(Some),
                // A download may take minutes, and repeating it costs nothing.
                () = stopped(&mut stop) => Ok(None),
            };
        }
        self.call(claim).await.map(Some)
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
