//! The schema `overnight` of a database, and its versions.

use super::connection::Connection;
use super::meta;
use super::row::params;
use crate::queue::{QueueError, Result, StoreError, StoreErrorKind, copy};

/// What brings a database from one version to the next, from none on.
const MIGRATIONS: [&str; 2] = [
    include_str!("migrations/1.sql"),
    include_str!("migrations/2.sql"),
];

/// The version of the schema that this program reads and writes.
pub(super) const VERSION: usize = MIGRATIONS.len();

/// The key of the version in `meta`.
const VERSION_KEY: &str = "schema_version";

/// Where statements find their tables. Set in each transaction, because a connection pooler may give each to
/// another connection of the server.
pub(super) const SEARCH_PATH: &str = "SET LOCAL search_path = overnight";

/// The lock that a write holds until the end of its transaction; the number is Overnight's file mark.
pub(super) const LOCK: &str = "SELECT pg_advisory_xact_lock(1870032500, 0)";

/// Takes the locks of all loads and writes, in the order in which a load takes them, where there is a queue with
/// a gate: version 1 has none.
const LOCK_QUEUE: &str = "
    DO $$ BEGIN
        IF to_regclass('overnight.gate') IS NOT NULL THEN
            LOCK TABLE overnight.batches IN SHARE UPDATE EXCLUSIVE MODE;
            LOCK TABLE overnight.gate IN EXCLUSIVE MODE;
        END IF;
    END $$";

/// Returns the statements after which only this transaction creates, writes or removes the queue.
pub(super) fn lock_all() -> String {
    format!("{LOCK_QUEUE}; {LOCK}")
}

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
        tx.batch(&lock_all())?;
        let before = if exists(tx)? {
            tx.batch(SEARCH_PATH)?;
            let before = version(tx)?;
            ensure_not_newer(tx, before)?;
            before
        } else {
            create(tx)?;
            let queue_id = uuid::Uuid::new_v4().simple().to_string();
            meta::set_text(tx, meta::QUEUE_ID, &queue_id)?;
            return Ok((0, VERSION));
        };
        if before < VERSION {
            for migration in MIGRATIONS.iter().skip(before) {
                tx.batch(migration)?;
            }
            set_version(tx, VERSION)?;
        }
        Ok((before, VERSION))
    })
}

/// Creates the schema in an open transaction. The queue has no id yet.
pub(super) fn create(tx: &Connection) -> Result<()> {
    tx.batch(&format!("CREATE SCHEMA overnight; {SEARCH_PATH}"))?;
    for migration in MIGRATIONS {
        tx.batch(migration)?;
    }
    set_version(tx, VERSION)
}

/// Returns an error if there is no queue, or none that this program can use.
pub(super) fn ensure_usable(tx: &Connection) -> Result<()> {
    if !exists(tx)? {
        return Err(store_error(StoreErrorKind::Missing));
    }
    tx.batch(&format!("BEGIN READ ONLY; {SEARCH_PATH}"))?;
    let usable = ensure_current(tx);
    let _ = tx.roll_back();
    usable
}

/// As [`ensure_usable`], in an open transaction.
pub(super) fn ensure_current(tx: &Connection) -> Result<()> {
    let version = version(tx)?;
    ensure_not_newer(tx, version)?;
    match version {
        VERSION => Ok(()),
        version => Err(store_error(StoreErrorKind::OlderVersion {
            version,
            needed: VERSION,
        })),
    }
}

/// Removes the schema if it has no batch. Returns whether it was removed.
pub(super) fn remove_unused(tx: &Connection) -> Result<bool> {
    if !exists(tx)? {
        return Ok(false);
    }
    in_transaction(tx, || {
        tx.batch(&format!("{SEARCH_PATH}; {}", lock_all()))?;
        let is_used = is_used(tx)?;
        if !is_used {
            tx.batch("DROP SCHEMA overnight CASCADE")?;
        }
        Ok(!is_used)
    })
}

/// Returns whether the queue has a batch or a pool.
pub(super) fn is_used(tx: &Connection) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM batches) OR EXISTS (SELECT 1 FROM pools)";
    Ok(tx.value(sql, params![])?.unwrap_or(true))
}

/// Stores the version of the schema.
pub(super) fn set_version(tx: &Connection, version: usize) -> Result<()> {
    meta::set_text(tx, VERSION_KEY, &version.to_string())
}

/// Returns the version of the schema.
pub(super) fn version(tx: &Connection) -> Result<usize> {
    let version = meta::text(tx, VERSION_KEY)?.unwrap_or_default();
    let version = version.parse();
    version.map_err(|error| QueueError::unparsable(VERSION_KEY, error))
}

pub(super) fn in_transaction<T>(
    tx: &Connection,
    operation: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let run = || {
        tx.batch("BEGIN")?;
        let result = operation()?;
        tx.batch("COMMIT")?;
        Ok(result)
    };
    run().inspect_err(|_| {
        // The error of what failed before is what matters.
        let _ = tx.roll_back();
    })
}

pub(super) fn ensure_not_newer(tx: &Connection, version: usize) -> Result<()> {
    if version <= VERSION {
        return Ok(());
    }
    Err(store_error(match version {
        copy::MOVED => StoreErrorKind::Moved {
            to: meta::text(tx, copy::MOVED_TO)?.unwrap_or_default(),
        },
        copy::UNFINISHED => StoreErrorKind::UnfinishedCopy,
        _ => StoreErrorKind::NewerVersion {
            version: i64::try_from(version).unwrap_or(i64::MAX),
            supported: VERSION,
        },
    }))
}

fn store_error(kind: StoreErrorKind) -> QueueError {
    StoreError::without_path(kind).into()
}
