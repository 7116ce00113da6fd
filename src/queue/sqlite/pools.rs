//! The pools on this queue: their leases, and what becomes of them when a pool is gone.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{JobEvent, JobState, PoolId};
use crate::queue::{PoolRecord, QueueError, Result};

use super::clock;
use super::pool_lock::PoolLock;
use super::record::{abandon, move_job};
use super::row::{execute, select, time_value};
use super::uploads;

/// A job that took this many pools with it in a row is not tried again by itself.
const MOST_CRASHES: u32 = 10;

pub(super) fn join(
    tx: &Connection,
    pool: &PoolId,
    host: &str,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    clock::see(tx, now)?;
    execute(
        tx,
        "INSERT INTO pools (pool_id, host, pid, started_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
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

pub(super) fn heartbeat(
    tx: &Connection,
    pool: &PoolId,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    clock::see(tx, now)?;
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

/// Lists the pools, oldest first, but for those of this machine whose process is dead.
pub(super) fn running(
    connection: &Connection,
    queue: &Path,
    host: &str,
) -> Result<Vec<PoolRecord>> {
    let is_dead = |pool_id: &PoolId, pool: &PoolRecord| {
        pool.host == host && !PoolLock::is_held(queue, pool_id)
    };
    let pools = with_ids(connection)?.into_iter();
    Ok(pools
        .filter(|(pool_id, pool)| !is_dead(pool_id, pool))
        .map(|(_, pool)| pool)
        .collect())
}

/// Lists the pools that are at work. On this machine a lock tells: a pool that slept with it has expired, and is alive.
pub(super) fn alive(
    connection: &Connection,
    queue: &Path,
    host: &str,
    now: Timestamp,
) -> Result<Vec<PoolRecord>> {
    let mut pools = running(connection, queue, host)?;
    pools.retain(|pool| pool.host == host || pool.expires_at > now);
    Ok(pools)
}

fn with_ids(connection: &Connection) -> Result<Vec<(PoolId, PoolRecord)>> {
    let pools =
        "SELECT pool_id, host, pid, started_at, expires_at FROM pools ORDER BY started_at, pool_id";
    select(connection, pools, [], |columns| {
        let pool_id = PoolId(columns.get("pool_id")?);
        let record = PoolRecord {
            host: columns.get("host")?,
            pid: columns.get("pid")?,
            started_at: columns.time("started_at")?,
            expires_at: columns.time("expires_at")?,
        };
        Ok((pool_id, record))
    })
}

/// A pool that is dead, or has not renewed in time.
pub(super) struct DeadPool {
    pub(super) pool_id: PoolId,
    pub(super) expires_at: Timestamp,
    /// The lock of a pool whose process is dead for certain.
    pub(super) lock: Option<PoolLock>,
}

/// Finds the pools that are gone.
pub(super) fn gone(
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
                PoolLock::of_dead(queue, &pool_id)
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

/// A job as a pool that is gone left it.
struct OrphanedJob {
    job_id: i64,
    state: JobState,
    attempt_id: i64,
    crashes: u32,
}

/// Removes a pool, and frees what it held.
pub(super) fn remove(tx: &Connection, pool: &PoolId, now: Timestamp) -> Result<usize> {
    let left = select(
        tx,
        "SELECT job_id, state, attempt_id, crashes FROM jobs WHERE lease_pool = ?1",
        [&pool.0],
        |columns| {
            Ok(OrphanedJob {
                job_id: columns.get("job_id")?,
                state: columns.word("state")?,
                attempt_id: columns.get("attempt_id")?,
                crashes: columns.get("crashes")?,
            })
        },
    )?;
    for job in &left {
        free(tx, job, now)?;
        execute(
            tx,
            "UPDATE jobs SET crashes = ?2 WHERE job_id = ?1",
            params![job.job_id, job.crashes + 1],
        )?;
    }
    uploads::free(tx, &pool.0)?;
    execute(tx, "DELETE FROM pools WHERE pool_id = ?1", [&pool.0])?;
    Ok(left.len())
}

/// Frees one job. What was being submitted is in doubt: the create may have left. A job that has taken too many pools
/// with it is left to a person.
fn free(tx: &Connection, job: &OrphanedJob, now: Timestamp) -> Result<()> {
    let is_poison = job.crashes + 1 >= MOST_CRASHES;
    let due_at = if is_poison {
        None
    } else {
        now.saturating_add(pause_after(job.crashes)).ok()
    };
    match job.state {
        JobState::Submitting => {
            let reason = "the program ended while the create call was under way";
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
                "UPDATE attempts SET state = 'in_doubt', answered_at = ?2, error = ?3 WHERE attempt_id = ?1",
                params![job.attempt_id, now.as_millisecond(), reason],
            )?;
        }
        JobState::Running | JobState::Downloading if is_poison => {
            let reason = format!(
                "the program ended {MOST_CRASHES} times while it worked on this job; `retry` goes on without paying"
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
            abandon(tx, job.attempt_id, &reason, now)?;
        }
        _ => {
            execute(
                tx,
                "UPDATE jobs SET lease_token = NULL, lease_pool = NULL, due_at = ?2 WHERE job_id = ?1",
                params![job.job_id, time_value(due_at)],
            )?;
        }
    }
    Ok(())
}

/// How long a job waits after a crash: not at all after the first, then longer each time. Whoever makes the program end
/// is so parted from those it had in hand along with it.
fn pause_after(crashes_before: u32) -> Duration {
    let doublings = crashes_before.min(6);
    if doublings == 0 {
        Duration::ZERO
    } else {
        Duration::from_secs(1 << (doublings - 1))
    }
}

pub(super) fn reopen_providers(tx: &Connection) -> Result<()> {
    execute(
        tx,
        "UPDATE providers SET paused = NULL, refuses_looks = 0 WHERE paused IS NOT NULL",
        [],
    )?;
    uploads::forget_refused(tx)
}
