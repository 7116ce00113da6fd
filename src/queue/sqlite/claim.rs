//! Claims due steps in one transaction.

use rusqlite::{Connection, params};

use crate::domain::{JobId, JobState, Lease, ProviderName};
use crate::queue::{Claim, ClaimRequest, ClaimResponse, QueueError, Result, Step};

use super::provider_capacity::RateCache;
use super::row::{JOB_AND_ATTEMPT, execute, query_value, read_job_and_attempt, select};
use super::submit_claims::SubmitClaims;

/// Claims the due steps and uploads that fit the request's capacity.
///
/// Fails with [`QueueError::PoolLost`] if the pool is no longer registered.
pub(super) fn claim(
    tx: &Connection,
    request: &ClaimRequest,
    rate_cache: &RateCache,
) -> Result<ClaimResponse> {
    if query_value::<i64>(
        tx,
        "SELECT pid FROM pools WHERE pool_id = ?1",
        [&request.pool_id.0],
    )?
    .is_none()
    {
        return Err(QueueError::PoolLost(request.pool_id.clone()));
    }
    let capacity = request.capacity;
    let mut submit_claims = SubmitClaims::new(tx, request, rate_cache)?;
    // Polls free provider slots, submissions fill them, and downloads occupy none. Claiming in this
    // order keeps the provider's slots in use.
    let mut claims = claim_in_progress(
        &submit_claims,
        JobState::Running,
        capacity.polls.min(capacity.steps),
    )?;
    let reconciles = (capacity.polls - claims.len()).min(capacity.steps - claims.len());
    claims.extend(claim_in_progress(
        &submit_claims,
        JobState::InDoubt,
        reconciles,
    )?);
    let submits = capacity.submits.min(capacity.steps - claims.len());
    claims.extend(submit_claims.claim(submits)?);
    let downloads = capacity.downloads.min(capacity.steps - claims.len());
    claims.extend(claim_in_progress(
        &submit_claims,
        JobState::Downloading,
        downloads,
    )?);
    // Uploads come last because they serve later submissions; the submissions claimed above need
    // none.
    let uploads =
        submit_claims.claim_uploads(capacity.uploads.min(capacity.steps - claims.len()))?;
    let is_full = claims.len() + uploads.len() >= capacity.steps;
    let backlog = if is_full {
        None
    } else {
        Some(submit_claims.backlog()?)
    };
    Ok(ClaimResponse {
        claims,
        uploads,
        backlog,
    })
}

/// Claims up to `limit` jobs whose next step is due, in order of due time.
///
/// `state` is running (polled), in doubt (reconciled) or downloading.
fn claim_in_progress(
    submit_claims: &SubmitClaims<'_>,
    state: JobState,
    limit: usize,
) -> Result<Vec<Claim>> {
    if limit == 0 || submit_claims.total_jobs.count(state) == 0 {
        return Ok(Vec::new());
    }
    let SubmitClaims { tx, request, .. } = *submit_claims;
    let now = request.now;
    let polled_providers = submit_claims
        .capacities
        .iter()
        .filter(|capacity| capacity.accepts_polls(now))
        .map(|capacity| capacity.limits.provider);
    // A download uses the stored link and calls no provider API, so a provider that is held or
    // suspended does not delay it.
    let (batch, providers) = if state == JobState::Downloading {
        (request.batch.as_deref(), ProviderName::ALL.to_vec())
    } else {
        (submit_claims.polled_batch, polled_providers.collect())
    };
    let mut due: Vec<(i64, i64)> = Vec::new();
    for provider in providers {
        due.extend(first_due(
            tx,
            state,
            provider,
            0,
            now.as_millisecond(),
            batch,
            limit,
        )?);
    }
    due.sort_unstable();
    due.truncate(limit);
    let step = match state {
        JobState::Running => Step::Poll,
        JobState::InDoubt => Step::Reconcile,
        _ => Step::Download,
    };
    due.into_iter()
        .map(|(_, job_id)| lease_job(tx, request, job_id, step))
        .collect()
}

/// Finds the first `limit` unleased jobs of a provider that are due between `from` and `to`.
///
/// Both bounds are inclusive and in milliseconds. Returns pairs of due time and job id, earliest
/// first. `state` is running, in doubt or downloading.
pub(super) fn first_due(
    tx: &Connection,
    state: JobState,
    provider: ProviderName,
    from: i64,
    to: i64,
    batch: Option<&str>,
    limit: usize,
) -> Result<Vec<(i64, i64)>> {
    macro_rules! select_due {
        ($state:literal) => {
            concat!(
                "SELECT due_at, job_id FROM jobs
                 WHERE state = '",
                $state,
                "' AND at_provider = ?1 AND lease_token IS NULL AND due_at BETWEEN ?2 AND ?3
                   AND (?4 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?4))
                 ORDER BY due_at LIMIT ?5"
            )
        };
    }
    // SQLite matches a partial index against the literals of a statement, never against bound
    // values, so the state is written out.
    let sql = match state {
        JobState::Running => select_due!("running"),
        JobState::InDoubt => select_due!("in_doubt"),
        _ => select_due!("downloading"),
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    select(
        tx,
        sql,
        params![provider.as_str(), from, to, batch, limit],
        |columns| Ok((columns.get("due_at")?, columns.get("job_id")?)),
    )
}

/// Leases a job to the requesting pool, counts the poll or download, and reads the job back.
fn lease_job(tx: &Connection, request: &ClaimRequest, job_id: i64, step: Step) -> Result<Claim> {
    let token = fastrand::i64(1..);
    execute(
        tx,
        "UPDATE jobs SET lease_token = ?2, lease_pool = ?3,
                polls = polls + ?4, downloads = downloads + ?5
         WHERE job_id = ?1",
        params![
            job_id,
            token,
            request.pool_id.0,
            step == Step::Poll,
            step == Step::Download
        ],
    )?;
    let (job, attempt) = select(tx, JOB_AND_ATTEMPT, [job_id], read_job_and_attempt)?
        .pop()
        .ok_or_else(|| QueueError::Corrupt(format!("job {job_id} has no attempt")))?;
    let lease = Lease {
        job_id: JobId(job_id),
        token,
    };
    Ok(Claim {
        lease,
        job,
        attempt,
        step,
        provider_failures: 0,
        rejection: None,
    })
}
