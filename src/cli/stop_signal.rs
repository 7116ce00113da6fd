//! Turns SIGINT and SIGTERM into a stop signal.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::worker::StopSignal;

use super::exit::Exit;

/// Returns a signal that the first SIGINT or SIGTERM raises. The second ends the process.
pub(super) fn stop_on_signal() -> anyhow::Result<StopSignal> {
    let (stop, stopped) = watch::channel(false);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if is_first {
                // Fails if the pool has just ended, and then there is nothing to stop.
                let _ = stop.send(true);
            } else {
                exit_now();
            }
        }
    });
    Ok(stopped)
}

/// Ends the process. The next run recovers the steps under way: a submission is in doubt,
/// everything else is due again.
#[expect(
    clippy::exit,
    reason = "a second signal asks for an immediate end of the process"
)]
fn exit_now() {
    std::process::exit(Exit::Interrupted as i32);
}
