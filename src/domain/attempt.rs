//! An attempt: one submission of a job to a provider, paid for at most once.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::name_variants;
use super::{Cost, CostReport, CostSource, Money, ProviderName};

/// Identifies an attempt within one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct AttemptId(pub i64);

/// The state of an attempt.
///
/// An attempt in one of the first three states is *open*: it occupies a slot at the provider, and
/// its estimated price is reserved. The estimate of one that is presumed absent is reserved as well. Closing it frees the slot and replaces the reservation by a
/// booked cost: nothing if it was not accepted, the estimate if it is abandoned, else what the
/// provider reported or, without a usable report, the estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptState {
    /// The request and its reserved price are committed; the submit call may be under way.
    ///
    /// Leaves to `Accepted`, `Refused` or `InDoubt`, depending on the response.
    Submitting,
    /// The outcome of the submit call is unknown, so the submission may be paid for.
    ///
    /// Leaves to `Accepted` when the submission is found or the user names its prediction, to
    /// `Absent` when it is proven absent or the user decides to submit the job again, to
    /// `PresumedAbsent` when its absence cannot be proven and nothing speaks against it, and to
    /// `Abandoned` when the user gives the job up.
    InDoubt,
    /// The provider accepted the submission; the prediction id is stored.
    ///
    /// Leaves to `Done` or `Failed` with the prediction, and to `Abandoned` when the job is
    /// cancelled or given up first.
    Accepted,
    /// The submission was not accepted: the provider refused it for now, it was rejected for good
    /// (by the provider, or here because a local image cannot be used), or it was never sent. It
    /// costs nothing.
    Refused,
    /// The submission was in doubt and is taken to be absent, because the provider's history had time
    /// to list it and does not. It occupies no slot, but its estimate stays reserved: the history has
    /// not been seen to list a later submission, so it may be late.
    ///
    /// Leaves to `Absent` once the history lists a later submission and not this one, and to
    /// `Accepted` or `Abandoned` if it is listed after all.
    PresumedAbsent,
    /// The submission was in doubt and is absent: the provider's history proves it, or
    /// the user decided to submit the job again. It costs nothing. If the provider did accept it
    /// after all, the job is paid for twice.
    Absent,
    /// The provider finished the clip; the cost is booked. Downloading does not change this state.
    Done,
    /// The prediction failed at the provider; its cost, often nothing, is booked.
    Failed,
    /// The job was cancelled or given up before the end of the attempt was known. The estimate
    /// stays booked, because nothing proves that it was not billed.
    ///
    /// Leaves to `Accepted` when the user retries the job and the prediction id is known. The
    /// attempt is then open again: the booked estimate becomes a reservation, and the attempt
    /// occupies a slot even if none is free or the budget is used up.
    Abandoned,
}

impl AttemptState {
    /// Returns whether the attempt occupies a slot at the provider and reserves its price.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Submitting | Self::InDoubt | Self::Accepted)
    }

    /// Returns whether it is not known yet if the provider accepted the submission.
    pub const fn is_unresolved(self) -> bool {
        matches!(self, Self::Submitting | Self::InDoubt)
    }
}

name_variants!(AttemptState, "attempt state", {
    Submitting => "submitting",
    InDoubt => "in_doubt",
    Accepted => "accepted",
    Refused => "refused",
    PresumedAbsent => "presumed_absent",
    Absent => "absent",
    Done => "done",
    Failed => "failed",
    Abandoned => "abandoned",
});

/// A provider's id for one prediction, with the URLs it returned to follow it. A prediction is the
/// provider's run of a submission that it accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredictionHandle {
    /// The provider's id of the prediction; opaque.
    pub prediction_id: String,
    /// URL to poll for the status; `None` if the provider did not return one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_url: Option<String>,
    /// URL of the result; `None` if the provider did not return one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_url: Option<String>,
    /// URL that cancels the prediction; `None` if the provider did not return one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_url: Option<String>,
}

impl PredictionHandle {
    /// Creates a handle from an id, without any URLs.
    pub fn from_id(prediction_id: impl Into<String>) -> Self {
        Self {
            prediction_id: prediction_id.into(),
            status_url: None,
            response_url: None,
            cancel_url: None,
        }
    }
}

/// One submission of a job, with everything its steps need to send and follow it.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Identifier within the queue.
    pub attempt_id: AttemptId,
    /// Position among all attempts of its job, refused and absent ones included, from 1.
    pub number: u32,
    /// The provider it is submitted to.
    pub provider: ProviderName,
    /// The provider's id of the model.
    pub wire_model: String,
    /// The model's input as it is sent to the provider. Null in a claim that only polls.
    pub request: Value,
    /// Our name for this submission, unique across queues. Sent to providers that store one.
    pub client_token: String,
    /// When the attempt was committed, just before the submit call.
    pub submitted_at: Timestamp,
    /// What its steps have changed so far; after the claim.
    pub progress: AttemptProgress,
}

impl Attempt {
    /// Returns when its submit call had ended at the latest, as far as that is known.
    pub fn call_ended_at(&self) -> Timestamp {
        self.progress.answered_at.unwrap_or(self.submitted_at)
    }
}

/// The part of an attempt that changes until it is closed, with the estimate that is booked for it.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptProgress {
    /// The state.
    pub state: AttemptState,
    /// The price reserved while the attempt is open, in US dollars. Never changes.
    pub estimate: Money,
    /// When the submit call ended, or when its pool was found dead; `None` before that.
    pub answered_at: Option<Timestamp>,
    /// The provider's handle; `None` until the submission is accepted or found.
    pub prediction: Option<PredictionHandle>,
    /// The cost that the response to the submit call reported; `None` if it reported none.
    pub early_cost: Option<CostReport>,
    /// Link to the finished clip; `None` until the prediction is done.
    pub output_url: Option<String>,
    /// How long the provider took, from submission to end; `None` if that is not known.
    pub processing: Option<Duration>,
    /// The booked cost; `None` while the attempt is open, and after it if nothing can have been
    /// paid.
    pub cost: Option<Cost>,
    /// Why the attempt failed, or is in doubt; `None` if it did not.
    pub error: Option<String>,
    /// When the attempt was closed; `None` while it is open.
    pub finished_at: Option<Timestamp>,
}

impl AttemptProgress {
    /// Returns whether the attempt took the clip of an earlier one, and was never submitted itself.
    pub fn is_reused(&self) -> bool {
        matches!(self.cost, Some(cost) if cost.source == CostSource::Reused)
    }
}
