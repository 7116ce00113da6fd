//! A create as the three APIs take it: priced, timed and judged by what each publishes of its models.

use std::time::Duration;

use serde_json::{Map, Value};

use super::prediction::{End, NewPrediction, Prediction};
use super::rules::{Flaw, ModelRules, Wrong};
use super::world::{LimitExceeded, World};

/// Predictions take up to this much more or less than usual.
const SPREAD: f64 = 0.15;

impl World {
    /// Takes a create, or says why there is no room for it.
    pub fn create(
        &mut self,
        rules: &'static ModelRules,
        input: Map<String, Value>,
        client_request_id: Option<String>,
        fails: bool,
        now: i64,
    ) -> Result<&Prediction, LimitExceeded> {
        let api = rules.api;
        self.find_room(api, now)?;
        let spread = 1.0 + SPREAD * (2.0 * self.chance_of_next(api).f64() - 1.0);
        let takes =
            Duration::try_from_secs_f64(rules.typical_s * spread / self.options().speed.max(0.001));
        let missing = self.storage().missing(api, &input);
        let missing = missing.map(|field| Wrong {
            field: field.to_owned(),
            flaw: Flaw::NotFound,
        });
        let end = match rules
            .check(&input)
            .and_then(|()| missing.map_or(Ok(()), Err))
        {
            Err(wrong) => End::Refusal(wrong),
            Ok(()) if fails => End::Failure,
            Ok(()) => End::Clip,
        };
        let price = rules.price(&input);
        let (model, takes) = (rules.id.to_owned(), takes.unwrap_or_default());
        Ok(self.accept(
            NewPrediction {
                api,
                model,
                input,
                client_request_id,
                price,
                takes,
                end,
            },
            now,
        ))
    }
}
