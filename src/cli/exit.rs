//! How a command ended, in a form a script can read.

use std::process::ExitCode;

use crate::queue::QueueError;

/// How a command ended. The numbers are documented in the README and in `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All jobs of the run succeeded.
    Success = 0,
    /// It could not go on: the queue, the disk, every provider paused.
    CannotGoOn = 1,
    /// The command line or a manifest is wrong; nothing was loaded.
    Usage = 2,
    /// It finished, but some jobs failed or are in doubt.
    Incomplete = 3,
    /// It stopped at the budget.
    Budget = 4,
    /// It was interrupted; the state is saved.
    Interrupted = 130,
}

/// An error that lies in what the user wrote.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

impl Exit {
    /// Tells how a command that failed with this error ended.
    pub fn of(error: &anyhow::Error) -> Self {
        let is_usage = error.chain().any(|cause| {
            cause.is::<Usage>()
                || matches!(
                    cause.downcast_ref(),
                    Some(QueueError::NotFound(_) | QueueError::Conflict(_))
                )
        });
        if is_usage {
            Self::Usage
        } else {
            Self::CannotGoOn
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
