//! Checks saved clips, and follows those that are downloaded again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use std::vec;

use futures_util::{StreamExt, future, stream};
use tokio::sync::watch;

use crate::domain::{JobId, JobState, Location, SavedFile};
use crate::output::{CheckDepth, ClipDamage, OutputStore};
use crate::queue::job_reader::{JobReader, find_by_number};
use crate::queue::{self, JobFilter, ProviderLimits, Queue};

use super::{MAINTENANCE_INTERVAL, PoolOptions, StopSignal};

/// Number of clips that are checked at once, if they are in object storage.
const MAX_CHECKS: usize = 32;

/// How often to check whether the lost clips have been downloaded.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Compares every clip with its size and SHA-256 in the queue, those of earlier inputs as well.
pub struct ClipCheck<'a> {
    jobs: JobReader<'a>,
    /// The clips of the last job that are not checked yet.
    unchecked: vec::IntoIter<UncheckedClip>,
    /// Those of the last ones checked that are lost.
    lost: VecDeque<LostClip>,
    output: &'a dyn OutputStore,
    depth: CheckDepth,
    checked: u64,
}

/// A clip to be checked.
struct UncheckedClip {
    job_id: JobId,
    origin: ClipOrigin,
    saved: SavedFile,
}

impl UncheckedClip {
    async fn check(self, output: &dyn OutputStore, depth: CheckDepth) -> Option<LostClip> {
        let damage = output.check(&self.saved, depth).await?;
        Some(LostClip {
            job_id: self.job_id,
            origin: self.origin,
            location: self.saved.location,
            damage,
        })
    }
}

/// What a clip was made for, which decides whether it can be downloaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClipOrigin {
    /// The job's present input: it can.
    Present,
    /// An earlier input: it cannot.
    Earlier,
    /// It was found on disk and adopted, so no provider has it.
    Adopted,
}

/// A clip that is missing or damaged.
#[derive(Clone, Debug)]
pub struct LostClip {
    /// The job that it belongs to.
    pub job_id: JobId,
    /// What it was made for.
    pub origin: ClipOrigin,
    /// Where it was saved.
    pub location: Location,
    /// What is wrong with it.
    pub damage: ClipDamage,
}

impl<'a> ClipCheck<'a> {
    /// Creates a check of the clips of one batch, or of all.
    pub fn new(
        queue: &'a dyn Queue,
        output: &'a dyn OutputStore,
        batch: Option<String>,
        depth: CheckDepth,
    ) -> Self {
        let filter = JobFilter { batch, state: None };
        Self {
            jobs: JobReader::new(queue, filter),
            unchecked: Vec::new().into_iter(),
            lost: VecDeque::new(),
            output,
            depth,
            checked: 0,
        }
    }

    /// Checks clips until one is lost, and returns it; `None` after the last clip.
    ///
    /// # Errors
    /// Returns the error of the queue.
    pub async fn next_lost(&mut self) -> queue::Result<Option<LostClip>> {
        while self.lost.is_empty() {
            let clips = self.next_clips().await?;
            if clips.is_empty() {
                return Ok(None);
            }
            self.checked += clips.len() as u64;
            // A disk reads one clip after another; a storage answers many questions at once.
            let is_on_disk = clips
                .iter()
                .any(|clip| clip.saved.location.path().is_some());
            let at_once = if is_on_disk { 1 } else { MAX_CHECKS };
            let checked = stream::iter(clips)
                .map(|clip| clip.check(self.output, self.depth))
                .buffered(at_once);
            self.lost = checked.filter_map(future::ready).collect().await;
        }
        Ok(self.lost.pop_front())
    }

    /// Returns the clips to check next; none after the last one.
    async fn next_clips(&mut self) -> queue::Result<Vec<UncheckedClip>> {
        let mut clips = Vec::new();
        loop {
            clips.extend(self.unchecked.by_ref().take(MAX_CHECKS - clips.len()));
            if clips.len() == MAX_CHECKS {
                return Ok(clips);
            }
            let Some(job) = self.jobs.next().await? else {
                return Ok(clips);
            };
            let has_succeeded = job.state == JobState::Succeeded;
            let is_adopted = job.provider.is_none();
            let clips = job.versions.into_iter().map(|version| {
                let saved = SavedFile {
                    location: version.output.as_str().into(),
                    bytes: version.bytes,
                    sha256: version.sha256,
                };
                let origin = match has_succeeded && version.current {
                    false => ClipOrigin::Earlier,
                    true if is_adopted => ClipOrigin::Adopted,
                    true => ClipOrigin::Present,
                };
                UncheckedClip {
                    job_id: job.job_id,
                    origin,
                    saved,
                }
            });
            self.unchecked = clips.collect::<Vec<_>>().into_iter();
        }
    }

    /// Returns the number of clips that were checked so far.
    pub fn checked(&self) -> u64 {
        self.checked
    }
}

/// Returns the options of a pool that downloads clips again and cannot submit, whatever is queued:
/// it claims no submission without slots, and polls and downloads need none.
pub fn download_options(
    workers: usize,
    batch: Option<String>,
    limits: impl Iterator<Item = ProviderLimits>,
) -> PoolOptions {
    let without_slots = limits.map(|limits| ProviderLimits {
        in_flight: 0,
        creates_per_minute: 0,
        ..limits
    });
    PoolOptions {
        workers,
        batch,
        budget: None,
        canary: None,
        watch: false,
        maintenance_interval: MAINTENANCE_INTERVAL,
        limits: without_slots.collect(),
    }
}

/// Returns a stop signal that is raised when all these jobs are in a final state, whatever else is
/// queued, or when `interrupt` is raised.
pub fn stop_when_final(
    queue: Arc<dyn Queue>,
    mut jobs: Vec<JobId>,
    mut interrupt: StopSignal,
) -> StopSignal {
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        let all_final = async {
            while let Some(job_id) = jobs.last() {
                // The pool reports a queue that cannot be read; here it is only tried again.
                match find_by_number(queue.as_ref(), *job_id).await {
                    Ok(Some(job)) if job.state.is_final() => drop(jobs.pop()),
                    _ => tokio::time::sleep(CHECK_INTERVAL).await,
                }
            }
        };
        tokio::select! {
            () = all_final => {}
            _ = interrupt.wait_for(|stop| *stop) => {}
        }
        // Fails if the pool has just ended, and then there is nothing to stop.
        let _ = stop.send(true);
    });
    stopped
}
