//! The port of the user's commands.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::{Attempt, JobId, JobState, KeptClip, Location, ProviderName};
use crate::policy::operator::Decision;

use super::{LiveSetting, PoolRecord, Result};

/// What was found out about the key of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyNote {
    /// It is the one that was used before, or of the same account, or the first.
    Known,
    /// Another was used before: what the history does not list may be another account's.
    Changed,
    /// A run that is active uses another: with keys of two accounts, each run would take what the other has
    /// submitted for absent.
    DiffersFromActive,
}

/// What all runs on a queue should agree on: a value for each name.
pub type RunSetup = BTreeMap<String, String>;

/// The jobs that a command of the user applies to. All conditions must hold.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only jobs of this batch; `None` selects from every batch.
    pub batch: Option<String>,
    /// Only jobs in these states. If this is empty, jobs named in `jobs` match in any state;
    /// without named jobs, the command's default states apply.
    pub states: Vec<JobState>,
    /// Only these jobs, each given by row key or job number. If this is empty, every job matches.
    pub jobs: Vec<String>,
}

/// The clips of a batch, and its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchClips {
    /// The absolute path of the folder.
    pub folder: Location,
    /// The clips of its jobs, with the number 0, and those of earlier inputs.
    pub clips: Vec<KeptClip>,
}

/// A stored sum or count that differed from the records it sums up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterMismatch {
    /// The counter's name, for messages: `spring: spent`, `slots at fal`.
    pub counter: String,
    /// The stored value; money in micro-dollars.
    pub stored: i64,
    /// The value computed from the rows, in the same unit.
    pub actual: i64,
}

/// The result of [`Operator::cancel`].
#[derive(Clone, Debug, Default)]
pub struct CancelResult {
    /// Number of cancelled jobs.
    pub jobs: usize,
    /// Attempts whose predictions were running. The caller may ask their providers to cancel them.
    pub in_progress: Vec<Attempt>,
}

/// What the user decides about jobs and runs.
///
/// Any method may fail because the store does. The `# Errors` sections list only other errors.
#[async_trait]
pub trait Operator: Send + Sync {
    /// Compares the stored sums and counts with the rows, corrects those that differ, and returns
    /// them with the values before the correction.
    async fn verify_counters(&self) -> Result<Vec<CounterMismatch>>;

    /// Resumes all suspended providers and clears rejected uploads, so that they are tried again.
    /// Called whenever a run starts; it affects the runs that are active already, too.
    async fn reopen_providers(&self) -> Result<()>;

    /// Stores the mark of a provider's key, unless an active run uses another one.
    async fn note_key(&self, provider: ProviderName, mark: String) -> Result<KeyNote>;

    /// Notes what all runs on the queue should agree on: a value for each name. Returns what an active run has
    /// otherwise; the values of a run that begins alone are stored.
    async fn note_setup(&self, setup: RunSetup) -> Result<RunSetup>;

    /// Notes that a key is of the same account as the one that is used at a provider.
    async fn add_key(&self, provider: ProviderName, mark: String) -> Result<()>;

    /// Notes since when the queue may not know what was paid for, for its
    /// [`Lineage`](super::Lineage). A run that submits ends the doubt.
    async fn note_doubt(&self, since: Timestamp) -> Result<()>;

    /// Begins a run that may submit: its number in the queue's [`Lineage`](super::Lineage) is above `after`
    /// and above that of every run before. If it has found out what the queue did not know since
    /// `settled_since`, that ends the doubt, and other queues may have paid since then for what is loaded later.
    async fn begin_run(&self, after: u64, settled_since: Option<Timestamp>) -> Result<()>;

    /// Accepts the price that a provider bills for a model, so that it is submitted again, and reserved
    /// at that price. Returns `false` if its bills agree with the catalogue.
    async fn accept_price(&self, provider: ProviderName, wire_model: String) -> Result<bool>;

    /// Retries failed and cancelled jobs, and returns how many. Without states and jobs in the
    /// selection, only failed jobs.
    ///
    /// A job whose prediction is known and did not fail at the provider is polled again, at no
    /// further cost. If its attempt was abandoned, the attempt is open again: its booked estimate
    /// becomes a reservation and it occupies a slot, without a check of the budgets and limits. Any
    /// other job is queued for a new submission, which is paid for. Rejected uploads are cleared.
    ///
    /// # Errors
    ///
    /// No job is retried on an error.
    ///
    /// - [`QueueError::NoSuchBatch`](super::QueueError::NoSuchBatch),
    ///   [`QueueError::NoSuchJob`](super::QueueError::NoSuchJob) or
    ///   [`QueueError::AmbiguousJob`](super::QueueError::AmbiguousJob) if the selection names no
    ///   batch or no single job.
    /// - [`QueueError::NotApplicable`](super::QueueError::NotApplicable) if a selected job is
    ///   neither failed nor cancelled.
    async fn retry(&self, selection: Selection) -> Result<usize>;

    /// Downloads the clips of succeeded jobs again, which costs nothing, and returns the number of
    /// jobs that were queued for it. Jobs in any other state are skipped. Call this when their
    /// files are missing or damaged.
    async fn requeue_downloads(&self, jobs: Vec<JobId>) -> Result<usize>;

    /// Cancels the selected jobs. Without states and jobs in the selection, only queued jobs, which
    /// have no open attempt.
    ///
    /// The attempt of a running prediction is abandoned: its estimate is booked as its cost,
    /// because the provider may bill it. That stays so even if the provider confirms the
    /// cancellation, unless the job is retried.
    ///
    /// # Errors
    ///
    /// No job is cancelled on an error.
    ///
    /// - As [`retry`](Self::retry) if the selection names no batch or no single job.
    /// - [`QueueError::NotApplicable`](super::QueueError::NotApplicable) if a selected job is being
    ///   submitted, in doubt or in a final state.
    async fn cancel(&self, selection: Selection) -> Result<CancelResult>;

    /// Cancels those of these jobs that are queued, and skips the others. Returns how many.
    async fn cancel_queued(&self, jobs: Vec<JobId>) -> Result<usize>;

    /// Applies the user's decision to a job in doubt, and returns its new state.
    ///
    /// # Errors
    ///
    /// - [`QueueError::NoSuchJob`](super::QueueError::NoSuchJob) if there is no such job.
    /// - [`QueueError::NotApplicable`](super::QueueError::NotApplicable) if the job is not in doubt.
    /// - [`QueueError::PredictionTaken`](super::QueueError::PredictionTaken) if the adopted prediction
    ///   belongs to another job.
    async fn resolve(&self, job_id: JobId, decision: Decision) -> Result<JobState>;

    /// Forgets the earlier clip that an attempt of a job keeps, because its file was removed.
    async fn forget_clip(&self, job: JobId, attempt: u32) -> Result<()>;

    /// Returns the clips of a batch that are to be moved to another folder, given as an absolute path.
    ///
    /// # Errors
    ///
    /// As [`set_folder`](Self::set_folder).
    async fn clips_to_move(&self, batch: String, folder: Location) -> Result<BatchClips>;

    /// Sets the folder of a batch to an absolute path, to which `moved`, its clips as
    /// [`clips_to_move`](Self::clips_to_move) returned them, have been moved.
    ///
    /// # Errors
    ///
    /// - [`QueueError::ClipsChanged`](super::QueueError::ClipsChanged) if its clips or its folder are
    ///   not these any more.
    /// - [`QueueError::NoSuchBatch`](super::QueueError::NoSuchBatch) if there is no such batch.
    /// - [`QueueError::RunIsActive`](super::QueueError::RunIsActive) if a run may save clips.
    /// - [`QueueError::FolderTaken`](super::QueueError::FolderTaken) if another batch uses the folder.
    async fn set_folder(&self, batch: String, moved: BatchClips, folder: Location) -> Result<()>;

    /// Changes settings of the active runs, and returns the pools of those runs. `set_by` names who
    /// changed them, for the runs' logs. All settings are changed, or none.
    ///
    /// # Errors
    ///
    /// - [`QueueError::NoActiveRun`](super::QueueError::NoActiveRun) if no run is active; only the
    ///   budget of a batch can be changed then.
    /// - [`QueueError::NoSuchBatch`](super::QueueError::NoSuchBatch) if the batch of a budget does
    ///   not exist.
    async fn set_live_settings(
        &self,
        settings: Vec<LiveSetting>,
        set_by: String,
    ) -> Result<Vec<PoolRecord>>;
}
