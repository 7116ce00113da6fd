//! A turn as every store takes it: settle the records, plan, write the plan. The rules are in
//! [`policy`](crate::policy); a store only reads and writes.

use jiff::Timestamp;

use crate::domain::client_token::client_token;
use crate::domain::{Attempt, AttemptId, JobClips, PoolId};
use crate::failpoint::fail_point;
use crate::policy::claim::{
    self, ClaimRequest, ClaimView, DueStep, PlannedSubmission, PreparedRequest, Step,
};
use crate::policy::upload::Upload;

use super::lease::{draw_token, new_lease};
use super::rate_counts::RateCounts;
use super::record::record;
use super::storage::{NewAttempt, Transaction};
use super::turn_gates::{self, TurnGates};
use super::{Claim, ClaimResponse, QueueError, Result, Turn, TurnResult, UploadClaim, UploadLease};

/// Takes a turn inside a transaction, which the caller commits, or rolls back after an error.
///
/// The rate counts are those of the last claim of this process, and become those of this one.
pub(super) fn take(
    tx: &mut dyn Transaction,
    turn: &Turn,
    now: Timestamp,
    rate_counts: &mut RateCounts,
) -> Result<TurnResult> {
    let mut recorded = Vec::with_capacity(turn.completed.len());
    let mut gates = TurnGates::default();
    for completed in &turn.completed {
        let step = record(tx, &mut gates, completed, &turn.holds_leases_at, now)?;
        gates.apply(tx, completed, &step, now)?;
        recorded.push(step);
    }
    let claimed = match &turn.claim {
        Some(request) => claim(tx, &turn.pool_id, request, now, rate_counts)?,
        None => ClaimResponse::default(),
    };
    Ok(TurnResult {
        now,
        recorded,
        claimed,
        gates: gates.into_signalled(),
    })
}

fn claim(
    tx: &mut dyn Transaction,
    pool: &PoolId,
    request: &ClaimRequest,
    now: Timestamp,
    rate_counts: &mut RateCounts,
) -> Result<ClaimResponse> {
    if !tx.is_registered(pool)? {
        return Err(QueueError::PoolLost(pool.clone()));
    }
    let mut view = tx.read_view(request, now, rate_counts)?;
    let mut plan = loop {
        match claim::plan(&view, request) {
            Ok(plan) => break plan,
            Err(missing) => tx.read_missing(request, &mut view, missing, rate_counts)?,
        }
    };
    let is_full = plan.len() >= request.capacity.steps;
    for (job, due_at) in &plan.deferred {
        tx.defer(*job, *due_at)?;
    }
    let steps = plan.steps.iter().map(|due| lease(tx, pool, due));
    let mut claims = steps.collect::<Result<Vec<Claim>>>()?;
    let submissions = std::mem::take(&mut plan.submissions);
    if !submissions.is_empty() {
        claims.extend(start_attempts(tx, pool, &view, submissions)?);
        fail_point!("Submit written");
    }
    turn_gates::write_planned(tx, &view, &plan)?;
    for upload in &plan.new_uploads {
        tx.put_upload(upload, None)?;
    }
    let uploads = plan
        .uploads
        .iter()
        .map(|upload| lease_upload(tx, pool, upload));
    let uploads = uploads.collect::<Result<Vec<UploadClaim>>>()?;
    let backlog = if is_full {
        None
    } else {
        let rest = tx.read_backlog(request, &view, &plan)?;
        Some(claim::backlog(&view, &plan, &rest, request))
    };
    Ok(ClaimResponse {
        claims,
        uploads,
        backlog,
    })
}

/// Leases a job for its next step.
fn lease(tx: &mut dyn Transaction, pool: &PoolId, due: &DueStep) -> Result<Claim> {
    let (mut job, attempt) = tx.read_job(due.job_id)?;
    job.progress = claim::start(&job.progress, due.step);
    let lease = new_lease(due.job_id);
    tx.lease(pool, &lease, &job.progress)?;
    Ok(Claim {
        lease,
        job,
        attempt,
        step: due.step,
        clips: if due.step == Step::Download {
            tx.clips(due.job_id)?
        } else {
            JobClips::default()
        },
        provider_failures: 0,
        rejection: None,
    })
}

/// Writes the intents to submit jobs and leases them. The providers may be called only after this is
/// committed: a crash in between then leaves the jobs in doubt instead of paying twice.
fn start_attempts(
    tx: &mut dyn Transaction,
    pool: &PoolId,
    view: &ClaimView,
    submissions: Vec<PlannedSubmission>,
) -> Result<Vec<Claim>> {
    let queue_id = tx.queue_id()?;
    let intents = submissions
        .into_iter()
        .map(|submission| Intent::new(&queue_id, view, submission));
    let mut intents = intents.collect::<Result<Vec<Intent>>>()?;
    let new: Vec<NewAttempt<'_>> = intents
        .iter()
        .map(|intent| NewAttempt {
            pool,
            lease: &intent.claim.lease,
            batch_id: intent.batch_id,
            batch: &intent.claim.job.batch,
            job: &intent.claim.job.progress,
            clip_s: intent.claim.job.input.duration(),
            attempt: &intent.claim.attempt,
            request_text: &intent.request_text,
            request_digest: intent.request_digest,
        })
        .collect();
    let attempt_ids = tx.start_attempts(&new)?;
    for (intent, attempt_id) in intents.iter_mut().zip(attempt_ids) {
        intent.claim.attempt.attempt_id = attempt_id;
    }
    Ok(intents.into_iter().map(|intent| intent.claim).collect())
}

/// A submission that is about to be written.
struct Intent {
    claim: Claim,
    batch_id: i64,
    request_text: String,
    request_digest: i64,
}

impl Intent {
    fn new(queue_id: &str, view: &ClaimView, submission: PlannedSubmission) -> Result<Self> {
        let mut job = submission.queued.job;
        let PreparedRequest {
            quote,
            request_text,
            digest,
            rejection,
        } = submission.prepared;
        let (progress, attempt_progress) = claim::submit(&job.progress, quote.price, view.now)?;
        job.progress = progress;
        let number = submission.queued.last_attempt_number + 1;
        let attempt = Attempt {
            attempt_id: AttemptId(0),
            number,
            provider: submission.provider,
            wire_model: quote.wire_model,
            request: quote.request,
            client_token: client_token(queue_id, job.job_id, number, digest),
            submitted_at: view.now,
            progress: attempt_progress,
        };
        let claim = Claim {
            lease: new_lease(job.job_id),
            job,
            attempt,
            step: Step::Submit,
            clips: JobClips::default(),
            provider_failures: submission.provider_failures,
            rejection,
        };
        Ok(Self {
            claim,
            batch_id: view.batches[submission.batch].batch_id,
            request_text,
            request_digest: digest,
        })
    }
}

/// Leases an upload.
fn lease_upload(tx: &mut dyn Transaction, pool: &PoolId, upload: &Upload) -> Result<UploadClaim> {
    let token = draw_token();
    let upload_id = tx.put_upload(upload, Some((pool, token)))?;
    Ok(UploadClaim {
        lease: UploadLease { upload_id, token },
        provider: upload.provider,
        image: upload.image.clone(),
        failures: upload.progress.failures,
    })
}
