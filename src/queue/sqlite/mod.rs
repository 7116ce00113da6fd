//! The queue in a SQLite file.
//!
//! All SQL is in this folder, one file per operation. One thread owns the write connection. A write
//! returns to its caller after the commit, so a result that a caller has seen is on disk.

mod backlog;
mod bill;
mod change;
mod claim_view;
mod clock_changes;
mod commands;
mod counters;
mod due_steps;
mod gate;
mod health;
mod insert;
mod job_row;
mod lanes;
mod live_settings;
mod open;
mod operator;
mod pool_lock;
mod pools;
mod query;
mod rate_counts;
mod remove;
mod reports;
mod row;
mod stage;
mod tallies;
#[cfg(test)]
mod tests;
mod transaction;
mod upload_views;
mod uploads;
mod work_queue;
mod writer;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rusqlite::Connection;

use crate::clock::Clock;
use crate::domain::PoolId;

use super::{QueueError, Result};
use pool_lock::PoolLock;
use rate_counts::RateCounts;
use writer::Writer;

/// A [`Queue`](super::Queue) in a SQLite file.
///
/// Any number of processes may use the file at the same time. Dropping the queue closes its
/// connections and releases the locks of its pools.
pub struct SqliteQueue {
    path: PathBuf,
    /// The time of every operation.
    clock: Arc<dyn Clock>,
    writer: Writer,
    reader: Arc<Mutex<Connection>>,
    host: String,
    /// The locks of this process's pools; the system releases them when the process ends.
    locks: Mutex<HashMap<PoolId, PoolLock>>,
    /// The pools that the last `take_over` found expired. A machine that wakes from sleep
    /// finds every pool expired and must give the living ones time to renew. Only a pool that is
    /// still expired at the next takeover is removed.
    suspects: Mutex<HashSet<(PoolId, Timestamp)>>,
    /// Kept from one claim to the next.
    rate_counts: Mutex<RateCounts>,
}

impl SqliteQueue {
    /// Opens an existing queue, and migrates it to this program's version.
    ///
    /// # Errors
    ///
    /// [`QueueError::Store`] if there is no file at `path`, or if it cannot be used as a queue.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        open::ensure_exists(path)?;
        Self::open_or_create(path, clock)
    }

    /// Opens an existing queue of this program's version or an older one, which is not migrated.
    /// Writes fail.
    ///
    /// # Errors
    ///
    /// [`QueueError::Store`] if there is no file at `path`, or if it cannot be used as a queue.
    pub fn open_read_only(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        open::ensure_exists(path)?;
        let writer = Writer::spawn(open::open_read_only(path)?);
        Ok(Self::from_parts(
            path,
            clock,
            writer,
            Arc::new(Mutex::new(open::open_read_only(path)?)),
        ))
    }

    /// Opens a queue and migrates it to this program's version, or creates an empty one.
    ///
    /// # Errors
    ///
    /// [`QueueError::Store`] if the file cannot be created, or cannot be used as a queue.
    pub fn open_or_create(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let writer = Writer::spawn(open::open_for_writing(path)?);
        Ok(Self::from_parts(
            path,
            clock,
            writer,
            Arc::new(Mutex::new(open::open_for_reading(path)?)),
        ))
    }

    /// Removes the file of a queue that has no batch and no pool and that nothing else has open.
    /// Returns whether it was removed.
    ///
    /// # Errors
    ///
    /// [`QueueError::Store`] if there is no queue at `path`, or if the file cannot be removed.
    pub fn remove_unused(path: &Path) -> Result<bool> {
        remove::remove_unused(path)
    }

    /// Opens a queue for a rehearsal, for this process alone. Every operation runs on the caller's
    /// thread, because virtual time would advance while the caller waits for another thread. The
    /// file does not survive a crash, and no rows can be loaded into it.
    pub fn for_rehearsal(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let connection = Arc::new(Mutex::new(open::open_exclusive(path)?));
        Ok(Self::from_parts(
            path,
            clock,
            Writer::inline(Arc::clone(&connection)),
            connection,
        ))
    }

    fn from_parts(
        path: &Path,
        clock: Arc<dyn Clock>,
        writer: Writer,
        reader: Arc<Mutex<Connection>>,
    ) -> Self {
        Self {
            path: path.to_owned(),
            clock,
            writer,
            reader,
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            locks: Mutex::default(),
            suspects: Mutex::default(),
            rate_counts: Mutex::default(),
        }
    }

    fn rate_counts(&self) -> MutexGuard<'_, RateCounts> {
        self.rate_counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let reader = Arc::clone(&self.reader);
        let path = self.path.clone();
        let read = move || {
            let connection = reader.lock().unwrap_or_else(PoisonError::into_inner);
            // One read transaction, so that the counts and sums of a result belong to one instant.
            let in_snapshot = || {
                let snapshot = connection.unchecked_transaction()?;
                let result = query(&connection);
                snapshot.finish()?;
                result
            };
            in_snapshot().map_err(|error| open::add_path(&path, error))
        };
        if self.writer.is_inline() {
            return read();
        }
        let result = tokio::task::spawn_blocking(read).await;
        result.map_err(|error| QueueError::Fault(format!("the reader task failed: {error}")))?
    }
}
