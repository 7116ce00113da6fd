//! Opens a queue file. Checks that the file is a queue of a supported version before writing to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};

use crate::policy::claim::request_digest;
use crate::queue::shortened::unless_shortened;
use crate::queue::{QueueError, Result, StoreError, StoreErrorKind, copy};

use super::paths;
use super::row::{execute, select};

/// Identifies the file as a queue of this program; "ovnt" in ASCII.
const APPLICATION_ID: i32 = 0x6f76_6e74;

/// The schema of the current version.
const SCHEMA: &str = include_str!("../../../schema.sql");

const FROM_1: &str = include_str!("migrations/from_1.sql");
const COUNTS_UNTIL_2: &str = include_str!("migrations/counts_until_2.sql");
const FILES_UNTIL_3: &str = include_str!("migrations/files_until_3.sql");
const COPY: &str = include_str!("migrations/copy.sql");
const JOBS_UNTIL_4: &str = include_str!("migrations/jobs_until_4.sql");
const JOBS_SINCE_5: &str = include_str!("migrations/jobs_since_5.sql");
const SINCE_4: &str = include_str!("migrations/since_4.sql");
const ATTEMPTS_UNTIL_5: &str = include_str!("migrations/attempts_until_5.sql");
const ATTEMPTS_SINCE_6: &str = include_str!("migrations/attempts_since_6.sql");

/// The scripts that copy a queue of version `index + 1` into tables of the current version, in the
/// order in which they run.
const MIGRATIONS: [&[&str]; 6] = [
    &[
        FROM_1,
        COUNTS_UNTIL_2,
        FILES_UNTIL_3,
        COPY,
        JOBS_UNTIL_4,
        ATTEMPTS_UNTIL_5,
    ],
    &[
        COUNTS_UNTIL_2,
        FILES_UNTIL_3,
        COPY,
        JOBS_UNTIL_4,
        ATTEMPTS_UNTIL_5,
    ],
    &[FILES_UNTIL_3, COPY, JOBS_UNTIL_4, ATTEMPTS_UNTIL_5],
    &[COPY, JOBS_UNTIL_4, SINCE_4, ATTEMPTS_UNTIL_5],
    &[COPY, JOBS_SINCE_5, SINCE_4, ATTEMPTS_UNTIL_5],
    &[COPY, JOBS_SINCE_5, SINCE_4, ATTEMPTS_SINCE_6],
];

/// The schema version that this program writes.
pub(super) const SCHEMA_VERSION: usize = MIGRATIONS.len() + 1;

/// How long a write waits for another process's transaction. Long enough for a load of a million
/// rows, which commits in one transaction. No longer than a lease (45 seconds), because other pools
/// take the jobs over after that.
const BUSY_TIMEOUT: Duration = Duration::from_secs(45);

/// Returns an error if there is no file at `path`.
pub(super) fn ensure_exists(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    Err(StoreError::new(path, StoreErrorKind::Missing).into())
}

/// Opens a connection that writes. Creates the file if there is none, and migrates an older one to
/// the current version.
pub(super) fn open_for_writing(path: &Path) -> Result<Connection> {
    let open = || -> Result<Connection> {
        ensure_utf8(path)?;
        let exists = path.exists();
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(busy_timeout())?;
        if exists {
            ensure_supported(&connection, path)?;
        }
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        // FULL, not NORMAL: a commit that reserves or books money must survive power loss.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "temp_store", "FILE")?;
        keep_query_plans(&connection)?;
        connection.set_prepared_statement_cache_capacity(192);
        // Off for a migration, which renames and drops tables that refer to each other.
        connection.pragma_update(None, "foreign_keys", false)?;
        migrate(&mut connection)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(connection)
    };
    open().map_err(|error| add_path(path, error))
}

/// Opens a connection for a copy: as [`open_for_writing`], but a queue that was moved, and a copy that is not
/// finished, are opened as well.
pub(super) fn open_for_copy(path: &Path) -> Result<Connection> {
    let error = match open_for_writing(path) {
        Ok(connection) => return Ok(connection),
        Err(error) => error,
    };
    let is_copied = matches!(
        &error,
        QueueError::Store(StoreError {
            kind: StoreErrorKind::Moved { .. } | StoreErrorKind::UnfinishedCopy,
            ..
        })
    );
    if !is_copied {
        return Err(error);
    }
    let open = || -> Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(busy_timeout())?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(connection)
    };
    open().map_err(|error| add_path(path, error))
}

/// Opens a connection that only reads, to a file that is migrated already.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection> {
    let open = || -> Result<Connection> {
        ensure_utf8(path)?;
        // A WAL database can only be read by a connection that may write the WAL index.
        // `query_only` protects the data.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(busy_timeout())?;
        connection.pragma_update(None, "query_only", true)?;
        keep_query_plans(&connection)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    };
    open().map_err(|error| add_path(path, error))
}

/// Opens a connection that only reads, to a file of any supported version, without migrating it.
pub(super) fn open_read_only(path: &Path) -> Result<Connection> {
    let connection = open_for_reading(path)?;
    ensure_supported(&connection, path).map_err(|error| add_path(path, error))?;
    Ok(connection)
}

/// Returns an error if the path of a queue, with its links resolved, is not UTF-8: what the queue stores
/// relative to its folder would be found elsewhere.
pub(super) fn ensure_utf8(path: &Path) -> Result<()> {
    // A folder that does not exist is a problem of its own.
    let Ok(folder) = paths::folder_of(path).canonicalize() else {
        return Ok(());
    };
    let resolved = folder.join(path.file_name().unwrap_or_default());
    match resolved.to_str() {
        Some(_) => Ok(()),
        None => Err(QueueError::PathNotUtf8(resolved)),
    }
}

/// Opens the only connection to a file that no other connection uses. The file is not durable: it
/// may be unreadable after a crash.
pub(super) fn open_exclusive(path: &Path) -> Result<Connection> {
    let open = || -> Result<Connection> {
        let connection = open_for_writing(path)?;
        // The journal only has to roll back a failed step.
        connection.pragma_update_and_check(None, "journal_mode", "MEMORY", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
        Ok(connection)
    };
    open().map_err(|error| add_path(path, error))
}

/// Keeps the plans of prepared statements (SQLite's query planner stability guarantee). By default
/// SQLite plans a statement again when a bound value changes that its plan depended on, such as a
/// limit, and planning takes longer than most statements here.
fn keep_query_plans(connection: &Connection) -> rusqlite::Result<bool> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
}

/// Adds the file's path to a storage error. Other errors are returned unchanged.
pub(super) fn add_path(path: &Path, error: QueueError) -> QueueError {
    match error {
        QueueError::Store(error) => error.at(path).into(),
        other => other,
    }
}

fn busy_timeout() -> Duration {
    unless_shortened(BUSY_TIMEOUT, "OVERNIGHT_BUSY_MS")
}

/// Returns an error if the file belongs to another program or was written by a newer version of
/// this one.
fn ensure_supported(connection: &Connection, path: &Path) -> Result<()> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application_id = pragma("application_id")?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application_id != i64::from(APPLICATION_ID) {
        return Err(StoreError::new(path, StoreErrorKind::ForeignFile).into());
    }
    ensure_not_newer(connection, path)
}

/// Returns an error if the file was written by a newer version of this program, or was moved.
pub(super) fn ensure_not_newer(connection: &Connection, path: &Path) -> Result<()> {
    // Many writes ask this.
    let mut statement = connection.prepare_cached("PRAGMA user_version")?;
    let version: i64 = statement.query_row([], |row| row.get(0))?;
    if version == copy::MOVED as i64 {
        let sql = "SELECT value FROM meta WHERE key = ?1";
        let to = connection.query_row(sql, [copy::MOVED_TO], |row| row.get(0))?;
        return Err(StoreError::new(path, StoreErrorKind::Moved { to }).into());
    }
    if version == copy::UNFINISHED as i64 {
        return Err(StoreError::new(path, StoreErrorKind::UnfinishedCopy).into());
    }
    if version > SCHEMA_VERSION as i64 {
        let kind = StoreErrorKind::NewerVersion {
            version,
            supported: SCHEMA_VERSION,
        };
        return Err(StoreError::new(path, kind).into());
    }
    Ok(())
}

/// Returns the schema version of a file; 0 for an empty one.
pub(super) fn schema_version(connection: &Connection) -> Result<usize> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))? as usize)
}

fn migrate(connection: &mut Connection) -> Result<()> {
    // Check without the write lock first: a command that only reads must not wait for a load that
    // is being committed.
    if schema_version(connection)? == SCHEMA_VERSION {
        return Ok(());
    }
    // Two processes may find the same old or empty file: check again under the write lock.
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match schema_version(&tx)? {
        SCHEMA_VERSION => return Ok(()),
        0 => {
            tx.execute_batch(SCHEMA)?;
            let queue_id = uuid::Uuid::new_v4().simple().to_string();
            tx.execute(
                "INSERT INTO meta (key, value) VALUES ('queue_id', ?1)",
                [&queue_id[..12]],
            )?;
            tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        older => {
            let old_tables = rename_old_tables(&tx)?;
            tx.execute_batch(SCHEMA)?;
            MIGRATIONS[older - 1]
                .iter()
                .try_for_each(|sql| tx.execute_batch(sql))?;
            old_tables
                .iter()
                .try_for_each(|table| tx.execute_batch(&format!("DROP TABLE {table}_old")))?;
            compute_request_digests(&tx)?;
            paths::make_relative(&tx)?;
        }
    }
    tx.pragma_update(None, "user_version", SCHEMA_VERSION as i64)?;
    tx.commit()?;
    Ok(())
}

/// Appends `_old` to the name of every table, drops the views, triggers and indexes, and returns the
/// tables' former names. Tables are created anew rather than altered, so that a migrated file has
/// every constraint and index of the current schema.
fn rename_old_tables(tx: &Connection) -> Result<Vec<String>> {
    let names = |kind: &str| {
        select(
            tx,
            "SELECT name FROM sqlite_schema WHERE type = ?1 AND name NOT LIKE 'sqlite_%'",
            [kind],
            |columns| columns.get::<String>("name"),
        )
    };
    for kind in ["view", "trigger", "index"] {
        for name in names(kind)? {
            tx.execute_batch(&format!("DROP {kind} {name}"))?;
        }
    }
    let tables = names("table")?;
    tables.iter().try_for_each(|table| {
        tx.execute_batch(&format!("ALTER TABLE {table} RENAME TO {table}_old"))
    })?;
    Ok(tables)
}

/// Computes the request digests of open attempts, which version 1 did not store.
fn compute_request_digests(tx: &Connection) -> Result<()> {
    let open_attempts = select(
        tx,
        "SELECT attempt_id, request FROM attempts WHERE finished_at IS NULL",
        [],
        |columns| {
            Ok((
                columns.get::<i64>("attempt_id")?,
                columns.get::<String>("request")?,
            ))
        },
    )?;
    for (attempt_id, request) in open_attempts {
        execute(
            tx,
            "UPDATE attempts SET request_digest = ?2 WHERE attempt_id = ?1",
            params![attempt_id, request_digest(&request)],
        )?;
    }
    Ok(())
}

impl From<rusqlite::Error> for StoreError {
    /// Classifies an error of SQLite. The path is added by whoever knows it.
    fn from(error: rusqlite::Error) -> Self {
        let kind = match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => StoreErrorKind::NotADatabase,
            Some(ErrorCode::DatabaseCorrupt) => StoreErrorKind::Damaged { found: None },
            Some(ErrorCode::CannotOpen) => StoreErrorKind::CannotOpen,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StoreErrorKind::ReadOnly,
            Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => StoreErrorKind::DiskFull,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreErrorKind::Locked,
            _ => StoreErrorKind::Other,
        };
        Self {
            path: PathBuf::new(),
            kind,
            source: Some(Arc::new(error)),
        }
    }
}

impl From<rusqlite::Error> for QueueError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}
