//! The markers of earlier runs beside the queue and in the folders of clips, and what they say of it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};

use crate::domain::{AttemptId, JobState, Location, ProviderName, QueueAddress};
use crate::output::{self, Marker, OutputError, OutputStore};
use crate::queue::{self, BatchStatus, Lineage, Queue, QueueError};

use super::render;
use super::setup::Setup;

/// Time between two updates of the markers. They say when the queue was last seen at work, which it
/// notes as often.
const MARKER_INTERVAL: Duration = Duration::from_secs(10);

/// How long a run may have worked on after the time in its markers.
pub(super) const MARKER_AGE: SignedDuration =
    SignedDuration::from_secs(2 * MARKER_INTERVAL.as_secs() as i64);

/// Why a queue may not know what was paid for.
#[derive(Debug)]
pub(super) enum Doubt {
    /// The markers are of a later run than its last one, or of a later time.
    Older,
    /// There is no marker beside it, although it has run.
    Moved,
    /// Another server holds it than when it was run last, or a standby that was made the server.
    OtherServer,
    /// Another queue has run here.
    Foreign(Location),
    /// The histories list what it asks for.
    Copied,
}

/// What the markers say of a queue.
pub(super) struct Evidence {
    /// Why the queue may not know what was paid for; `None` if it does.
    pub(super) doubt: Option<Doubt>,
    /// When a run was last seen by a marker.
    pub(super) seen_at: Option<Timestamp>,
    /// The highest number of a run.
    pub(super) generation: u64,
    /// The providers that were used.
    pub(super) providers: BTreeSet<ProviderName>,
    /// A folder of this queue's clips that another queue owns, and where that one is.
    pub(super) owned: Option<(Location, PathBuf)>,
}

impl Evidence {
    /// Reads the markers of a queue, and the queue before and after them. Other runs may begin or work on it
    /// now: each makes sure that there is a marker before the queue counts it, and writes to the queue before it
    /// writes to a marker. So a run that was counted before has a marker, and none is newer than the queue is after.
    ///
    /// # Errors
    /// Returns the error of the queue, or that of a storage.
    pub(super) async fn read(
        queue: &dyn Queue,
        output: &dyn OutputStore,
        paths: &MarkerPaths,
    ) -> anyhow::Result<(Self, Lineage)> {
        let has_run = queue.lineage().await?.generation > 0;
        let mut markers = Vec::new();
        if let Some(path) = &paths.beside_queue {
            let marker = Marker::read(path).ok().flatten();
            markers.push((Location::from(path.clone()), marker));
        }
        for place in &paths.in_folders {
            markers.push((place.clone(), read_marker(output, place).await?));
        }
        let lineage = queue.lineage().await?;
        Ok((Self::find(&lineage, has_run, paths, markers), lineage))
    }

    fn find(
        lineage: &Lineage,
        has_run: bool,
        paths: &MarkerPaths,
        markers: Vec<(Location, Option<Marker>)>,
    ) -> Self {
        let mut evidence = Self {
            doubt: None,
            seen_at: None,
            generation: lineage.generation,
            providers: lineage.providers.clone(),
            owned: None,
        };
        for (place, marker) in markers {
            let Some(marker) = marker else {
                if paths.beside_queue.as_deref() == place.path() && has_run {
                    evidence.doubt = Some(Doubt::Moved);
                }
                continue;
            };
            if marker.queue != lineage.queue_id {
                let owner = marker
                    .owner()
                    .filter(|owner| owner.to_str() != paths.queue.as_deref());
                let owner = owner.map(|owner| (place.folder(), owner));
                evidence.owned = evidence.owned.take().or(owner);
                evidence.doubt = Some(Doubt::Foreign(place));
            } else if marker.generation > lineage.generation
                || marker.last_attempt > lineage.last_attempt
                || Some(marker.seen_at) > lineage.last_seen
            {
                evidence.doubt.get_or_insert(Doubt::Older);
            }
            evidence.seen_at = evidence.seen_at.max(Some(marker.seen_at));
            evidence.generation = evidence.generation.max(marker.generation);
            evidence.providers.extend(marker.providers);
        }
        if lineage.has_other_server {
            evidence.doubt.get_or_insert(Doubt::OtherServer);
        }
        if lineage.doubt_since.is_some() {
            // An earlier run could not compare it.
            evidence.doubt.get_or_insert(Doubt::Older);
        }
        evidence
    }
}

/// Where the markers of a queue are.
#[derive(Debug)]
pub(super) struct MarkerPaths {
    /// `None` if the queue is no file.
    beside_queue: Option<PathBuf>,
    /// The queue's own path or URL; `None` if it is no text.
    queue: Option<String>,
    in_folders: Vec<Location>,
}

impl MarkerPaths {
    /// Returns where the markers of a queue with these batches are. Creates the folders in which clips
    /// will be saved.
    pub(super) fn new(setup: &Setup, batches: &[BatchStatus]) -> Self {
        let mut in_folders = Vec::new();
        for batch in batches {
            let mut folder = Location::from(batch.folder.as_str());
            if let Location::Path(path) = &mut folder {
                if batch.count(JobState::Queued) > 0 {
                    // A copy that runs before the first clip is saved must find the marker. An error is
                    // reported when a clip cannot be saved.
                    let _ = output::create_folder(path);
                }
                *path = path.canonicalize().unwrap_or(path.clone());
            }
            in_folders.push(Marker::in_folder(&folder));
        }
        let address = &setup.app.config.queue;
        Self {
            beside_queue: address.file().map(|path| Marker::beside(path)),
            queue: match address {
                QueueAddress::File(path) => std::path::absolute(path)
                    .ok()
                    .and_then(|path| Some(path.to_str()?.to_owned())),
                QueueAddress::Database(url) => Some(url.to_string()),
            },
            in_folders,
        }
    }
}

/// The markers of a run.
pub(super) struct Markers {
    queue: Arc<dyn Queue>,
    output: Arc<dyn OutputStore>,
    paths: MarkerPaths,
    /// What was written last beside the queue; `None` before that.
    written: Mutex<Option<Marker>>,
}

pub(super) fn print_doubt(doubt: &Doubt) {
    let reason = match doubt {
        Doubt::Older => "this queue is older than the clips beside it: it was copied without its \
                         -wal file, or is a backup"
            .to_owned(),
        Doubt::Moved => "this queue was moved or copied here, and a copy may have been run \
                         elsewhere"
            .to_owned(),
        Doubt::OtherServer => {
            "another server answers for this queue than in its last run, and may not have what was \
                                committed last"
                .to_owned()
        }
        Doubt::Foreign(place) => {
            format!("another queue has run here: {place} is not this one\'s")
        }
        Doubt::Copied => {
            "a copy of this queue has been run, and paid for what this one asks for".to_owned()
        }
    };
    render::print_note(format_args!(
        "{reason}. It is compared with the providers\' histories before anything is submitted"
    ));
}

impl Markers {
    /// Creates the markers of a run, which counts itself next: the one beside the queue is written if there is
    /// none, and the others are not changed yet.
    ///
    /// # Errors
    /// Returns the error of the queue.
    pub(super) async fn create(
        queue: Arc<dyn Queue>,
        output: Arc<dyn OutputStore>,
        paths: MarkerPaths,
    ) -> queue::Result<Arc<Self>> {
        let markers = Arc::new(Self {
            queue,
            output,
            paths,
            written: Mutex::new(None),
        });
        if let Some(path) = &markers.paths.beside_queue
            && Marker::read(path).is_ok_and(|marker| marker.is_none())
            && let Some(marker) = markers.current().await?
        {
            log_failure(path, marker.write(path));
        }
        Ok(markers)
    }

    /// Notes an attempt in the marker beside the queue before its submission is sent: a copy of the queue
    /// from before that is then known to be older, even if the run is killed at once.
    pub(super) fn note_submissions(&self, last_attempt: AttemptId) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(marker) = written.as_mut() {
            marker.last_attempt = marker.last_attempt.max(last_attempt.0);
            if let Some(path) = &self.paths.beside_queue {
                log_failure(path, marker.write_fast(path));
            }
        }
    }

    /// Keeps the markers up to date while a run works, and once more when it ends.
    pub(super) async fn keep_while<T>(self: &Arc<Self>, run: impl Future<Output = T>) -> T {
        let mut run = std::pin::pin!(run);
        loop {
            let result = tokio::time::timeout(MARKER_INTERVAL, run.as_mut()).await;
            if let Err(error) = self.update().await {
                tracing::info!("the markers of the run are not up to date: {error}");
            }
            if let Ok(result) = result {
                return result;
            }
        }
    }

    /// Writes what the queue has noted of its runs: a marker is never ahead of the queue, so one that is
    /// ahead is of another copy.
    ///
    /// # Errors
    /// Returns the error of the queue.
    pub(super) async fn update(self: &Arc<Self>) -> queue::Result<()> {
        let Some(marker) = self.current().await? else {
            return Ok(());
        };
        let markers = Arc::clone(self);
        // The file is synced, which would hold up the run.
        let written = tokio::task::spawn_blocking(move || markers.write(marker)).await;
        let marker = written.map_err(|error| QueueError::Fault(error.to_string()))?;
        for place in &self.paths.in_folders {
            // A folder that was replaced by a link since leads to files of others.
            let is_in_place = match place.folder() {
                Location::Path(folder) => is_in_place(&folder),
                Location::Object(_) => true,
            };
            if is_in_place && let Err(error) = self.output.write_note(place, marker.to_text()).await
            {
                tracing::info!("{error}");
            }
        }
        Ok(())
    }

    /// Returns the marker of the queue as it is; `None` if it has no batch.
    async fn current(&self) -> queue::Result<Option<Marker>> {
        let lineage = self.queue.lineage().await?;
        Ok(lineage.last_seen.map(|seen_at| Marker {
            queue: lineage.queue_id,
            path: self.paths.queue.clone(),
            generation: lineage.generation,
            last_attempt: lineage.last_attempt,
            seen_at,
            providers: lineage.providers,
        }))
    }

    /// Writes the marker beside the queue. Returns it as it was written.
    fn write(&self, mut marker: Marker) -> Marker {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(written) = written.as_ref() {
            // Attempts may have been noted since the queue was read.
            marker.last_attempt = marker.last_attempt.max(written.last_attempt);
        }
        if let Some(path) = &self.paths.beside_queue {
            log_failure(path, marker.write(path));
        }
        *written = Some(marker.clone());
        marker
    }
}

/// Reads the marker in a folder; `None` if there is none.
async fn read_marker(
    output: &dyn OutputStore,
    place: &Location,
) -> Result<Option<Marker>, OutputError> {
    let read = match output.read(place).await {
        // A folder that cannot be read holds no clips either.
        Err(OutputError::Store { .. }) => return Ok(None),
        read => read?,
    };
    let Some(mut bytes) = read else {
        return Ok(None);
    };
    let mut text = Vec::new();
    while let Some(chunk) = bytes.next().await {
        text.extend_from_slice(&chunk?);
    }
    Ok(Marker::parse(&text))
}

/// Returns whether a folder whose links were resolved is still reached without one.
fn is_in_place(folder: &Path) -> bool {
    folder.canonicalize().is_ok_and(|place| place == folder)
}

/// Logs that a marker was not written, unless its folder does not exist yet.
fn log_failure(path: &Path, written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::info!("{} cannot be written: {error}", path.display());
    }
}
