//! Before a run submits: is this the queue that was run last, and what have its copies paid for?

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::domain::{JobState, ProviderName};
use crate::output::{self, Marker};
use crate::queue::{self, BatchStatus, Lineage, Queue};
use crate::worker::comparison::{Comparison, MAX_PERIOD, compare_histories};
use crate::worker::{StepContext, StopSignal};

use super::render;
use super::setup::Setup;

/// How long histories are read before a run goes on without them.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long they are read if the run must not submit without them.
const PATIENCE_IN_DOUBT: Duration = Duration::from_secs(300);

/// Time between two updates of the markers. They say when the queue was last seen at work, which it
/// notes as often.
const MARKER_INTERVAL: Duration = Duration::from_secs(10);

/// How long a run may have worked on after the time in its markers.
const MARKER_AGE: SignedDuration = SignedDuration::from_secs(2 * MARKER_INTERVAL.as_secs() as i64);

/// Why a queue may not know what was paid for.
#[derive(Debug)]
enum Doubt {
    /// The markers are of a later run than its last one, or of a later time.
    Older,
    /// There is no marker beside it, although it has run.
    Moved,
    /// Another queue has run here.
    Foreign(PathBuf),
    /// The histories list what it asks for.
    Copied,
}

/// What is known before a run submits.
pub(super) struct Standing {
    /// Whether nothing may be submitted, because a history cannot be read although the queue may not
    /// know what was paid for.
    pub(super) is_blocked: bool,
    /// Keeps the markers up to date while the run works; `None` if the queue has not counted the run.
    pub(super) markers: Option<Markers>,
}

impl Standing {
    /// The standing of a run that may not submit. The next one has to compare again.
    const BLOCKED: Self = Self {
        is_blocked: true,
        markers: None,
    };
}

/// The markers of a run.
pub(super) struct Markers {
    queue: Arc<dyn Queue>,
    paths: Vec<PathBuf>,
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
    let lineage = queue.lineage().await?;
    let paths = marker_paths(setup, batches);
    let mut evidence = Evidence::read(&lineage, &paths);
    let started_at = setup.app.clock.now();
    note_keys(setup, queue.as_ref(), context, &lineage).await?;
    let last_seen = lineage.last_seen.unwrap_or(started_at);
    let mut found = 0;
    if evidence.doubt.is_none() {
        let since = period_start(None, &lineage, started_at);
        let comparison = compare_histories(
            queue.as_ref(),
            context,
            &evidence.providers,
            since,
            PATIENCE,
        )
        .await?;
        found = comparison.found;
        for (provider, reason) in &comparison.unread {
            tracing::info!(%provider, "its history was not compared with the queue: {reason}");
        }
        if comparison.continued > 0 {
            // A copy has paid for it, and may have more under way that is not listed yet.
            evidence.doubt = Some(Doubt::Copied);
            evidence.seen_at = Some(started_at);
        }
    }
    if let Some(doubt) = &evidence.doubt {
        print_doubt(doubt);
        let since = period_start(Some(doubt), &lineage, started_at);
        queue.note_doubt(since).await?;
        let seen_at = evidence.seen_at.unwrap_or(last_seen);
        let seen_at = seen_at.saturating_add(MARKER_AGE)?.min(started_at);
        let comparison = compare_until_listed(
            queue.as_ref(),
            context,
            &evidence.providers,
            since,
            seen_at,
            stop,
        );
        let Some(comparison) = comparison.await? else {
            print_found(found);
            return Ok(Standing::BLOCKED);
        };
        found += comparison.found;
        if !comparison.unread.is_empty() {
            print_found(found);
            for (provider, reason) in comparison.unread {
                render::print_note(format_args!(
                    "nothing is submitted, because the history of {provider} cannot be read: {reason}"
                ));
            }
            return Ok(Standing::BLOCKED);
        }
    }
    print_found(found);
    queue.begin_run(evidence.generation + 1).await?;
    let markers = Markers {
        queue: Arc::clone(queue),
        paths,
    };
    markers.write().await?;
    Ok(Standing {
        is_blocked: false,
        markers: Some(markers),
    })
}

/// Returns from when on the queue may not know what was paid for.
fn period_start(doubt: Option<&Doubt>, lineage: &Lineage, now: Timestamp) -> Timestamp {
    let longest = now.saturating_sub(MAX_PERIOD).unwrap_or(Timestamp::MIN);
    let since = match (doubt, lineage.last_seen) {
        (Some(Doubt::Foreign(_)), _) => longest,
        // The clock was set back since.
        (_, Some(last_seen)) if last_seen > now => longest,
        (_, last_seen) => last_seen.unwrap_or(now),
    };
    lineage
        .doubt_since
        .map_or(since, |doubted| doubted.min(since))
}

/// Returns where the markers are, of which the first is the one beside the queue.
fn marker_paths(setup: &Setup, batches: &[BatchStatus]) -> Vec<PathBuf> {
    let mut paths = vec![Marker::beside(&setup.app.config.queue)];
    for batch in batches {
        if batch.count(JobState::Queued) > 0 {
            // A copy that runs before the first clip is saved must find the marker. An error is
            // reported when a clip cannot be saved.
            let _ = output::create_folder(batch.folder.as_ref());
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
    used: &BTreeSet<ProviderName>,
    since: Timestamp,
    seen_at: Timestamp,
    stop: StopSignal,
) -> anyhow::Result<Option<Comparison>> {
    let first = compare_histories(queue, context, used, since, PATIENCE_IN_DOUBT).await?;
    let listed_at = seen_at.saturating_add(first.listed_within)?;
    let queued = queue.status(None).await?.count(JobState::Queued);
    if listed_at <= context.clock.now() || !first.unread.is_empty() || queued == 0 {
        return Ok(Some(first));
    }
    wait(context.clock.as_ref(), listed_at, stop.clone()).await;
    if *stop.borrow() {
        return Ok(None);
    }
    let mut comparison = compare_histories(queue, context, used, since, PATIENCE_IN_DOUBT).await?;
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
    /// The providers that were used.
    providers: BTreeSet<ProviderName>,
}

impl Evidence {
    /// Reads the markers, of which the first is the one beside the queue.
    fn read(lineage: &Lineage, paths: &[PathBuf]) -> Self {
        let mut evidence = Self {
            doubt: None,
            seen_at: None,
            generation: lineage.generation,
            providers: lineage.providers.clone(),
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
            } else if marker.generation > lineage.generation
                || Some(marker.seen_at) > lineage.last_seen
            {
                evidence.doubt.get_or_insert(Doubt::Older);
            }
            evidence.seen_at = evidence.seen_at.max(Some(marker.seen_at));
            evidence.generation = evidence.generation.max(marker.generation);
            evidence.providers.extend(marker.providers);
        }
        if lineage.doubt_since.is_some() {
            // An earlier run could not compare it.
            evidence.doubt.get_or_insert(Doubt::Older);
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
        Doubt::Copied => {
            "a copy of this queue has been run, and paid for what this one asks for".to_owned()
        }
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
    ///
    /// # Errors
    /// Returns the error of the queue.
    pub(super) async fn keep_while<T>(&self, run: impl Future<Output = T>) -> queue::Result<T> {
        let mut run = std::pin::pin!(run);
        loop {
            let result = tokio::time::timeout(MARKER_INTERVAL, run.as_mut()).await;
            let written = self.write().await;
            if let Ok(result) = result {
                return Ok(result);
            }
            written?;
        }
    }

    /// Writes what the queue has noted of its runs: a marker is never ahead of the queue, so one that is
    /// ahead is of another copy. A folder of clips may not exist yet.
    async fn write(&self) -> queue::Result<()> {
        let lineage = self.queue.lineage().await?;
        let Some(seen_at) = lineage.last_seen else {
            return Ok(());
        };
        let marker = Marker {
            queue: lineage.queue_id,
            generation: lineage.generation,
            seen_at,
            providers: lineage.providers,
        };
        for path in &self.paths {
            if let Err(error) = marker.write(path)
                && error.kind() != ErrorKind::NotFound
            {
                tracing::info!("{} cannot be written: {error}", path.display());
            }
        }
        Ok(())
    }
}
