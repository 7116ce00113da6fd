//! Exit codes: how a command ended, in a form that a script can read.

use std::process::ExitCode;

use crate::app::AppError;
use crate::cli::error_text::queue_error;
use crate::queue::QueueError;

/// How a command ended. The README and `overnight --help` document the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Every job of the run succeeded, or the command did what it was asked to do.
    Success = 0,
    /// The command could not continue: the queue, the disk, or every provider paused.
    CannotContinue = 1,
    /// The command line or a manifest is wrong; nothing was loaded.
    Usage = 2,
    /// The command finished, but some jobs failed or are in doubt.
    Incomplete = 3,
    /// The run stopped at a budget.
    Budget = 4,
    /// A signal or a declined prompt stopped the command; the state is saved.
    Interrupted = 130,
}

/// An error in what the user wrote: the command line, a config file or a manifest.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

impl Exit {
    /// Returns the exit code of a command that failed with this error.
    pub fn from_error(error: &anyhow::Error) -> Self {
        let is_usage = error.chain().any(|cause| {
            cause.is::<Usage>()
                || matches!(
                    cause.downcast_ref(),
                    Some(AppError::Config(_) | AppError::Key { .. })
                )
                || queue_error(cause).is_some_and(QueueError::is_request_error)
        });
        if is_usage {
            Self::Usage
        } else {
            Self::CannotContinue
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
