//! A step or an upload from its call to its record.

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};

use crate::domain::JobEvent;
use crate::queue::{Claim, QueueError, Step, UploadClaim, UploadLease, UploadOutcome};

use super::StepContext;
use super::pool::{PoolError, StopSignal};
use super::step::StepOutcome;
use super::upload::UploadStepOutcome;

/// A create is not begun with less left of the lease than the longest call takes: whoever took the job over could
/// look for it in the provider's history before it was sent.
const LEASE_FOR_CREATE: SignedDuration = SignedDuration::from_secs(5);

/// What is over and not yet recorded.
pub(super) enum CompletedStep {
    /// A job's step.
    Step { claim: Box<Claim>, end: StepResult },
    /// An upload.
    Upload {
        lease: UploadLease,
        finding: UploadStepOutcome,
    },
}

impl CompletedStep {
    /// Tells whether no other step can be taken after it.
    pub(super) fn is_the_end(&self) -> bool {
        matches!(
            self,
            Self::Step {
                end: StepResult::Fatal(_),
                ..
            }
        )
    }
}

/// How a step ended.
pub(super) enum StepResult {
    /// Its call found something out.
    Outcome(StepOutcome),
    /// Its call was not begun, or may be begun again for nothing.
    NotStarted,
    /// It could not be taken, and no other can.
    Fatal(PoolError),
}

impl StepResult {
    /// Tells what it is to the job; a create that was not sent is refused, by ourselves.
    pub(super) fn event(&self, step: Step) -> Option<JobEvent> {
        match self {
            Self::Outcome(finding) => Some(finding.outcome.event()),
            Self::NotStarted => (step == Step::Submit).then_some(JobEvent::Refuse),
            Self::Fatal(_) => None,
        }
    }
}

/// Takes one step: makes its call.
pub(super) async fn take(
    context: &StepContext,
    claim: Claim,
    leases_end: Timestamp,
    stop: StopSignal,
) -> CompletedStep {
    let end = make_call(context, &claim, leases_end, stop).await;
    CompletedStep::Step {
        claim: Box::new(claim),
        end,
    }
}

/// Makes one upload.
pub(super) async fn upload(
    context: &StepContext,
    claim: UploadClaim,
    mut stop: StopSignal,
) -> CompletedStep {
    let finding = match context.providers.get(&claim.provider) {
        Some(provider) => tokio::select! {
            finding = context.upload(&claim, provider.as_ref()) => finding,
            // It may take minutes, and can be begun again for nothing.
            () = stopped(&mut stop) => UploadOutcome::NotStarted.into(),
        },
        // Claims are made for the providers in question only.
        None => UploadOutcome::NotStarted.into(),
    };
    CompletedStep::Upload {
        lease: claim.lease,
        finding,
    }
}

async fn make_call(
    context: &StepContext,
    claim: &Claim,
    leases_end: Timestamp,
    mut stop: StopSignal,
) -> StepResult {
    let may_begin = !*stop.borrow() && context.clock.now() + LEASE_FOR_CREATE <= leases_end;
    if claim.step == Step::Submit && !may_begin {
        return StepResult::NotStarted;
    }
    let finding = if claim.step == Step::Download {
        tokio::select! {
            finding = context.take(claim) => finding,
            // A download may take minutes, and can be begun again for nothing.
            () = stopped(&mut stop) => return StepResult::NotStarted,
        }
    } else {
        context.take(claim).await
    };
    finding.map_or_else(StepResult::Fatal, StepResult::Outcome)
}

/// Records steps that ended together, for one commit. What is wrong with one keeps none of the others from being recorded.
pub(super) async fn record_all(
    context: &StepContext,
    completed: Vec<CompletedStep>,
) -> Result<(), PoolError> {
    join_all(
        completed
            .into_iter()
            .map(|completed| record(context, completed)),
    )
    .await
    .into_iter()
    .collect()
}

/// Records what a step found out, or gives it back.
pub(super) async fn record(
    context: &StepContext,
    completed: CompletedStep,
) -> Result<(), PoolError> {
    let (claim, end) = match completed {
        CompletedStep::Step { claim, end } => (*claim, end),
        CompletedStep::Upload { lease, finding } => {
            return context.record_upload(lease, finding).await;
        }
    };
    match end {
        StepResult::Outcome(finding) => context.record(&claim, finding).await,
        StepResult::NotStarted => release(context, claim).await,
        StepResult::Fatal(error) => {
            release(context, claim).await?;
            Err(error)
        }
    }
}

/// Waits until the pool shall stop.
pub(super) async fn stopped(stop: &mut StopSignal) {
    // A signal that can never come any more is none.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn release(context: &StepContext, claim: Claim) -> Result<(), PoolError> {
    match context
        .queue
        .release(claim.lease, context.clock.now())
        .await
    {
        Ok(()) | Err(QueueError::LeaseLost(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
