//! The port to a hosted image-to-video API, and its adapters: one file each.
//!
//! The rule of this folder: a provider's words (`request_id`, `IN_PROGRESS`, `canceled`) stop here. A create is never
//! repeated by an adapter or by the HTTP client below it; whether to send one again is decided by the state machine,
//! after the queue was told what became of the first.

pub mod aimlapi;
mod classify;
pub mod eachlabs;
pub mod fal;
mod history;
pub mod http;
mod json;
pub mod key;
#[doc(hidden)]
pub mod parse;
pub mod probe;
mod storage;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::domain::{Attempt, CostReport, Failure, PredictionHandle, ProviderName};
use crate::image::ImageFile;

pub use key::ApiKey;
pub use probe::{Probe, ProbeResult};
pub use storage::UploadedImage;

/// A hosted image-to-video API.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Tells which API it is.
    fn name(&self) -> ProviderName;

    /// Sends one create call, once. [`Failure::Unknown`] says that nobody knows whether it was taken.
    async fn submit(&self, submission: &Submission) -> Result<Acceptance, Failure>;

    /// Looks at a prediction, and fetches its result when it is done.
    async fn poll(
        &self,
        prediction: &PredictionHandle,
        submission: &Submission,
    ) -> Result<PollResult, Failure>;

    /// Looks in the provider's history for a submission whose answer was lost.
    async fn reconcile(&self, doubt: &LostSubmission) -> Result<Reconciliation, Failure>;

    /// Asks the provider to drop a prediction. It may go on, and bill, all the same.
    async fn cancel(
        &self,
        prediction: &PredictionHandle,
        submission: &Submission,
    ) -> Result<(), Failure>;

    /// Asks each of the provider's addresses for something that costs nothing: whether it answers and takes the key, and
    /// what time it has. `wire_model` is one of its models.
    async fn probe(&self, wire_model: &str, now: Timestamp) -> Vec<Probe>;

    /// Uploads an image to the provider's storage, where it has one. It costs nothing, and can be repeated.
    async fn upload(&self, _file: &ImageFile) -> Result<UploadedImage, Failure> {
        Err(Failure::Rejected {
            reason: format!("{} has no storage for files", self.name()),
        })
    }

    /// Tells whether the provider's base address is this machine: then its links may be too.
    fn is_loopback(&self) -> bool;
}

/// What is sent to have a clip made.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// The provider's name for the model.
    pub wire_model: String,
    /// The model's input, spelled for this provider.
    pub request: Value,
    /// Our name for the submission, 1 to 128 characters of `A-Z a-z 0-9 . _ -`.
    pub client_token: String,
}

impl From<&Attempt> for Submission {
    fn from(attempt: &Attempt) -> Self {
        Self {
            wire_model: attempt.wire_model.clone(),
            request: attempt.request.clone(),
            client_token: attempt.client_token.clone(),
        }
    }
}

/// The provider took a submission.
#[derive(Clone, Debug, PartialEq)]
pub struct Acceptance {
    /// Its handle.
    pub prediction: PredictionHandle,
    /// What the answer said of the cost, if it did.
    pub early_cost: Option<CostReport>,
}

/// What a look at a prediction showed.
#[derive(Clone, Debug, PartialEq)]
pub enum PollResult {
    /// Still going.
    Running,
    /// The clip is made.
    Done {
        /// Where it can be fetched.
        output_url: String,
        /// What the answer said of the cost, if it did.
        cost: Option<CostReport>,
        /// How long the provider worked on it, if it said.
        processing: Option<Duration>,
    },
    /// The prediction failed.
    Failed {
        /// The provider's reason.
        reason: String,
        /// What it bills all the same; `None` where nobody said, and the price rule has to stand in.
        cost: Option<CostReport>,
        /// Whether the provider's answer says that the same input may well succeed another time: the fault was its own.
        retryable: bool,
    },
    /// The provider does not know this id (any more, or not yet).
    Missing {
        /// What it said.
        reason: String,
    },
}

/// A submission whose answer was lost.
#[derive(Clone, Debug, PartialEq)]
pub struct LostSubmission {
    /// What was sent.
    pub submission: Submission,
    /// When the intent was committed: the create call left after this.
    pub sent_at: Timestamp,
    /// Whether this machine's clock was set since: then `sent_at` may be hours away from the truth.
    pub clock_was_set: bool,
    /// Now.
    pub now: Timestamp,
    /// Prediction ids that already belong to a job of this queue.
    pub owned: Vec<String>,
}

impl LostSubmission {
    /// The span of time in which the provider may have taken it, by its own clock.
    pub fn window(&self) -> (Timestamp, Timestamp) {
        let margin = if self.clock_was_set {
            SignedDuration::from_hours(24)
        } else {
            CLOCK_SKEW
        };
        let from = self
            .sent_at
            .saturating_sub(margin)
            .unwrap_or(Timestamp::MIN);
        (
            from,
            self.now
                .saturating_add(CLOCK_SKEW)
                .unwrap_or(Timestamp::MAX),
        )
    }
}

/// A provider's clock and ours may differ by so much.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(120);

/// Rows of a history asked for at once: the most that each of the three documents.
const HISTORY_PAGE: usize = 100;

/// Pages read for one search. A hundred creates a minute fill four in the span a doubt usually asks for.
const MAX_PAGES: usize = 20;

/// What a provider's history says of a lost submission.
#[derive(Clone, Debug, PartialEq)]
pub enum Reconciliation {
    /// Exactly one entry is it.
    Found(PredictionHandle),
    /// Several entries may be it; a person has to choose.
    Ambiguous(Vec<String>),
    /// No entry is it. `lists_running` says whether the history lists predictions that have not ended:
    /// where it does not, absence proves something only after the processing time.
    Absent {
        /// Whether a running prediction would have been listed.
        lists_running: bool,
    },
}

impl Reconciliation {
    /// Judges by how many entries match.
    pub fn of(mut ids: Vec<String>, lists_running: bool) -> Self {
        match (ids.len(), ids.pop()) {
            (_, None) => Self::Absent { lists_running },
            (1, Some(id)) => Self::Found(PredictionHandle::from_id(id)),
            (_, Some(last)) => {
                ids.push(last);
                Self::Ambiguous(ids)
            }
        }
    }
}

/// A search that found no end is no proof of anything.
fn endless_history(provider: ProviderName) -> Failure {
    Failure::Transient {
        reason: format!("{provider}'s history is too long to search"),
        retry_after: None,
    }
}
