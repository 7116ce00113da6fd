//! The thread that owns the writing connection, and commits what waits together.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::queue::{QueueError, Result};

/// The most writes in one commit: enough to share the fsync, few enough that none waits long.
const MOST_TOGETHER: usize = 256;

/// A write that has run and waits for the commit; told whether it held.
type Answer = Box<dyn FnOnce(std::result::Result<(), String>) + Send>;
/// A write: runs inside the transaction and returns how to answer; `None` when it failed and has answered already.
type Write = Box<dyn FnOnce(&Connection) -> Option<Answer> + Send>;

/// Hands writes to the thread.
#[derive(Debug)]
pub(super) struct Writer {
    /// Both are there until the drop.
    writes: Option<mpsc::Sender<Write>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(connection: Connection) -> Self {
        let (writes, waiting) = mpsc::channel();
        let thread = thread::spawn(move || serve(&connection, &waiting));
        Self { writes: Some(writes), thread: Some(thread) }
    }

    /// Runs a write and returns its result after the commit.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, result) = oneshot::channel();
        let write: Write = Box::new(move |connection| match in_savepoint(connection, operation) {
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
        self.writes.as_ref().and_then(|writes| writes.send(write).ok()).ok_or_else(stopped)?;
        result.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    /// Waits until the connection is closed, so that a queue that is dropped holds its file no more.
    fn drop(&mut self) {
        self.writes = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has closed its connection as well.
            let _ = thread.join();
        }
    }
}

fn serve(connection: &Connection, waiting: &mpsc::Receiver<Write>) {
    while let Ok(first) = waiting.recv() {
        let mut writes = vec![first];
        writes.extend(waiting.try_iter().take(MOST_TOGETHER - 1));
        let mut answers = Vec::with_capacity(writes.len());
        // Without a transaction each write fails on its own savepoint's statements, and tells so.
        let begun = connection.execute_batch("BEGIN IMMEDIATE").map_err(QueueError::from);
        for write in writes {
            answers.extend(write(connection));
        }
        let committed = match begun {
            Ok(()) => connection.execute_batch("COMMIT").map_err(QueueError::from),
            Err(error) => Err(error),
        };
        if committed.is_err() && !connection.is_autocommit() {
            // A failed commit leaves the transaction open; what cannot be rolled back is dropped with the process.
            let _ = connection.execute_batch("ROLLBACK");
        }
        let told = committed.map_err(|error| error.to_string());
        for answer in answers {
            answer(told.clone());
        }
    }
}

/// Runs one write so that its failure undoes nothing of the others'.
fn in_savepoint<T>(connection: &Connection, operation: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    if connection.is_autocommit() {
        // BEGIN failed, or an earlier write's error (a full disk) ended the whole transaction.
        return Err(QueueError::Unusable(
            "the queue cannot be written now: it is locked by another program, or the disk is full".into(),
        ));
    }
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
