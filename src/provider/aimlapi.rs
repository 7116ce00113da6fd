//! The adapter for AI/ML API.
//!
//! Sources: the model page of Kling 1.0 ("model page"), the API documentation ("documented"), the
//! official Python client, and captured responses ("seen by users"). What is marked "assumed" has
//! no source.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::header::HeaderMap;
use serde_json::Value;
use url::Url;

use crate::clock::Clock;
use crate::domain::{CostReport, Failure, Money, PredictionHandle, ProviderName};
use crate::link_client::ProxiedLinks;

use super::classify::{classify_submit, classify_unreadable, describe, read_status};
use super::clip_link::{done, find_clip_url};
use super::history::{EntryContent, History, HistoryEntry, HistoryQuery};
use super::history_pages::{HISTORY_PAGE, HistoryPages, MAX_PAGES, history_too_long, read_entries};
use super::http::{ApiClient, ApiResponse, Auth, SetupError, append_segments, is_loopback};
use super::json::{get, get_balance, get_credits, get_text, get_time, get_usd, sanitize};
use super::named_prediction::{IdPlaces, names_prediction, read_prediction_id};
use super::probe::{Probe, probe, probe_window};
use super::timeouts::Timeouts;
use super::{Acceptance, ApiKey, Cancellation, PollResult, Provider, Submission};

const NAME: ProviderName = ProviderName::Aimlapi;

/// `id` and the header are documented, `generation_id` is in some documented examples, the other places
/// are assumed.
const ID_PLACES: IdPlaces = IdPlaces {
    body: &[
        &["id"],
        &["generation_id"],
        &["inference_id"],
        &["data", "id"],
        &["data", "generation_id"],
        &["generation", "id"],
    ],
    urls: &[],
    headers: &["x-inference-id"],
};

/// The AI/ML API.
pub(crate) struct Aimlapi {
    base: Url,
    client: ApiClient,
}

impl Aimlapi {
    /// Builds an adapter. `base` is `https://api.aimlapi.com`.
    pub(crate) fn new(
        base: Url,
        key: &ApiKey,
        clock: Arc<dyn Clock>,
        timeouts: Timeouts,
    ) -> Result<Self, SetupError> {
        let is_local = is_loopback(&base);
        // The API has no uploads, so that it names no address that is requested here.
        let proxied = ProxiedLinks::Refused;
        let client = ApiClient::new(NAME, key, Auth::Bearer, clock, timeouts, proxied, is_local)?;
        Ok(Self { base, client })
    }

    fn generations_url(&self) -> Url {
        append_segments(&self.base, ["v2", "video", "generations"])
    }
}

#[async_trait]
impl Provider for Aimlapi {
    fn name(&self) -> ProviderName {
        NAME
    }

    async fn submit(&self, submission: &Submission) -> Result<Acceptance, Failure> {
        let mut body = submission.request.clone();
        let Some(fields) = body.as_object_mut() else {
            return Err(Failure::Rejected {
                reason: format!("the input for {NAME} is not an object"),
            });
        };
        fields.insert("model".into(), Value::from(submission.wire_model.as_str()));
        // Documented as stored and searchable, but not as deduplicating a repeated submission.
        let headers = [("X-Client-Request-Id", submission.client_token.as_str())];
        let response = self
            .client
            .submit(self.generations_url(), &headers, &body)
            .await?;
        parse_submit(&response)
    }

    async fn poll(
        &self,
        prediction: &PredictionHandle,
        _wire_model: &str,
    ) -> Result<PollResult, Failure> {
        let mut url = self.generations_url();
        // Some documented ids contain `:` and `/`, so the id is percent-encoded.
        url.query_pairs_mut()
            .append_pair("generation_id", &prediction.prediction_id);
        let response = self.client.get(url).await?;
        ID_PLACES.check(NAME, &response, &prediction.prediction_id)?;
        parse_poll(&response, self.is_loopback())
    }

    async fn history(&self, query: &HistoryQuery) -> Result<History, Failure> {
        let mut pages = HistoryPages::default();
        let mut offset = 0;
        for _ in 0..MAX_PAGES {
            // Documented: the log of all requests, with the `X-Client-Request-Id` of each.
            let mut url = append_segments(&self.base, ["v2", "logs"]);
            url.query_pairs_mut()
                .append_pair("start", &query.from.to_string())
                .append_pair("end", &query.to.to_string())
                .append_pair("limit", &HISTORY_PAGE.to_string())
                .append_pair("offset", &offset.to_string());
            let response = pages.get_page(NAME, &self.client, &url, "data").await?;
            let entries = read_entries(NAME, &response, "data")?;
            let of_model = entries
                .iter()
                .filter_map(|entry| parse_history_entry(entry, &query.wire_model));
            of_model.for_each(|entry| pages.add(entry));
            offset += entries.len();
            let has_more = response
                .json
                .as_ref()
                .and_then(|body| get(body, &["pagination", "has_more"]));
            match has_more.and_then(Value::as_bool) {
                Some(true) if entries.is_empty() => {
                    return Err(classify_unreadable(NAME, &response, "a history"));
                }
                Some(true) => {}
                // If the response does not report it, only an empty page is the end.
                None if !entries.is_empty() => {}
                // The documented row status is `succeeded` or `failed`, so running generations are
                // taken as not listed (assumed).
                _ => return Ok(pages.into_history(false)),
            }
        }
        Err(history_too_long(NAME))
    }

    async fn cancel(
        &self,
        _prediction: &PredictionHandle,
        _wire_model: &str,
    ) -> Result<Cancellation, Failure> {
        Err(Failure::Rejected {
            reason: format!("{NAME} documents no way to cancel a video"),
        })
    }

    async fn balance(&self) -> Option<Money> {
        // Documented, for ordinary keys.
        let url = append_segments(&self.base, ["v2", "billing"]);
        let response = self.client.get(url).await.ok()?;
        get_balance(response.success()?, &["current_balance"])
    }

    async fn probe(&self, _wire_model: &str, now: Timestamp) -> Vec<Probe> {
        let (start, end) = probe_window(now);
        let mut url = append_segments(&self.base, ["v2", "logs"]);
        url.query_pairs_mut()
            .append_pair("start", &start)
            .append_pair("end", &end)
            .append_pair("limit", "1");
        let is_history = |response: &ApiResponse| read_entries(NAME, response, "data").is_ok();
        vec![probe("api", &self.client, url, is_history).await]
    }

    fn is_loopback(&self) -> bool {
        is_loopback(&self.base)
    }
}

/// Parses a response to a submission, of any status. A success without a generation id is
/// [`Failure::Unknown`].
pub(super) fn parse_submit(response: &ApiResponse) -> Result<Acceptance, Failure> {
    let body = response.json.as_ref();
    // `id` is on the model page; `generation_id` is in some documented examples.
    let keys = ["id", "generation_id"];
    let id = body.and_then(|body| read_prediction_id(body, &keys));
    match id {
        _ if !response.status.is_success() => {
            // An error that names a generation does not prove that there is none.
            let is_own_error =
                body.is_some_and(|body| !names_prediction(body, &keys) && is_own_error(body));
            Err(classify_submit(NAME, response, is_own_error))
        }
        Some(id) => Ok(Acceptance {
            prediction: PredictionHandle::from_id(id),
            early_cost: read_cost(response),
        }),
        None => Err(Failure::Unknown {
            reason: format!("{NAME} returned no generation id for a submission"),
        }),
    }
}

/// Parses an entry of the log; `None` if it is certainly of another model.
pub(super) fn parse_history_entry(entry: &Value, wire_model: &str) -> Option<HistoryEntry> {
    let is_other_model = get_text(entry, &["model"]).is_some_and(|model| model != wire_model);
    let content = match entry.get("client_request_id") {
        Some(token) => EntryContent::ClientToken(token.as_str().map(str::to_owned)),
        None if is_other_model => return None,
        // A log without our token cannot prove that a submission is absent.
        None => EntryContent::Input(None),
    };
    Some(HistoryEntry {
        prediction_id: read_prediction_id(entry, &["inference_id"]),
        submitted_at: get_time(entry, &["created"]),
        content,
        // Documented: failed requests are billed nothing.
        is_unbilled: get_text(entry, &["status"]).as_deref() == Some("failed"),
        is_running: false,
    })
}

/// Parses a response to a poll, of any status; 404 is [`PollResult::Missing`]. With
/// `allow_loopback`, the clip's URL may be on this machine.
pub(super) fn parse_poll(
    response: &ApiResponse,
    allow_loopback: bool,
) -> Result<PollResult, Failure> {
    // Seen by users: `Inference not found`, also right after a submission that was accepted.
    if response.status == 404 {
        return Ok(PollResult::Missing {
            reason: describe(NAME, response),
        });
    }
    let (body, status) = read_status(NAME, response, "a generation")?;
    Ok(match status.to_ascii_lowercase().as_str() {
        // `completed` is on the model page, `succeeded` in documented examples, `success` assumed.
        "completed" | "succeeded" | "success" => {
            // `video` is documented as an object, `null`, or a list; `output` is assumed.
            let places = ["video", "output"];
            let places = places.iter().filter_map(|place| get(body, &[place]));
            let output_url = find_clip_url(places, allow_loopback);
            done(output_url, body, read_cost(response), None)
        }
        // `error` is on the model page, the others are assumed.
        "error" | "failed" | "cancelled" | "canceled" => {
            let message = response
                .error_message
                .as_deref()
                .unwrap_or("no reason given");
            PollResult::Failed {
                reason: format!("{NAME}: {status}: {message}"),
                // Documented: the hold on the credits is rolled back.
                cost: Some(CostReport::ZERO),
                retryable: false,
            }
        }
        // `queued` and `generating` are on the model page, the others in older documentation and in
        // the source of the official client.
        "queued" | "generating" | "waiting" | "active" | "processing" => PollResult::Running,
        _ => {
            tracing::warn!(
                status = sanitize(&status),
                "the generation has an unknown status, treating it as running"
            );
            PollResult::Running
        }
    })
}

/// Returns whether a body is the API's own error.
///
/// The present form, seen by users, has a named `error`. The older form, which is documented, has a
/// `message` beside what identifies the request. Gateways write a `message` alone.
fn is_own_error(body: &Value) -> bool {
    let has_request_id = ["requestId", "statusCode", "timestamp"]
        .iter()
        .any(|key| get(body, &[key]).is_some());
    get(body, &["error", "name"]).is_some() || (has_request_id && get(body, &["message"]).is_some())
}

/// Returns the cost that a response reports: in dollars, else in credits, in the body, else in the
/// headers. All of these are documented, as are their absence and `null`.
///
/// A clip is never free, so a 0 is taken as not reported.
fn read_cost(response: &ApiResponse) -> Option<CostReport> {
    let usage = response
        .json
        .as_ref()
        .and_then(|body| get(body, &["meta", "usage"]));
    let usd = |value: &Value, path: &[&str]| {
        get_usd(value, path)
            .map(CostReport::Usd)
            .filter(is_positive)
    };
    let credits = |value: &Value, path: &[&str]| get_credits(value, path).filter(is_positive);
    let in_body = usage.and_then(|usage| {
        usd(usage, &["usd_spent"])
            .or_else(|| credits(usage, &["credits_used"]))
            .or_else(|| credits(usage, &["tokens_used"]))
    });
    let header = |name| get_header(&response.headers, name);
    in_body
        .or_else(|| usd(&header("x-aimlapi-usd-spent")?, &[]))
        .or_else(|| credits(&header("x-aimlapi-credits-used")?, &[]))
}

fn is_positive(report: &CostReport) -> bool {
    !matches!(
        report,
        CostReport::Usd(Money::ZERO) | CostReport::Credits(0)
    )
}

/// Returns a header as a JSON string, so that it is read by the same functions as a body.
fn get_header(headers: &HeaderMap, name: &str) -> Option<Value> {
    headers.get(name)?.to_str().ok().map(Value::from)
}
