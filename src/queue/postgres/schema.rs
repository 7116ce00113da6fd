//! The schema `overnight` of a database, and its version.

use super::connection::Connection;
use super::meta;
use super::row::params;
use crate::queue::{QueueError, Result, StoreError, StoreErrorKind};

/// The version of the schema that this program writes.
pub(super) const VERSION: usize = 1;

const SCHEMA: &str = include_str!("schema.sql");

/// The key of the version in `meta`.
const VERSION_KEY: &str = "schema_version";

/// Where statements find their tables. Set in each transaction, because a connection pooler may give each to
/// another connection of the server.
pub(super) const SEARCH_PATH: &str = "SET LOCAL search_path = overnight";

/// The lock that a write holds until the end of its transaction; the number is Overnight's file mark.
pub(super) const LOCK: &str = "SELECT pg_advisory_xact_lock(1870032500, 0)";

/// Creates the schema, unless there is one, with a random id for the queue.
///
/// # Errors
/// Returns an error if a newer version of the program has written the schema.
pub(super) fn create(tx: &Connection, queue_id: &str) -> Result<()> {
    let create = || {
        tx.batch(&format!("BEGIN; {LOCK}"))?;
        let sql = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = 'overnight')";
        let exists = tx.value(sql, params![])?.unwrap_or(false);
        if !exists {
            tx.batch(&format!("CREATE SCHEMA overnight; {SEARCH_PATH}; {SCHEMA}"))?;
            meta::set_text(tx, "queue_id", queue_id)?;
            meta::set_text(tx, VERSION_KEY, &VERSION.to_string())?;
        }
        tx.batch(SEARCH_PATH)?;
        ensure_supported(tx)?;
        tx.batch("COMMIT")
    };
    create().inspect_err(|_| {
        // The error of what failed before is what matters.
        let _ = tx.batch("ROLLBACK");
    })
}

/// Returns the version of the schema; `None` if it has none.
pub(super) fn version(tx: &Connection) -> Result<Option<usize>> {
    let version = meta::text(tx, VERSION_KEY)?;
    let version = version.map(|text| text.parse::<usize>());
    version
        .transpose()
        .map_err(|error| QueueError::unparsable(VERSION_KEY, error))
}

fn ensure_supported(tx: &Connection) -> Result<()> {
    let version = version(tx)?.unwrap_or(0);
    if version <= VERSION {
        return Ok(());
    }
    let kind = StoreErrorKind::NewerVersion {
        version: i64::try_from(version).unwrap_or(i64::MAX),
        supported: VERSION,
    };
    Err(StoreError {
        path: std::path::PathBuf::new(),
        kind,
        source: None,
    }
    .into())
}
