//! The thread that owns the writing connection, and commits together what waits.

use std::path::Path;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::queue::{QueueError, Result};

use super::open;

/// The most writes in one commit: enough to share the fsync, few enough that none waits long.
const MOST_TOGETHER: usize = 256;

/// A write that has run and waits for the commit; told whether it held.
type Answer = Box<dyn FnOnce(std::result::Result<(), String>) + Send>;
/// A write: runs inside the transaction and returns how to answer; `None` when it failed and has answered already.
pub(super) type Write = Box<dyn FnOnce(&mut Transaction<'_>) -> Option<Answer> + Send>;

/// Runs writes, each answered after its commit.
#[derive(Debug)]
pub(super) enum Writer {
    /// On a thread that commits together what waits; both are there until the drop.
    Thread { writes: Option<mpsc::Sender<Write>>, thread: Option<JoinHandle<()>> },
    /// Where the caller is, one commit each.
    Callers(Mutex<Connection>),
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(connection: Connection) -> Self {
        let (writes, waiting) = mpsc::channel();
        let thread = thread::spawn(move || serve(&connection, &waiting));
        Self::Thread { writes: Some(writes), thread: Some(thread) }
    }

    /// Lets every caller wait for its own write.
    pub(super) fn on_callers_thread(connection: Connection) -> Self {
        Self::Callers(Mutex::new(connection))
    }

    pub(super) fn is_on_callers_thread(&self) -> bool {
        matches!(self, Self::Callers(_))
    }

    /// Runs a write and returns its result after the commit.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let writes = match self {
            Self::Thread { writes, .. } => writes,
            Self::Callers(connection) => {
                let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                let mut transaction = Transaction::begin(&connection);
                let result = transaction.run(operation);
                transaction.commit().map_err(QueueError::Unusable)?;
                return result;
            }
        };
        let (reply, result) = oneshot::channel();
        let write: Write = Box::new(move |transaction| match transaction.run(operation) {
            Ok(value) => Some(Box::new(move |committed| {
                // Nobody listens any more when the caller was cancelled; the write stands all the same.
                let _ = reply.send(committed.map(|()| value).map_err(QueueError::Unusable));
            })),
            Err(error) => {
                let _ = reply.send(Err(error));
                None
            }
        });
        let stopped = || QueueError::Store("the writer stopped".into());
        writes.as_ref().and_then(|writes| writes.send(write).ok()).ok_or_else(stopped)?;
        result.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    /// Waits until the connection is closed, so that a queue that is dropped holds its file no more.
    fn drop(&mut self) {
        let Self::Thread { writes, thread } = self else { return };
        *writes = None;
        if let Some(thread) = thread.take() {
            // A thread that panicked has closed its connection as well.
            let _ = thread.join();
        }
    }
}

fn serve(connection: &Connection, waiting: &mpsc::Receiver<Write>) {
    while let Ok(first) = waiting.recv() {
        let mut writes = vec![first];
        writes.extend(waiting.try_iter().take(MOST_TOGETHER - 1));
        let mut transaction = Transaction::begin(connection);
        let mut answers = Vec::with_capacity(writes.len());
        for write in writes {
            answers.extend(write(&mut transaction));
        }
        let committed = transaction.commit();
        for answer in answers {
            answer(committed.clone());
        }
    }
}

/// The transaction of the writes that are committed together.
pub(super) struct Transaction<'a> {
    connection: &'a Connection,
    /// What ended it before its time; whoever comes after is told the same.
    broken: Option<String>,
}

impl<'a> Transaction<'a> {
    fn begin(connection: &'a Connection) -> Self {
        let mut begun = Self { connection, broken: None };
        begun.broken = begun.told(connection.execute_batch("BEGIN IMMEDIATE")).err();
        begun
    }

    /// Runs one write so that its failure undoes nothing of the others'.
    fn run<T>(&mut self, operation: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        if let Some(reason) = &self.broken {
            return Err(QueueError::Unusable(reason.clone()));
        }
        let result = in_savepoint(self.connection, operation).map_err(|error| self.at(error));
        // A full disk ends the whole transaction, and with it what the writes before have done.
        if self.connection.is_autocommit() {
            let reason = result.as_ref().err().map(ToString::to_string);
            self.broken = Some(reason.unwrap_or_else(|| "the transaction has ended".into()));
        }
        result
    }

    fn commit(self) -> std::result::Result<(), String> {
        let committed = match &self.broken {
            Some(reason) => Err(reason.clone()),
            None => self.told(self.connection.execute_batch("COMMIT")),
        };
        if committed.is_err() && !self.connection.is_autocommit() {
            // A failed commit leaves the transaction open; what cannot be rolled back is dropped with the process.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        committed
    }

    fn told(&self, result: rusqlite::Result<()>) -> std::result::Result<(), String> {
        result.map_err(|error| self.at(error.into()).to_string())
    }

    fn at(&self, error: QueueError) -> QueueError {
        open::at(Path::new(self.connection.path().unwrap_or_default()), error)
    }
}

fn in_savepoint<T>(connection: &Connection, operation: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    connection.prepare_cached("SAVEPOINT one")?.execute([])?;
    let result = operation(connection);
    if result.is_err() && !connection.is_autocommit() {
        connection.prepare_cached("ROLLBACK TO one")?.execute([])?;
    }
    if !connection.is_autocommit() {
        connection.prepare_cached("RELEASE one")?.execute([])?;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_undoes_all_that_was_to_be_committed_together_and_everyone_is_told_why() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (a); PRAGMA max_page_count = 4").unwrap();
        let insert = |bytes: usize| {
            move |tx: &Connection| Ok(tx.execute("INSERT INTO t VALUES (zeroblob(?1))", [bytes]).map(drop)?)
        };
        let mut transaction = Transaction::begin(&connection);
        let first = transaction.run(insert(1));
        let filling = transaction.run(insert(100_000));
        let after = transaction.run(insert(1));
        assert!(first.is_ok(), "only the commit tells: {first:?}");
        for told in [
            filling.map_err(|error| error.to_string()),
            after.map_err(|error| error.to_string()),
            transaction.commit(),
        ] {
            assert!(told.as_ref().is_err_and(|told| told.contains("disk is full")), "{told:?}");
        }
        assert!(connection.is_autocommit());
        let left: i64 = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0);
        let mut next = Transaction::begin(&connection);
        next.run(insert(1)).unwrap();
        next.commit().unwrap();
    }
}
