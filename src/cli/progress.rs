//! What a run shows while it works: the screen on a terminal, a line now and then where output is piped.

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
use super::render;
use super::screen::{self, Snapshot, SnapshotReader, live_region};

const PIPED: Duration = Duration::from_secs(10);
const UNTIL_IT_BEGINS: Duration = Duration::from_millis(100);

/// Shows how a run gets on. Clones show the same.
#[derive(Clone)]
pub(super) struct Progress {
    shown: Shown,
    ended: Arc<Notify>,
    /// Something happened that should be seen at once.
    news: Arc<Notify>,
    /// Whether nothing is to be shown just now: something else is on the terminal.
    is_held: Arc<AtomicBool>,
    /// Why uploads failed, as told.
    told_uploads: Arc<Mutex<HashSet<String>>>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
    /// What was told last of each row in doubt, by batch and row.
    told: Arc<Mutex<HashMap<(String, String), String>>>,
}

/// How it is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Not,
    Lines,
    Screen { color: bool },
}

impl Progress {
    /// Begins to show.
    pub(super) fn start(reader: SnapshotReader, global: &Global) -> Self {
        let term = Term::stderr();
        let shown = if global.quiet {
            Shown::Not
        } else if screen::is_shown_on(&term) {
            Shown::Screen {
                color: render::is_colored(global.color, true),
            }
        } else {
            Shown::Lines
        };
        let progress = Self {
            shown,
            ended: Arc::default(),
            news: Arc::default(),
            is_held: Arc::default(),
            told_uploads: Arc::default(),
            task: Arc::default(),
            told: Arc::default(),
        };
        let shows = progress.clone();
        let task = tokio::spawn(async move { shows.refresh(reader).await });
        *progress.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        progress
    }

    async fn refresh(&self, reader: SnapshotReader) {
        let mut told_last = String::new();
        let beat = if matches!(self.shown, Shown::Screen { .. }) {
            screen::BEAT
        } else {
            PIPED
        };
        loop {
            let mut pause = beat;
            // What cannot be read is told by the pool, which needs the queue more than this does.
            if self.shown != Shown::Not
                && !self.is_held.load(Ordering::Relaxed)
                && let Ok(snapshot) = reader.read().await
            {
                if snapshot.status.working_since(snapshot.now).is_some() {
                    self.show(&snapshot, &mut told_last);
                } else {
                    // Its own pool is not there yet: this run would be told to begin.
                    pause = UNTIL_IT_BEGINS;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.news.notified() => {}
                () = self.ended.notified() => return,
            }
        }
    }

    fn show(&self, snapshot: &Snapshot, told_last: &mut String) {
        match self.shown {
            Shown::Not => {}
            Shown::Screen { color } => {
                live_region::show(screen::screen(
                    snapshot,
                    screen::size_of(&Term::stderr()),
                    color,
                ));
            }
            Shown::Lines => {
                let (steady, in_progress) = screen::plain(snapshot);
                if steady == *told_last {
                    return;
                }
                let between = if in_progress.is_empty() { "" } else { " · " };
                render::note(format_args!("{steady}{between}{in_progress}"));
                *told_last = steady;
            }
        }
    }

    /// Shows what happened, where it needs to be seen at once.
    pub(super) fn saw(&self, event: PoolEvent) {
        let text = match event {
            PoolEvent::Moved {
                row_key,
                state: JobState::Failed,
                reason,
                ..
            } => {
                format!("{row_key} failed: {}", reason.unwrap_or_default())
            }
            PoolEvent::Moved {
                batch,
                row_key,
                state: JobState::InDoubt,
                reason: Some(reason),
            } => {
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                // A search that fails again as it failed before is no news.
                if told
                    .insert((batch, row_key.clone()), reason.clone())
                    .as_ref()
                    == Some(&reason)
                {
                    return;
                }
                format!("{row_key} is in doubt: {reason}")
            }
            PoolEvent::ProviderPaused { provider, reason } => {
                format!("{provider} is paused: {reason}")
            }
            PoolEvent::TookOver { jobs } => {
                format!(
                    "took over {} of a run that ended early",
                    render::count(jobs as u64, "step")
                )
            }
            PoolEvent::Stopping { steps } => {
                let steps = render::count(steps as u64, "step");
                format!("stopping: waiting for {steps} in hand; once more to leave at once")
            }
            PoolEvent::UploadFailed { reason } => {
                let mut told = self
                    .told_uploads
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if !told.insert(reason.clone()) {
                    return;
                }
                format!("an image is not uploaded: {reason}")
            }
            PoolEvent::SettingsChanged => return self.news.notify_one(),
            PoolEvent::Moved { .. } | PoolEvent::CanaryReady { .. } => return,
        };
        if self.shown != Shown::Not {
            render::note(&text);
        }
        // Where it is a line of its own it would say little more than the note.
        if matches!(self.shown, Shown::Screen { .. }) {
            self.news.notify_one();
        }
    }

    /// Takes away what is shown, until it is let go.
    pub(super) fn hold(&self) {
        self.is_held.store(true, Ordering::Relaxed);
        live_region::clear();
    }

    /// Shows again.
    pub(super) fn let_go(&self) {
        self.is_held.store(false, Ordering::Relaxed);
        self.news.notify_one();
    }

    /// Ends it, and leaves the terminal clean.
    pub(super) async fn end(&self) {
        self.ended.notify_one();
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task {
            // The task only shows; that it failed is no reason to fail.
            let _ = task.await;
        }
        live_region::clear();
    }
}
