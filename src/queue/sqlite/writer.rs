//! The thread that owns the write connection, and commits pending writes together.
//!
//! There is no timer: a write that finds the thread idle is committed immediately, and writes that
//! arrive while a commit waits for the disk share the next one.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::queue::{QueueError, Result, StoreError};

use super::file_guard::FileGuard;
use super::open;

/// Maximum number of writes in one commit: enough to share the fsync, few enough that no write
/// waits long.
const MAX_WRITES_PER_COMMIT: usize = 256;

/// Runs writes, and returns the result of each after its commit.
#[derive(Debug)]
pub(super) enum Writer {
    /// Writes run on a thread that commits pending ones together. Both fields are `Some` until the
    /// drop.
    Thread {
        sender: Option<mpsc::Sender<Box<dyn QueuedWrite>>>,
        thread: Option<JoinHandle<()>>,
    },
    /// Writes run on the caller's thread, each in a commit of its own.
    Inline(Arc<Mutex<Connection>>),
}

impl Writer {
    /// Spawns a thread that runs the writes. A write whose commit went to a file that has lost its name
    /// returns an error, although it was made.
    pub(super) fn spawn(connection: Connection, guard: Option<Arc<FileGuard>>) -> Self {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || run_writes(&connection, guard.as_deref(), &receiver));
        Self::Thread {
            sender: Some(sender),
            thread: Some(thread),
        }
    }

    /// Returns a writer that runs each write on its caller's thread.
    pub(super) fn inline(connection: Arc<Mutex<Connection>>) -> Self {
        Self::Inline(connection)
    }

    /// Returns whether writes run on their caller's thread.
    pub(super) fn is_inline(&self) -> bool {
        matches!(self, Self::Inline(_))
    }

    /// Runs a write, and returns its result after the commit. The operation may run twice: again
    /// from the start if another write of the same commit fails.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        operation: impl Fn(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let sender = match self {
            Self::Thread { sender, .. } => sender,
            Self::Inline(connection) => {
                return run_in_transaction(
                    &connection.lock().unwrap_or_else(PoisonError::into_inner),
                    operation,
                );
            }
        };
        let (reply, result) = oneshot::channel();
        let write = Box::new(PendingWrite {
            operation,
            result: None,
            reply,
        });
        let stopped = || QueueError::Fault("the writer thread has stopped".into());
        sender
            .as_ref()
            .and_then(|sender| sender.send(write).ok())
            .ok_or_else(stopped)?;
        result.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    /// Waits until the connection is closed, so that a dropped queue no longer holds its file open.
    fn drop(&mut self) {
        let Self::Thread { sender, thread } = self else {
            return;
        };
        *sender = None;
        if let Some(thread) = thread.take() {
            // A thread that panicked has closed its connection as well.
            let _ = thread.join();
        }
    }
}

/// A write that waits for its transaction, with its result type erased.
pub(super) trait QueuedWrite: Send {
    /// Runs the operation inside the open transaction. Returns whether it succeeded.
    fn run(&mut self, connection: &Connection) -> bool;

    /// Sends the result of a successful [`QueuedWrite::run`] to the caller, after the commit.
    fn reply(self: Box<Self>);

    /// Runs the operation in a transaction of its own, and sends the result to the caller unless the
    /// guard objects.
    fn run_alone(self: Box<Self>, connection: &Connection, guard: Option<&FileGuard>);

    /// Sends an error to the caller instead of a result.
    fn reject(self: Box<Self>, error: StoreError);
}

struct PendingWrite<T, F> {
    operation: F,
    result: Option<T>,
    reply: oneshot::Sender<Result<T>>,
}

// A failed send is ignored: the caller was cancelled and no longer waits, and the write remains
// committed.
impl<T: Send, F: Fn(&Connection) -> Result<T> + Send> QueuedWrite for PendingWrite<T, F> {
    fn run(&mut self, connection: &Connection) -> bool {
        self.result = (self.operation)(connection).ok();
        self.result.is_some()
    }

    fn reply(self: Box<Self>) {
        if let Some(result) = self.result {
            let _ = self.reply.send(Ok(result));
        }
    }

    fn run_alone(self: Box<Self>, connection: &Connection, guard: Option<&FileGuard>) {
        let result = run_in_transaction(connection, self.operation);
        let result = result.and_then(|result| Ok(check(guard).map(|()| result)?));
        let _ = self.reply.send(result);
    }

    fn reject(self: Box<Self>, error: StoreError) {
        let _ = self.reply.send(Err(error.into()));
    }
}

/// Runs writes until every sender is dropped.
fn run_writes(
    connection: &Connection,
    guard: Option<&FileGuard>,
    receiver: &mpsc::Receiver<Box<dyn QueuedWrite>>,
) {
    while let Ok(first) = receiver.recv() {
        if let Err(error) = begin(connection) {
            // Another program has kept the file locked for the whole busy timeout. The writes that
            // are pending must not wait as long again, one after the other.
            let error = StoreError::from(error).at(path(connection));
            std::iter::once(first)
                .chain(receiver.try_iter())
                .for_each(|write| write.reject(error.clone()));
            continue;
        }
        let mut group = Vec::new();
        if commit_group(connection, first, receiver, &mut group) {
            // After the commit, so that what is known is kept in the file, wherever it is now, and before
            // the replies, so that nothing is submitted that no other program could know of.
            match check(guard) {
                Ok(()) => group.into_iter().for_each(|write| write.reply()),
                Err(error) => group
                    .into_iter()
                    .for_each(|write| write.reject(error.clone())),
            }
        } else {
            roll_back(connection);
            // Run each write in its own transaction, so that a failed one does not undo the others
            // and every caller gets its own error. A savepoint around each write would do the same,
            // but copies every page that the write changes.
            group
                .into_iter()
                .for_each(|write| write.run_alone(connection, guard));
        }
    }
}

/// Runs the pending writes, and those that arrive meanwhile, in one transaction and commits it.
/// Moves the writes that were run to `group`. Returns whether all succeeded.
fn commit_group(
    connection: &Connection,
    first: Box<dyn QueuedWrite>,
    receiver: &mpsc::Receiver<Box<dyn QueuedWrite>>,
    group: &mut Vec<Box<dyn QueuedWrite>>,
) -> bool {
    let writes = std::iter::once(first).chain(std::iter::from_fn(|| receiver.try_recv().ok()));
    for mut write in writes.take(MAX_WRITES_PER_COMMIT) {
        let succeeded = write.run(connection);
        group.push(write);
        if !succeeded {
            return false;
        }
    }
    commit(connection).is_ok()
}

/// Runs one operation in a transaction of its own.
fn run_in_transaction<T>(
    connection: &Connection,
    operation: impl Fn(&Connection) -> Result<T>,
) -> Result<T> {
    let in_transaction = || {
        begin(connection)?;
        let result = operation(connection)?;
        commit(connection)?;
        Ok(result)
    };
    in_transaction().map_err(|error| {
        roll_back(connection);
        open::add_path(path(connection), error)
    })
}

fn path(connection: &Connection) -> &Path {
    Path::new(connection.path().unwrap_or_default())
}

fn check(guard: Option<&FileGuard>) -> std::result::Result<(), StoreError> {
    guard.map_or(Ok(()), FileGuard::check)
}

/// Rolls back a failed transaction, unless SQLite has done so already, as for a full disk.
fn roll_back(connection: &Connection) {
    if !connection.is_autocommit() {
        // If the rollback fails, the transaction is discarded when the process ends.
        let _ = connection.execute_batch("ROLLBACK");
    }
}

fn begin(connection: &Connection) -> rusqlite::Result<usize> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])
}

fn commit(connection: &Connection) -> rusqlite::Result<usize> {
    connection.prepare_cached("COMMIT")?.execute([])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::StoreErrorKind;

    fn insert(bytes: usize) -> impl Fn(&Connection) -> Result<()> {
        move |tx| {
            Ok(tx
                .execute("INSERT INTO t VALUES (zeroblob(?1))", [bytes])
                .map(drop)?)
        }
    }

    #[tokio::test]
    async fn a_failed_write_does_not_undo_the_other_writes_of_its_commit() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE t (a); PRAGMA max_page_count = 4")
            .unwrap();
        let (sender, receiver) = mpsc::channel::<Box<dyn QueuedWrite>>();
        let results = [1, 100_000, 1].map(|bytes| {
            let (reply, result) = oneshot::channel();
            sender
                .send(Box::new(PendingWrite {
                    operation: insert(bytes),
                    result: None,
                    reply,
                }))
                .unwrap();
            result
        });
        drop(sender);
        run_writes(&connection, None, &receiver);
        let [first, too_large, last] = results;
        first.await.unwrap().unwrap();
        last.await.unwrap().unwrap();
        let error = too_large.await.unwrap().unwrap_err();
        assert!(
            matches!(
                &error,
                QueueError::Store(StoreError {
                    kind: StoreErrorKind::DiskFull,
                    ..
                })
            ),
            "{error:?}"
        );
        assert!(connection.is_autocommit());
        let rows: i64 = connection
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 2);
    }
}
