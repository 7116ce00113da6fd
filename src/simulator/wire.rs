//! What the three APIs write alike: times, dollars, pages of a history.

use std::collections::HashMap;

use axum::http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Api;
use super::world::{Prediction, World};

/// The key behind `Bearer`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<String> {
    headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ").map(str::to_owned)
}

/// One page of a history, by the names its query has for model, start and end.
pub(super) fn page(
    world: &World,
    api: Api,
    query: &HashMap<String, String>,
    [model, from, to]: [&str; 3],
    keep: impl Fn(&Prediction) -> bool,
) -> Vec<Prediction> {
    let at = |name: &str, default: i64| {
        let time = query.get(name).and_then(|text| text.parse::<Timestamp>().ok());
        time.map_or(default, Timestamp::as_millisecond)
    };
    let number =
        |name: &str, default: usize| query.get(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let rows = world.history(api, query.get(model).map(String::as_str), at(from, 0), at(to, i64::MAX));
    let rows = rows.into_iter().filter(|known| keep(known));
    rows.skip(number("offset", 0)).take(number("limit", 50).min(100)).cloned().collect()
}

/// Micro-dollars as a JSON number of dollars.
pub(super) fn dollars(micros: i64) -> Value {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

/// A time as RFC 3339.
pub(super) fn time(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| String::new(), |time| time.to_string())
}

/// An input object, where a body is one.
pub(super) fn object(body: &Value) -> Map<String, Value> {
    body.as_object().cloned().unwrap_or_default()
}
