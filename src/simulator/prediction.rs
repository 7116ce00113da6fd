//! One accepted create, from its acceptance to its end.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Api;
use super::rules::{self, Wrong};

/// A create that is to be accepted: what it asks for, and what becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewPrediction {
    /// Who is to take it.
    pub api: Api,
    /// The model's id there.
    pub model: String,
    /// Its input.
    pub input: Map<String, Value>,
    /// The client's own name for it.
    pub client_request_id: Option<String>,
    /// What a clip costs, in micro-dollars.
    pub price: i64,
    /// How long it is worked on.
    pub takes: Duration,
    /// How it ends.
    pub end: End,
}

/// One accepted create.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Who took it.
    pub api: Api,
    /// Its id.
    pub id: String,
    /// Its model's id.
    pub model: String,
    /// Its input.
    pub input: Map<String, Value>,
    /// What a clip costs, in micro-dollars.
    pub price: i64,
    /// When it was accepted, in milliseconds since 1970.
    pub accepted_at: i64,
    /// When work on it begins.
    pub starts_at: i64,
    /// When it ends.
    pub ends_at: i64,
    /// How it ends.
    pub end: End,
    /// The client's own name for it.
    pub client_request_id: Option<String>,
    /// What its links are signed with; a new one lets the old links expire.
    pub secret: u64,
}

/// How a prediction ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With a clip.
    Clip,
    /// The provider failed.
    Failure,
    /// The input was refused by the runner, which only fal.ai does so late.
    Refusal(Wrong),
    /// It was cancelled.
    Cancelled,
}

impl Prediction {
    /// Tells whether it has not ended.
    pub fn is_open(&self, now: i64) -> bool {
        now < self.ends_at
    }

    /// Tells whether work on it has not begun.
    pub fn is_waiting(&self, now: i64) -> bool {
        now < self.starts_at
    }

    /// Tells the length of the clip it asks for, in seconds.
    pub fn seconds(&self) -> i64 {
        rules::seconds(&self.input)
    }

    /// Tells how long it was worked on, in seconds.
    pub fn worked_s(&self) -> f64 {
        Duration::from_millis(u64::try_from(self.ends_at - self.starts_at).unwrap_or(0))
            .as_secs_f64()
    }

    /// What is billed for it, in micro-dollars, once it has ended.
    pub fn charged(&self) -> i64 {
        if self.end == End::Clip { self.price } else { 0 }
    }

    /// Lets the links that were given expire.
    pub fn expire_links(&mut self) {
        self.secret = self.secret.wrapping_add(1);
    }

    /// Signs a link that is good until a time in seconds since 1970.
    pub fn signature(&self, expires: i64) -> String {
        format!(
            "{:016x}",
            fastrand::Rng::with_seed(self.secret ^ expires.unsigned_abs()).u64(..)
        )
    }
}
