//! Checks a queue file for damage, counter mismatches and jobs that need attention, without
//! changing it.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::Connection;

use crate::queue::{Health, Result, StoreError, StoreErrorKind};

use super::open::{SCHEMA_VERSION, schema_version};
use super::row::{query_value, select};
use super::{counters, pools};

/// Checks the file; a damaged one is an error.
///
/// `quick_check` reads every page but does not compare each index with its table, which would take
/// about as long again for every index.
pub(super) fn health(
    connection: &Connection,
    queue: &Path,
    host: &str,
    now: Timestamp,
) -> Result<Health> {
    let messages = select(connection, "PRAGMA quick_check(1)", [], |columns| {
        columns.get::<String>("quick_check")
    })?;
    if let Some(damage) = messages.into_iter().find(|message| message != "ok") {
        let damage = damage.trim().replace('\n', " ");
        let kind = StoreErrorKind::Damaged {
            found: Some(damage),
        };
        return Err(StoreError::new(queue, kind).into());
    }
    let health = Health {
        version: schema_version(connection)?,
        supported_version: SCHEMA_VERSION,
        ..Health::default()
    };
    if !health.is_current() {
        return Ok(health);
    }
    let dead_pools = pools::list_dead(connection, queue, host, now)?;
    let mut orphaned_jobs = 0;
    for pool in &dead_pools {
        let leased_jobs: Option<u64> = query_value(
            connection,
            "SELECT count(*) FROM jobs WHERE lease_pool = ?1",
            [&pool.0],
        )?;
        orphaned_jobs += leased_jobs.unwrap_or(0);
    }
    Ok(Health {
        counter_mismatches: counters::find_mismatches(connection)?,
        held: count_held(connection, None)?,
        dead_pools: dead_pools.len(),
        orphaned_jobs,
        ..health
    })
}

/// Returns the number of jobs in doubt that wait for the user's decision, of one batch or of every
/// batch.
pub(super) fn count_held(connection: &Connection, batch: Option<&str>) -> Result<u64> {
    let count = query_value(
        connection,
        "SELECT count(*) FROM jobs
         WHERE state = 'in_doubt' AND at_provider IS NOT NULL AND lease_token IS NULL
           AND due_at IS NULL
           AND (?1 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?1))",
        [batch],
    )?;
    Ok(count.unwrap_or(0))
}
