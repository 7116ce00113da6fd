//! The worker pools of this queue: registration, heartbeats and takeover of dead pools.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{JobEvent, JobState, PoolId};
use crate::queue::{PoolRecord, QueueError, Result};

use super::clock;
use super::pool_lock::PoolLock;
use super::record::{abandon_attempt, move_job};
use super::row::{execute, nullable_millis, select};
use super::uploads;

/// Number of consecutive crashes after which a job is no longer claimed until the user decides.
const MAX_CRASHES: u32 = 10;

/// Registers a pool of this process.
pub(super) fn join(
    tx: &Connection,
    pool: &PoolId,
    host: &str,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    clock::record_heartbeat(tx, now)?;
    execute(
        tx,
        "INSERT INTO pools (pool_id, host, pid, started_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            pool.0,
            host,
            std::process::id(),
            now.as_millisecond(),
            expires_at.as_millisecond()
        ],
    )?;
    Ok(())
}

/// Renews a pool's leases. Fails with [`QueueError::PoolLost`] if the pool is no longer registered.
pub(super) fn heartbeat(
    tx: &Connection,
    pool: &PoolId,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    clock::record_heartbeat(tx, now)?;
    let changed = execute(
        tx,
        "UPDATE pools SET expires_at = ?2 WHERE pool_id = ?1",
        params![pool.0, expires_at.as_millisecond()],
    )?;
    if changed == 1 {
        Ok(())
    } else {
        Err(QueueError::PoolLost(pool.clone()))
    }
}

/// Lists the pools that are not known to be dead, oldest first.
///
/// A pool of this machine is dead if its process no longer holds its lock. Whether a pool of
/// another machine is alive cannot be checked, so expired ones are listed too.
pub(super) fn list_running(
    connection: &Connection,
    queue: &Path,
    host: &str,
) -> Result<Vec<PoolRecord>> {
    let is_dead = |pool_id: &PoolId, pool: &PoolRecord| {
        pool.host == host && !PoolLock::is_held(queue, pool_id)
    };
    let pools = pools_with_ids(connection)?.into_iter();
    Ok(pools
        .filter(|(pool_id, pool)| !is_dead(pool_id, pool))
        .map(|(_, pool)| pool)
        .collect())
}

/// Lists the pools that are at work, oldest first.
///
/// A pool of another machine must not have expired. For a pool of this machine the lock decides: if
/// the machine was asleep, the pool has expired but is alive.
pub(super) fn list_active(
    connection: &Connection,
    queue: &Path,
    host: &str,
    now: Timestamp,
) -> Result<Vec<PoolRecord>> {
    let mut pools = list_running(connection, queue, host)?;
    pools.retain(|pool| pool.host == host || pool.expires_at > now);
    Ok(pools)
}

fn pools_with_ids(connection: &Connection) -> Result<Vec<(PoolId, PoolRecord)>> {
    select(
        connection,
        "SELECT pool_id, host, pid, started_at, expires_at FROM pools ORDER BY started_at, pool_id",
        [],
        |columns| {
            let pool_id = PoolId(columns.get("pool_id")?);
            let record = PoolRecord {
                host: columns.get("host")?,
                pid: columns.get("pid")?,
                started_at: columns.time("started_at")?,
                expires_at: columns.time("expires_at")?,
            };
            Ok((pool_id, record))
        },
    )
}

/// A pool whose process is dead or whose leases have expired.
pub(super) struct DeadPool {
    pub(super) pool_id: PoolId,
    pub(super) expires_at: Timestamp,
    /// The pool's lock, which proves that its process is dead; `None` if the pool has only expired.
    pub(super) lock: Option<PoolLock>,
}

/// Finds the pools that are dead or expired, and acquires the locks of the dead ones.
pub(super) fn find_dead(
    connection: &Connection,
    queue: &Path,
    host: &str,
    now: Timestamp,
) -> Result<Vec<DeadPool>> {
    let pools = select(
        connection,
        "SELECT pool_id, host, expires_at FROM pools",
        [],
        |columns| {
            let pool_id = PoolId(columns.get("pool_id")?);
            let lock = if columns.get::<String>("host")? == host {
                PoolLock::acquire_if_dead(queue, &pool_id)
            } else {
                None
            };
            Ok(DeadPool {
                pool_id,
                expires_at: columns.time("expires_at")?,
                lock,
            })
        },
    )?;
    Ok(pools
        .into_iter()
        .filter(|pool| pool.lock.is_some() || pool.expires_at <= now)
        .collect())
}

/// A job that a removed pool had leased.
struct OrphanedJob {
    job_id: i64,
    state: JobState,
    attempt_id: i64,
    /// Consecutive crashes before this one.
    crashes: u32,
}

/// Removes a pool and releases its leases. Returns how many jobs were released.
///
/// Every released job counts a crash, because the pool had not finished its step.
pub(super) fn remove(tx: &Connection, pool: &PoolId, now: Timestamp) -> Result<usize> {
    let orphans = select(
        tx,
        "SELECT job_id, state, attempt_id, crashes FROM jobs WHERE lease_pool = ?1",
        [&pool.0],
        |columns| {
            Ok(OrphanedJob {
                job_id: columns.get("job_id")?,
                state: columns.parse("state")?,
                attempt_id: columns.get("attempt_id")?,
                crashes: columns.get("crashes")?,
            })
        },
    )?;
    for job in &orphans {
        release_orphan(tx, job, now)?;
        execute(
            tx,
            "UPDATE jobs SET crashes = ?2 WHERE job_id = ?1",
            params![job.job_id, job.crashes + 1],
        )?;
    }
    uploads::release_all(tx, &pool.0)?;
    execute(tx, "DELETE FROM pools WHERE pool_id = ?1", [&pool.0])?;
    Ok(orphans.len())
}

/// Releases one job of a removed pool.
///
/// A submitting job becomes in doubt: the request may have been sent. After [`MAX_CRASHES`]
/// consecutive crashes a job waits for the user: in doubt without a due time, or failed, which
/// books the estimate of an open attempt.
fn release_orphan(tx: &Connection, job: &OrphanedJob, now: Timestamp) -> Result<()> {
    let is_at_crash_limit = job.crashes + 1 >= MAX_CRASHES;
    let due_at = if is_at_crash_limit {
        None
    } else {
        now.saturating_add(crash_backoff(job.crashes)).ok()
    };
    match job.state {
        JobState::Submitting => {
            let reason = "the program ended during the submit call";
            move_job(
                tx,
                job.job_id,
                job.state,
                JobEvent::LoseResponse,
                due_at,
                Some(reason),
                now,
            )?;
            execute(
                tx,
                "UPDATE jobs SET attempts = attempts + 1 WHERE job_id = ?1",
                [job.job_id],
            )?;
            execute(
                tx,
                "UPDATE attempts SET state = 'in_doubt', answered_at = ?2, error = ?3
                 WHERE attempt_id = ?1",
                params![job.attempt_id, now.as_millisecond(), reason],
            )?;
        }
        JobState::Running | JobState::Downloading if is_at_crash_limit => {
            let reason = format!(
                "the program ended {MAX_CRASHES} times while working on this job; \
                 `retry` continues without another payment"
            );
            move_job(
                tx,
                job.job_id,
                job.state,
                JobEvent::GiveUp,
                None,
                Some(&reason),
                now,
            )?;
            abandon_attempt(tx, job.attempt_id, &reason, now)?;
        }
        _ => {
            execute(
                tx,
                "UPDATE jobs SET lease_token = NULL, lease_pool = NULL, due_at = ?2
                 WHERE job_id = ?1",
                params![job.job_id, nullable_millis(due_at)],
            )?;
        }
    }
    Ok(())
}

/// Returns how long a job waits after a crash: 0 s after the first, then 1, 2, 4 … up to 32 s.
///
/// Every job of a crashed pool counts the crash, but perhaps only one of them caused it. The
/// growing delays separate that job from the others, whose next recorded outcome resets their
/// count.
fn crash_backoff(crashes_before: u32) -> Duration {
    let doublings = crashes_before.min(6);
    if doublings == 0 {
        Duration::ZERO
    } else {
        Duration::from_secs(1 << (doublings - 1))
    }
}

/// Resumes every suspended provider and deletes the rejected uploads.
///
/// Called when a run starts: the user may have fixed the key, the balance or the file.
pub(super) fn reopen_providers(tx: &Connection) -> Result<()> {
    execute(
        tx,
        "UPDATE providers SET paused = NULL, refuses_looks = 0 WHERE paused IS NOT NULL",
        [],
    )?;
    uploads::clear_rejected(tx)
}
