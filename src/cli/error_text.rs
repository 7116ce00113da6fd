//! The words for errors: what is wrong, as the error says it, and a hint with the flags and commands
//! that remedy it. Nothing below the command line knows these.

use std::error::Error;

use crate::app::AppError;
use crate::loader::LoadError;
use crate::output::OutputError;
use crate::queue::{NotApplicable, QueueError, StoreErrorKind};
use crate::rehearsal::RehearsalError;
use crate::worker::PoolError;

/// Returns the message of an error with its causes, and its hint if there is one.
pub(super) fn explain(error: &anyhow::Error) -> (String, Option<String>) {
    let text = format!("{error:#}");
    match text.split_once("\nhint: ") {
        Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
        None => (text, error.chain().find_map(hint)),
    }
}

fn hint(cause: &(dyn Error + 'static)) -> Option<String> {
    if let Some(PoolError::Output(error)) = pool_error(cause) {
        return Some(output_hint(error).into());
    }
    if let Some(error) = cause.downcast_ref() {
        return Some(output_hint(error).into());
    }
    if let Some(PoolError::OtherKey(provider)) = pool_error(cause) {
        return Some(format!(
            "run again: this run then leaves {provider} to the other, unless `overnight ctl key {provider} \
             --same-account` says that both keys are of one account"
        ));
    }
    queue_error(cause).and_then(queue_hint)
}

fn pool_error<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a PoolError> {
    match cause.downcast_ref() {
        Some(RehearsalError::Pool(error)) => Some(error),
        _ => cause.downcast_ref(),
    }
}

/// Returns the error of the queue that a cause is, or that it passes on as its own.
pub(super) fn queue_error<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a QueueError> {
    if let Some(PoolError::Queue(error)) = pool_error(cause) {
        return Some(error);
    }
    if let Some(RehearsalError::Queue(error)) = cause.downcast_ref() {
        return Some(error);
    }
    if let Some(AppError::Queue(error)) = cause.downcast_ref() {
        return Some(error);
    }
    if let Some(LoadError::Queue(error)) = cause.downcast_ref() {
        return Some(error);
    }
    cause.downcast_ref()
}

fn queue_hint(error: &QueueError) -> Option<String> {
    let hint = match error {
        QueueError::NoSuchJob { .. } => "list jobs with `overnight jobs`",
        QueueError::AmbiguousJob { .. } => "select one with `--batch NAME`",
        QueueError::BatchHasOtherModel { .. } => "choose another name with `--batch`",
        QueueError::BatchHasOtherFolder { .. } => {
            "omit `--out`, or choose another name with `--batch`"
        }
        QueueError::FolderTaken { .. } => {
            "choose another name with `--batch` or another folder with `--out`"
        }
        QueueError::PathNotUtf8(_) => "rename it, or choose another one",
        QueueError::RunIsActive => "stop it, or wait until it has finished",
        QueueError::ClipsChanged => "run the command again: it continues with the rest",
        QueueError::CopyExists(_) => "choose another database or file",
        QueueError::FileExists(_) => "choose another name, or remove the file first",
        QueueError::NotApplicable { job, reason, .. } => {
            return match reason {
                NotApplicable::InDoubt => Some("decide with `overnight resolve`".into()),
                NotApplicable::NotInDoubt => {
                    Some(format!("`overnight show {job}` shows its attempts"))
                }
                NotApplicable::NothingToRetry
                | NotApplicable::NothingToCancel
                | NotApplicable::BeingSubmitted
                | NotApplicable::NotSucceeded => None,
            };
        }
        QueueError::Store(error) => return store_hint(&error.kind).map(str::to_owned),
        QueueError::PoolLost(_)
        | QueueError::IllegalTransition(_)
        | QueueError::NoSuchBatch { .. }
        | QueueError::PredictionTaken { .. }
        | QueueError::NoActiveRun
        | QueueError::OpenForRehearsal
        | QueueError::FileNameTaken { .. }
        | QueueError::Corrupt { .. }
        | QueueError::Fault(_) => return None,
    };
    Some(hint.to_owned())
}

/// Returns what helps if clips cannot be written or read.
pub(super) fn output_hint(error: &OutputError) -> &'static str {
    match error {
        OutputError::FolderReplaced { .. } => {
            "put the folder back, or run again if it was replaced on purpose: nothing is lost"
        }
        OutputError::Refused { .. } => {
            "check the bucket, its permissions and the `AWS_` variables (profiles in ~/.aws are not read), and \
             run again: nothing is lost"
        }
        OutputError::Unavailable { .. } => {
            "check the network and `AWS_ENDPOINT_URL`, and run again: nothing is lost"
        }
        _ => "free some space, or make the folder writable, and run again: nothing is lost",
    }
}

fn store_hint(kind: &StoreErrorKind) -> Option<&'static str> {
    Some(match kind {
        StoreErrorKind::Missing => {
            "create one with `overnight load`, or select another with `--queue`"
        }
        StoreErrorKind::NotADatabase => {
            "it is not a SQLite file; select another with `--queue PATH`"
        }
        StoreErrorKind::ForeignFile => "select another file with `--queue PATH`",
        StoreErrorKind::Moved { .. } => {
            "use it there, with `--queue`, `OVERNIGHT_QUEUE` or `queue` in the config"
        }
        StoreErrorKind::UnfinishedCopy => {
            "run the same `overnight queue copy` again: it finishes it"
        }
        StoreErrorKind::OlderVersion { .. } => "run `overnight migrate` once",
        StoreErrorKind::NewerVersion { .. } => "use the newer version",
        StoreErrorKind::Damaged { .. } => {
            "stop every run, keep a copy of the file, and try `sqlite3 FILE .recover | sqlite3 NEW`"
        }
        StoreErrorKind::CannotOpen => "check that its folder exists and is writable",
        StoreErrorKind::CannotLock => {
            "check that the folder is writable and that the disk has free space"
        }
        StoreErrorKind::ReadOnly => "make the file and its folder writable, and run again",
        StoreErrorKind::DiskFull => {
            "the disk may be full; free some space and run again: nothing is lost"
        }
        StoreErrorKind::Locked => {
            "another program keeps it locked; close that program and run again: nothing is lost"
        }
        StoreErrorKind::Replaced => {
            "if you moved the queue, put it back and run again: it has what was paid for until now; if it is \
             lost, run your latest copy of it, which compares itself with the providers first"
        }
        StoreErrorKind::Unreachable => {
            "check the address, the network and the server, and run again: nothing is lost"
        }
        StoreErrorKind::FailedOver => {
            "run again: the queue is compared with the providers' histories first, so that nothing is paid twice"
        }
        StoreErrorKind::Pooler => {
            "use pgbouncer 1.21 or later with `max_prepared_statements`, its session mode, or the address of the \
             server itself"
        }
        StoreErrorKind::Other => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::domain::{JobId, JobState};
    use crate::queue::StoreError;

    fn locked() -> QueueError {
        QueueError::Store(StoreError {
            path: PathBuf::from("q.db"),
            kind: StoreErrorKind::Locked,
            source: Some(Arc::new(std::io::Error::other("database is locked"))),
        })
    }

    /// Returns an error as it is printed.
    fn text(error: impl Into<anyhow::Error>) -> String {
        match explain(&error.into()) {
            (message, Some(hint)) => format!("{message}\nhint: {hint}"),
            (message, None) => message,
        }
    }

    #[test]
    fn a_failed_store_is_explained_through_whichever_error_passes_it_on() {
        let expected = "cannot use the queue q.db: database is locked\n\
             hint: another program keeps it locked; close that program and run again: nothing is \
             lost";
        assert_eq!(text(locked()), expected);
        assert_eq!(text(PoolError::Queue(locked())), expected);
        assert_eq!(text(AppError::Queue(locked())), expected);
        assert_eq!(text(LoadError::Queue(locked())), expected);
        assert_eq!(text(RehearsalError::Queue(locked())), expected);
        let pool = PoolError::Queue(locked());
        assert_eq!(text(RehearsalError::Pool(pool)), expected);
        let in_context = anyhow::Error::new(locked()).context("cannot read mugs.csv");
        assert_eq!(
            text(in_context),
            format!("cannot read mugs.csv: {expected}")
        );
    }

    #[test]
    fn a_request_that_contradicts_the_queue_is_explained_with_its_flags() {
        let taken = QueueError::FolderTaken {
            folder: "/renders/a".into(),
            batch: "a".into(),
        };
        assert_eq!(
            text(taken),
            "batch `a` already writes its clips to /renders/a\n\
             hint: choose another name with `--batch` or another folder with `--out`"
        );
        let not_applicable = |state, reason| {
            text(QueueError::NotApplicable {
                job: JobId(7),
                state,
                reason,
            })
        };
        assert_eq!(
            not_applicable(JobState::InDoubt, NotApplicable::InDoubt),
            "job 7 is in_doubt: it may be paid for already; nothing was changed\n\
             hint: decide with `overnight resolve`"
        );
        assert_eq!(
            not_applicable(JobState::Failed, NotApplicable::NotInDoubt),
            "job 7 is failed, not in_doubt: there is nothing to resolve\n\
             hint: `overnight show 7` shows its attempts"
        );
    }

    #[test]
    fn an_error_that_has_a_hint_keeps_it() {
        assert_eq!(text(anyhow::anyhow!("no\nhint: yes")), "no\nhint: yes");
        assert_eq!(text(anyhow::anyhow!("no")), "no");
    }
}
