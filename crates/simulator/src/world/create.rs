//! The handling of a create, common to the three APIs: limits, price, processing time and outcome.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::prediction::{NewPrediction, Prediction, PredictionOutcome};
use crate::rules::{FieldError, FieldProblem, ModelRules};

use super::World;
use super::capacity::LimitExceeded;

/// Relative spread of processing times: each is uniform within this fraction of the typical time.
const PROCESSING_SPREAD: f64 = 0.15;

impl World {
    /// Accepts a create, or returns the limit that refuses it. `fails` makes the prediction fail
    /// unbilled.
    ///
    /// An invalid input is accepted too and rejected only in its result, as fal.ai does. The other
    /// APIs validate the fields before they call this, so only a missing file is rejected in their
    /// results.
    pub fn create(
        &mut self,
        rules: &'static ModelRules,
        input: Map<String, Value>,
        client_request_id: Option<String>,
        fails: bool,
        now: i64,
    ) -> Result<&Prediction, LimitExceeded> {
        let api = rules.api;
        self.check_limits(api, now)?;
        let random_factor = self.next_prediction_rng(api).f64();
        let spread = 1.0 + PROCESSING_SPREAD * (2.0 * random_factor - 1.0);
        let processing =
            Duration::try_from_secs_f64(rules.typical_s * spread / self.options().speed.max(0.001));
        let missing_file = self.storage().field_without_file(api, &input);
        let missing_file = missing_file.map(|field| FieldError {
            field: field.to_owned(),
            problem: FieldProblem::FileNotFound,
        });
        let outcome = match rules
            .validate(&input)
            .and_then(|()| missing_file.map_or(Ok(()), Err))
        {
            Err(error) => PredictionOutcome::InputRejected(error),
            Ok(()) if fails => PredictionOutcome::Failed,
            Ok(()) => PredictionOutcome::Clip,
        };
        let price = rules.price(&input) * self.options().price_factor;
        Ok(self.accept(
            NewPrediction {
                api,
                model: rules.id.to_owned(),
                input,
                client_request_id,
                price,
                processing: processing.unwrap_or_default(),
                outcome,
            },
            now,
        ))
    }
}
