//! The thread that owns a connection, which it opens when it is first needed and again after it was lost.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use super::connection::Connection;
use super::connector::Connector;
use crate::queue::{QueueError, Result};

type Command = Box<dyn FnOnce(Result<&Connection>) + Send>;

/// A connection that commands are sent to. Each runs after the one before it. Dropping the session closes the
/// connection, and so ends its transaction and its locks.
pub(super) struct Session {
    /// `Some` until the drop, as is `thread`.
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Session {
    /// Spawns the thread. Nothing is connected before the first command. `prepare` is called with each
    /// connection that is opened.
    pub(super) fn spawn(
        connector: Connector,
        prepare: impl Fn(&Connection) -> Result<()> + Send + 'static,
    ) -> Self {
        let (commands, receiver) = mpsc::channel();
        let open = move || {
            let connection = connector.connect()?;
            prepare(&connection)?;
            Ok(connection)
        };
        let thread = thread::spawn(move || run_commands(&open, &receiver));
        Self {
            commands: Some(commands),
            thread: Some(thread),
        }
    }

    /// Runs a command, and returns its result.
    ///
    /// # Errors
    /// An error of the command, or of the connection before it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        command: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        self.send(Box::new(move |connection| {
            // The caller may be gone.
            let _ = sender.send(connection.and_then(command));
        }))?;
        receiver.await.map_err(|_| ended())?
    }

    /// Runs a command as [`run`](Self::run) does, and blocks the calling thread until it has ended.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(super) fn run_blocking<T: Send + 'static>(
        &self,
        command: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.send(Box::new(move |connection| {
            let _ = sender.send(connection.and_then(command));
        }))?;
        receiver.recv().map_err(|_| ended())?
    }

    /// Sends a command whose result nobody waits for.
    pub(super) fn post(&self, command: impl FnOnce(&Connection) -> Result<()> + Send + 'static) {
        // What cannot be sent ends with the connection.
        let _ = self.send(Box::new(move |connection| {
            let _ = connection.and_then(command);
        }));
    }

    fn send(&self, command: Command) -> Result<()> {
        let sent = self.commands.as_ref().map(|sender| sender.send(command));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(ended()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was an error of the command that it ran.
            let _ = thread.join();
        }
    }
}

fn run_commands(open: &dyn Fn() -> Result<Connection>, commands: &mpsc::Receiver<Command>) {
    let mut connection: Option<Connection> = None;
    for command in commands {
        if connection.as_ref().is_some_and(Connection::is_lost) {
            connection = None;
        }
        if connection.is_none() {
            match open() {
                Ok(opened) => connection = Some(opened),
                Err(error) => {
                    command(Err(error));
                    continue;
                }
            }
        }
        if let Some(connection) = &connection {
            command(Ok(connection));
        }
    }
}

fn ended() -> QueueError {
    QueueError::Fault("the thread of a connection has ended".into())
}
