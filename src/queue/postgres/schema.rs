//! The schema `overnight` of a database, and its versions.

use super::connection::Connection;
use super::meta;
use super::row::params;
use crate::queue::{QueueError, Result, StoreError, StoreErrorKind};

/// What brings a database from one version to the next, from none on.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/1.sql")];

/// The version of the schema that this program reads and writes.
pub(super) const VERSION: usize = MIGRATIONS.len();

/// The key of the version in `meta`.
const VERSION_KEY: &str = "schema_version";

/// Where statements find their tables. Set in each transaction, because a connection pooler may give each to
/// another connection of the server.
pub(super) const SEARCH_PATH: &str = "SET LOCAL search_path = overnight";

/// The lock that a write holds until the end of its transaction; the number is Overnight's file mark.
pub(super) const LOCK: &str = "SELECT pg_advisory_xact_lock(1870032500, 0)";

/// Returns whether there is a queue.
pub(super) fn exists(tx: &Connection) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = 'overnight')";
    Ok(tx.value(sql, params![])?.unwrap_or(false))
}

/// Creates the schema, or brings it to [`VERSION`]. Returns the version before and after.
///
/// # Errors
/// Returns an error if a newer version of the program has written the schema.
pub(super) fn migrate(tx: &Connection) -> Result<(usize, usize)> {
    in_transaction(tx, || {
        // Whoever comes second finds what the first has made.
        tx.batch(LOCK)?;
        let before = if exists(tx)? {
            tx.batch(SEARCH_PATH)?;
            let before = version(tx)?;
            ensure_not_newer(before)?;
            before
        } else {
            tx.batch(&format!("CREATE SCHEMA overnight; {SEARCH_PATH}"))?;
            0
        };
        for migration in MIGRATIONS.iter().skip(before) {
            tx.batch(migration)?;
        }
        if before == 0 {
            let queue_id = uuid::Uuid::new_v4().simple().to_string();
            meta::set_text(tx, meta::QUEUE_ID, &queue_id)?;
        }
        if before < VERSION {
            meta::set_text(tx, VERSION_KEY, &VERSION.to_string())?;
        }
        Ok((before, VERSION))
    })
}

/// Returns an error if there is no queue, or none that this program can use.
pub(super) fn ensure_usable(tx: &Connection) -> Result<()> {
    if !exists(tx)? {
        return Err(store_error(StoreErrorKind::Missing));
    }
    in_transaction(tx, || {
        tx.batch(SEARCH_PATH)?;
        let version = version(tx)?;
        ensure_not_newer(version)?;
        if version < VERSION {
            return Err(store_error(StoreErrorKind::OlderVersion {
                version,
                needed: VERSION,
            }));
        }
        Ok(())
    })
}

/// Removes the schema if it has no batch. Returns whether it was removed.
pub(super) fn remove_unused(tx: &Connection) -> Result<bool> {
    if !exists(tx)? {
        return Ok(false);
    }
    in_transaction(tx, || {
        tx.batch(&format!("{SEARCH_PATH}; {LOCK}"))?;
        let sql = "SELECT EXISTS (SELECT 1 FROM batches) OR EXISTS (SELECT 1 FROM pools)";
        let is_used = tx.value(sql, params![])?.unwrap_or(true);
        if !is_used {
            tx.batch("DROP SCHEMA overnight CASCADE")?;
        }
        Ok(!is_used)
    })
}

/// Returns the version of the schema.
pub(super) fn version(tx: &Connection) -> Result<usize> {
    let version = meta::text(tx, VERSION_KEY)?.unwrap_or_default();
    let version = version.parse();
    version.map_err(|error| QueueError::unparsable(VERSION_KEY, error))
}

fn in_transaction<T>(tx: &Connection, operation: impl FnOnce() -> Result<T>) -> Result<T> {
    let run = || {
        tx.batch("BEGIN")?;
        let result = operation()?;
        tx.batch("COMMIT")?;
        Ok(result)
    };
    run().inspect_err(|_| {
        // The error of what failed before is what matters.
        let _ = tx.batch("ROLLBACK");
    })
}

fn ensure_not_newer(version: usize) -> Result<()> {
    if version <= VERSION {
        return Ok(());
    }
    Err(store_error(StoreErrorKind::NewerVersion {
        version: i64::try_from(version).unwrap_or(i64::MAX),
        supported: VERSION,
    }))
}

fn store_error(kind: StoreErrorKind) -> QueueError {
    StoreError::without_path(kind).into()
}
