//! What the three APIs write alike: times, dollars, pages of a history.

use std::collections::HashMap;

use axum::http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Api;
use super::prediction::Prediction;
use super::world::World;

/// The most rows that one page of any history has.
const LARGEST_PAGE: usize = 100;

/// How an API's history is asked.
pub(super) struct History {
    pub(super) api: Api,
    /// The names of the parameters for start and end.
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    /// The parameter for the first row, counted from 0.
    pub(super) offset: &'static str,
    /// How far back it looks where no start is given, in days.
    pub(super) days: i64,
}

/// One page of a history.
pub(super) struct Page<'a> {
    pub(super) rows: Vec<&'a Prediction>,
    /// How many rows all pages have.
    pub(super) total: usize,
    pub(super) offset: usize,
    pub(super) limit: usize,
}

impl History {
    /// Finds the page that is asked for, or tells which parameter cannot be read.
    pub(super) fn page<'a>(
        &self,
        world: &'a World,
        query: &HashMap<String, String>,
        now: i64,
        keep: impl Fn(&Prediction) -> bool,
    ) -> Result<Page<'a>, String> {
        let days_ago = now - self.days * 24 * 60 * 60 * 1000;
        let from = read(query, self.from, time_of)?.unwrap_or(days_ago);
        let to = read(query, self.to, time_of)?.unwrap_or(now);
        let offset = read(query, self.offset, |text| text.parse().ok())?.unwrap_or(0);
        let limit = read(query, "limit", |text| text.parse().ok())?
            .unwrap_or(50)
            .clamp(1, LARGEST_PAGE);
        let found: Vec<_> = world
            .history(self.api, from, to)
            .filter(|known| keep(known))
            .collect();
        let rows = found.iter().copied().skip(offset).take(limit).collect();
        Ok(Page {
            rows,
            total: found.len(),
            offset,
            limit,
        })
    }
}

impl Page<'_> {
    /// Tells whether another page follows.
    pub(super) fn has_more(&self) -> bool {
        self.offset + self.rows.len() < self.total
    }
}

/// The key behind `Bearer`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<String> {
    headers
        .get("authorization")?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
        .map(str::to_owned)
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

fn time_of(text: &str) -> Option<i64> {
    text.parse::<Timestamp>()
        .ok()
        .map(Timestamp::as_millisecond)
}

fn read<T>(
    query: &HashMap<String, String>,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, String> {
    let Some(text) = query.get(name) else {
        return Ok(None);
    };
    parse(text)
        .map(Some)
        .ok_or_else(|| format!("{name} cannot be read"))
}
