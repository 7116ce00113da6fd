//! What the simulated providers accepted, billed and refused: the reference that tests compare our
//! costs with.
//!
//! `/_simulator/ledger` and `/_simulator/requests` serve these types as JSON. Their keys are a
//! public contract.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{Api, Call};
use crate::fault::Fault;
use crate::prediction::{Prediction, PredictionOutcome};

/// One accepted create.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The API that accepted it.
    pub api: Api,
    /// The prediction id that the API returned.
    pub prediction_id: String,
    /// The provider's id of the requested model.
    pub model: String,
    /// The input exactly as received.
    pub input: Value,
    /// The client's own request id; `None` if it sent no valid one.
    pub client_request_id: Option<String>,
    /// When it was accepted, in milliseconds since 1970.
    pub accepted_at: i64,
    /// Price of a clip in micro-dollars.
    pub price: i64,
    /// The billed amount in micro-dollars: 0 if the prediction fails or was cancelled.
    pub charged: i64,
    /// Whether the prediction ended, or will end, with a clip.
    pub succeeds: bool,
    /// Number of polls of this prediction.
    pub polls: u32,
    /// Number of downloads of its clip.
    pub downloads: u32,
}

/// One uploaded file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredFile {
    /// The API that stores it.
    pub api: Api,
    /// Its name in the API's storage.
    pub name: String,
    /// The media type it was uploaded with.
    pub content_type: String,
    /// Length in bytes.
    pub bytes: usize,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// Everything that the simulated providers accepted, and counters of what they refused.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ledger {
    /// The accepted creates, in order of acceptance.
    pub entries: Vec<Entry>,
    /// The uploaded files, in order of upload.
    pub files: Vec<StoredFile>,
    /// Create calls received, including those that were refused.
    pub creates_seen: u64,
    /// Creates refused because too many predictions were running.
    pub over_slots: u64,
    /// Creates refused because too many came within the rate window.
    pub over_rate: u64,
    /// Calls that came before the time given by an earlier `Retry-After` had passed.
    #[serde(rename = "impatient")]
    pub ignored_retry_after: u64,
    /// Calls refused because of their key.
    pub unauthorized: u64,
    /// Downloads, uploads and followed redirects that carried a key. A key must only be sent to the
    /// API itself.
    pub leaked_keys: u64,
}

impl Entry {
    pub(crate) fn from_prediction(prediction: &Prediction) -> Self {
        Self {
            api: prediction.api,
            prediction_id: prediction.id.clone(),
            model: prediction.model.clone(),
            input: Value::Object(prediction.input.clone()),
            client_request_id: prediction.client_request_id.clone(),
            accepted_at: prediction.accepted_at,
            price: prediction.price,
            charged: prediction.charged(),
            succeeds: prediction.outcome == PredictionOutcome::Clip,
            polls: 0,
            downloads: 0,
        }
    }
}

impl Ledger {
    /// Returns the billed amount of all entries, in micro-dollars.
    pub fn charged(&self) -> i64 {
        self.entries.iter().map(|entry| entry.charged).sum()
    }
}

/// Counters of received calls and drawn faults. Creates that a limit refused are counted in the
/// [`Ledger`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct Requests {
    /// API calls with an accepted key, file uploads and clip downloads.
    pub calls: BTreeMap<Api, BTreeMap<Call, u64>>,
    /// Drawn faults. A call that is refused for another reason may not show its fault.
    pub faults: BTreeMap<Api, BTreeMap<Fault, u64>>,
}

impl Requests {
    /// Counts a call and returns its number among the calls of its kind at this API, from 1.
    pub(crate) fn count_call(&mut self, api: Api, call: Call) -> u64 {
        let count = self.calls.entry(api).or_default().entry(call).or_default();
        *count += 1;
        *count
    }

    /// Returns the number of calls of all kinds at all APIs.
    pub fn total(&self) -> u64 {
        self.calls.values().flat_map(BTreeMap::values).sum()
    }

    pub(crate) fn count_fault(&mut self, api: Api, fault: Fault) {
        *self
            .faults
            .entry(api)
            .or_default()
            .entry(fault)
            .or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_keys_of_the_ledger_are_stable() {
        let ledger = serde_json::to_value(Ledger::default()).unwrap();
        let keys: Vec<&String> = ledger.as_object().unwrap().keys().collect();
        let expected = [
            "entries",
            "files",
            "creates_seen",
            "over_slots",
            "over_rate",
            "impatient",
            "unauthorized",
            "leaked_keys",
        ];
        assert_eq!(keys.len(), expected.len());
        assert!(
            expected.iter().all(|key| ledger.get(key).is_some()),
            "{keys:?}"
        );
    }
}
