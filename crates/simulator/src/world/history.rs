//! The history of an account.

use std::time::Duration;

use serde_json::json;

use crate::api::Api;
use crate::history::HistoryScope;
use crate::prediction::Prediction;

use super::{World, millis};

impl World {
    /// Returns the predictions that the history of an API lists at `now`, of those that were accepted
    /// from `from` to `to`, both inclusive, newest first.
    pub fn history(
        &self,
        api: Api,
        from: i64,
        to: i64,
        now: i64,
    ) -> impl Iterator<Item = Prediction> {
        let scope = self.options.history_scope;
        let lag = Duration::try_from_secs_f64(self.options.history_lag_s).map_or(i64::MAX, millis);
        let matches = move |prediction: &&Prediction| {
            prediction.api == api
                && (from..=to).contains(&prediction.accepted_at)
                && prediction.accepted_at.saturating_add(lag) <= now
                && (scope != HistoryScope::Answered || prediction.is_answered)
        };
        let listed = move |prediction: &Prediction| match scope {
            HistoryScope::All | HistoryScope::Answered => prediction.clone(),
            HistoryScope::OtherAccount => of_other_account(prediction),
        };
        self.predictions.iter().rev().filter(matches).map(listed)
    }

    /// Marks the predictions after the first `count` as ones whose creates were not answered.
    pub fn mark_unanswered(&mut self, count: usize) {
        for prediction in &mut self.predictions[count..] {
            prediction.is_answered = false;
        }
    }
}

/// Returns a prediction that somebody else has made at the same time.
fn of_other_account(prediction: &Prediction) -> Prediction {
    let mut other = prediction.clone();
    other.id = other.id.chars().rev().collect();
    other.client_request_id = None;
    other
        .input
        .insert("prompt".into(), json!("somebody else's prompt"));
    other
}
