//! The worker pools of this queue, in the table `pools`.

use rusqlite::{Connection, params};

use crate::domain::{Lease, PoolId};
use crate::queue::stored_values::{read_lease, read_pool};
use crate::queue::{PoolRecord, Result};

use super::row::{execute, query_value, select};
use super::uploads;

/// Lists the pools, oldest first.
pub(super) fn list(connection: &Connection) -> Result<Vec<(PoolId, PoolRecord)>> {
    let mut pools = select(
        connection,
        "SELECT pool_id, host, pid, started_at, expires_at FROM pools",
        [],
        |columns| read_pool(columns),
    )?;
    pools.sort_by(|(id, pool), (other_id, other)| {
        (pool.started_at, &id.0).cmp(&(other.started_at, &other_id.0))
    });
    Ok(pools)
}

/// Inserts a pool, or updates when its leases expire.
pub(super) fn put(tx: &Connection, pool: &PoolId, record: &PoolRecord) -> Result<()> {
    execute(
        tx,
        "INSERT INTO pools (pool_id, host, pid, started_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (pool_id) DO UPDATE SET expires_at = excluded.expires_at",
        params![
            pool.0,
            record.host,
            record.pid,
            record.started_at.as_millisecond(),
            record.expires_at.as_millisecond()
        ],
    )?;
    Ok(())
}

/// Returns whether a pool is registered.
pub(super) fn is_registered(tx: &Connection, pool: &PoolId) -> Result<bool> {
    let sql = "SELECT pid FROM pools WHERE pool_id = ?1";
    Ok(query_value::<i64>(tx, sql, [&pool.0])?.is_some())
}

/// Deletes a pool that has no leased jobs, and releases its uploads.
pub(super) fn remove(tx: &Connection, pool: &PoolId) -> Result<()> {
    uploads::release_all(tx, &pool.0)?;
    execute(tx, "DELETE FROM pools WHERE pool_id = ?1", [&pool.0])?;
    Ok(())
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
        |columns| read_lease(columns),
    )?;
    Ok(Some(leases))
}
