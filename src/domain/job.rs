//! A job: one image and one prompt that become one video clip.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::{Input, JobState, Location, SavedFile};

/// Identifies a job within one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct JobId(pub i64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A job as one of its steps needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Identifier within the queue.
    pub job_id: JobId,
    /// Name of the batch the job belongs to.
    pub batch: String,
    /// Key of the manifest row, unique within the batch.
    pub row_key: String,
    /// Name of the model in the catalogue.
    pub model: String,
    /// The row's input, under our field names. In a claim that only polls, the prompts and the clip's
    /// length.
    pub input: Input,
    /// Folder in which the clip is saved.
    pub folder: Location,
    /// File name in that folder of the clip if it is an MP4 video, valid on Linux, macOS and Windows;
    /// another kind of clip has its own ending in place of `.mp4`.
    pub file_name: String,
    /// Number of its attempts that were taken to be absent and so sent again. A history is believed
    /// once: the next absence is for the user to judge.
    pub absent_attempts: u32,
    /// What its steps have changed so far; after the claim.
    pub progress: JobProgress,
}

/// The part of a job that changes while it is worked on.
#[derive(Clone, Debug, PartialEq)]
pub struct JobProgress {
    /// The state.
    pub state: JobState,
    /// When the job entered its state.
    pub state_since: Timestamp,
    /// The earliest time of the next step; `None` if none is scheduled: the job is submitting,
    /// final, or waits for the user's decision.
    pub due_at: Option<Timestamp>,
    /// Number of consecutive failures; determines the backoff. Refusals that concern the provider
    /// as a whole do not count.
    pub failures: u32,
    /// Number of attempts that a provider accepted, or may have accepted. Only these can cost
    /// money; refused and absent ones are left out, and one that was listed after its job was submitted
    /// again.
    pub attempts: u32,
    /// Number of submissions that were refused and may be repeated.
    pub refusals: u32,
    /// Number of polls of its predictions.
    pub polls: u32,
    /// Number of downloads that were started.
    pub downloads: u32,
    /// Number of consecutive leases that were lost with a dead pool.
    pub crashes: u32,
    /// The saved clip; `None` until one is saved. Of a job that is rendered anew, the earlier one, until
    /// the next is saved.
    pub output: Option<SavedFile>,
    /// Why the last step failed; `None` if it did not.
    pub error: Option<String>,
    /// When the job entered a final state; `None` in any other.
    pub finished_at: Option<Timestamp>,
}
