//! Removes the file of a queue that was never used.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::queue::{Result, StoreError, StoreErrorKind};

use super::open;
use super::row::query_value;

/// Removes a queue's file, if the queue has no batch and no pool and no other connection is open.
/// Returns whether it was removed.
pub(super) fn remove_unused(path: &Path) -> Result<bool> {
    let remove = || -> Result<bool> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::ZERO)?;
        match lock_exclusively(&connection) {
            Ok(()) => {}
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        let used = "SELECT EXISTS (SELECT 1 FROM batches) OR EXISTS (SELECT 1 FROM pools)";
        if query_value(&connection, used, [])? != Some(0) {
            return Ok(false);
        }
        fs::remove_file(path).map_err(|error| StoreError {
            source: Some(Arc::new(error)),
            ..StoreError::new(path, StoreErrorKind::Other)
        })?;
        Ok(true)
    };
    remove().map_err(|error| open::add_path(path, error))
}

/// Locks a file until the connection is closed.
///
/// A file leaves WAL mode only if no other connection is open, and its WAL is removed with that. A
/// process that opens the file from now on waits for the lock. Should the file be gone by then,
/// SQLite refuses its first write, because the file is no longer where it was opened.
fn lock_exclusively(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    connection.execute_batch("BEGIN EXCLUSIVE")
}

#[cfg(test)]
mod tests {
    use tempfile::{TempDir, tempdir};

    use super::*;
    use crate::clock::SystemClock;
    use crate::domain::InputComparison;
    use crate::queue::sqlite::SqliteQueue;
    use crate::queue::{Loader, NewBatch, RemovedRows};

    /// Returns a folder with a new queue that is closed, and the queue's path.
    fn closed_queue() -> (TempDir, std::path::PathBuf) {
        let dir = tempdir().unwrap();
        let path = dir.path().join("q.db");
        drop(SqliteQueue::open_or_create(&path, Arc::new(SystemClock)).unwrap());
        (dir, path)
    }

    #[test]
    fn an_unused_queue_leaves_no_file_behind() {
        let (dir, path) = closed_queue();
        assert!(remove_unused(&path).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_queue_with_a_batch_is_kept() {
        let (_dir, path) = closed_queue();
        let queue = SqliteQueue::open(&path, Arc::new(SystemClock)).unwrap();
        let batch = NewBatch {
            name: "spring".into(),
            model: "kling-v1-standard".into(),
            folder: "/renders/spring".into(),
            budget: None,
            comparison: InputComparison::default(),
            reuses_clips: false,
        };
        let mut staging = queue.stage(batch).unwrap();
        staging.commit(RemovedRows::Keep).unwrap();
        drop((staging, queue));
        assert!(!remove_unused(&path).unwrap());
        SqliteQueue::open(&path, Arc::new(SystemClock)).unwrap();
    }

    #[test]
    fn a_queue_that_another_connection_has_open_is_kept() {
        let (_dir, path) = closed_queue();
        let queue = SqliteQueue::open(&path, Arc::new(SystemClock)).unwrap();
        assert!(!remove_unused(&path).unwrap());
        drop(queue);
        assert!(remove_unused(&path).unwrap());
    }

    #[test]
    fn nothing_can_be_written_to_a_file_that_was_opened_just_before_its_removal() {
        let (_dir, path) = closed_queue();
        let late = Connection::open(&path).unwrap();
        assert!(remove_unused(&path).unwrap());
        let wal = late.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()));
        let write = late.execute("INSERT INTO meta (key, value) VALUES ('a', 'b')", []);
        assert!(write.is_err(), "{wal:?}");
    }
}
