//! The port for loading a manifest: its rows are compared with the queue and added to it, in one
//! transaction.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{InputComparison, InputDiff, JobId, Location, Money, NewJob};
use crate::policy::claim::BatchView;

use super::{QueueError, Result};

/// The batch that a manifest is loaded into.
#[derive(Clone, Debug)]
pub struct NewBatch {
    /// The batch's name, unique in the queue.
    pub name: String,
    /// The model that its jobs request. It cannot change once the batch exists.
    pub model: String,
    /// The absolute path of the folder for its clips, which no other batch uses. It cannot change
    /// once the batch exists.
    pub folder: Location,
    /// The batch's budget; `None` keeps the budget of an existing batch, and sets none for a new
    /// one.
    pub budget: Option<Money>,
    /// How its rows are compared with the jobs that it has already.
    pub comparison: InputComparison,
    /// Whether a row that asks for a clip which was made already takes it, for nothing.
    pub reuses_clips: bool,
}

impl NewBatch {
    /// Finds the batch among those of the queue; `None` if it does not exist yet.
    ///
    /// # Errors
    ///
    /// As [`Loader::stage`] if it contradicts one of them.
    pub fn find<'a>(&self, batches: &'a [BatchView]) -> Result<Option<&'a BatchView>> {
        let folder = self.folder.to_string();
        ensure_folder_is_free(batches, &self.name, &self.folder)?;
        let Some(batch) = batches.iter().find(|batch| batch.name == self.name) else {
            return Ok(None);
        };
        if batch.model != self.model {
            return Err(QueueError::BatchHasOtherModel {
                batch: batch.name.clone(),
                model: batch.model.clone(),
                requested: self.model.clone(),
            });
        }
        if batch.folder != folder {
            return Err(QueueError::BatchHasOtherFolder {
                batch: batch.name.clone(),
                folder: batch.folder.as_str().into(),
                requested: self.folder.clone(),
            });
        }
        Ok(Some(batch))
    }
}

/// Returns an error if another batch than `name` uses a folder, or if its path is not UTF-8.
pub(super) fn ensure_folder_is_free(
    batches: &[BatchView],
    name: &str,
    folder: &Location,
) -> Result<()> {
    let Some(text) = folder.as_str() else {
        return Err(QueueError::PathNotUtf8(folder.to_string().into()));
    };
    let mut others = batches.iter().filter(|batch| batch.name != name);
    // Some file systems ignore case.
    match others.find(|batch| batch.folder.eq_ignore_ascii_case(text)) {
        None => Ok(()),
        Some(batch) => Err(QueueError::FolderTaken {
            folder: folder.clone(),
            batch: batch.name.clone(),
        }),
    }
}

/// The effect of adding one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// The batch has no job with this key: the commit queues one.
    New,
    /// As [`New`](Self::New), under another number of the row's product: its key is another picture's.
    NewPicture,
    /// The row differs from its job: the commit queues the job again from the start.
    Changed,
    /// The row differs from its job, which is in progress and keeps its input.
    InProgress,
    /// The row is new, or differs from its job, and asks for a clip that was made already: the job
    /// takes it for nothing.
    Reused {
        /// Whether the batch had no job with this key.
        is_new: bool,
    },
    /// The batch had no job with this key: it has one now whose clip is the file that the row came
    /// with.
    FileTaken,
    /// The row equals its job.
    Unchanged,
    /// A row with the same key was added since the last commit; this one is ignored.
    Duplicate {
        /// The manifest line of the earlier row.
        line: u64,
    },
}

/// The difference between a staged manifest and the batch before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadPlan {
    /// Number of rows without a job in the batch.
    pub new: u64,
    /// Number of rows that differ from their job, which starts again.
    pub changed: u64,
    /// Number of rows that differ from a job in progress, which is left as it is. Loading the
    /// manifest again after the job has finished applies the change.
    pub in_progress: u64,
    /// Number of the new and changed rows whose clips were made already and are taken for nothing.
    pub reused: u64,
    /// Number of the new rows whose clips are files that the user has.
    pub files_taken: u64,
    /// The batches whose clips are taken.
    pub reused_from: BTreeSet<String>,
    /// Number of the new and changed rows that ask for the same as another row of the load. Each is
    /// rendered and paid for.
    pub identical: u64,
    /// Number of queued jobs that ask for what is queued or under way in another batch, by its name.
    pub elsewhere: BTreeMap<String, u64>,
    /// Number of rows that equal their job.
    pub unchanged: u64,
    /// Number of jobs without a row in the manifest.
    pub removed: u64,
    /// Those of them that are queued: they are rendered and paid for unless they are cancelled.
    pub removed_queued: Vec<JobId>,
    /// The sum of their estimates.
    pub removed_estimate: Money,
    /// The sum of the estimates of the new and changed rows that take no clip and no file, each at its
    /// most expensive provider.
    pub estimate: Money,
    /// Number of queued jobs of the batch after the load.
    pub queued: u64,
    /// The sum of their estimates.
    pub queued_estimate: Money,
    /// What differs in the changed rows.
    pub differences: Differences,
}

/// What differs between rows and the jobs that a batch has for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Number of changed rows in which a field differs, by field.
    pub by_field: BTreeMap<String, u64>,
    /// The changed rows in which nothing but the query of a link differs.
    pub only_query: QueryDifferences,
    /// The unchanged rows in which an ignored part of a link's query differs.
    pub ignored: QueryDifferences,
}

/// Rows in which only the query of a link differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryDifferences {
    /// Their number.
    pub rows: u64,
    /// The parameters that differ.
    pub parameters: BTreeSet<String>,
}

impl QueryDifferences {
    /// Counts a row.
    pub(super) fn count(&mut self, diff: InputDiff) {
        self.rows += 1;
        self.parameters.extend(diff.query);
    }
}

impl Differences {
    /// Counts a changed row.
    pub(super) fn count(&mut self, diff: InputDiff) {
        if diff.fields.is_empty() {
            self.only_query.count(diff);
            return;
        }
        for field in diff.fields {
            *self.by_field.entry(field).or_default() += 1;
        }
    }
}

/// What becomes of the queued jobs that have no row in a manifest any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RemovedRows {
    /// They stay queued.
    #[default]
    Keep,
    /// They are cancelled.
    Cancel,
}

impl LoadPlan {
    /// Returns the number of jobs that the load queues.
    pub fn queues(&self) -> u64 {
        self.new + self.changed - self.reused - self.files_taken
    }

    /// Counts a row, with its estimate.
    pub fn count(&mut self, change: RowChange, estimate: Money) {
        let counter = match change {
            RowChange::New
            | RowChange::NewPicture
            | RowChange::FileTaken
            | RowChange::Reused { is_new: true } => &mut self.new,
            RowChange::Changed | RowChange::Reused { is_new: false } => &mut self.changed,
            RowChange::InProgress => &mut self.in_progress,
            RowChange::Unchanged => &mut self.unchanged,
            RowChange::Duplicate { .. } => return,
        };
        *counter += 1;
        self.files_taken += u64::from(change == RowChange::FileTaken);
        self.reused += u64::from(matches!(change, RowChange::Reused { .. }));
        if matches!(change, RowChange::New | RowChange::Changed) {
            self.estimate += estimate;
        }
    }
}

/// A manifest that is being loaded. Dropping it discards what was added since the last commit.
///
/// From the first [`Staging::add`] until the commit, the discard or the drop, nothing else can write
/// to the queue: active pools wait, with their heartbeats too. Whatever takes long has to come before
/// it. If the lock is held longer than they wait for a write, or than their leases last, they may stop with
/// an error; a new run continues their jobs. In a database, only other loads wait from then on, and
/// everybody from the first row that changes a job, or from the commit.
pub trait Staging: Send {
    /// Adds rows, and returns the effect of each, in the same order. Fewer calls with more rows are
    /// faster.
    ///
    /// # Errors
    ///
    /// - As [`Loader::stage`] if another load has created the batch in the meantime, with another
    ///   model or output folder.
    /// - [`QueueError::FileNameTaken`] if a row would save its clip under the name of another job's
    ///   clip.
    fn add(&mut self, jobs: &[NewJob]) -> Result<Vec<RowChange>>;

    /// Discards what was added since the last commit: other processes can write again.
    ///
    /// # Errors
    ///
    /// An error of the store.
    fn discard(&mut self) -> Result<()>;

    /// Returns the difference that the rows added since the last commit make.
    fn plan(&mut self) -> Result<LoadPlan>;

    /// Commits the added rows, queues the difference, and returns it. Rows added after that belong
    /// to the next commit.
    fn commit(&mut self, removed: RemovedRows) -> Result<LoadPlan>;
}

/// The port of a load.
pub trait Loader: Send + Sync {
    /// Starts loading a manifest into `batch`, which may exist already. Nothing is queued until
    /// [`Staging::commit`].
    ///
    /// # Errors
    ///
    /// - [`QueueError::BatchHasOtherModel`] or [`QueueError::BatchHasOtherFolder`] if the batch exists
    ///   with another model or output folder.
    /// - [`QueueError::FolderTaken`] if another batch uses the output folder.
    /// - [`QueueError::PathNotUtf8`] if the path of the folder is not UTF-8.
    /// - [`QueueError::OpenForRehearsal`] if the queue is open for a rehearsal.
    fn stage(&self, batch: NewBatch) -> Result<Box<dyn Staging>>;
}
