//! What a run shows while it works: one line on a terminal, a line now and then where output is piped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::clock::{Clock, SystemClock};
use crate::domain::{JobState, Money};
use crate::queue::{Queue, Status};
use crate::worker::Event;

use super::{bar, render};

const ON_TERMINAL: Duration = Duration::from_millis(500);
const PIPED: Duration = Duration::from_secs(10);

/// Shows how a run gets on. Clones show the same.
#[derive(Clone)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    ended: Arc<Notify>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
    /// What was told last of each row in doubt, by batch and row.
    told: Arc<Mutex<HashMap<(String, String), String>>>,
}

impl Progress {
    /// Begins to show.
    pub(super) fn start(queue: Arc<dyn Queue>, batch: Option<String>, quiet: bool) -> Self {
        let bar = bar::on_terminal(quiet, "{bar:24} {pos}/{len} {wide_msg}");
        let ended = Arc::new(Notify::new());
        let progress = Self { bar, quiet, ended, task: Arc::default(), told: Arc::default() };
        let shown = progress.clone();
        let task = tokio::spawn(async move { shown.refresh(queue, batch).await });
        *progress.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        progress
    }

    async fn refresh(&self, queue: Arc<dyn Queue>, batch: Option<String>) {
        let mut shown_last = String::new();
        let pause = if self.bar.is_some() { ON_TERMINAL } else { PIPED };
        loop {
            // A status that cannot be read is told by the pool, which needs the queue more than this does.
            if let Ok(status) = queue.status(batch.clone()).await {
                let (done, total, text) = describe(&status);
                match &self.bar {
                    Some(bar) => {
                        bar.set_length(total);
                        bar.set_position(done);
                        bar.set_message(text);
                    }
                    None => {
                        let line = format!("{done}/{total} {text}");
                        if !self.quiet && line != shown_last {
                            render::note(&line);
                            shown_last = line;
                        }
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.ended.notified() => return,
            }
        }
    }

    /// Shows what happened, where it needs to be seen at once.
    pub(super) fn saw(&self, event: Event) {
        let text = match event {
            Event::Moved { row_key, state: JobState::Failed, reason, .. } => {
                format!("{row_key} failed: {}", reason.unwrap_or_default())
            }
            Event::Moved { batch, row_key, state: JobState::InDoubt, reason: Some(reason) } => {
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                // A search that fails again as it failed before is no news.
                if told.insert((batch, row_key.clone()), reason.clone()).as_ref() == Some(&reason) {
                    return;
                }
                format!("{row_key} is in doubt: {reason}")
            }
            Event::ProviderPaused { provider, reason } => format!("{provider} is paused: {reason}"),
            Event::TookOver { jobs } => {
                format!("took over {} of a run that ended early", render::count(jobs as u64, "step"))
            }
            Event::Stopping { steps } => {
                let steps = render::count(steps as u64, "step");
                format!("stopping: waiting for {steps} in hand; once more to leave at once")
            }
            Event::Moved { .. } => return,
        };
        if self.quiet {
            return;
        }
        match &self.bar {
            Some(bar) => bar.suspend(|| render::note(&text)),
            None => render::note(&text),
        }
    }

    /// Ends it, and leaves the terminal clean.
    pub(super) async fn end(&self) {
        self.ended.notify_one();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // The task only shows; that it failed is no reason to fail.
            let _ = task.await;
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Done, total, and a text of what is going on.
fn describe(status: &Status) -> (u64, u64, String) {
    let count = |state| status.batches.iter().map(|batch| batch.count(state)).sum::<u64>();
    let total: u64 = status.batches.iter().map(|batch| batch.total()).sum();
    let open: u64 = status.batches.iter().map(|batch| batch.open()).sum();
    let spent: Money = status.batches.iter().map(|batch| batch.spent).sum();
    let reserved: Money = status.batches.iter().map(|batch| batch.reserved).sum();
    let mut parts = vec![format!("${spent} spent, ${reserved} reserved")];
    let slots: Vec<String> = status
        .providers
        .iter()
        .filter(|provider| provider.in_flight > 0)
        .map(|provider| format!("{} {}", provider.provider, provider.in_flight))
        .collect();
    if !slots.is_empty() {
        parts.push(slots.join(", "));
    }
    for (state, word) in [(JobState::Failed, "failed"), (JobState::InDoubt, "in doubt")] {
        if count(state) > 0 {
            parts.push(format!("{} {word}", count(state)));
        }
    }
    let now = SystemClock.now();
    if let Some(left) = status.batches.iter().filter_map(|batch| batch.eta_s(now)).max() {
        parts.push(format!("{} left", render::span(left)));
    }
    (total - open, total, parts.join(" · "))
}
