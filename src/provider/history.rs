//! What a provider's history lists, and whether an entry is a given submission.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::domain::client_token;

use super::json::{InputMatch, compare_inputs};
use super::submission::Submission;

/// The part of a provider's history to read.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryQuery {
    /// The provider's id of the model. A history that does not tell models apart is read whole.
    pub wire_model: String,
    /// Start of the period, by the provider's clock.
    pub from: Timestamp,
    /// End of the period.
    pub to: Timestamp,
    /// The predictions whose content need not be read, because it is known what they are.
    pub known: BTreeSet<String>,
}

/// A history that was read to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// Its entries, in any order. An entry that is certainly of another model is left out.
    pub entries: Vec<HistoryEntry>,
    /// Whether it lists predictions that are still running.
    pub lists_running: bool,
    /// How far our clock is ahead of the provider's; `None` if it named no time.
    pub clock_ahead: Option<SignedDuration>,
}

/// One prediction in a history.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    /// The provider's id of the prediction; `None` if the entry has none.
    pub prediction_id: Option<String>,
    /// When it was submitted, by the provider's clock; `None` if that is not shown.
    pub submitted_at: Option<Timestamp>,
    /// What it shows of the submission.
    pub content: EntryContent,
    /// Whether it is certain that the prediction was not billed.
    pub is_unbilled: bool,
    /// Whether the entry shows that the prediction is still running.
    pub is_running: bool,
}

/// What an entry of a history shows of the submission.
#[derive(Clone, Debug, PartialEq)]
pub enum EntryContent {
    /// The input, as the provider stored it; `None` if it is not shown.
    Input(Option<Value>),
    /// The client token that was sent with it; `None` if it had none.
    ClientToken(Option<String>),
}

impl HistoryEntry {
    /// Creates the entry of a prediction whose content is not read, because it is known.
    pub(super) fn known(prediction_id: String) -> Self {
        Self {
            prediction_id: Some(prediction_id),
            submitted_at: None,
            content: EntryContent::Input(None),
            is_unbilled: false,
            is_running: false,
        }
    }

    /// Creates an entry that shows nothing of its prediction.
    pub(super) fn without_id(submitted_at: Option<Timestamp>) -> Self {
        Self {
            prediction_id: None,
            submitted_at,
            content: EntryContent::Input(None),
            is_unbilled: false,
            is_running: false,
        }
    }

    /// Returns whether the entry is known to be a prediction for a request, no matter what submitted it, and may
    /// be billed. `digest` is that of the request.
    pub fn asks_for(&self, request: &Value, digest: i64) -> bool {
        let is_same = match &self.content {
            EntryContent::ClientToken(Some(token)) => client_token::has_digest(token, digest),
            EntryContent::ClientToken(None) => false,
            EntryContent::Input(input) => {
                compare_inputs(request, input.as_ref()) == InputMatch::Same
            }
        };
        is_same && !self.is_unbilled
    }

    /// Returns whether the entry is a submission. A prediction without an input that was not billed
    /// counts as another: submitting that again pays for nothing twice.
    pub fn compare(&self, submission: &Submission) -> InputMatch {
        let compared = match &self.content {
            EntryContent::ClientToken(Some(token)) if *token == submission.client_token => {
                InputMatch::Same
            }
            EntryContent::ClientToken(_) => InputMatch::Different,
            EntryContent::Input(input) => compare_inputs(&submission.request, input.as_ref()),
        };
        match compared {
            InputMatch::Inconclusive if self.is_unbilled => InputMatch::Different,
            InputMatch::Same if self.prediction_id.is_none() => InputMatch::Inconclusive,
            compared => compared,
        }
    }
}
