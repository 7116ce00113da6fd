//! Wire formats common to the three APIs: timestamps, dollar amounts, pages of a history.

use std::collections::HashMap;

use axum::http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::api::Api;
use crate::prediction::Prediction;
use crate::world::World;

/// Maximum number of rows in one page of any history.
const MAX_PAGE_ROWS: usize = 100;

/// The query parameters of an API's history.
pub(super) struct HistoryQuery {
    pub(super) api: Api,
    /// The name of the parameter for the start of the time range.
    pub(super) from: &'static str,
    /// The name of the parameter for the end of the time range.
    pub(super) to: &'static str,
    /// The name of the parameter for the index of the first row, from 0.
    pub(super) offset: &'static str,
    /// Length of the time range if no start is given, in days.
    pub(super) default_days: i64,
}

/// One page of a history.
pub(super) struct Page {
    pub(super) rows: Vec<Prediction>,
    /// Number of rows on all pages.
    pub(super) total: usize,
    /// Index of the page's first row, from 0.
    pub(super) offset: usize,
    /// Maximum number of rows on the page.
    pub(super) limit: usize,
}

impl HistoryQuery {
    /// Returns the requested page of the predictions that satisfy `filter`, newest first. The error
    /// is a message that names a parameter that does not parse.
    pub(super) fn page(
        &self,
        world: &World,
        query: &HashMap<String, String>,
        now: i64,
        filter: impl Fn(&Prediction) -> bool,
    ) -> Result<Page, String> {
        let default_from = now - self.default_days * 24 * 60 * 60 * 1000;
        let from = parse_param(query, self.from, parse_rfc3339)?.unwrap_or(default_from);
        let to = parse_param(query, self.to, parse_rfc3339)?.unwrap_or(now);
        let offset = parse_param(query, self.offset, |text| text.parse().ok())?.unwrap_or(0);
        let limit = parse_param(query, "limit", |text| text.parse().ok())?
            .unwrap_or(50)
            .clamp(1, MAX_PAGE_ROWS);
        let matches: Vec<_> = world
            .history(self.api, from, to, now)
            .filter(|prediction| filter(prediction))
            .collect();
        let total = matches.len();
        Ok(Page {
            rows: matches.into_iter().skip(offset).take(limit).collect(),
            total,
            offset,
            limit,
        })
    }
}

impl Page {
    /// Returns whether another page follows.
    pub(super) fn has_more(&self) -> bool {
        self.next_offset() < self.total
    }

    /// Returns the index of the first row after this page.
    pub(super) fn next_offset(&self) -> usize {
        self.offset + self.rows.len()
    }
}

/// Returns the key of a `Bearer` authorization header.
pub(super) fn bearer_key(headers: &HeaderMap) -> Option<String> {
    headers
        .get("authorization")?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
        .map(str::to_owned)
}

/// Formats micro-dollars as a JSON number of dollars, without rounding.
pub(super) fn dollars(micros: i64) -> Value {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

/// Formats milliseconds since 1970 as an RFC 3339 timestamp.
pub(super) fn rfc3339(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| String::new(), |time| time.to_string())
}

/// Returns the fields of a JSON object; none if the value is not an object.
pub(super) fn fields_of(body: &Value) -> Map<String, Value> {
    body.as_object().cloned().unwrap_or_default()
}

/// Parses an RFC 3339 timestamp to milliseconds since 1970.
fn parse_rfc3339(text: &str) -> Option<i64> {
    text.parse::<Timestamp>()
        .ok()
        .map(Timestamp::as_millisecond)
}

fn parse_param<T>(
    query: &HashMap<String, String>,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, String> {
    let Some(text) = query.get(name) else {
        return Ok(None);
    };
    parse(text)
        .map(Some)
        .ok_or_else(|| format!("invalid value for {name}"))
}
