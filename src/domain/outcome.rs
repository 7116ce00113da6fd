//! What a step found out, in the form the queue records it.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::{AttemptState, Cost, CostReport, JobEvent, PredictionHandle};

/// A clip on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// The result of one step of one job. Recording it is one transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The provider took the submission.
    Accepted {
        /// Its handle.
        prediction: PredictionHandle,
        /// What it said of the cost, if it did.
        early_cost: Option<CostReport>,
        /// When to look first.
        due_at: Timestamp,
    },
    /// The provider did not take it; nothing was paid. `counted` says whether it was the job that was refused
    /// (then its backoff grows) or the provider that is closed to everybody.
    Refused {
        /// Why.
        reason: String,
        /// When it may be submitted again.
        due_at: Timestamp,
        /// Whether the refusal counts against the job.
        counted: bool,
    },
    /// The provider will never take it; nothing was paid.
    Rejected {
        /// Why.
        reason: String,
    },
    /// The create call ended without an answer that can be trusted.
    LostResponse {
        /// Why.
        reason: String,
        /// When to look in the provider's history first.
        due_at: Timestamp,
    },
    /// The lost submission was found.
    Adopted {
        /// Its handle.
        prediction: PredictionHandle,
        /// When to look at it.
        due_at: Timestamp,
    },
    /// The lost submission is proven absent: nothing was paid, send it again.
    ProvenAbsent {
        /// When it may be submitted again.
        due_at: Timestamp,
    },
    /// Nothing new, or a failure that will pass.
    Wait {
        /// When to try again; `None` holds the job for a person.
        due_at: Option<Timestamp>,
        /// What failed, if something did; grows the backoff.
        failure: Option<String>,
    },
    /// The provider finished the clip.
    Finished {
        /// Where it can be fetched.
        output_url: String,
        /// What it cost.
        cost: Cost,
        /// How long the provider worked on it, if known.
        processing: Option<Duration>,
        /// When to fetch it.
        due_at: Timestamp,
    },
    /// The prediction failed at the provider.
    PredictionFailed {
        /// Why.
        reason: String,
        /// What it cost all the same.
        cost: Cost,
        /// When the job may be submitted again; `None` gives up.
        retry_at: Option<Timestamp>,
    },
    /// The link no longer works; ask the prediction for a fresh one.
    LinkExpired {
        /// When to ask.
        due_at: Timestamp,
        /// What the link answered.
        reason: String,
    },
    /// The clip is on disk.
    Saved {
        /// Which file.
        file: SavedFile,
    },
    /// The tries are used up, or a person gave up.
    GaveUp {
        /// Why.
        reason: String,
    },
}

impl Outcome {
    /// Tells what happened, for the state machine.
    pub const fn event(&self) -> JobEvent {
        match self {
            Self::Accepted { .. } => JobEvent::Accept,
            Self::Refused { .. } => JobEvent::Refuse,
            Self::Rejected { .. } => JobEvent::Reject,
            Self::LostResponse { .. } => JobEvent::LoseResponse,
            Self::Adopted { .. } => JobEvent::Adopt,
            Self::ProvenAbsent { .. } => JobEvent::ProveAbsent,
            Self::Wait { .. } => JobEvent::Wait,
            Self::Finished { .. } => JobEvent::Finish,
            Self::PredictionFailed { retry_at: None, .. } => JobEvent::Fail,
            Self::PredictionFailed {
                retry_at: Some(_), ..
            } => JobEvent::FailUnbilled,
            Self::LinkExpired { .. } => JobEvent::ExpireLink,
            Self::Saved { .. } => JobEvent::Save,
            Self::GaveUp { .. } => JobEvent::GiveUp,
        }
    }

    /// Tells what becomes of the attempt, where it changes at all.
    pub const fn attempt_state(&self) -> Option<AttemptState> {
        match self {
            Self::Accepted { .. } | Self::Adopted { .. } => Some(AttemptState::Accepted),
            Self::Refused { .. } | Self::Rejected { .. } => Some(AttemptState::Refused),
            Self::LostResponse { .. } => Some(AttemptState::InDoubt),
            Self::ProvenAbsent { .. } => Some(AttemptState::Absent),
            Self::Finished { .. } => Some(AttemptState::Done),
            Self::PredictionFailed { .. } => Some(AttemptState::Failed),
            // Giving up on a download leaves the attempt done; giving up on an open one abandons it.
            // The queue knows which it was.
            Self::GaveUp { .. }
            | Self::Wait { .. }
            | Self::LinkExpired { .. }
            | Self::Saved { .. } => None,
        }
    }
}

/// What a step's answer means for every other call to the same provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderSignal {
    /// The provider answers; whatever backoff there was ends.
    Healthy,
    /// No create before this time. Looks go on: they have backoffs of their own.
    HoldSubmits {
        /// The earliest time of the next create.
        until: Timestamp,
    },
    /// No call at all before this time: the provider said when to come back, and it meant the key.
    HoldAll {
        /// The earliest time of the next call.
        until: Timestamp,
    },
    /// No create until a new run: the key or the balance was refused.
    Suspend {
        /// What the provider said, and what to do.
        reason: String,
        /// Whether looks are refused as well: a wrong key, where an empty balance still lets one look.
        polls_too: bool,
    },
}
