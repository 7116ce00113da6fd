//! The thread that owns the writing connection, and commits together what waits.
//!
//! Nobody waits for a timer: a write that finds the thread idle is committed at once, and what arrives while a commit
//! waits for the disk shares the next one.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::queue::{QueueError, Result};

use super::open;

/// The most writes in one commit: enough to share the fsync, few enough that none waits long.
const MOST_TOGETHER: usize = 256;

/// Runs writes, each answered after its commit.
#[derive(Debug)]
pub(super) enum Writer {
    /// On a thread that commits together what waits; both are there until the drop.
    Thread {
        writes: Option<mpsc::Sender<Box<dyn Write>>>,
        thread: Option<JoinHandle<()>>,
    },
    /// Where the caller is, one commit each.
    Callers(Arc<Mutex<Connection>>),
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(connection: Connection) -> Self {
        let (writes, waiting) = mpsc::channel();
        let thread = thread::spawn(move || serve(&connection, &waiting));
        Self::Thread {
            writes: Some(writes),
            thread: Some(thread),
        }
    }

    /// Lets every caller wait for its own write.
    pub(super) fn on_callers_thread(connection: Arc<Mutex<Connection>>) -> Self {
        Self::Callers(connection)
    }

    pub(super) fn is_on_callers_thread(&self) -> bool {
        matches!(self, Self::Callers(_))
    }

    /// Runs a write and returns its result after the commit. It runs again, from the start, when another that was to be
    /// committed with it fails.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        operation: impl Fn(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let writes = match self {
            Self::Thread { writes, .. } => writes,
            Self::Callers(connection) => {
                return alone(
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
        let stopped = || QueueError::Store("the writer stopped".into());
        writes
            .as_ref()
            .and_then(|writes| writes.send(write).ok())
            .ok_or_else(stopped)?;
        result.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    /// Waits until the connection is closed, so that a queue that is dropped holds its file no more.
    fn drop(&mut self) {
        let Self::Thread { writes, thread } = self else {
            return;
        };
        *writes = None;
        if let Some(thread) = thread.take() {
            // A thread that panicked has closed its connection as well.
            let _ = thread.join();
        }
    }
}

/// A write, and who waits for it.
pub(super) trait Write: Send {
    /// Runs inside a transaction; tells whether it held.
    fn run(&mut self, connection: &Connection) -> bool;

    /// Answers what it gave, once that is on disk.
    fn answer(self: Box<Self>);

    /// Runs in a transaction of its own, and answers.
    fn run_alone(self: Box<Self>, connection: &Connection);

    /// Answers that it could not be run.
    fn refuse(self: Box<Self>, reason: &str);
}

struct PendingWrite<T, F> {
    operation: F,
    result: Option<T>,
    reply: oneshot::Sender<Result<T>>,
}

// Whoever was cancelled does not listen any more; the write stands all the same.
impl<T: Send, F: Fn(&Connection) -> Result<T> + Send> Write for PendingWrite<T, F> {
    fn run(&mut self, connection: &Connection) -> bool {
        self.result = (self.operation)(connection).ok();
        self.result.is_some()
    }

    fn answer(self: Box<Self>) {
        if let Some(result) = self.result {
            let _ = self.reply.send(Ok(result));
        }
    }

    fn run_alone(self: Box<Self>, connection: &Connection) {
        let _ = self.reply.send(alone(connection, self.operation));
    }

    fn refuse(self: Box<Self>, reason: &str) {
        let _ = self
            .reply
            .send(Err(QueueError::Unusable(reason.to_owned())));
    }
}

fn serve(connection: &Connection, waiting: &mpsc::Receiver<Box<dyn Write>>) {
    while let Ok(first) = waiting.recv() {
        if let Err(error) = begin(connection) {
            // Another program has kept the file locked for as long as anybody should wait.
            let reason = at(connection, error.into()).to_string();
            std::iter::once(first)
                .chain(waiting.try_iter())
                .for_each(|write| write.refuse(&reason));
            continue;
        }
        let mut together = Vec::new();
        if commit_together(connection, first, waiting, &mut together) {
            together.into_iter().for_each(|write| write.answer());
        } else {
            roll_back(connection);
            // Each alone: a failure undoes nothing of the others', and everyone is told what is theirs. A savepoint
            // around each would do the same, and costs every write a copy of each page it changes.
            together
                .into_iter()
                .for_each(|write| write.run_alone(connection));
        }
    }
}

/// Runs what waits, and what comes while it runs, in one transaction; tells whether it held.
fn commit_together(
    connection: &Connection,
    first: Box<dyn Write>,
    waiting: &mpsc::Receiver<Box<dyn Write>>,
    together: &mut Vec<Box<dyn Write>>,
) -> bool {
    let writes = std::iter::once(first).chain(std::iter::from_fn(|| waiting.try_recv().ok()));
    for mut write in writes.take(MOST_TOGETHER) {
        let held = write.run(connection);
        together.push(write);
        if !held {
            return false;
        }
    }
    commit(connection).is_ok()
}

/// Runs one write in a transaction of its own.
fn alone<T>(connection: &Connection, operation: impl Fn(&Connection) -> Result<T>) -> Result<T> {
    let in_transaction = || {
        begin(connection)?;
        let result = operation(connection)?;
        commit(connection)?;
        Ok(result)
    };
    in_transaction().map_err(|error| {
        roll_back(connection);
        at(connection, error)
    })
}

fn at(connection: &Connection, error: QueueError) -> QueueError {
    open::at(Path::new(connection.path().unwrap_or_default()), error)
}

/// Ends a transaction that failed, unless a full disk has ended it already.
fn roll_back(connection: &Connection) {
    if !connection.is_autocommit() {
        // What cannot be rolled back is dropped with the process.
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

    fn insert(bytes: usize) -> impl Fn(&Connection) -> Result<()> {
        move |tx| {
            Ok(tx
                .execute("INSERT INTO t VALUES (zeroblob(?1))", [bytes])
                .map(drop)?)
        }
    }

    #[tokio::test]
    async fn a_write_that_fails_undoes_nothing_of_those_it_was_to_be_committed_with() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE t (a); PRAGMA max_page_count = 4")
            .unwrap();
        let (writes, waiting) = mpsc::channel::<Box<dyn Write>>();
        let told = [1, 100_000, 1].map(|bytes| {
            let (reply, told) = oneshot::channel();
            writes
                .send(Box::new(PendingWrite {
                    operation: insert(bytes),
                    result: None,
                    reply,
                }))
                .unwrap();
            told
        });
        drop(writes);
        serve(&connection, &waiting);
        let [first, filling, last] = told;
        first.await.unwrap().unwrap();
        last.await.unwrap().unwrap();
        let full = filling.await.unwrap().unwrap_err().to_string();
        assert!(full.contains("disk is full"), "{full}");
        assert!(connection.is_autocommit());
        let kept: i64 = connection
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(kept, 2);
    }
}
