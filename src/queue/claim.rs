//! What a pool gets from the queue.

use serde_json::Value;

use crate::domain::{Attempt, Job, JobClips, Lease};
use crate::policy::Change;
use crate::policy::claim::{Backlog, Step};

use super::UploadClaim;

/// A claimed step: a job, the lease to record its outcome, and the call to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The exclusive right to record the step's outcome.
    pub lease: Lease,
    /// The job after the claim; its state is `Submitting` if the step is a submission.
    pub job: Job,
    /// The attempt that the step is about. For a submission it is new, and its price is reserved.
    pub attempt: Attempt,
    /// The call to make.
    pub step: Step,
    /// Consecutive failures of the provider, for the backoff of its next hold. Always 0 for steps
    /// other than [`Step::Submit`].
    pub provider_failures: u32,
    /// The clips that a download may find on disk; none for any other step.
    pub clips: JobClips,
    /// The reason why the job must be rejected instead of submitted, if an image of it could not be
    /// uploaded to any of its providers; `None` otherwise.
    pub rejection: Option<String>,
}

impl Claim {
    /// Returns the claim to poll the job with, under the same lease, after a change. It is without
    /// the request and the rest of the input that no poll needs: a pool may hold thousands of these.
    pub(super) fn to_poll(&self, change: Change) -> Self {
        let mut claim = Self {
            step: Step::Poll,
            provider_failures: 0,
            ..self.clone()
        };
        claim.job.progress = change.job;
        claim.attempt.request = Value::Null;
        claim.job.input = self.job.input.of_poll();
        if let Some(attempt) = change.attempt {
            claim.attempt.progress = attempt;
        }
        claim
    }
}

/// The claimed steps and uploads, and the work that remains.
#[derive(Clone, Debug, Default)]
pub struct ClaimResponse {
    /// The claimed steps.
    pub claims: Vec<Claim>,
    /// The claimed uploads.
    pub uploads: Vec<UploadClaim>,
    /// The work that remains after these claims. `None` if they use the whole capacity: the pool's
    /// next event is then the end of one of these steps.
    pub backlog: Option<Backlog>,
}
