//! The schema `overnight` of a database, and its versions.

use super::connection::Connection;
use super::meta;
use super::row::params;
use crate::queue::{QueueError, Result, StoreError, StoreErrorKind, copy};

/// What brings a database from one version to the next, from none on.
const MIGRATIONS: [&str; 3] = [
    include_str!("migrations/1.sql"),
    include_str!("migrations/2.sql"),
    include_str!("migrations/3.sql"),
];

/// The version of the schema that this program writes. It also uses a newer one that [serves](OLDEST_SERVED) it.
pub(super) const VERSION: usize = MIGRATIONS.len();

/// The oldest version whose programs may go on with a schema of [`VERSION`]. A migration that only adds what they
/// need not know leaves this number as it is, so that the hosts of a queue can be updated one after another. One
/// that changes what they read or write raises it to its own.
const OLDEST_SERVED: usize = 3;

/// The key of the version in `meta`.
const VERSION_KEY: &str = "schema_version";

/// The key of [`OLDEST_SERVED`] in `meta`, as the program that brought the schema to its version knew it.
const OLDEST_SERVED_KEY: &str = "oldest_version_served";

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

/// Creates the schema, or brings it to [`VERSION`] if it is older. Returns the version before and after.
///
/// # Errors
/// [`QueueError::RunIsActive`] if a run uses the queue and would read or write it wrongly afterwards. An error as
/// well if the schema is newer and does not serve this program.
pub(super) fn migrate(tx: &Connection) -> Result<(usize, usize)> {
    in_transaction(tx, || {
        // Whoever comes second finds what the first has made.
        tx.batch(&lock_all())?;
        let before = if exists(tx)? {
            tx.batch(SEARCH_PATH)?;
            let before = version(tx)?;
            ensure_served(tx, before)?;
            before
        } else {
            create(tx)?;
            let queue_id = uuid::Uuid::new_v4().simple().to_string();
            meta::set_text(tx, meta::QUEUE_ID, &queue_id)?;
            return Ok((0, VERSION));
        };
        if before < VERSION {
            if before < OLDEST_SERVED && has_active_run(tx)? {
                return Err(QueueError::RunIsActive);
            }
            for migration in MIGRATIONS.iter().skip(before) {
                tx.batch(migration)?;
            }
            set_current(tx)?;
        }
        Ok((before, before.max(VERSION)))
    })
}

/// Creates the schema in an open transaction. The queue has no id yet.
pub(super) fn create(tx: &Connection) -> Result<()> {
    tx.batch(&format!("CREATE SCHEMA overnight; {SEARCH_PATH}"))?;
    for migration in MIGRATIONS {
        tx.batch(migration)?;
    }
    set_current(tx)
}

/// Returns an error if there is no queue, or none that this program can use.
pub(super) fn ensure_usable(tx: &Connection) -> Result<()> {
    if !exists(tx)? {
        return Err(store_error(StoreErrorKind::Missing));
    }
    tx.batch(&format!("BEGIN READ ONLY; {SEARCH_PATH}"))?;
    let usable = ensure_serves(tx);
    let _ = tx.roll_back();
    usable
}

/// As [`ensure_usable`], in an open transaction.
pub(super) fn ensure_serves(tx: &Connection) -> Result<()> {
    let version = version(tx)?;
    if version < VERSION {
        return Err(store_error(StoreErrorKind::OlderVersion {
            version,
            needed: VERSION,
        }));
    }
    ensure_served(tx, version)
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

/// Returns whether a run may use the queue, also in a schema of the first version.
fn has_active_run(tx: &Connection) -> Result<bool> {
    let sql = "SELECT EXISTS (
        SELECT 1 FROM pools WHERE expires_at > extract(epoch FROM clock_timestamp()) * 1000
    )";
    Ok(tx.value(sql, params![])?.unwrap_or(true))
}

/// Returns whether the queue has a batch or a pool.
pub(super) fn is_used(tx: &Connection) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM batches) OR EXISTS (SELECT 1 FROM pools)";
    Ok(tx.value(sql, params![])?.unwrap_or(true))
}

/// Marks the schema as one of [`VERSION`].
pub(super) fn set_current(tx: &Connection) -> Result<()> {
    meta::set_text(tx, OLDEST_SERVED_KEY, &OLDEST_SERVED.to_string())?;
    set_version(tx, VERSION)
}

/// Stores the version of the schema, or a mark in its place.
pub(super) fn set_version(tx: &Connection, version: usize) -> Result<()> {
    meta::set_text(tx, VERSION_KEY, &version.to_string())
}

/// Returns the version of the schema.
pub(super) fn version(tx: &Connection) -> Result<usize> {
    let version = meta::text(tx, VERSION_KEY)?.unwrap_or_default();
    parse_version(VERSION_KEY, &version)
}

fn parse_version(key: &'static str, text: &str) -> Result<usize> {
    let version = text.parse();
    version.map_err(|error| QueueError::unparsable(key, error))
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

/// Returns an error if the schema is newer and does not serve this program.
fn ensure_served(tx: &Connection, version: usize) -> Result<()> {
    let is_queue = ![copy::MOVED, copy::UNFINISHED].contains(&version);
    if version > VERSION
        && is_queue
        && let Some(oldest) = meta::text(tx, OLDEST_SERVED_KEY)?
        && parse_version(OLDEST_SERVED_KEY, &oldest)? <= VERSION
    {
        return Ok(());
    }
    ensure_not_newer(tx, version)
}

/// Returns an error if the schema is newer than this program: it may have columns that this program would lose.
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
