//! What the simulated providers took and billed: what a test holds the books against.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::prediction::{End, Prediction};
use super::{Api, Call, Fault};

/// One accepted create.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Who took it.
    pub api: Api,
    /// Its id.
    pub prediction_id: String,
    /// The model it was for.
    pub model: String,
    /// Its input as it came.
    pub input: Value,
    /// The client's own name for it, where one was sent.
    pub client_request_id: Option<String>,
    /// When it was accepted, in milliseconds since 1970.
    pub accepted_at: i64,
    /// Its price in micro-dollars.
    pub price: i64,
    /// What is billed for it, in micro-dollars: nothing where it failed or was cancelled.
    pub charged: i64,
    /// Whether it ended, or will end, with a clip.
    pub succeeds: bool,
    /// Looks at it.
    pub polls: u32,
    /// Downloads of its clip.
    pub downloads: u32,
}

/// One uploaded file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredFile {
    /// Who has it.
    pub api: Api,
    /// What it is called there.
    pub name: String,
    /// Its media type.
    pub content_type: String,
    /// Its length.
    pub bytes: usize,
    /// The SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// Everything the simulated providers took.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ledger {
    /// The accepted creates, in order.
    pub entries: Vec<Entry>,
    /// The files that were uploaded, in order.
    pub files: Vec<StoredFile>,
    /// Create calls seen, refused ones among them.
    pub creates_seen: u64,
    /// Creates refused because too many were running.
    pub over_slots: u64,
    /// Creates refused because too many came within 60 seconds.
    pub over_rate: u64,
    /// Calls that came before the time their caller was told to wait for.
    pub impatient: u64,
    /// Calls refused for their key.
    pub unauthorized: u64,
    /// Downloads, and calls that followed a redirect, that carried a key: it should have stayed with the API.
    pub leaked_keys: u64,
}

impl Entry {
    pub(super) fn of(prediction: &Prediction) -> Self {
        Self {
            api: prediction.api,
            prediction_id: prediction.id.clone(),
            model: prediction.model.clone(),
            input: Value::Object(prediction.input.clone()),
            client_request_id: prediction.client_request_id.clone(),
            accepted_at: prediction.accepted_at,
            price: prediction.price,
            charged: prediction.charged(),
            succeeds: prediction.end == End::Clip,
            polls: 0,
            downloads: 0,
        }
    }
}

impl Ledger {
    /// What all entries are billed, in micro-dollars.
    pub fn charged(&self) -> i64 {
        self.entries.iter().map(|entry| entry.charged).sum()
    }
}

/// Everything the simulated providers were asked, and what went wrong on purpose: what a limit refused is in the ledger.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Requests {
    /// The calls whose key was good, and the downloads.
    pub calls: BTreeMap<Api, BTreeMap<Call, u64>>,
    /// The faults.
    pub faults: BTreeMap<Api, BTreeMap<Fault, u64>>,
}

impl Requests {
    /// Counts a call, and tells which of its kind it is.
    pub(super) fn count_call(&mut self, api: Api, call: Call) -> u64 {
        let count = self.calls.entry(api).or_default().entry(call).or_default();
        *count += 1;
        *count
    }

    /// Tells how many calls of any kind there were.
    pub fn total(&self) -> u64 {
        self.calls.values().flat_map(BTreeMap::values).sum()
    }

    pub(super) fn count_fault(&mut self, api: Api, fault: Fault) {
        *self
            .faults
            .entry(api)
            .or_default()
            .entry(fault)
            .or_default() += 1;
    }
}
