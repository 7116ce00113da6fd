//! The pools of the queue, and the settings of their runs that were changed.

use super::connection::Connection;
use super::row::params;
use crate::domain::{Lease, PoolId};
use crate::queue::stored_values::{read_lease, read_pool, read_setting};
use crate::queue::{LiveSetting, PoolRecord, Result, SettingChange};

/// Lists the pools, oldest first.
pub(super) fn list(tx: &Connection) -> Result<Vec<(PoolId, PoolRecord)>> {
    tx.select(
        "SELECT pool_id, host, pid, started_at, expires_at FROM pools
         ORDER BY started_at, pool_id COLLATE \"C\"",
        &[],
        |columns| read_pool(columns),
    )
}

/// Inserts a pool, or updates when its leases expire.
pub(super) fn put(tx: &Connection, pool: &PoolId, record: &PoolRecord) -> Result<()> {
    tx.execute(
        "INSERT INTO pools (pool_id, host, pid, started_at, expires_at)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (pool_id) DO UPDATE SET expires_at = excluded.expires_at",
        params![
            pool.0,
            record.host,
            i64::from(record.pid),
            record.started_at.as_millisecond(),
            record.expires_at.as_millisecond()
        ],
    )?;
    Ok(())
}

/// Returns whether a pool is registered.
pub(super) fn is_registered(tx: &Connection, pool: &PoolId) -> Result<bool> {
    let sql = "SELECT pid FROM pools WHERE pool_id = $1";
    Ok(tx.value::<i64>(sql, params![pool.0])?.is_some())
}

/// Deletes a pool that has no leased jobs, and releases its uploads.
pub(super) fn remove(tx: &Connection, pool: &PoolId) -> Result<()> {
    tx.execute(
        "UPDATE uploads SET lease_token = NULL, lease_pool = NULL WHERE lease_pool = $1",
        params![pool.0],
    )?;
    tx.execute("DELETE FROM pools WHERE pool_id = $1", params![pool.0])?;
    Ok(())
}

/// Lists the leases of a pool, unless it has exactly `expected` of them.
pub(super) fn leases_unless(
    tx: &Connection,
    pool: &PoolId,
    expected: usize,
) -> Result<Option<Vec<Lease>>> {
    let leases = tx.select(
        "SELECT job_id, lease_token FROM jobs WHERE lease_pool = $1",
        params![pool.0],
        |columns| read_lease(columns),
    )?;
    Ok(Some(leases).filter(|leases| leases.len() != expected))
}

/// Lists the current value of every changed setting, in order of change.
pub(super) fn list_settings(tx: &Connection) -> Result<Vec<SettingChange>> {
    tx.select(
        "SELECT name, value, was, set_by, set_at FROM controls ORDER BY set_at, name COLLATE \"C\"",
        &[],
        |columns| read_setting(columns),
    )
}

/// Replaces the changed settings.
pub(super) fn replace_settings(tx: &Connection, settings: &[SettingChange]) -> Result<()> {
    tx.execute("DELETE FROM controls", &[])?;
    for change in settings {
        tx.execute(
            "INSERT INTO controls (name, value, was, set_by, set_at) VALUES ($1, $2, $3, $4, $5)",
            params![
                change.setting.name(),
                change.setting.value(),
                change.previous.as_ref().map(LiveSetting::value),
                change.set_by,
                change.set_at.as_millisecond()
            ],
        )?;
    }
    Ok(())
}
