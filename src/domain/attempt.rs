//! One try at a job: at most one paid submission.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CostReport, Money, ProviderName};

/// Names an attempt inside one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct AttemptId(pub i64);

/// How far an attempt got. The first three hold a slot at the provider and the reserved price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptState {
    /// The intent is committed; the create call may be under way.
    Submitting,
    /// The create call's outcome is unknown.
    InDoubt,
    /// The provider took it; the prediction id is known.
    Accepted,
    /// The provider did not take it; nothing was paid.
    Refused,
    /// It was in doubt and is proven absent; nothing was paid.
    Absent,
    /// The provider finished the clip.
    Done,
    /// The prediction failed at the provider.
    Failed,
    /// Nobody waits for it any more: its job was cancelled, or it never ended.
    Abandoned,
}

impl AttemptState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Submitting,
        Self::InDoubt,
        Self::Accepted,
        Self::Refused,
        Self::Absent,
        Self::Done,
        Self::Failed,
        Self::Abandoned,
    ];

    /// Tells whether it holds a slot at the provider and the price it reserved.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Submitting | Self::InDoubt | Self::Accepted)
    }

    /// Tells the word used in the queue and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submitting => "submitting",
            Self::InDoubt => "in_doubt",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Absent => "absent",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

impl fmt::Display for AttemptState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for AttemptState {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| format!("unknown attempt state `{word}`"))
    }
}

/// A provider's handle for one submission, with whatever links it gave to follow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredictionHandle {
    /// The provider's id: opaque.
    pub prediction_id: String,
    /// Where the provider says its state can be asked, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_url: Option<String>,
    /// Where the provider says its result can be fetched, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_url: Option<String>,
    /// Where the provider says it can be cancelled, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_url: Option<String>,
}

impl PredictionHandle {
    /// Makes a handle of an id alone.
    pub fn from_id(prediction_id: impl Into<String>) -> Self {
        Self {
            prediction_id: prediction_id.into(),
            status_url: None,
            response_url: None,
            cancel_url: None,
        }
    }
}

/// One try at a job, as a worker sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// The attempt's number in the queue.
    pub attempt_id: AttemptId,
    /// The attempt's number in its job, from 1.
    pub number: u32,
    /// How far it got.
    pub state: AttemptState,
    /// Where it is sent.
    pub provider: ProviderName,
    /// The provider's name for the model.
    pub wire_model: String,
    /// The model's input as it goes over the wire.
    pub request: Value,
    /// Our name for this submission, unique over all queues; sent where the provider stores one.
    pub client_token: String,
    /// The price reserved for it, in US dollars.
    pub estimate: Money,
    /// When the intent was committed.
    pub submitted_at: Timestamp,
    /// The provider's handle, once known.
    pub prediction: Option<PredictionHandle>,
    /// What the create answer said of its cost, if it said.
    pub early_cost: Option<CostReport>,
    /// Where the clip can be fetched, once known.
    pub output_url: Option<String>,
    /// Looks at the prediction so far.
    pub polls: u32,
}
