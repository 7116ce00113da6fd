//! One step of one job: check the lease, make one call of a port, and return what it found out. The
//! call may send several requests, such as the pages of a history, and a submission that is
//! rejected before it is sent needs none.
//!
//! [`run`] is the path that every step takes. The calls are in `submit`, `poll`, `reconcile`,
//! `download` and `upload`; their results are written to the queue by `record`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::Instrument;

use crate::domain::Failure;
use crate::queue::{Claim, Completed, Step};

use super::StepContext;
use super::completed_step::{CompletedStep, StepOutcome};
use super::fault::catch_panic;
use super::lease_end::LeaseEnd;
use super::options::{PoolError, StopSignal, stopped};

/// How long a submission or a poll may go on after the run was asked to stop: long enough for an ordinary
/// response. A submission without one is in doubt, and the next run searches for it.
const STOP_GRACE: Duration = Duration::from_millis(1500);

/// Runs one claimed step to its end. The result is not recorded yet. `unrecorded_polls` counts this
/// one, if it is a poll under a lease that the pool holds.
pub(super) async fn run(
    context: &StepContext,
    claim: Arc<Claim>,
    unrecorded_polls: u32,
    lease: LeaseEnd,
    stop: StopSignal,
) -> CompletedStep {
    let span = tracing::error_span!(
        "step",
        job.id = claim.job.job_id.0,
        attempt = claim.attempt.number,
        provider = %claim.attempt.provider,
        step = claim.step.as_str(),
    );
    let step = context.run_step(&claim, lease, stop).instrument(span);
    let result = match catch_panic(step).await {
        Ok(result) => result,
        Err(message) => return Completed::Panicked { claim, message }.into(),
    };
    let (result, fatal) = match result {
        Ok(result) => (result, None),
        Err(error) => (None, Some(error)),
    };
    let completed = match result {
        Some(StepOutcome { outcome, signal }) => Completed::Step {
            claim,
            unrecorded_polls,
            outcome,
            signal,
        },
        None => Completed::NotStarted { claim },
    };
    CompletedStep { completed, fatal }
}

impl StepContext {
    /// Checks the lease and makes the step's call. `None` if the call was not made, or was aborted
    /// and may be repeated at no cost.
    async fn run_step(
        &self,
        claim: &Claim,
        lease: LeaseEnd,
        mut stop: StopSignal,
    ) -> Result<Option<StepOutcome>, PoolError> {
        let may_submit = lease.allows_submit() && !*stop.borrow();
        if claim.step == Step::Submit && !may_submit {
            return Ok(None);
        }
        let call = self.call(claim, lease);
        tokio::pin!(call);
        tokio::select! {
            biased;
            result = &mut call => return result,
            () = stopped(&mut stop) => {}
        }
        // A download may take minutes, a search hundreds of calls, and repeating them costs nothing.
        if matches!(claim.step, Step::Download | Step::Reconcile) {
            return Ok(None);
        }
        match timeout(STOP_GRACE, call).await {
            Ok(result) => result,
            Err(_) if claim.step == Step::Submit => {
                let reason = "the run was stopped before the provider responded".into();
                Ok(Some(self.submit_failed(claim, Failure::Unknown { reason })))
            }
            Err(_) => Ok(None),
        }
    }

    /// Makes the step's one call of a port. `None` if it was not made.
    async fn call(&self, claim: &Claim, lease: LeaseEnd) -> Result<Option<StepOutcome>, PoolError> {
        let name = claim.attempt.provider;
        let Some(provider) = self.providers.get(&name) else {
            // The queue only hands out steps at the providers that the pool named, except for
            // downloads: these need no key.
            return match claim.step {
                Step::Download => self.download(claim, false).await.map(Some),
                _ => Err(PoolError::Fault(format!(
                    "a step was claimed for {name}, which this run does not use"
                ))),
            };
        };
        match claim.step {
            Step::Submit => Ok(self.submit(claim, provider.as_ref(), lease).await),
            Step::Poll => Ok(Some(self.poll(claim, provider.as_ref()).await)),
            Step::Reconcile => self.reconcile(claim, provider.as_ref()).await.map(Some),
            Step::Download => self.download(claim, provider.is_loopback()).await.map(Some),
        }
    }
}
