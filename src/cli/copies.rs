//! Before a run submits: is this the queue that was run last, and what have its copies paid for?

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::domain::{JobState, ProviderName};
use crate::output::Marker;
use crate::queue::{BatchStatus, Lineage, Queue};
use crate::worker::comparison::{Comparison, MAX_PERIOD, compare_histories};
use crate::worker::{StepContext, StopSignal};

use super::render;
use super::setup::Setup;

/// How long histories are read before a run goes on without them.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long they are read if the run must not submit without them.
const PATIENCE_IN_DOUBT: Duration = Duration::from_secs(300);

/// Time between two updates of the markers. They say when a run was last seen.
const MARKER_INTERVAL: Duration = Duration::from_secs(30);

/// Why a queue may not know what was paid for.
#[derive(Debug)]
enum Doubt {
    /// It has run less often than the markers say.
    Older,
    /// There is no marker beside it, although it has run.
    Moved,
    /// Another queue has run here.
    Foreign(PathBuf),
}

/// What is known before a run submits.
pub(super) struct Standing {
    /// The providers to which nothing may be submitted, because their histories cannot be read although
    /// the queue may not know what was paid for.
    pub(super) unread: BTreeSet<ProviderName>,
    /// Keeps the markers up to date while the run works; `None` if the queue has not counted the run.
    pub(super) markers: Option<Markers>,
}

/// The markers of a run.
pub(super) struct Markers {
    marker: Marker,
    paths: Vec<PathBuf>,
    clock: Arc<dyn Clock>,
}

/// Compares the queue with the markers of earlier runs and with the providers' histories, and counts this
/// run.
pub(super) async fn compare(
    setup: &Setup,
    queue: &Arc<dyn Queue>,
    context: &StepContext,
    batches: &[BatchStatus],
    stop: StopSignal,
) -> anyhow::Result<Standing> {
    let clock = Arc::clone(&setup.app.clock);
    let lineage = queue.lineage().await?;
    let paths = marker_paths(setup, batches);
    let evidence = Evidence::read(&lineage, &paths);
    let started_at = clock.now();
    note_keys(setup, queue.as_ref(), context, &lineage).await?;
    let last_seen = lineage.last_seen.unwrap_or(started_at);
    let Some(comparison) = (match &evidence.doubt {
        None => Some(compare_histories(queue.as_ref(), context, last_seen, PATIENCE).await?),
        Some(doubt) => {
            print_doubt(doubt);
            let since = match doubt {
                Doubt::Foreign(_) => started_at.saturating_sub(MAX_PERIOD)?,
                Doubt::Older | Doubt::Moved => last_seen,
            };
            // The other run may have worked for a while after it was last seen.
            let seen_at = evidence.seen_at.unwrap_or(last_seen);
            let seen_at = seen_at.saturating_add(MARKER_INTERVAL)?.min(started_at);
            compare_until_listed(queue.as_ref(), context, since, seen_at, stop).await?
        }
    }) else {
        // The next run has to compare again.
        return Ok(Standing {
            unread: context.providers.keys().copied().collect(),
            markers: None,
        });
    };
    print_found(comparison.found);
    let mut unread = BTreeSet::new();
    for (provider, reason) in comparison.unread {
        if evidence.doubt.is_some() {
            render::print_note(format_args!(
                "nothing is submitted to {provider}, because its history cannot be read: {reason}"
            ));
            unread.insert(provider);
        } else {
            tracing::info!(%provider, "its history was not compared with the queue: {reason}");
        }
    }
    if !unread.is_empty() {
        return Ok(Standing {
            unread,
            markers: None,
        });
    }
    let generation = evidence.generation + 1;
    queue.set_generation(generation).await?;
    let markers = Markers {
        marker: Marker {
            queue: lineage.queue_id,
            generation,
            seen_at: clock.now(),
        },
        paths,
        clock,
    };
    markers.write();
    Ok(Standing {
        unread,
        markers: Some(markers),
    })
}

/// Returns where the markers are, of which the first is the one beside the queue.
fn marker_paths(setup: &Setup, batches: &[BatchStatus]) -> Vec<PathBuf> {
    let mut paths = vec![Marker::beside(&setup.app.config.queue)];
    for batch in batches {
        if batch.count(JobState::Queued) > 0 {
            // A copy that runs before the first clip is saved must find the marker. An error is
            // reported when a clip cannot be saved.
            let _ = std::fs::create_dir_all(&batch.folder);
        }
        paths.push(Marker::in_folder(batch.folder.as_ref()));
    }
    paths
}

/// Notes with which keys the queue is run, and says which have changed.
async fn note_keys(
    setup: &Setup,
    queue: &dyn Queue,
    context: &StepContext,
    lineage: &Lineage,
) -> anyhow::Result<()> {
    for provider in context.providers.keys() {
        let mark = setup.app.key_mark(*provider, &lineage.queue_id);
        if let Some(mark) = mark
            && queue.note_key(*provider, mark).await?
        {
            render::print_note(format_args!(
                "the key of {provider} has changed: if it is of another account, its history proves \
                 nothing about earlier submissions, so those in doubt wait for your decision"
            ));
        }
    }
    Ok(())
}

/// Compares a queue that may not know what was paid for, once the histories list everything that was
/// submitted elsewhere until `seen_at`. Returns `None` if the run is to stop before that.
async fn compare_until_listed(
    queue: &dyn Queue,
    context: &StepContext,
    since: Timestamp,
    seen_at: Timestamp,
    stop: StopSignal,
) -> anyhow::Result<Option<Comparison>> {
    let first = compare_histories(queue, context, since, PATIENCE_IN_DOUBT).await?;
    let listed_at = seen_at.saturating_add(first.listed_within)?;
    if listed_at <= context.clock.now() || !first.unread.is_empty() {
        return Ok(Some(first));
    }
    wait(context.clock.as_ref(), listed_at, stop.clone()).await;
    if *stop.borrow() {
        return Ok(None);
    }
    let mut comparison = compare_histories(queue, context, since, PATIENCE_IN_DOUBT).await?;
    comparison.found += first.found;
    Ok(Some(comparison))
}

fn print_found(found: usize) {
    if found > 0 {
        render::print_note(format_args!(
            "{} that this queue did not know {} found at the providers: nothing is paid again for \
             what they asked for",
            render::format_count(found as u64, "prediction"),
            if found == 1 { "was" } else { "were" }
        ));
    }
}

/// What the markers say of a queue.
struct Evidence {
    /// Why the queue may not know what was paid for; `None` if it does.
    doubt: Option<Doubt>,
    /// When a run was last seen by a marker.
    seen_at: Option<Timestamp>,
    /// The highest number of a run.
    generation: u64,
}

impl Evidence {
    /// Reads the markers, of which the first is the one beside the queue.
    fn read(lineage: &Lineage, paths: &[PathBuf]) -> Self {
        let mut evidence = Self {
            doubt: None,
            seen_at: None,
            generation: lineage.generation,
        };
        for (index, path) in paths.iter().enumerate() {
            let Ok(Some(marker)) = Marker::read(path) else {
                if index == 0 && lineage.generation > 0 {
                    evidence.doubt = Some(Doubt::Moved);
                }
                continue;
            };
            if marker.queue != lineage.queue_id {
                evidence.doubt = Some(Doubt::Foreign(path.clone()));
            } else if marker.generation > lineage.generation {
                evidence.doubt.get_or_insert(Doubt::Older);
            }
            evidence.seen_at = evidence.seen_at.max(Some(marker.seen_at));
            evidence.generation = evidence.generation.max(marker.generation);
        }
        evidence
    }
}

fn print_doubt(doubt: &Doubt) {
    let reason = match doubt {
        Doubt::Older => "this queue is older than the clips beside it: it was copied without its \
                         -wal file, or is a backup"
            .to_owned(),
        Doubt::Moved => "this queue was moved or copied here, and a copy may have been run \
                         elsewhere"
            .to_owned(),
        Doubt::Foreign(path) => format!(
            "another queue has run here: {} is not this one\'s",
            path.display()
        ),
    };
    render::print_note(format_args!(
        "{reason}. It is compared with the providers\' histories before anything is submitted"
    ));
}

/// Waits until a time, or until the run is to stop.
async fn wait(clock: &dyn Clock, until: Timestamp, mut stop: StopSignal) {
    let left = until.duration_since(clock.now()).max(SignedDuration::ZERO);
    render::print_note(format_args!(
        "waiting {} s until the histories list everything that was submitted elsewhere",
        left.as_secs() + 1
    ));
    let stopped = stop.wait_for(|stop| *stop);
    // An error means that nothing can stop the run any more.
    let _ = tokio::time::timeout(left.unsigned_abs(), stopped).await;
}

impl Markers {
    /// Keeps the markers up to date while a run works, and writes them once more when it ends.
    pub(super) async fn keep_while<T>(&self, run: impl Future<Output = T>) -> T {
        let mut run = std::pin::pin!(run);
        loop {
            let result = tokio::time::timeout(MARKER_INTERVAL, run.as_mut()).await;
            self.write();
            if let Ok(result) = result {
                return result;
            }
        }
    }

    /// Writes the markers. A folder of clips may not exist yet.
    fn write(&self) {
        let marker = Marker {
            seen_at: self.clock.now(),
            ..self.marker.clone()
        };
        for path in &self.paths {
            if let Err(error) = marker.write(path)
                && error.kind() != ErrorKind::NotFound
            {
                tracing::info!("{} cannot be written: {error}", path.display());
            }
        }
    }
}
