//! The pools on this queue: their leases, and what becomes of them when a pool is gone.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{Event, JobState, PoolId};
use crate::queue::{QueueError, Result};

use super::advance::move_job;
use super::pool_lock::PoolLock;
use super::row::{execute, select};

/// A job that took this many pools with it in a row is not tried again by itself.
const MOST_CRASHES: u32 = 10;

pub(super) fn join(
    tx: &Connection,
    pool: &PoolId,
    host: &str,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<()> {
    execute(
        tx,
        "INSERT INTO pools (pool_id, host, pid, started_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![pool.0, host, std::process::id(), now.as_millisecond(), expires_at.as_millisecond()],
    )?;
    Ok(())
}

pub(super) fn renew(tx: &Connection, pool: &PoolId, expires_at: Timestamp) -> Result<()> {
    let changed = execute(
        tx,
        "UPDATE pools SET expires_at = ?2 WHERE pool_id = ?1",
        params![pool.0, expires_at.as_millisecond()],
    )?;
    if changed == 1 { Ok(()) } else { Err(QueueError::PoolLost(pool.clone())) }
}

/// A pool that is dead, or has not renewed in time.
pub(super) struct Gone {
    pub(super) pool_id: PoolId,
    pub(super) expires_at: Timestamp,
    /// The lock of a pool whose process is dead for certain.
    pub(super) lock: Option<PoolLock>,
}

/// Finds the pools that are gone.
pub(super) fn gone(connection: &Connection, queue: &Path, host: &str, now: Timestamp) -> Result<Vec<Gone>> {
    let pools = select(connection, "SELECT pool_id, host, expires_at FROM pools", [], |columns| {
        let pool_id = PoolId(columns.get("pool_id")?);
        let lock =
            if columns.get::<String>("host")? == host { PoolLock::of_dead(queue, &pool_id) } else { None };
        Ok(Gone { pool_id, expires_at: columns.time("expires_at")?, lock })
    })?;
    Ok(pools.into_iter().filter(|pool| pool.lock.is_some() || pool.expires_at <= now).collect())
}

/// Removes a pool. Whatever it was submitting is in doubt: the create may have left.
pub(super) fn remove(tx: &Connection, pool: &PoolId, now: Timestamp) -> Result<usize> {
    let left = select(
        tx,
        "SELECT job_id, state, attempt_id, crashes FROM jobs WHERE lease_pool = ?1",
        [&pool.0],
        |columns| {
            let attempt_id: i64 = columns.get("attempt_id")?;
            Ok((
                columns.get::<i64>("job_id")?,
                columns.word::<JobState>("state")?,
                attempt_id,
                columns.get::<u32>("crashes")?,
            ))
        },
    )?;
    for (job_id, state, attempt_id, crashes) in &left {
        let due_at = (crashes + 1 < MOST_CRASHES).then_some(now);
        if *state == JobState::Submitting {
            let reason = "the program ended while the create call was under way";
            move_job(tx, *job_id, *state, Event::LoseAnswer, due_at, Some(reason), now)?;
            execute(tx, "UPDATE jobs SET attempts = attempts + 1 WHERE job_id = ?1", [job_id])?;
            execute(
                tx,
                "UPDATE attempts SET state = 'in_doubt', answered_at = ?2, error = ?3 WHERE attempt_id = ?1",
                params![attempt_id, now.as_millisecond(), reason],
            )?;
        } else {
            execute(
                tx,
                "UPDATE jobs SET lease_token = NULL, lease_pool = NULL, due_at = ?2 WHERE job_id = ?1",
                params![job_id, due_at.map(Timestamp::as_millisecond)],
            )?;
        }
        execute(tx, "UPDATE jobs SET crashes = crashes + 1 WHERE job_id = ?1", [job_id])?;
    }
    execute(tx, "DELETE FROM pools WHERE pool_id = ?1", [&pool.0])?;
    Ok(left.len())
}

pub(super) fn unpause(tx: &Connection) -> Result<()> {
    execute(tx, "UPDATE providers SET paused = NULL, refuses_looks = 0 WHERE paused IS NOT NULL", [])?;
    Ok(())
}
