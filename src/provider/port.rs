//! The port to a hosted image-to-video API.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::{CostReport, Failure, Money, PredictionHandle, ProviderName};
use crate::image::ImageFile;

use super::{
    Cancellation, History, HistoryQuery, LostSubmission, PollResult, Probe, Reconciliation,
    Submission, UploadedImage,
};

/// A hosted image-to-video API.
///
/// Only [`submit`](Self::submit) can cost money; every other method is free and may be repeated. The
/// variants of [`Failure`] mean the same in all of them, and nothing was accepted unless it says so:
///
/// - [`Transient`](Failure::Transient): no response, an unreadable one, or a server error; the same
///   call may be made again later.
/// - [`RateLimited`](Failure::RateLimited) and [`AccessDenied`](Failure::AccessDenied): the key or
///   the account is at fault, not the job.
/// - [`Rejected`](Failure::Rejected): the provider will never accept this request.
/// - [`Unknown`](Failure::Unknown): the provider may have accepted it. Only `submit` and `upload`
///   return this.
///
/// The reason in a failure is a single line that never contains the key. Each call does all its work
/// inside the returned future and starts no task of its own, so its log lines inherit the caller's
/// tracing span, which names the job.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Returns the name of this provider.
    fn name(&self) -> ProviderName;

    /// Submits a job: sends the provider's create request, at most once.
    ///
    /// `Ok` means that the provider accepted the submission and may bill it. After
    /// [`Failure::Unknown`] the job must not be submitted again unless
    /// [`reconcile`](Self::reconcile) proves the submission absent.
    async fn submit(&self, submission: &Submission) -> Result<Acceptance, Failure>;

    /// Polls a prediction and, once it is done, reads its result. `wire_model` is the model that it was
    /// submitted to: some APIs put it into the URL. An error says nothing about the prediction, which
    /// may still be running and still be billed.
    async fn poll(
        &self,
        prediction: &PredictionHandle,
        wire_model: &str,
    ) -> Result<PollResult, Failure>;

    /// Reads the provider's history of a period to its end. An error proves nothing.
    async fn history(&self, query: &HistoryQuery) -> Result<History, Failure>;

    /// Searches the provider's history for a submission whose response was lost.
    ///
    /// `Ok` is returned only if the history settles the question: it was read to its end, every
    /// entry could be compared, and the provider's clock agrees with ours. Any error means that the
    /// search proved nothing, and the submission is as much in doubt as before.
    async fn reconcile(&self, lost: &LostSubmission) -> Result<Reconciliation, Failure> {
        lost.find_in(&self.history(&lost.query()).await?, self.name())
    }

    /// Requests that a prediction be cancelled. After an error it may or may not have been. An API
    /// that cannot cancel returns [`Failure::Rejected`].
    async fn cancel(
        &self,
        prediction: &PredictionHandle,
        wire_model: &str,
    ) -> Result<Cancellation, Failure>;

    /// Uploads an image to the provider's own storage. Repeating an upload only stores it twice,
    /// whatever it returned. [`Failure::Rejected`] also means that the provider has no storage, or
    /// named an upload URL that is not public HTTPS.
    async fn upload(&self, _file: &ImageFile) -> Result<UploadedImage, Failure> {
        Err(Failure::Rejected {
            reason: format!("{} has no storage for files", self.name()),
        })
    }

    /// Returns the account's balance; `None` if the API does not tell it to this key.
    async fn balance(&self) -> Option<Money> {
        None
    }

    /// Sends one free request to each of the API's base URLs and reports whether it responds as
    /// this API does, accepts the key, and agrees with our clock.
    ///
    /// `wire_model` is the id of any of the provider's models. The call itself cannot fail, and takes
    /// a few seconds at most.
    async fn probe(&self, wire_model: &str, now: Timestamp) -> Vec<Probe>;

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
