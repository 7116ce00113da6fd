//! Why a queue operation fails. The messages say what is wrong; what to do about it is said by
//! whoever shows them.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::suggest::format_suggestion;
use crate::domain::{IllegalTransition, JobId, JobState, Location, PoolId};
use crate::policy::operator::NotApplicable;

/// The result of a queue operation.
pub type Result<T> = std::result::Result<T, QueueError>;

/// An error below the queue, such as one of SQLite. Shared, because one failure may end several
/// operations.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// An error of a queue operation. Unless a method states otherwise, nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The pool is not registered, because it did not renew its leases in time and its jobs were
    /// released to other pools. It must stop; a new run continues the work.
    #[error("pool {0} did not renew its leases in time, and its jobs were released to other pools")]
    PoolLost(PoolId),
    /// The job's state does not allow the event: a fault in the program. The caller cannot recover.
    #[error(transparent)]
    IllegalTransition(#[from] IllegalTransition),
    /// The queue has no batch of this name.
    #[error("there is no batch `{name}`{}", describe_others(nearest.as_deref(), existing))]
    NoSuchBatch {
        /// The name that was asked for.
        name: String,
        /// The most similar name of a batch; `None` if none is similar.
        nearest: Option<String>,
        /// The names of the latest batches; empty if the queue is empty.
        existing: Vec<String>,
    },
    /// No job has this row key or number.
    #[error(
        "there is no job `{job}`{}{}",
        batch.as_ref().map_or(String::new(), |batch| format!(" in batch {batch}")),
        format_suggestion(nearest.as_deref())
    )]
    NoSuchJob {
        /// The row key or number that was asked for.
        job: String,
        /// The batch that was searched; `None` if all were.
        batch: Option<String>,
        /// The most similar row key; `None` if none is similar.
        nearest: Option<String>,
    },
    /// Several batches have a job with this row key.
    #[error("`{job}` is in several batches: {}", batches.join(", "))]
    AmbiguousJob {
        /// The row key that was asked for.
        job: String,
        /// The names of these batches.
        batches: Vec<String>,
    },
    /// The batch exists with another model.
    #[error("batch `{batch}` was loaded for model {model}, not {requested}")]
    BatchHasOtherModel {
        /// The batch's name.
        batch: String,
        /// Its model.
        model: String,
        /// The model that was requested.
        requested: String,
    },
    /// The batch exists with another output folder.
    #[error("batch `{batch}` writes its clips to {folder}, not {requested}")]
    BatchHasOtherFolder {
        /// The batch's name.
        batch: String,
        /// Its folder.
        folder: Location,
        /// The folder that was requested.
        requested: Location,
    },
    /// Another batch uses the output folder.
    #[error("batch `{batch}` already writes its clips to {folder}")]
    FolderTaken {
        /// The folder that was requested.
        folder: Location,
        /// The batch that uses it.
        batch: String,
    },
    /// A path cannot be stored, because it is not UTF-8: another path would be read later.
    #[error("the path {} is not UTF-8, so that the queue cannot store it", .0.display())]
    PathNotUtf8(PathBuf),
    /// A copy would be written where a file is already.
    #[error("{} exists already, and is not overwritten", .0.display())]
    FileExists(PathBuf),
    /// A queue would be copied to where another one is.
    #[error("there is a queue at {0} already, and it is not overwritten")]
    CopyExists(String),
    /// A command does not apply to a job in its state. No job was changed.
    #[error("{}", describe_not_applicable(*job, *state, *reason))]
    NotApplicable {
        /// The job.
        job: JobId,
        /// Its state.
        state: JobState,
        /// Why the command does not apply.
        reason: NotApplicable,
    },
    /// The adopted prediction belongs to another job.
    #[error("prediction {prediction_id} already belongs to job {job}")]
    PredictionTaken {
        /// The provider's id of the prediction.
        prediction_id: String,
        /// The job that it belongs to.
        job: JobId,
    },
    /// A run is active, and may save clips in a folder that is to be changed.
    #[error("a run is active")]
    RunIsActive,
    /// Clips were added, or moved elsewhere, while those of the batch were moved.
    #[error("the clips of the batch changed while they were moved")]
    ClipsChanged,
    /// No run is active, so there is nothing whose settings could be changed.
    #[error("no run is active")]
    NoActiveRun,
    /// The queue is open for a rehearsal, so no rows can be loaded into it.
    #[error("cannot load rows into a queue that is open for a rehearsal")]
    OpenForRehearsal,
    /// Another job of the batch has this file name, and the name that tells them apart as well.
    #[error("the batch already has a clip named {file_name}")]
    FileNameTaken {
        /// The name of the clip's file.
        file_name: String,
    },
    /// The store can be read but contains a value that no version of the program writes.
    #[error("the queue contains invalid data: {what}")]
    Corrupt {
        /// The value, or where it is.
        what: String,
        /// Why it is invalid, where that is not said yet.
        source: Option<Cause>,
    },
    /// The store cannot be opened, read or written, or is damaged as a whole.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part of the program that serves the queue has failed: a fault in the program.
    #[error("queue storage failed: {0}")]
    Fault(String),
}

impl QueueError {
    /// Returns whether the store failed, so that other operations fail likewise until the user has
    /// mended it.
    pub fn is_store_failure(&self) -> bool {
        matches!(self, Self::Store(_))
    }

    /// Returns whether the connection to the store was lost, so that the operation may be tried again.
    pub(super) fn is_lost_store(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind == StoreErrorKind::Unreachable)
    }

    /// Returns whether the caller asked for something that does not exist or that contradicts what
    /// the queue holds.
    pub fn is_request_error(&self) -> bool {
        match self {
            Self::NoSuchBatch { .. }
            | Self::NoSuchJob { .. }
            | Self::AmbiguousJob { .. }
            | Self::BatchHasOtherModel { .. }
            | Self::BatchHasOtherFolder { .. }
            | Self::FolderTaken { .. }
            | Self::PathNotUtf8(_)
            | Self::FileExists(_)
            | Self::CopyExists(_)
            | Self::NotApplicable { .. }
            | Self::PredictionTaken { .. }
            | Self::NoActiveRun
            | Self::RunIsActive
            | Self::ClipsChanged
            | Self::OpenForRehearsal => true,
            Self::PoolLost(_)
            | Self::IllegalTransition(_)
            | Self::FileNameTaken { .. }
            | Self::Corrupt { .. }
            | Self::Store(_)
            | Self::Fault(_) => false,
        }
    }

    /// Returns whether a write that returned this error was made all the same, so that making it again
    /// would count twice.
    pub fn is_of_a_made_write(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind == StoreErrorKind::Replaced)
    }

    /// Creates an error about a value that cannot be used.
    pub(super) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt {
            what: what.into(),
            source: None,
        }
    }

    /// Creates an error about a value that cannot be parsed.
    pub(super) fn unparsable(
        what: impl Into<String>,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self::Corrupt {
            what: what.into(),
            source: Some(Arc::new(source)),
        }
    }
}

/// Why a store cannot be used. The operation may be repeated after the user has mended it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", describe_store(path, kind))]
pub struct StoreError {
    /// The file that cannot be used; empty if the store has none.
    pub path: PathBuf,
    /// What is wrong with it.
    pub kind: StoreErrorKind,
    /// The error of the storage layer, if there is one.
    pub source: Option<Cause>,
}

/// What is wrong with a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// There is no file.
    Missing,
    /// The file is no database.
    NotADatabase,
    /// The file is a database of another program.
    ForeignFile,
    /// A newer version of the program wrote the file.
    NewerVersion {
        /// The version of the file.
        version: i64,
        /// The newest version that this program supports.
        supported: usize,
    },
    /// An older version of the program wrote the store, and it is not migrated without being asked.
    OlderVersion {
        /// The version of the store.
        version: usize,
        /// The version that this program needs.
        needed: usize,
    },
    /// The queue was copied elsewhere, and is worked on there.
    Moved {
        /// Where it is now.
        to: String,
    },
    /// A copy of a queue was interrupted.
    UnfinishedCopy,
    /// The file is damaged.
    Damaged {
        /// The first damage that a check found; `None` if an operation failed because of it.
        found: Option<String>,
    },
    /// The file cannot be opened or created.
    CannotOpen,
    /// The file of a pool's lock cannot be created beside the queue.
    CannotLock,
    /// The file cannot be written.
    ReadOnly,
    /// The disk is full, or has failed.
    DiskFull,
    /// Another program keeps the file locked.
    Locked,
    /// The file was deleted, renamed or replaced while it was open.
    Replaced,
    /// The server of the queue cannot be reached, or the connection to it was lost.
    Unreachable,
    /// Another server answers than when the queue was opened.
    FailedOver,
    /// A pooler between the program and the server does not keep prepared statements.
    Pooler,
    /// Any other failure of the storage layer.
    Other,
}

impl StoreError {
    /// Creates an error about a file, without an error of the storage layer.
    pub(super) fn new(path: &Path, kind: StoreErrorKind) -> Self {
        Self {
            path: path.to_owned(),
            kind,
            source: None,
        }
    }

    /// Creates an error whose store is [named](Self::at) later.
    pub(super) fn without_path(kind: StoreErrorKind) -> Self {
        Self::new(Path::new(""), kind)
    }

    /// Adds the file's path, if the error has none yet.
    pub(super) fn at(mut self, path: &Path) -> Self {
        if self.path.as_os_str().is_empty() {
            self.path = path.to_owned();
        }
        self
    }
}

fn describe_others(nearest: Option<&str>, existing: &[String]) -> String {
    match (nearest, existing) {
        (Some(_), _) => format_suggestion(nearest),
        (None, []) => ": the queue is empty".into(),
        (None, existing) => format!("; existing batches: {}", existing.join(", ")),
    }
}

fn describe_not_applicable(job: JobId, state: JobState, reason: NotApplicable) -> String {
    match reason {
        NotApplicable::NotInDoubt => {
            format!("job {job} is {state}, not in_doubt: {reason}")
        }
        _ => format!("job {job} is {state}: {reason}; nothing was changed"),
    }
}

fn describe_store(path: &Path, kind: &StoreErrorKind) -> String {
    let file = path.display();
    match kind {
        StoreErrorKind::Missing => format!("there is no queue at {file}"),
        StoreErrorKind::ForeignFile => format!("{file} is a SQLite file of another program"),
        StoreErrorKind::NewerVersion { version, supported } => format!(
            "{file} was written by a newer version of overnight (queue version {version}; this one \
             supports up to {supported}) and was not modified"
        ),
        StoreErrorKind::Moved { to } => format!("the queue {file} was moved to {to}"),
        StoreErrorKind::UnfinishedCopy => format!("{file} is an unfinished copy of a queue"),
        StoreErrorKind::OlderVersion { version, needed } => format!(
            "{file} has queue version {version}, and this version of overnight needs {needed}"
        ),
        StoreErrorKind::Damaged { found: Some(found) } => format!("{file} is damaged: {found}"),
        StoreErrorKind::CannotLock => format!("cannot create {file} beside the queue"),
        StoreErrorKind::Replaced => {
            format!("{file} was deleted, renamed or replaced while the queue was open")
        }
        StoreErrorKind::Unreachable => format!("cannot reach the queue {file}"),
        StoreErrorKind::FailedOver => format!(
            "another server answers for {file} than before, and may not have what was committed last"
        ),
        StoreErrorKind::Pooler => {
            format!("the connection pooler of {file} does not keep prepared statements")
        }
        StoreErrorKind::NotADatabase
        | StoreErrorKind::Damaged { found: None }
        | StoreErrorKind::CannotOpen
        | StoreErrorKind::ReadOnly
        | StoreErrorKind::DiskFull
        | StoreErrorKind::Locked
        | StoreErrorKind::Other => format!("cannot use the queue {file}"),
    }
}
