//! A step or an upload from its call to its record.

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};

use crate::domain::Event as JobEvent;
use crate::queue::{Claim, QueueError, Step, UploadClaim, UploadLease, UploadOutcome};

use super::Tools;
use super::pool::{PoolError, StopSignal};
use super::step::Finding;
use super::upload::UploadFinding;

/// A create is not begun with less left of the lease than the longest call takes: whoever took the job over could
/// look for it in the provider's history before it was sent.
const LEASE_FOR_CREATE: SignedDuration = SignedDuration::from_secs(5);

/// What is over and not yet recorded.
pub(super) enum Ended {
    /// A job's step.
    Step { claim: Box<Claim>, end: End },
    /// An upload.
    Upload { lease: UploadLease, finding: UploadFinding },
}

impl Ended {
    /// Tells whether no other step can be taken after it.
    pub(super) fn is_the_end(&self) -> bool {
        matches!(self, Self::Step { end: End::Failed(_), .. })
    }
}

/// How a step ended.
pub(super) enum End {
    /// Its call found something out.
    Found(Finding),
    /// Its call was not begun, or may be begun again for nothing.
    NotTaken,
    /// It could not be taken, and no other can.
    Failed(PoolError),
}

impl End {
    /// Tells what it is to the job; a create that was not sent is refused, by ourselves.
    pub(super) fn event(&self, step: Step) -> Option<JobEvent> {
        match self {
            Self::Found(finding) => Some(finding.outcome.event()),
            Self::NotTaken => (step == Step::Submit).then_some(JobEvent::Refuse),
            Self::Failed(_) => None,
        }
    }
}

/// Takes one step: makes its call.
pub(super) async fn take(tools: &Tools, claim: Claim, leases_end: Timestamp, stop: StopSignal) -> Ended {
    let end = make_call(tools, &claim, leases_end, stop).await;
    Ended::Step { claim: Box::new(claim), end }
}

/// Makes one upload.
pub(super) async fn upload(tools: &Tools, claim: UploadClaim, mut stop: StopSignal) -> Ended {
    let finding = match tools.providers.get(&claim.provider) {
        Some(provider) => tokio::select! {
            finding = tools.upload(&claim, provider.as_ref()) => finding,
            // It may take minutes, and can be begun again for nothing.
            () = stopped(&mut stop) => UploadOutcome::NotTaken.into(),
        },
        // Claims are made for the providers in question only.
        None => UploadOutcome::NotTaken.into(),
    };
    Ended::Upload { lease: claim.lease, finding }
}

async fn make_call(tools: &Tools, claim: &Claim, leases_end: Timestamp, mut stop: StopSignal) -> End {
    let may_begin = !*stop.borrow() && tools.clock.now() + LEASE_FOR_CREATE <= leases_end;
    if claim.step == Step::Submit && !may_begin {
        return End::NotTaken;
    }
    let finding = if claim.step == Step::Download {
        tokio::select! {
            finding = tools.take(claim) => finding,
            // A download may take minutes, and can be begun again for nothing.
            () = stopped(&mut stop) => return End::NotTaken,
        }
    } else {
        tools.take(claim).await
    };
    finding.map_or_else(End::Failed, End::Found)
}

/// Records steps that ended together, for one commit. What is wrong with one keeps none of the others from being recorded.
pub(super) async fn record_all(tools: &Tools, ended: Vec<Ended>) -> Result<(), PoolError> {
    join_all(ended.into_iter().map(|ended| record(tools, ended))).await.into_iter().collect()
}

/// Records what a step found out, or gives it back.
pub(super) async fn record(tools: &Tools, ended: Ended) -> Result<(), PoolError> {
    let (claim, end) = match ended {
        Ended::Step { claim, end } => (*claim, end),
        Ended::Upload { lease, finding } => return tools.record_upload(lease, finding).await,
    };
    match end {
        End::Found(finding) => tools.record(&claim, finding).await,
        End::NotTaken => release(tools, claim).await,
        End::Failed(error) => {
            release(tools, claim).await?;
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

async fn release(tools: &Tools, claim: Claim) -> Result<(), PoolError> {
    match tools.queue.release(claim.lease, tools.clock.now()).await {
        Ok(()) | Err(QueueError::LeaseLost(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
