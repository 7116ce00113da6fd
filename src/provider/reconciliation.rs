//! What is needed to search a history for a lost submission, and what the search shows.

use jiff::{SignedDuration, Timestamp};

use crate::domain::PredictionHandle;

use super::submission::Submission;

/// A submission whose response was lost, and what is needed to search for it.
#[derive(Clone, Debug, PartialEq)]
pub struct LostSubmission {
    /// What was submitted.
    pub submission: Submission,
    /// When the intent to submit was committed, by our clock. The request was sent after this.
    pub submitted_at: Timestamp,
    /// Whether this machine's clock was changed since `submitted_at`, which may then be hours off.
    pub clock_was_changed: bool,
    /// The current time, by our clock.
    pub now: Timestamp,
    /// Prediction ids that already belong to a job of this queue, and so cannot be a match.
    pub owned_ids: Vec<String>,
}

impl LostSubmission {
    /// Returns the start and end of the time window in which the provider may have accepted the
    /// submission, by the provider's clock.
    pub fn window(&self) -> (Timestamp, Timestamp) {
        let margin = if self.clock_was_changed {
            CHANGED_CLOCK_MARGIN
        } else {
            WINDOW_MARGIN
        };
        let start = self
            .submitted_at
            .saturating_sub(margin)
            .unwrap_or(Timestamp::MIN);
        let end = self
            .now
            .saturating_add(WINDOW_MARGIN)
            .unwrap_or(Timestamp::MAX);
        (start, end)
    }
}

/// Margin at both ends of a search window, because the provider's clock may differ from ours.
pub(super) const WINDOW_MARGIN: SignedDuration = SignedDuration::from_secs(120);

/// Margin at the start of a search window if this machine's clock was changed in between.
const CHANGED_CLOCK_MARGIN: SignedDuration = SignedDuration::from_hours(24);

/// What a provider's history shows about a lost submission.
#[derive(Clone, Debug, PartialEq)]
pub enum Reconciliation {
    /// Exactly one entry matches.
    Found(PredictionHandle),
    /// Several entries match, by prediction id; the user has to choose.
    Ambiguous(Vec<String>),
    /// No entry matches.
    Absent {
        /// Whether the history lists predictions that are still running. If it lists only finished
        /// ones, absence is proof only after the processing time.
        lists_running: bool,
    },
}

impl Reconciliation {
    /// Builds the result from the distinct prediction ids that match.
    pub fn from_matches(mut ids: Vec<String>, lists_running: bool) -> Self {
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
