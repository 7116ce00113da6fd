//! Claims due steps, in one transaction.

use rusqlite::{Connection, named_params, params};

use crate::domain::{JobId, JobState, Lease};
use crate::queue::{Claim, ClaimRequest, Claimed, QueueError, Result, Step};

use super::creates::Creates;
use super::row::{JOB_AND_ATTEMPT, execute, job_and_attempt, select, value};

/// Claims what is asked for and due.
pub(super) fn claim(tx: &Connection, request: &ClaimRequest) -> Result<Claimed> {
    if value::<i64>(tx, "SELECT pid FROM pools WHERE pool_id = ?1", [&request.pool_id.0])?.is_none() {
        return Err(QueueError::PoolLost(request.pool_id.clone()));
    }
    let mut creates = Creates::begin(tx, request)?;
    // Looks free slots, creates fill them, downloads can wait: in that order nothing of the provider's stands idle.
    let looks_at = creates.looks_at;
    let mut claims = moving(tx, request, looks_at, JobState::Running, request.steps)?;
    claims.extend(moving(tx, request, looks_at, JobState::InDoubt, request.steps - claims.len())?);
    claims.extend(creates.claim(request.steps - claims.len())?);
    let downloads = request.downloads.min(request.steps - claims.len());
    claims.extend(moving(tx, request, request.batch.as_deref(), JobState::Downloading, downloads)?);
    let standing = creates.standing()?;
    Ok(Claimed { claims, standing })
}

/// Claims jobs between create and clip whose next step is due.
fn moving(
    tx: &Connection,
    request: &ClaimRequest,
    batch: Option<&str>,
    state: JobState,
    most: usize,
) -> Result<Vec<Claim>> {
    if most == 0 {
        return Ok(Vec::new());
    }
    let step = match state {
        JobState::Running => Step::Poll,
        JobState::InDoubt => Step::Reconcile,
        _ => Step::Download,
    };
    // A provider that said when to come back is left alone until then. Downloads are not its calls.
    let due: Vec<i64> = select(
        tx,
        "SELECT j.job_id FROM jobs j
         JOIN attempts a ON a.attempt_id = j.attempt_id
         LEFT JOIN providers p ON p.provider = a.provider
         WHERE j.state = :state AND j.due_at <= :now AND j.lease_token IS NULL
           AND (:batch IS NULL OR j.batch_id = (SELECT batch_id FROM batches WHERE name = :batch))
           AND (:download OR (ifnull(p.calls_from, 0) <= :now AND NOT ifnull(p.refuses_looks, 0)
                              AND instr(:providers, a.provider) > 0))
         ORDER BY j.due_at LIMIT :most",
        named_params! {
            ":state": state.as_str(),
            ":now": request.now.as_millisecond(),
            ":batch": batch,
            ":download": step == Step::Download,
            ":providers": providers_word(request),
            ":most": i64::try_from(most).unwrap_or(i64::MAX),
        },
        |columns| columns.get("job_id"),
    )?;
    due.into_iter().map(|job_id| lease(tx, request, job_id, step)).collect()
}

/// The names of the providers in question, in one word to search in.
pub(super) fn providers_word(request: &ClaimRequest) -> String {
    request.providers.iter().map(|limits| limits.provider.as_str()).collect::<Vec<_>>().join(",")
}

/// Gives a job to the pool that asks, and reads it back.
fn lease(tx: &Connection, request: &ClaimRequest, job_id: i64, step: Step) -> Result<Claim> {
    let token = fastrand::i64(1..);
    execute(
        tx,
        "UPDATE jobs SET lease_token = ?2, lease_pool = ?3, polls = polls + ?4, downloads = downloads + ?5 WHERE job_id = ?1",
        params![job_id, token, request.pool_id.0, step == Step::Poll, step == Step::Download],
    )?;
    let (job, attempt) = select(tx, JOB_AND_ATTEMPT, [job_id], job_and_attempt)?
        .pop()
        .ok_or_else(|| QueueError::Corrupt(format!("job {job_id} has no attempt")))?;
    let failures =
        value(tx, "SELECT failures FROM providers WHERE provider = ?1", [attempt.provider.as_str()])?;
    let lease = Lease { job_id: JobId(job_id), token };
    Ok(Claim { lease, job, attempt, step, provider_failures: failures.unwrap_or(0) })
}
