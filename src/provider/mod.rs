//! The port to a hosted image-to-video API, and one adapter per provider.
//!
//! A provider's own vocabulary (`request_id`, `IN_PROGRESS`, `canceled`) does not leave this
//! folder. Neither an adapter nor the HTTP client below it repeats a submission: the state machine
//! decides whether to submit again, after the queue has recorded what became of the first one.
//!
//! In the adapters, each fact about a provider names its source: the *model page* of the hosted
//! model, *documented* (API reference or guides), the *source of an official client*, *seen by
//! users* (published reports and captured responses), or *assumed* (no source).

pub(crate) mod aimlapi;
mod classify;
pub mod eachlabs;
pub(crate) mod fal;
mod history;
pub mod http;
mod json;
pub(crate) mod key;
#[doc(hidden)]
pub mod parse;
pub(crate) mod probe;
mod reconciliation;
mod storage;
mod submission;
#[cfg(test)]
mod tests;
pub mod timeouts;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::{CostReport, Failure, PredictionHandle, ProviderName};
use crate::image::ImageFile;

pub use key::{ApiKey, InvalidKey};
pub use probe::{Probe, ProbeResult};
pub use reconciliation::{LostSubmission, Reconciliation};
pub use storage::UploadedImage;
pub use submission::Submission;

/// A hosted image-to-video API.
///
/// Only [`submit`](Self::submit) can cost money; every other method is free and may be repeated.
/// The reason in a [`Failure`] is a single line that never contains the key.
///
/// Each call does all its work inside the returned future and starts no task of its own, so its
/// log lines inherit the caller's tracing span. The span names the job; the adapters do not.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Returns the name of this provider.
    fn name(&self) -> ProviderName;

    /// Submits a job: sends the provider's create request, at most once.
    ///
    /// `Ok` means that the provider accepted the submission and may bill it. Otherwise:
    ///
    /// - [`Failure::Transient`] and [`Failure::RateLimited`]: nothing was accepted; the same
    ///   submission may be sent again later.
    /// - [`Failure::AccessDenied`]: nothing was accepted. The key or the account is at fault, not
    ///   the job.
    /// - [`Failure::Rejected`]: nothing was accepted, and this input never will be.
    /// - [`Failure::Unknown`]: the provider may have accepted it. The job must not be submitted
    ///   again unless [`reconcile`](Self::reconcile) proves the submission absent.
    async fn submit(&self, submission: &Submission) -> Result<Acceptance, Failure>;

    /// Polls a prediction and, once it is done, reads its result.
    ///
    /// `submission` is what was submitted to create it, perhaps without its request: some APIs put
    /// the model into the URL.
    ///
    /// An error says nothing about the prediction, which may still be running and still be billed:
    ///
    /// - [`Failure::Transient`]: no response, an unreadable one, or a server error.
    /// - [`Failure::RateLimited`] and [`Failure::AccessDenied`]: the response concerns the key.
    /// - [`Failure::Rejected`]: the provider rejected the poll request itself.
    ///
    /// [`Failure::Unknown`] is never returned.
    async fn poll(
        &self,
        prediction: &PredictionHandle,
        submission: &Submission,
    ) -> Result<PollResult, Failure>;

    /// Searches the provider's history for a submission whose response was lost.
    ///
    /// `Ok` is returned only if the history settles the question: it was read to its end, every
    /// entry could be compared, and the provider's clock agrees with ours. Any error means that the
    /// search proved nothing, and the submission is as much in doubt as before.
    /// [`Failure::Unknown`] is never returned.
    async fn reconcile(&self, lost: &LostSubmission) -> Result<Reconciliation, Failure>;

    /// Requests the cancellation of a prediction.
    ///
    /// `Ok` means that the provider acknowledged the request; the prediction may still finish and
    /// be billed. After an error, the prediction may or may not have been cancelled.
    /// [`Failure::Rejected`] is also returned by an API that cannot cancel.
    async fn cancel(
        &self,
        prediction: &PredictionHandle,
        submission: &Submission,
    ) -> Result<(), Failure>;

    /// Sends one free request to each of the API's base URLs and reports whether it responds as
    /// this API does, accepts the key, and agrees with our clock.
    ///
    /// `wire_model` is the id of any of the provider's models. Problems are reported in the
    /// [`Probe`]s; the call itself cannot fail, and takes a few seconds at most.
    async fn probe(&self, wire_model: &str, now: Timestamp) -> Vec<Probe>;

    /// Uploads an image to the provider's own storage. Repeating an upload only stores it twice.
    ///
    /// - [`Failure::Transient`], [`Failure::RateLimited`] and [`Failure::AccessDenied`]: the upload
    ///   may be repeated later.
    /// - [`Failure::Rejected`]: the provider has no storage, rejected the file, or requested an
    ///   upload to a URL that is not public HTTPS.
    /// - [`Failure::Unknown`]: the response is not one of this API. Unlike a submission, the upload
    ///   may be repeated.
    async fn upload(&self, _file: &ImageFile) -> Result<UploadedImage, Failure> {
        Err(Failure::Rejected {
            reason: format!("{} has no storage for files", self.name()),
        })
    }

    /// Returns whether the API's base URL is on this machine, as the simulator's is. If so, the
    /// clip URLs that it returns may be on this machine too.
    fn is_loopback(&self) -> bool;
}

/// A submission that the provider accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Acceptance {
    /// The handle by which to poll and cancel the prediction.
    pub prediction: PredictionHandle,
    /// The cost that the response to the submission already reports; `None` if it reports none.
    pub early_cost: Option<CostReport>,
}

/// The state of a prediction, as of one poll.
#[derive(Clone, Debug, PartialEq)]
pub enum PollResult {
    /// The prediction is waiting or running.
    Running,
    /// The clip is finished.
    Done {
        /// The URL from which to download the clip. It may be signed, and may expire.
        output_url: String,
        /// The reported cost; `None` if the response does not report one.
        cost: Option<CostReport>,
        /// How long the provider worked on the clip; `None` if it does not report that.
        processing: Option<Duration>,
    },
    /// The prediction failed, or was cancelled.
    Failed {
        /// The provider's reason.
        reason: String,
        /// The amount billed in spite of the failure; `None` if it is not known, in which case the
        /// price rule applies.
        cost: Option<CostReport>,
        /// Whether the response indicates that the same input may succeed next time, because the
        /// fault was the provider's.
        retryable: bool,
    },
    /// The provider does not know this prediction id, either not yet or no longer.
    Missing {
        /// The provider's reason.
        reason: String,
    },
}
