//! Notifies the processes on a queue of each other's changes, so that they need not wait for their next claim.
//!
//! A notification inside a busy transaction would make all commits of the server wait for each other. A turn that
//! frees slots therefore notifies after its commit, and not more often than [`MIN_INTERVAL`]. A process that misses one
//! finds the change when it claims next, within a second.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, Config};

use super::connect::{connect, max_silence};
use super::error::store_error;
use crate::queue::Result;

/// The name under which the server passes notifications on, in one database.
const CHANNEL: &str = "overnight";

/// Shortest time between two notifications that are sent, and between two that are passed on.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

/// Time until a lost connection is opened again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The connection on which a process hears of changes, and tells about its own. Dropping it closes the connection.
pub(super) struct WakeUp {
    changed: Arc<Notify>,
    requests: UnboundedSender<()>,
}

impl WakeUp {
    /// Connects on a thread of its own, and returns once the process hears of changes, or cannot for now.
    /// `name` is that of the process.
    pub(super) fn spawn(config: Config, name: String) -> Self {
        let changed = Arc::new(Notify::new());
        let (requests, receiver) = unbounded_channel();
        let (ready, is_ready) = mpsc::channel();
        let to_notify = Arc::clone(&changed);
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            // Without it the pool claims each second.
            if let Ok(runtime) = runtime {
                runtime.block_on(run(&config, &name, &to_notify, receiver, &ready));
            }
        });
        // An error is that of a thread that has ended.
        let _ = is_ready.recv();
        Self { changed, requests }
    }

    /// Returns once another process has changed something.
    pub(super) async fn wait(&self) {
        self.changed.notified().await;
    }

    /// Notifies the other processes of a change.
    pub(super) fn notify(&self) {
        // The thread ends with this.
        let _ = self.requests.send(());
    }
}

/// Returns the statement that notifies the other processes of a change, when the transaction is committed.
pub(super) fn statement(name: &str) -> String {
    format!("NOTIFY {CHANNEL}, '{name}'")
}

/// Listens and notifies until nobody can ask for it any more.
async fn run(
    config: &Config,
    name: &str,
    changed: &Notify,
    mut requests: UnboundedReceiver<()>,
    ready: &mpsc::Sender<()>,
) {
    let (sender, mut heard) = unbounded_channel();
    let mut client: Option<Client> = None;
    loop {
        if client.as_ref().is_none_or(Client::is_closed) {
            client = listen(config, name, sender.clone()).await.ok();
            // What was said while nobody listened is not known.
            changed.notify_one();
            // Asked for once.
            let _ = ready.send(());
        }
        tokio::select! {
            Some(()) = heard.recv() => changed.notify_one(),
            request = requests.recv() => {
                if request.is_none() {
                    return;
                }
                if let Some(open) = &client {
                    let statement = statement(name);
                    // A process that misses it claims within a second.
                    let notified = timeout(max_silence(), open.batch_execute(&statement)).await;
                    if notified.is_err() {
                        client = None;
                    }
                }
            }
            () = sleep(RETRY_DELAY), if client.as_ref().is_none_or(Client::is_closed) => {}
        }
        sleep(MIN_INTERVAL).await;
        while heard.try_recv().is_ok() {
            changed.notify_one();
        }
        while requests.try_recv().is_ok() {}
    }
}

/// Opens a connection on which what other processes say is passed on.
async fn listen(config: &Config, name: &str, heard: UnboundedSender<()>) -> Result<Client> {
    let name = name.to_owned();
    let client = connect(config, move |message| {
        if let AsyncMessage::Notification(notification) = message
            && notification.payload() != name
        {
            // The receiver ends with this.
            let _ = heard.send(());
        }
    });
    let client = client.await?;
    let listen = client.batch_execute(&format!("LISTEN {CHANNEL}")).await;
    listen.map_err(store_error)?;
    Ok(client)
}
