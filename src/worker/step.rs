//! One step of one job: check the lease, make one call of a port, and return what it found out. The
//! call may send several requests, such as the pages of a history, and a submission that is
//! rejected before it is sent needs none.
//!
//! [`run`] is the path that every step takes. The calls are in `submit`, `poll`, `reconcile`,
//! `download` and `upload`; their results are written to the queue by `record`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::Instrument;

use crate::domain::Failure;
use crate::queue::{Claim, Completed, Step};

use super::StepContext;
use super::completed_step::{CompletedStep, StepOutcome};
use super::fault::catch_panic;
use super::options::{PoolError, StopSignal, stopped};

/// Time that must be left on the lease before a submission is sent: the next owner of the job could
/// otherwise search the provider's history before our request arrives there. During the call the
/// pool's heartbeat renews the lease; should that fail, the delay of the history protects the job.
const MIN_LEASE_FOR_SUBMIT: Duration = Duration::from_secs(5);

/// How long a submission or a poll may go on after the run was asked to stop: long enough for an ordinary
/// response. A submission without one is in doubt, and the next run searches for it.
const STOP_GRACE: Duration = Duration::from_millis(1500);

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
    let step = context.run_step(&claim, lease_ends, stop).instrument(span);
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
        lease_ends: Instant,
        mut stop: StopSignal,
    ) -> Result<Option<StepOutcome>, PoolError> {
        let has_time = Instant::now() + MIN_LEASE_FOR_SUBMIT <= lease_ends;
        let may_submit = has_time && !*stop.borrow();
        if claim.step == Step::Submit && !may_submit {
            return Ok(None);
        }
        let call = self.call(claim);
        tokio::pin!(call);
        tokio::select! {
            biased;
            result = &mut call => return result.map(Some),
            () = stopped(&mut stop) => {}
        }
        // A download may take minutes, a search hundreds of calls, and repeating them costs nothing.
        if matches!(claim.step, Step::Download | Step::Reconcile) {
            return Ok(None);
        }
        match timeout(STOP_GRACE, call).await {
            Ok(result) => result.map(Some),
            Err(_) if claim.step == Step::Submit => {
                let reason = "the run was stopped before the provider responded".into();
                Ok(Some(self.submit_failed(claim, Failure::Unknown { reason })))
            }
            Err(_) => Ok(None),
        }
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
