//! Opens the file: checks that it is a queue of a version this program knows before anything is written.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};

use crate::queue::{QueueError, Result};

use super::placement::digest;
use super::row::{execute, select};

/// Marks the file as a queue of ours: "ovnt".
const APPLICATION_ID: i32 = 0x6f76_6e74;

/// What an empty file becomes: a queue of the newest version.
const SCHEMA: &str = include_str!("../../../schema.sql");

const FROM_2: &str = include_str!("migrations/from_2.sql");
const BATCHES_UNTIL_2: &str = include_str!("migrations/batches_until_2.sql");

/// How what a queue of version `index + 1` holds goes over into one of the newest version, one after the other.
const FROM: [&[&str]; 3] = [
    &[include_str!("migrations/from_1.sql"), BATCHES_UNTIL_2],
    &[FROM_2, BATCHES_UNTIL_2],
    &[FROM_2, include_str!("migrations/batches_of_3.sql")],
];

/// The version this program writes.
pub(super) const VERSION: usize = FROM.len() + 1;

/// What to do with a file that is no whole database any more.
pub(super) const DAMAGED: &str =
    "it is damaged; keep it, stop every run, and try `sqlite3 FILE .recover | sqlite3 NEW`";

/// How long a write waits for another process's transaction. A load of a million rows commits in one; a lease ends
/// in 60 seconds, and no waiting write may outlive it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(45);

/// Refuses a path where there is no file.
pub(super) fn must_exist(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    Err(QueueError::Unusable(format!(
        "there is no queue at {}\nhint: `overnight load` makes one, `--queue PATH` names another",
        path.display()
    )))
}

/// Opens the connection that writes; makes the file, or brings it to this program's version.
pub(super) fn open_for_writing(path: &Path) -> Result<Connection> {
    let open = || -> Result<Connection> {
        let exists = path.exists();
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(busy_timeout())?;
        if exists {
            check(&connection, path)?;
        }
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        // FULL, not NORMAL: a commit that carries money must survive power loss.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "temp_store", "FILE")?;
        stay_planned(&connection)?;
        connection.set_prepared_statement_cache_capacity(192);
        // Tables are put aside whole, with the keys that point at them.
        connection.pragma_update(None, "foreign_keys", false)?;
        migrate(&mut connection)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(connection)
    };
    open().map_err(|error| at(path, error))
}

/// Opens a connection that only reads.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection> {
    let open = || -> Result<Connection> {
        // A WAL file can only be read by a connection that may write its index; `query_only` keeps it from the data.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(busy_timeout())?;
        connection.pragma_update(None, "query_only", true)?;
        stay_planned(&connection)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    };
    open().map_err(|error| at(path, error))
}

/// Opens a connection that only reads, whatever the file's version: an older one is left as it is.
pub(super) fn open_read_only(path: &Path) -> Result<Connection> {
    let connection = open_for_reading(path)?;
    check(&connection, path).map_err(|error| at(path, error))?;
    Ok(connection)
}

/// Opens the only connection of a file that nobody else reads or writes, and that is of no use after a crash.
pub(super) fn alone(path: &Path) -> Result<Connection> {
    let open = || -> Result<Connection> {
        let connection = open_for_writing(path)?;
        // A step that fails has to be rolled back, and nothing more.
        connection.pragma_update_and_check(None, "journal_mode", "MEMORY", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
        Ok(connection)
    };
    open().map_err(|error| at(path, error))
}

/// Keeps statements as they were planned. SQLite plans one anew whenever a value is bound that it has looked at, a limit
/// for one, and planning takes longer than most statements here.
fn stay_planned(connection: &Connection) -> rusqlite::Result<bool> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
}

/// Names the file in a failure of the store.
pub(super) fn at(path: &Path, error: QueueError) -> QueueError {
    match error {
        QueueError::Store(reason) => {
            QueueError::Unusable(format!("cannot use the queue {}: {reason}", path.display()))
        }
        other => other,
    }
}

/// Tests of a locked queue do not wait as long as a user does.
fn busy_timeout() -> Duration {
    let tests = || std::env::var("OVERNIGHT_BUSY_MS").ok()?.parse().ok();
    let millis = if cfg!(debug_assertions) {
        tests()
    } else {
        None
    };
    millis.map_or(BUSY_TIMEOUT, Duration::from_millis)
}

fn check(connection: &Connection, path: &Path) -> Result<()> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (version, application) = (pragma("user_version")?, pragma("application_id")?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application != i64::from(APPLICATION_ID) {
        return Err(QueueError::Unusable(format!(
            "{} is a SQLite file of another program\nhint: `--queue PATH` names another file",
            path.display()
        )));
    }
    if version > VERSION as i64 {
        return Err(QueueError::Unusable(format!(
            "{} was written by a newer overnight (queue version {version}, this one knows {}); it was not touched\n\
             hint: use the newer program",
            path.display(),
            VERSION
        )));
    }
    Ok(())
}

/// Tells the version of a file; 0 is an empty one.
pub(super) fn version(connection: &Connection) -> Result<usize> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))? as usize)
}

fn migrate(connection: &mut Connection) -> Result<()> {
    // Whoever only looks must not wait for a load that is being committed.
    if version(connection)? == VERSION {
        return Ok(());
    }
    // Two processes may find an empty file at once: the version is read again under the write lock.
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match version(&tx)? {
        VERSION => return Ok(()),
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
            let old = put_aside(&tx)?;
            tx.execute_batch(SCHEMA)?;
            FROM[older - 1]
                .iter()
                .try_for_each(|sql| tx.execute_batch(sql))?;
            old.iter()
                .try_for_each(|table| tx.execute_batch(&format!("DROP TABLE {table}_old")))?;
            digest_open_requests(&tx)?;
        }
    }
    tx.pragma_update(None, "user_version", VERSION as i64)?;
    tx.commit()?;
    Ok(())
}

/// Puts `_old` behind the name of every table, and drops what hangs on them. Tables are made anew rather than altered: an
/// older file must not lack a condition or an index of the newest.
fn put_aside(tx: &Connection) -> Result<Vec<String>> {
    let named = |kind: &str| {
        select(
            tx,
            "SELECT name FROM sqlite_schema WHERE type = ?1 AND name NOT LIKE 'sqlite_%'",
            [kind],
            |columns| columns.get::<String>("name"),
        )
    };
    for kind in ["trigger", "index"] {
        for name in named(kind)? {
            tx.execute_batch(&format!("DROP {kind} {name}"))?;
        }
    }
    let tables = named("table")?;
    tables.iter().try_for_each(|table| {
        tx.execute_batch(&format!("ALTER TABLE {table} RENAME TO {table}_old"))
    })?;
    Ok(tables)
}

/// Version 1 kept no digests.
fn digest_open_requests(tx: &Connection) -> Result<()> {
    let open = select(
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
    for (attempt_id, request) in open {
        let digest = digest(&request);
        execute(
            tx,
            "UPDATE attempts SET request_digest = ?2 WHERE attempt_id = ?1",
            params![attempt_id, digest],
        )?;
    }
    Ok(())
}

impl From<rusqlite::Error> for QueueError {
    fn from(error: rusqlite::Error) -> Self {
        let hint = match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => {
                "it is not a SQLite file; `--queue PATH` names another"
            }
            Some(ErrorCode::DatabaseCorrupt) => DAMAGED,
            Some(ErrorCode::CannotOpen) => "does its folder exist, and may you write there?",
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                "the file or its folder is read-only"
            }
            Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => {
                "is the disk full? Free some space and run again: nothing is lost"
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "another program keeps it locked; close that and run again: nothing is lost"
            }
            _ => return Self::Store(error.to_string()),
        };
        Self::Store(format!("{error}\nhint: {hint}"))
    }
}
