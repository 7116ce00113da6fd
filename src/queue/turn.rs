//! A turn as every store takes it: settle the records, plan, write the plan. The rules are in
//! [`policy`](crate::policy); a store only reads and writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::{
    Attempt, AttemptId, JobClips, JobProgress, Lease, Outcome, PoolId, ProviderName, ProviderSignal,
};
use crate::failpoint::fail_point;
use crate::policy::claim::{
    self, ClaimRequest, ClaimView, DueStep, PlannedSubmission, PreparedRequest, Step,
};
use crate::policy::upload::{self, Upload};
use crate::policy::{Change, leased, outcome, stray, taken_prediction};

use super::rate_counts::RateCounts;
use super::route_turn;
use super::storage::{JobSet, NewAttempt, Transaction};
use super::{
    Claim, ClaimResponse, Completed, Gates, QueueError, Recorded, Result, Turn, TurnResult,
    UploadClaim, UploadLease,
};

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
    let mut gates = Gates::new();
    let mut known = if turn.completed.iter().any(|step| signal_of(step).is_some()) {
        tx.providers()?
    } else {
        BTreeMap::new()
    };
    for completed in &turn.completed {
        if let Some((provider, signal)) = signal_of(completed) {
            let others = other_attempts(tx, provider, signal)?;
            let gate = &mut known.entry(provider).or_default().gate;
            let after = gate.after(signal, others);
            if after != *gate {
                tx.set_gate(provider, &after)?;
                gate.clone_from(&after);
            }
            gates.insert(provider, after);
            route_turn::record_signal(tx, completed, signal)?;
        } else if let Some(attempt) = route_turn::silent_submission(completed) {
            route_turn::end_alone(tx, attempt)?;
            known = tx.providers()?;
        }
        recorded.push(record(tx, completed, &turn.holds_leases_at, now)?);
    }
    let claimed = match &turn.claim {
        Some(request) => claim(tx, &turn.pool_id, request, now, rate_counts)?,
        None => ClaimResponse::default(),
    };
    Ok(TurnResult {
        now,
        recorded,
        claimed,
        gates,
    })
}

/// Returns the number of open attempts at a provider beside the one that a signal is about, if the
/// signal's meaning depends on it; 0 otherwise.
fn other_attempts(
    tx: &dyn Transaction,
    provider: ProviderName,
    signal: &ProviderSignal,
) -> Result<u32> {
    if !matches!(signal, ProviderSignal::BalanceInUse { .. }) {
        return Ok(0);
    }
    let used = tx.providers()?.remove(&provider).unwrap_or_default();
    Ok(used.in_flight.saturating_sub(1))
}

/// Returns what a completed step revealed about its provider.
fn signal_of(completed: &Completed) -> Option<(ProviderName, &ProviderSignal)> {
    match completed {
        Completed::Step { claim, signal, .. } => Some((claim.attempt.provider, signal.as_ref()?)),
        Completed::Upload { claim, signal, .. } => Some((claim.provider, signal.as_ref()?)),
        Completed::NotStarted { .. } | Completed::Released { .. } => None,
    }
}

fn record(
    tx: &mut dyn Transaction,
    completed: &Completed,
    holds_leases_at: &[ProviderName],
    now: Timestamp,
) -> Result<Recorded> {
    match completed {
        Completed::Step {
            claim,
            unrecorded_polls,
            outcome,
            ..
        } => record_outcome(tx, claim, *unrecorded_polls, outcome, holds_leases_at, now),
        Completed::NotStarted { claim } => {
            let change = leased::release(&claim.job.progress, &claim.attempt.progress, now)?;
            write(tx, claim, change, None, false)
        }
        Completed::Released {
            claim,
            unrecorded_polls,
            due_at,
        } => {
            let mut job = with_polls(&claim.job.progress, *unrecorded_polls);
            job.due_at = Some(*due_at);
            let change = Change {
                job,
                attempt: Some(claim.attempt.progress.clone()),
            };
            write(tx, claim, change, None, false)
        }
        Completed::Upload { claim, outcome, .. } => {
            let new = upload::after(claim.failures, outcome);
            tx.write_upload(claim.lease, new.as_ref())?;
            Ok(Recorded::Upload)
        }
    }
}

/// Returns a job with the polls that were not recorded when they were made.
fn with_polls(job: &JobProgress, unrecorded_polls: u32) -> JobProgress {
    JobProgress {
        polls: job.polls + unrecorded_polls,
        ..job.clone()
    }
}

fn record_outcome(
    tx: &mut dyn Transaction,
    claim: &Claim,
    unrecorded_polls: u32,
    outcome: &Outcome,
    holds_leases_at: &[ProviderName],
    now: Timestamp,
) -> Result<Recorded> {
    let prediction = match outcome {
        Outcome::Accepted { prediction, .. } | Outcome::Adopted { prediction, .. } => {
            Some(&prediction.prediction_id)
        }
        _ => None,
    };
    let mut instead = None;
    if let Some(id) = prediction
        && tx.prediction_owner(id, &claim.attempt)?.is_some()
    {
        let reason = format!("prediction {id} already belongs to another job");
        instead = taken_prediction::outcome_instead(outcome, reason, now);
    }
    let is_own = instead.is_none();
    let written = instead.as_ref().unwrap_or(outcome);
    let job = with_polls(&claim.job.progress, unrecorded_polls);
    let change = match outcome::apply(&job, &claim.attempt.progress, written, now) {
        Ok(change) => change,
        // A lease that was lost comes first: the job may be in any state.
        Err(_) if !is_current(tx, &claim.lease)? => return Ok(Recorded::LeaseLost),
        Err(error) => return Err(QueueError::IllegalTransition(error)),
    };
    let event = written.event();
    let holds_leases = holds_leases_at.contains(&claim.attempt.provider);
    let held = holds_leases && leased::may_be_held(&change.job);
    let mut recorded = write(tx, claim, change, instead, held)?;
    if let (Outcome::Finished { cost, .. }, Recorded::Job { .. }) = (outcome, &recorded) {
        route_turn::record_bill(tx, &claim.attempt, *cost, now)?;
    }
    if recorded == Recorded::LeaseLost && is_own {
        recorded = adopt_stray(tx, claim, outcome, now)?;
    }
    fail_point!("{event:?} written");
    Ok(recorded)
}

/// Records the prediction of an accepted submission whose lease was lost meanwhile.
fn adopt_stray(
    tx: &mut dyn Transaction,
    claim: &Claim,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<Recorded> {
    let Outcome::Accepted {
        prediction,
        early_cost,
        due_at,
    } = outcome
    else {
        return Ok(Recorded::LeaseLost);
    };
    let Some(job) = tx.stored_jobs(JobSet::Number(claim.lease.job_id))?.pop() else {
        return Ok(Recorded::LeaseLost);
    };
    let is_same = |attempt: &&Attempt| attempt.attempt_id == claim.attempt.attempt_id;
    let Some(attempt) = job.attempt.as_ref().filter(is_same) else {
        return Ok(Recorded::LeaseLost);
    };
    let change = stray::adopt(
        &job.progress,
        &attempt.progress,
        prediction,
        early_cost.as_ref(),
        *due_at,
        now,
    )?;
    let Some(change) = change else {
        return Ok(Recorded::LeaseLost);
    };
    tx.write(&job, &change)?;
    Ok(Recorded::Job {
        state: change.job.state,
        instead: None,
        held: None,
    })
}

/// Returns whether a lease is still current.
fn is_current(tx: &mut dyn Transaction, lease: &Lease) -> Result<bool> {
    let stored = tx.stored_jobs(JobSet::Number(lease.job_id))?;
    Ok(stored.iter().any(|job| job.lease.as_ref() == Some(lease)))
}

fn write(
    tx: &mut dyn Transaction,
    claim: &Claim,
    change: Change,
    instead: Option<Outcome>,
    held: bool,
) -> Result<Recorded> {
    if !tx.write_leased(claim, &change, held)? {
        return Ok(Recorded::LeaseLost);
    }
    Ok(Recorded::Job {
        state: change.job.state,
        instead,
        held: held.then(|| Arc::new(claim.to_poll(change))),
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
        let queue_id = tx.queue_id()?;
        for submission in submissions {
            claims.push(start_attempt(tx, pool, &queue_id, &view, submission)?);
            fail_point!("Submit written");
        }
    }
    route_turn::write_gates(tx, &view, &plan)?;
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

/// Returns a fencing token.
fn draw_token() -> i64 {
    fastrand::i64(1..)
}

/// Leases a job for its next step.
fn lease(tx: &mut dyn Transaction, pool: &PoolId, due: &DueStep) -> Result<Claim> {
    let (mut job, attempt) = tx.read_job(due.job_id)?;
    job.progress = claim::start(&job.progress, due.step);
    let lease = Lease {
        job_id: due.job_id,
        token: draw_token(),
    };
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

/// Writes the intent to submit a job and leases it. The provider may be called only after this is
/// committed: a crash in between then leaves the job in doubt instead of paying twice.
fn start_attempt(
    tx: &mut dyn Transaction,
    pool: &PoolId,
    queue_id: &str,
    view: &ClaimView,
    submission: PlannedSubmission,
) -> Result<Claim> {
    let mut job = submission.queued.job;
    let PreparedRequest {
        quote,
        request_text,
        digest,
        rejection,
    } = submission.prepared;
    let (progress, attempt_progress) = claim::submit(&job.progress, quote.price, view.now)?;
    job.progress = progress;
    let job_id = job.job_id;
    let number = submission.queued.last_attempt_number + 1;
    let mut attempt = Attempt {
        attempt_id: AttemptId(0),
        number,
        provider: submission.provider,
        wire_model: quote.wire_model,
        request: quote.request,
        client_token: format!("ovn-{queue_id}.job-{job_id}.attempt-{number}"),
        submitted_at: view.now,
        progress: attempt_progress,
    };
    let lease = Lease {
        job_id,
        token: draw_token(),
    };
    let new = NewAttempt {
        pool,
        lease: &lease,
        batch_id: view.batches[submission.batch].batch_id,
        job: &job,
        attempt: &attempt,
        request_text: &request_text,
        request_digest: digest,
    };
    attempt.attempt_id = tx.start_attempt(&new)?;
    Ok(Claim {
        lease,
        job,
        attempt,
        step: Step::Submit,
        clips: JobClips::default(),
        provider_failures: submission.provider_failures,
        rejection,
    })
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
