//! The result of one step of a job, in the form in which the queue records it.

use std::time::Duration;

use jiff::Timestamp;

use super::{Cost, CostReport, CostSource, JobEvent, PredictionHandle, SavedFile};

/// The result of one step of one job.
///
/// It is recorded in one transaction. [`event`](Self::event) determines the job's next state, and
/// [`policy::outcome`](crate::policy::outcome) everything else that changes with it. The reasons
/// are shown to the user.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The provider accepted the submission.
    Accepted {
        /// The provider's handle for the prediction.
        prediction: PredictionHandle,
        /// The cost that the response reported; `None` if it reported none.
        early_cost: Option<CostReport>,
        /// When to poll the prediction for the first time.
        due_at: Timestamp,
    },
    /// The submission was not accepted, for now. Nothing was paid.
    Refused {
        /// Why it was not accepted.
        reason: String,
        /// When the job may be submitted again.
        due_at: Timestamp,
        /// Whether this counts as a failure of the job and extends its backoff. `false` if it
        /// concerns the provider as a whole.
        counts_as_failure: bool,
    },
    /// The submission will never be accepted. Nothing was paid.
    Rejected {
        /// Why it was rejected.
        reason: String,
    },
    /// The submit call ended without a trustworthy response; the job may be paid for.
    LostResponse {
        /// Why the response cannot be trusted, or why there is none.
        reason: String,
        /// When to search the provider's history for the first time.
        due_at: Timestamp,
    },
    /// The lost submission was found in the provider's history.
    Adopted {
        /// The provider's handle for the prediction.
        prediction: PredictionHandle,
        /// When to poll the prediction.
        due_at: Timestamp,
    },
    /// The lost submission is taken to be absent, and the job is submitted again.
    Absent {
        /// When the job may be submitted again.
        due_at: Timestamp,
        /// Whether that is proven. If not, its estimate stays reserved.
        is_proven: bool,
    },
    /// Nothing has changed, or a call failed and is worth repeating.
    Wait {
        /// When to repeat the step. `None` makes the job wait for the user's decision. Used only
        /// for a job in doubt, because the user can decide about no other.
        due_at: Option<Timestamp>,
        /// What failed; `None` if nothing did. A failure increases the backoff.
        failure: Option<String>,
    },
    /// The provider finished the clip.
    Finished {
        /// Link to the clip; `None` if the provider has published none, or none that can be used.
        output_url: Option<String>,
        /// What the prediction cost.
        cost: Cost,
        /// How long the provider took, from submission to end; `None` if unknown.
        processing: Option<Duration>,
        /// When to download the clip.
        due_at: Timestamp,
    },
    /// The prediction failed at the provider, and so does the job. Its cost is booked.
    PredictionFailed {
        /// Why it failed.
        reason: String,
        /// What it cost despite the failure.
        cost: Cost,
    },
    /// The prediction failed at the provider, which billed nothing; the job is submitted again.
    FailedUnbilled {
        /// Why it failed.
        reason: String,
        /// How it is known that nothing was billed.
        source: CostSource,
        /// When the job may be submitted again.
        due_at: Timestamp,
    },
    /// The link to the clip no longer works; the prediction has to be polled for a fresh one.
    LinkExpired {
        /// When to poll the prediction.
        due_at: Timestamp,
        /// Why the link is considered expired.
        reason: String,
        /// Whether this counts as a failure of the job. `false` if its host is away as a whole.
        counts_as_failure: bool,
    },
    /// The step could not be done, for a reason that is not the job's: the clip's host is away, or this
    /// machine has run out of something. It is repeated without a limit and counts no failure.
    Postponed {
        /// When to repeat the step.
        due_at: Timestamp,
        /// Why it could not be done.
        reason: String,
    },
    /// The clip was downloaded and saved.
    Saved {
        /// The saved file.
        file: SavedFile,
    },
    /// The step is not worth repeating; the job fails.
    GaveUp {
        /// Why the job was given up.
        reason: String,
    },
}

impl Outcome {
    /// Returns the event for the job's state machine.
    pub const fn event(&self) -> JobEvent {
        match self {
            Self::Accepted { .. } => JobEvent::Accept,
            Self::Refused { .. } => JobEvent::Refuse,
            Self::Rejected { .. } => JobEvent::Reject,
            Self::LostResponse { .. } => JobEvent::LoseResponse,
            Self::Adopted { .. } => JobEvent::Adopt,
            Self::Absent { .. } => JobEvent::ProveAbsent,
            Self::Wait { .. } | Self::Postponed { .. } => JobEvent::Wait,
            Self::Finished { .. } => JobEvent::Finish,
            Self::PredictionFailed { .. } => JobEvent::Fail,
            Self::FailedUnbilled { .. } => JobEvent::FailUnbilled,
            Self::LinkExpired { .. } => JobEvent::ExpireLink,
            Self::Saved { .. } => JobEvent::Save,
            Self::GaveUp { .. } => JobEvent::GiveUp,
        }
    }
}
