//! The worker pools of this queue: registration, heartbeats and takeover of dead pools.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{JobId, Lease, PoolId};
use crate::policy::takeover;
use crate::policy::tally::Tally;
use crate::queue::{LEASE_DURATION, PoolRecord, QueueError, Result};

use super::change::{StoredJob, select_stored_jobs};
use super::pool_lock::PoolLock;
use super::row::{execute, query_value, select};
use super::{clock_changes, tallies, uploads};

/// Registers a pool of this process.
pub(super) fn join(tx: &Connection, pool: &PoolId, host: &str, now: Timestamp) -> Result<()> {
    clock_changes::record_heartbeat(tx, now)?;
    execute(
        tx,
        "INSERT INTO pools (pool_id, host, pid, started_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            pool.0,
            host,
            std::process::id(),
            now.as_millisecond(),
            expires_at(now).as_millisecond()
        ],
    )?;
    Ok(())
}

/// Renews a pool's leases. Fails with [`QueueError::PoolLost`] if the pool is no longer registered.
pub(super) fn heartbeat(tx: &Connection, pool: &PoolId, now: Timestamp) -> Result<()> {
    clock_changes::record_heartbeat(tx, now)?;
    let changed = execute(
        tx,
        "UPDATE pools SET expires_at = ?2 WHERE pool_id = ?1",
        params![pool.0, expires_at(now).as_millisecond()],
    )?;
    if changed == 1 {
        Ok(())
    } else {
        Err(QueueError::PoolLost(pool.clone()))
    }
}

/// Returns when the leases of a pool expire that joins or sends a heartbeat now.
fn expires_at(now: Timestamp) -> Timestamp {
    now.saturating_add(LEASE_DURATION).unwrap_or(Timestamp::MAX)
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
    let pools = pools_with_ids(connection)?.into_iter();
    Ok(pools
        .filter(|(pool_id, pool)| !is_dead(queue, host, pool_id, pool))
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

/// Lists the leases of a pool, unless it has exactly `expected` of them.
pub(super) fn leases_unless(
    connection: &Connection,
    pool: &PoolId,
    expected: usize,
) -> Result<Option<Vec<Lease>>> {
    let count: Option<usize> = query_value(
        connection,
        "SELECT count(*) FROM jobs WHERE lease_pool = ?1",
        [&pool.0],
    )?;
    if count == Some(expected) {
        return Ok(None);
    }
    let leases = select(
        connection,
        "SELECT job_id, lease_token FROM jobs WHERE lease_pool = ?1",
        [&pool.0],
        |columns| {
            Ok(Lease {
                job_id: JobId(columns.get("job_id")?),
                token: columns.get("lease_token")?,
            })
        },
    )?;
    Ok(Some(leases))
}

/// A pool whose process is dead or whose leases have expired.
pub(super) struct DeadPool {
    pub(super) pool_id: PoolId,
    pub(super) expires_at: Timestamp,
    /// The pool's lock, which proves that its process is dead; `None` if the pool has only expired.
    pub(super) lock: Option<PoolLock>,
}

/// Lists the pools that are dead or expired, without acquiring their locks.
pub(super) fn list_dead(
    connection: &Connection,
    queue: &Path,
    host: &str,
    now: Timestamp,
) -> Result<Vec<PoolId>> {
    let pools = pools_with_ids(connection)?.into_iter();
    Ok(pools
        .filter(|(pool_id, pool)| is_dead(queue, host, pool_id, pool) || pool.expires_at <= now)
        .map(|(pool_id, _)| pool_id)
        .collect())
}

/// Returns whether the process of a pool on this machine no longer holds its lock.
fn is_dead(queue: &Path, host: &str, pool_id: &PoolId, pool: &PoolRecord) -> bool {
    pool.host == host && !PoolLock::is_held(queue, pool_id)
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

/// Removes a pool and releases its leases. Returns how many jobs were released.
///
/// Every released job counts a crash, because the pool had not finished its step.
pub(super) fn remove(tx: &Connection, pool: &PoolId, now: Timestamp) -> Result<usize> {
    let orphans = select(
        tx,
        select_stored_jobs!("WHERE j.lease_pool = ?1"),
        [&pool.0],
        StoredJob::read,
    )?;
    let mut tally = Tally::default();
    for job in &orphans {
        let attempt = job.current_attempt()?;
        let change = takeover::release(&job.progress, &attempt.progress, now)?;
        job.write(tx, &change, &mut tally)?;
    }
    tallies::write(tx, &tally)?;
    uploads::release_all(tx, &pool.0)?;
    execute(tx, "DELETE FROM pools WHERE pool_id = ?1", [&pool.0])?;
    Ok(orphans.len())
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
