//! What a store reads and writes in a load.

use std::collections::BTreeMap;

use crate::domain::{
    Attempt, AttemptProgress, Fingerprint, Input, JobId, JobProgress, JobState, Money, NewJob,
    SavedFile,
};
use crate::policy::Change;

use super::Result;
use super::storage::StoredJob;

/// The job that a batch has for a row's key.
#[derive(Clone, Debug)]
pub struct KnownJob {
    /// The job's number.
    pub job_id: JobId,
    /// The manifest line it was last loaded from.
    pub line: u64,
    /// Its state.
    pub state: JobState,
    /// The fingerprint of its input.
    pub fingerprint: Fingerprint,
    /// The number of its lane in the store.
    pub lane_id: i64,
}

/// What a row changes in its job beside the line.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowFields {
    /// The input, which asks for the same, but may name its images by other paths or links.
    pub input: bool,
    /// The fingerprint.
    pub fingerprint: bool,
    /// The providers that may run the job, and with them its estimate.
    pub providers: bool,
}

/// The open transaction of a load into one batch.
pub trait LoadTransaction {
    /// Returns the job that the batch has for each row: for its key, or else for its earlier key. Nobody else
    /// changes these jobs before the commit, unless each is as its row says.
    fn find_all(&mut self, rows: &[NewJob]) -> Result<Vec<Option<KnownJob>>> {
        let known = rows.iter().map(|row| {
            let known = self.find(&row.row_key)?;
            match &row.earlier_key {
                Some(earlier_key) if known.is_none() => self.find(earlier_key),
                _ => Ok(known),
            }
        });
        known.collect()
    }

    /// Returns the job that the batch has for a row's key.
    fn find(&mut self, row_key: &str) -> Result<Option<KnownJob>>;

    /// Returns the input of a job.
    fn input(&mut self, job: JobId) -> Result<Input>;

    /// Returns how many queued jobs of the batch ask for what is queued or in progress in another batch,
    /// by its name.
    fn queued_elsewhere(&mut self) -> Result<BTreeMap<String, u64>>;

    /// Visits the queued jobs of the batch, with their estimates.
    fn for_each_queued(&mut self, visit: &mut dyn FnMut(JobId, Money)) -> Result<()>;

    /// Returns a job that exists.
    fn stored(&mut self, job: JobId) -> Result<StoredJob>;

    /// Queues rows as new jobs, in order, under the file names that they prefer. Stops at the first
    /// whose key or file name another job of the batch has, and returns how many were queued.
    fn insert(&mut self, rows: &[NewJob]) -> Result<usize>;

    /// Queues a row as a new job under another file name. Returns `false` if another job of the batch
    /// has that, too.
    fn insert_as(&mut self, row: &NewJob, stem: &str) -> Result<bool>;

    /// Writes the line of a row, and the given fields, to its job.
    fn update(&mut self, job: &KnownJob, row: &NewJob, fields: RowFields) -> Result<()>;

    /// Writes everything of a row to its job, which has no attempt at the new input.
    fn replace(&mut self, job: JobId, row: &NewJob) -> Result<()>;

    /// Writes a change of a job.
    fn write(&mut self, job: &StoredJob, change: &Change) -> Result<()>;

    /// Keeps the clip of a job's current attempt with that attempt.
    fn keep_clip(&mut self, job: JobId, clip: &SavedFile) -> Result<()>;

    /// Returns whether any clip was made in this queue.
    fn has_made_clips(&mut self) -> Result<bool>;

    /// Returns the attempt that made a clip for what a fingerprint stands for and that no other job of
    /// this batch has taken; one of the given job before others. `None` if there is none.
    fn find_made(&mut self, fingerprint: &Fingerprint, job: JobId) -> Result<Option<MadeClip>>;

    /// Gives a queued job a new attempt, which takes a clip, and writes the progress of both.
    fn reuse(&mut self, job: &StoredJob, made: &MadeClip, reuse: &Reuse) -> Result<()>;
}

/// A clip that was paid for.
#[derive(Clone, Debug)]
pub struct MadeClip {
    /// The batch of its job.
    pub batch: String,
    /// The attempt that made it.
    pub attempt: Attempt,
}

/// A job after it has taken a clip, and its attempt at that.
#[derive(Clone, Debug)]
pub struct Reuse {
    /// The job.
    pub job: JobProgress,
    /// The attempt.
    pub attempt: AttemptProgress,
}
