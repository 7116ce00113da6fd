//! Events of a pool, for the program that displays them.

use std::sync::Arc;

use crate::domain::{AttemptId, JobId, JobState, ProviderName};
use crate::policy::operator::Remedy;

/// Something that happened in a pool.
#[derive(Clone, Debug)]
pub enum PoolEvent {
    /// The work of dead or expired pools was taken over.
    TookOver {
        /// Number of jobs that these pools had leased.
        jobs: usize,
    },
    /// Submissions are about to be sent, whose intent is committed.
    Submitting {
        /// The last of their attempts.
        last_attempt: AttemptId,
    },
    /// A step of a job was recorded. The job's state may be the same as before.
    StepRecorded {
        /// The key of the job's row in its batch.
        row_key: String,
        /// The job's batch.
        batch: String,
        /// The job's state after the step.
        state: JobState,
        /// What went wrong, if something did. Prompts are redacted.
        reason: Option<String>,
        /// What the user can do about it at no further cost, if the job does not continue without
        /// them.
        remedy: Option<Remedy>,
    },
    /// The canary jobs have ended, and the pool waits for the user's approval to submit more.
    CanaryReady {
        /// The canary jobs, in no particular order.
        jobs: Vec<JobId>,
    },
    /// An upload of a local image failed. It is retried, or the rows that use the image fail.
    UploadFailed {
        /// What went wrong.
        reason: String,
    },
    /// A provider denied access for the key or the balance and is suspended: nothing is submitted
    /// to it until any run starts.
    ProviderSuspended {
        /// The provider.
        provider: ProviderName,
        /// The provider's message, and what to do.
        reason: String,
    },
    /// Nothing is submitted to a provider or on a route for now. It is tried again by itself.
    SubmitsHeld {
        /// The provider, or the route as `provider/model`.
        what: String,
        /// The provider's message.
        reason: String,
    },
    /// The user changed a setting of the pool. The log says which, and who changed it.
    SettingsChanged,
    /// The pool was asked to stop and waits for the steps in progress.
    Stopping {
        /// Number of steps in progress.
        steps: usize,
    },
}

/// Receives the events of a pool. It is called on the pool's tasks and must not block.
pub type Observer = Arc<dyn Fn(PoolEvent) + Send + Sync>;
