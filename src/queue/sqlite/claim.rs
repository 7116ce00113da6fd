//! Claims due steps, in one transaction.

use rusqlite::{Connection, params};

use crate::domain::{JobId, JobState, Lease, ProviderName};
use crate::queue::{Claim, ClaimRequest, ClaimResponse, QueueError, Result, Step};

use super::provider_capacity::RateCache;
use super::row::{JOB_AND_ATTEMPT, execute, job_and_attempt, select, value};
use super::submit_claims::SubmitClaims;

/// Claims what is asked for and due.
pub(super) fn claim(
    tx: &Connection,
    request: &ClaimRequest,
    rate_cache: &RateCache,
) -> Result<ClaimResponse> {
    if value::<i64>(
        tx,
        "SELECT pid FROM pools WHERE pool_id = ?1",
        [&request.pool_id.0],
    )?
    .is_none()
    {
        return Err(QueueError::PoolLost(request.pool_id.clone()));
    }
    let capacity = request.capacity;
    let mut creates = SubmitClaims::begin(tx, request, rate_cache)?;
    // Looks free slots, creates fill them, downloads can wait: in that order nothing of the provider's stands idle.
    let mut claims = moving(
        &creates,
        JobState::Running,
        capacity.polls.min(capacity.steps),
    )?;
    let looks = (capacity.polls - claims.len()).min(capacity.steps - claims.len());
    claims.extend(moving(&creates, JobState::InDoubt, looks)?);
    claims.extend(creates.claim(capacity.submits.min(capacity.steps - claims.len()))?);
    let downloads = capacity.downloads.min(capacity.steps - claims.len());
    claims.extend(moving(&creates, JobState::Downloading, downloads)?);
    // The creates come first that need none; what is uploaded now is for those after.
    let uploads = creates.claim_uploads(capacity.uploads.min(capacity.steps - claims.len()))?;
    let is_full = claims.len() + uploads.len() >= capacity.steps;
    let backlog = if is_full {
        None
    } else {
        Some(creates.backlog()?)
    };
    Ok(ClaimResponse {
        claims,
        uploads,
        backlog,
    })
}

/// Claims jobs between create and clip whose next step is due.
fn moving(creates: &SubmitClaims<'_>, state: JobState, most: usize) -> Result<Vec<Claim>> {
    if most == 0 || creates.in_all.of(state) == 0 {
        return Ok(Vec::new());
    }
    let SubmitClaims { tx, request, .. } = *creates;
    let now = request.now;
    let open = creates
        .capacities
        .iter()
        .filter(|pace| pace.accepts_polls(now))
        .map(|pace| pace.limits.provider);
    // No provider is asked for a clip.
    let (batch, providers) = if state == JobState::Downloading {
        (request.batch.as_deref(), ProviderName::ALL.to_vec())
    } else {
        (creates.looks_at, open.collect())
    };
    let mut due: Vec<(i64, i64)> = Vec::new();
    for provider in providers {
        due.extend(first_moving(
            tx,
            state,
            provider,
            0,
            now.as_millisecond(),
            batch,
            most,
        )?);
    }
    due.sort_unstable();
    due.truncate(most);
    let step = match state {
        JobState::Running => Step::Poll,
        JobState::InDoubt => Step::Reconcile,
        _ => Step::Download,
    };
    due.into_iter()
        .map(|(_, job_id)| lease(tx, request, job_id, step))
        .collect()
}

/// Finds the first jobs between create and clip whose next step falls due in a span of time: when, and which.
pub(super) fn first_moving(
    tx: &Connection,
    state: JobState,
    provider: ProviderName,
    from: i64,
    to: i64,
    batch: Option<&str>,
    most: usize,
) -> Result<Vec<(i64, i64)>> {
    macro_rules! moving {
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
    // SQLite uses an index of a part of the jobs only for a state that it can read in the statement.
    let sql = match state {
        JobState::Running => moving!("running"),
        JobState::InDoubt => moving!("in_doubt"),
        _ => moving!("downloading"),
    };
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    select(
        tx,
        sql,
        params![provider.as_str(), from, to, batch, most],
        |columns| Ok((columns.get("due_at")?, columns.get("job_id")?)),
    )
}

/// Gives a job to the pool that asks, and reads it back.
fn lease(tx: &Connection, request: &ClaimRequest, job_id: i64, step: Step) -> Result<Claim> {
    let token = fastrand::i64(1..);
    execute(
        tx,
        "UPDATE jobs SET lease_token = ?2, lease_pool = ?3, polls = polls + ?4, downloads = downloads + ?5 WHERE job_id = ?1",
        params![
            job_id,
            token,
            request.pool_id.0,
            step == Step::Poll,
            step == Step::Download
        ],
    )?;
    let (job, attempt) = select(tx, JOB_AND_ATTEMPT, [job_id], job_and_attempt)?
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
