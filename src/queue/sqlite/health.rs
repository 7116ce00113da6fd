//! A look over the file that changes nothing: whether it is whole, what does not add up, what waits for somebody.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::Connection;

use crate::queue::{Health, QueueError, Result};

use super::open::{DAMAGED, VERSION, version};
use super::row::{select, value};
use super::{counters, pools};

/// Looks the file over; a damaged one is an error. `quick_check` reads every page, but not each index against its table,
/// which would take as long again for each.
pub(super) fn health(
    connection: &Connection,
    queue: &Path,
    host: &str,
    now: Timestamp,
) -> Result<Health> {
    let found = select(connection, "PRAGMA quick_check(1)", [], |columns| {
        columns.get::<String>("quick_check")
    })?;
    if let Some(damage) = found.into_iter().find(|found| found != "ok") {
        let damage = damage.trim().replace('\n', " ");
        return Err(QueueError::Unusable(format!(
            "{} is damaged: {damage}\nhint: {DAMAGED}",
            queue.display()
        )));
    }
    let health = Health {
        version: version(connection)?,
        supported_version: VERSION,
        ..Health::default()
    };
    if !health.is_current() {
        return Ok(health);
    }
    let gone = pools::gone(connection, queue, host, now)?;
    let mut orphaned_jobs = 0;
    for pool in &gone {
        let held: Option<u64> = value(
            connection,
            "SELECT count(*) FROM jobs WHERE lease_pool = ?1",
            [&pool.pool_id.0],
        )?;
        orphaned_jobs += held.unwrap_or(0);
    }
    Ok(Health {
        counter_mismatches: counters::counter_mismatches(connection)?,
        held: held(connection, None)?,
        dead_pools: gone.len(),
        orphaned_jobs,
        ..health
    })
}

/// Counts the jobs in doubt that wait for a person.
pub(super) fn held(connection: &Connection, batch: Option<&str>) -> Result<u64> {
    let held = value(
        connection,
        "SELECT count(*) FROM jobs
         WHERE state = 'in_doubt' AND at_provider IS NOT NULL AND lease_token IS NULL AND due_at IS NULL
           AND (?1 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?1))",
        [batch],
    )?;
    Ok(held.unwrap_or(0))
}
