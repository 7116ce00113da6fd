//! The queue in a SQLite file.
//!
//! All SQL is in this folder, one file per operation. One thread owns the write connection. A write
//! returns to its caller after the commit, so a result that a caller has seen is on disk.

mod backup;
mod bill;
mod change;
mod claim_reads;
mod clips;
mod clock_changes;
mod copy;
mod counters;
mod due_steps;
mod file_guard;
mod gate;
mod health;
mod insert;
mod job_row;
mod lanes;
mod lineage;
mod live_settings;
mod open;
mod paths;
mod place;
mod pool_lock;
mod pools;
mod progress;
mod query;
mod remove;
mod routes;
mod row;
mod snapshot;
mod stage;
mod tallies;
#[cfg(test)]
mod tests;
mod transaction;
mod upload_views;
mod uploads;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use crate::clock::Clock;
use crate::domain::PoolId;

use super::storage::{PoolLock, Process, ReadOperation, Storage, TurnReads, WriteOperation};
use super::{PoolRecord, QueueError, Result, UnsafePlace};
use file_guard::FileGuard;
use pool_lock::FileLock;
use transaction::SqliteTransaction;
use writer::Writer;

pub use copy::SqliteCopy;

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
    /// `None` if nobody else can have the files.
    guard: Option<Arc<FileGuard>>,
    host: String,
    /// The system releases the locks of its pools when the process ends.
    process: Process,
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
        let writer = Writer::spawn(open::open_read_only(path)?, None);
        Ok(Self::from_parts(
            path,
            clock,
            writer,
            Arc::new(Mutex::new(open::open_read_only(path)?)),
            None,
        ))
    }

    /// Opens a queue and migrates it to this program's version, or creates an empty one.
    ///
    /// # Errors
    ///
    /// [`QueueError::Store`] if the file cannot be created, or cannot be used as a queue.
    pub fn open_or_create(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        let connection = open::open_for_writing(path)?;
        let guard = Some(Arc::new(FileGuard::new(path)));
        let writer = Writer::spawn(connection, guard.clone());
        Ok(Self::from_parts(
            path,
            clock,
            writer,
            Arc::new(Mutex::new(open::open_for_reading(path)?)),
            guard,
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

    /// Returns why an existing queue is not safe where it is; `None` if nothing is known against it.
    ///
    /// # Errors
    ///
    /// [`QueueError::Store`] if there is no queue at `path`, or if it cannot be read.
    pub fn find_unsafe_place(path: &Path) -> Result<Option<UnsafePlace>> {
        place::check(path)
    }

    /// Writes a copy of an existing queue, of any version, as it is at one instant. Runs may be active.
    ///
    /// # Errors
    ///
    /// - [`QueueError::FileExists`] if there is a file at `to`, which is left alone.
    /// - [`QueueError::Store`] if there is no queue at `path`, if it is damaged, or if the copy cannot
    ///   be written. Nothing is left at `to`.
    pub fn back_up(path: &Path, to: &Path) -> Result<()> {
        backup::back_up(path, to)
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
            None,
        ))
    }

    fn from_parts(
        path: &Path,
        clock: Arc<dyn Clock>,
        writer: Writer,
        reader: Arc<Mutex<Connection>>,
        guard: Option<Arc<FileGuard>>,
    ) -> Self {
        Self {
            path: path.to_owned(),
            clock,
            writer,
            reader,
            guard,
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            process: Process::default(),
        }
    }

    /// Runs a write.
    async fn run_write<T: Send + 'static>(
        &self,
        is_turn: bool,
        operation: impl WriteOperation<T>,
    ) -> Result<T> {
        let clock = Arc::clone(&self.clock);
        let path = self.path.clone();
        let host = self.host.clone();
        let write = move |tx: &Connection| {
            // It may have been moved since it was opened, but not while it has the pool of a turn.
            if !is_turn {
                open::ensure_not_newer(tx, &path)?;
            }
            let mut transaction = SqliteTransaction::new(tx, &path, &host);
            let result = operation(&mut transaction, clock.now())?;
            transaction.finish()?;
            Ok(result)
        };
        self.writer.write(write).await
    }
}

impl Storage for SqliteQueue {
    fn process(&self) -> &Process {
        &self.process
    }

    fn host(&self) -> String {
        self.host.clone()
    }

    fn lock_pool(&self, pool: &PoolId) -> Result<PoolLock> {
        Ok(Box::new(FileLock::acquire(&self.path, pool)?))
    }

    fn lock_dead_pool(&self, pool: &PoolId, record: &PoolRecord) -> Option<PoolLock> {
        if record.host != self.host {
            return None;
        }
        Some(Box::new(FileLock::acquire_if_dead(&self.path, pool)?))
    }

    async fn write<T: Send + 'static>(&self, operation: impl WriteOperation<T>) -> Result<T> {
        self.run_write(false, operation).await
    }

    async fn write_turn<T: Send + 'static>(
        &self,
        _: TurnReads,
        operation: impl WriteOperation<T>,
    ) -> Result<T> {
        self.run_write(true, operation).await
    }

    async fn read<T: Send + 'static>(&self, operation: impl ReadOperation<T>) -> Result<T> {
        let reader = Arc::clone(&self.reader);
        let path = self.path.clone();
        let host = self.host.clone();
        let now = self.clock.now();
        if let Some(guard) = &self.guard {
            guard.check()?;
        }
        let read = move || {
            let connection = reader.lock().unwrap_or_else(PoisonError::into_inner);
            // One read transaction, so that the counts and sums of a result belong to one instant.
            let in_snapshot = || {
                let snapshot = connection.unchecked_transaction()?;
                let transaction = SqliteTransaction::new(&connection, &path, &host);
                let result = operation(&transaction, now);
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
