//! A prediction: one accepted create, from its acceptance to its end.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::api::Api;
use crate::rules::{self, FieldError};

/// A create that is about to be accepted, with the outcome already decided.
#[derive(Clone, Debug, PartialEq)]
pub struct NewPrediction {
    /// The API that accepts it.
    pub api: Api,
    /// The provider's id of the model.
    pub model: String,
    /// The model's input as received.
    pub input: Map<String, Value>,
    /// The client's own request id; `None` if it sent no valid one.
    pub client_request_id: Option<String>,
    /// Price of a clip in micro-dollars.
    pub price: i64,
    /// How long a runner processes it.
    pub processing: Duration,
    /// How it will end unless it is cancelled.
    pub outcome: PredictionOutcome,
}

/// One accepted create.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The API that accepted it.
    pub api: Api,
    /// Its id, unique within the API.
    pub id: String,
    /// The provider's id of the model.
    pub model: String,
    /// The model's input as received.
    pub input: Map<String, Value>,
    /// Price of a clip in micro-dollars.
    pub price: i64,
    /// When it was accepted, in milliseconds since 1970.
    pub accepted_at: i64,
    /// When its processing starts, in milliseconds since 1970.
    pub starts_at: i64,
    /// When it ends, in milliseconds since 1970.
    pub ends_at: i64,
    /// How it ends.
    pub outcome: PredictionOutcome,
    /// The client's own request id; `None` if it sent no valid one.
    pub client_request_id: Option<String>,
    /// The secret that signs its links. A new secret expires all earlier links.
    pub secret: u64,
    /// Whether the client received a usable response to the create.
    pub is_answered: bool,
}

/// How a prediction ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PredictionOutcome {
    /// With a clip.
    Clip,
    /// With a failure on the provider's side.
    Failed,
    /// The runner rejects the input: a file is missing, or, at fal.ai only, a field is invalid. The
    /// other APIs validate fields before they accept a create.
    InputRejected(FieldError),
    /// The client cancelled it.
    Cancelled,
}

impl Prediction {
    /// Returns whether it has ended, with any outcome.
    pub fn has_ended(&self, now: i64) -> bool {
        self.ends_at <= now
    }

    /// Returns whether it still waits for a runner.
    pub fn is_queued(&self, now: i64) -> bool {
        now < self.starts_at
    }

    /// Returns the length of the requested clip, in seconds.
    pub fn clip_seconds(&self) -> i64 {
        rules::clip_seconds(&self.input)
    }

    /// Returns the processing time in seconds, without the time in the queue.
    pub fn processing_s(&self) -> f64 {
        Duration::from_millis(u64::try_from(self.ends_at - self.starts_at).unwrap_or(0))
            .as_secs_f64()
    }

    /// Returns the amount billed at its end, in micro-dollars: its price if it ends with a clip,
    /// else 0.
    pub fn charged(&self) -> i64 {
        if self.outcome == PredictionOutcome::Clip {
            self.price
        } else {
            0
        }
    }

    /// Expires all links that were issued so far.
    pub fn expire_links(&mut self) {
        self.secret = self.secret.wrapping_add(1);
    }

    /// Returns the signature of a link that is valid until `expires`, in seconds since 1970.
    pub fn signature(&self, expires: i64) -> String {
        format!(
            "{:016x}",
            fastrand::Rng::with_seed(self.secret ^ expires.unsigned_abs()).u64(..)
        )
    }
}
