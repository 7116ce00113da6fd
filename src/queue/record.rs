//! Recording the completed steps of a turn. The rules are in [`policy`](crate::policy).

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::{Attempt, JobProgress, Lease, Outcome, ProviderName};
use crate::failpoint::fail_point;
use crate::policy::{Change, leased, outcome, stray, taken_prediction, takeover, upload};

use super::storage::{JobSet, Transaction};
use super::turn_gates::TurnGates;
use super::{Claim, Completed, QueueError, Recorded, Result};

/// Records a completed step, unless its lease was lost.
pub(super) fn record(
    tx: &mut dyn Transaction,
    gates: &mut TurnGates,
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
        } => {
            let recorded =
                record_outcome(tx, claim, *unrecorded_polls, outcome, holds_leases_at, now)?;
            if let (Outcome::Finished { cost, .. }, Recorded::Job { .. }) = (outcome, &recorded) {
                gates.record_bill(tx, &claim.attempt, *cost, now)?;
            }
            Ok(recorded)
        }
        Completed::NotStarted { claim } => {
            let change = leased::release(&claim.job.progress, &claim.attempt.progress, now)?;
            write(tx, claim, change, None, false)
        }
        Completed::Panicked { claim, message } => {
            let job = &claim.job.progress;
            let attempt = &claim.attempt.progress;
            let change = takeover::after_panic(job, attempt, message, now)?;
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
    let job = with_polls(&claim.job.progress, unrecorded_polls);
    let mut change = match outcome::apply(&job, &claim.attempt.progress, outcome, now) {
        Ok(change) => change,
        // A lease that was lost comes first: the job may be in any state.
        Err(_) if !is_current(tx, &claim.lease)? => return Ok(Recorded::LeaseLost),
        Err(error) => return Err(QueueError::IllegalTransition(error)),
    };
    let mut instead = None;
    if let Some(id) = found_prediction(outcome)
        && tx.prediction_owner(id, &claim.attempt)?.is_some()
    {
        let reason = format!("prediction {id} already belongs to another job");
        instead = taken_prediction::outcome_instead(outcome, reason, now);
    }
    if let Some(instead) = &instead {
        change = outcome::apply(&job, &claim.attempt.progress, instead, now)?;
    }
    let is_own = instead.is_none();
    let event = instead.as_ref().unwrap_or(outcome).event();
    let holds_leases = holds_leases_at.contains(&claim.attempt.provider);
    let held = holds_leases && leased::may_be_held(&change.job);
    let mut recorded = write(tx, claim, change, instead, held)?;
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

/// Returns the id of the prediction that an attempt was found to have; `None` if the outcome finds none.
pub(super) fn found_prediction(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Accepted { prediction, .. } | Outcome::Adopted { prediction, .. } => {
            Some(&prediction.prediction_id)
        }
        _ => None,
    }
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
