//! Progress output of a run: the live screen on a terminal, an occasional line anywhere else.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use console::Term;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::domain::JobState;
use crate::worker::PoolEvent;

use super::args::Global;
use super::remedy::with_remedy;
use super::render;
use super::screen::{self, REFRESH_INTERVAL, Snapshot, SnapshotReader, live_region};

/// Minimum time between two status lines where the screen cannot be redrawn.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Time between two checks whether this run's pool has joined the queue.
const STARTUP_INTERVAL: Duration = Duration::from_millis(100);

/// Shows the progress of a run on standard error. Clones share one output.
#[derive(Clone)]
pub(super) struct Progress {
    mode: OutputMode,
    /// Notified when the run has ended.
    finished: Arc<Notify>,
    /// Notified when something happened that should be shown at once.
    refresh_now: Arc<Notify>,
    /// Whether something else, such as a prompt, uses the terminal.
    is_suspended: Arc<AtomicBool>,
    /// Reasons of failed uploads that have been printed.
    reported_uploads: Arc<Mutex<HashSet<String>>>,
    /// The reason last printed for each provider and route to which submits are held.
    reported_holds: Arc<Mutex<HashMap<String, String>>>,
    /// The reason last printed for each job in doubt, by batch and row key.
    reported_doubts: Arc<Mutex<HashMap<(String, String), String>>>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// The form of the output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OutputMode {
    /// Nothing, because of `--quiet`.
    Quiet,
    /// A line when something has changed.
    Lines,
    /// The live screen.
    Screen { color: bool },
}

impl Progress {
    /// Starts a task that shows progress until [`Self::finish`].
    pub(super) fn spawn(reader: SnapshotReader, global: &Global) -> Self {
        let mode = if global.quiet {
            OutputMode::Quiet
        } else if screen::supports_redraw(&Term::stderr()) {
            OutputMode::Screen {
                color: render::use_color(global.color, true),
            }
        } else {
            OutputMode::Lines
        };
        let progress = Self {
            mode,
            finished: Arc::default(),
            refresh_now: Arc::default(),
            is_suspended: Arc::default(),
            reported_uploads: Arc::default(),
            reported_doubts: Arc::default(),
            reported_holds: Arc::default(),
            task: Arc::default(),
        };
        let refresher = progress.clone();
        let task = tokio::spawn(async move { refresher.refresh(reader).await });
        *progress.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        progress
    }

    async fn refresh(&self, reader: SnapshotReader) {
        let mut last_line = String::new();
        let interval = if matches!(self.mode, OutputMode::Screen { .. }) {
            REFRESH_INTERVAL
        } else {
            LINE_INTERVAL
        };
        loop {
            let mut wait = interval;
            // Read errors are ignored here: the pool depends on the same queue and reports them.
            if self.mode != OutputMode::Quiet
                && !self.is_suspended.load(Ordering::Relaxed)
                && let Ok(snapshot) = reader.read().await
            {
                if snapshot.status.working_since(snapshot.now).is_some() {
                    self.show(&snapshot, &mut last_line);
                } else {
                    // Until this run's pool has joined, the screen would ask the user to start one.
                    wait = STARTUP_INTERVAL;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.refresh_now.notified() => {}
                () = self.finished.notified() => return,
            }
        }
    }

    fn show(&self, snapshot: &Snapshot, last_line: &mut String) {
        match self.mode {
            OutputMode::Quiet => {}
            OutputMode::Screen { color } => {
                let size = screen::terminal_size(&Term::stderr());
                live_region::draw(screen::format_screen(snapshot, size, color));
            }
            OutputMode::Lines => {
                let status = screen::format_plain(snapshot);
                if status.stable == *last_line {
                    return;
                }
                let separator = if status.volatile.is_empty() {
                    ""
                } else {
                    " · "
                };
                render::print_note(format_args!(
                    "{}{separator}{}",
                    status.stable, status.volatile
                ));
                *last_line = status.stable;
            }
        }
    }

    /// Prints an event that the user should see at once.
    pub(super) fn observe(&self, event: PoolEvent) {
        let text = match event {
            PoolEvent::StepRecorded {
                row_key,
                state: JobState::Failed,
                reason,
                remedy,
                ..
            } => {
                let reason = reason.unwrap_or_default();
                format!("{row_key} failed: {}", with_remedy(&reason, remedy))
            }
            PoolEvent::StepRecorded {
                batch,
                row_key,
                state: JobState::InDoubt,
                reason: Some(reason),
                remedy,
            } => {
                let reason = with_remedy(&reason, remedy);
                let mut reported = self
                    .reported_doubts
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                // Reconciliation that fails again for the same reason is not reported again.
                let previous = reported.insert((batch, row_key.clone()), reason.clone());
                if previous.as_ref() == Some(&reason) {
                    return;
                }
                format!("{row_key} is in doubt: {reason}")
            }
            PoolEvent::ProviderSuspended { provider, reason } => {
                format!("{provider} is paused: {reason}")
            }
            PoolEvent::SubmitsHeld { what, reason } => {
                let mut reported = self
                    .reported_holds
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if reported.insert(what.clone(), reason.clone()).as_ref() == Some(&reason) {
                    return;
                }
                format!("submits to {what} are held: {reason}")
            }
            PoolEvent::TookOver { jobs } => took_over(jobs),
            PoolEvent::Stopping { steps } => {
                let steps = render::format_count(steps as u64, "step");
                format!("stopping: waiting for {steps} in progress; interrupt again to exit now")
            }
            PoolEvent::UploadFailed { reason } => {
                let mut reported = self
                    .reported_uploads
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if !reported.insert(reason.clone()) {
                    return;
                }
                format!("image upload failed: {reason}")
            }
            PoolEvent::SettingsChanged => return self.refresh_now.notify_one(),
            PoolEvent::StepRecorded { .. }
            | PoolEvent::Submitting { .. }
            | PoolEvent::CanaryReady { .. } => return,
        };
        if self.mode != OutputMode::Quiet {
            render::print_note(&text);
        }
        // A status line would add little to the note, so only the screen is refreshed.
        if matches!(self.mode, OutputMode::Screen { .. }) {
            self.refresh_now.notify_one();
        }
    }

    /// Clears the screen, and shows nothing until [`resume`](Self::resume).
    pub(super) fn suspend(&self) {
        self.is_suspended.store(true, Ordering::Relaxed);
        live_region::clear();
    }

    /// Shows progress again.
    pub(super) fn resume(&self) {
        self.is_suspended.store(false, Ordering::Relaxed);
        self.refresh_now.notify_one();
    }

    /// Stops the output and clears the screen.
    pub(super) async fn finish(&self) {
        self.finished.notify_one();
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task {
            // A failure to show progress must not fail the run.
            let _ = task.await;
        }
        live_region::clear();
    }
}

/// Says how many jobs were freed of a run that is gone.
pub(super) fn took_over(jobs: usize) -> String {
    let jobs = render::format_count(jobs as u64, "job");
    format!("took over {jobs} from a run that ended unexpectedly")
}
