//! Checks a queue file for damage, and counts the jobs that need attention, without changing it.

use std::path::Path;

use rusqlite::Connection;

use crate::queue::{Result, StoreError, StoreErrorKind};

use super::open::{SCHEMA_VERSION, schema_version};
use super::row::{query_value, select};

/// Checks the file, and returns its version and the one that this program writes. A damaged one is an
/// error.
///
/// `quick_check` reads every page but does not compare each index with its table, which would take
/// about as long again for every index.
pub(super) fn check(connection: &Connection, queue: &Path) -> Result<(usize, usize)> {
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
    Ok((schema_version(connection)?, SCHEMA_VERSION))
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
