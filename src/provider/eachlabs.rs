//! The adapter for each::labs.
//!
//! Sources: the model pages of Kling 1.0 and 2.1 ("model page"), the API reference (OpenAPI v1) and
//! the guides ("documented"). What is marked "assumed" has no source.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use crate::clock::Clock;
use crate::domain::{CostReport, Failure, Money, PredictionHandle, ProviderName};
use crate::image::ImageFile;
use crate::link_client::ProxiedLinks;

use super::classify::{
    classify_poll, classify_submit, classify_unreadable, denied_reason, describe, read_status,
};
use super::clip_link::{done, find_clip_url};
use super::history::{EntryContent, History, HistoryEntry, HistoryQuery};
use super::history_pages::{
    HISTORY_PAGE, HistoryPages, MAX_ENTRIES, MAX_PAGES, get_with_retries, history_too_long,
    read_entries,
};
use super::http::{ApiClient, ApiResponse, Auth, SetupError, append_segments, is_loopback};
use super::json::{get, get_balance, get_seconds, get_text, get_time, get_usd, is_true, sanitize};
use super::named_prediction::{IdPlaces, names_prediction, read_prediction_id};
use super::probe::{Probe, probe, probe_window};
use super::storage::{PresignFields, UploadedImage, upload};
use super::timeouts::Timeouts;
use super::{Acceptance, ApiKey, Cancellation, PollResult, Provider, Submission};

const NAME: ProviderName = ProviderName::Eachlabs;

/// Requested retention of an uploaded file: 30 days, longer than a batch waits for the user. The
/// documented range is 60 seconds to 365 days.
const UPLOAD_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// Response of `POST /v1/upload/presign` (documented). The retention is the requested one: the
/// response's `expires_at` may be that of the upload URL, which is valid for 15 minutes.
pub(super) const PRESIGN: PresignFields = PresignFields {
    upload_url: "presigned_url",
    public_url: "public_url",
    headers: "required_headers",
    retention: Some(UPLOAD_RETENTION),
};

/// `id` and `predictionID` are documented, the other places are assumed. `X-Request-Id` names the HTTP
/// request.
const ID_PLACES: IdPlaces = IdPlaces {
    body: &[
        &["id"],
        &["predictionID"],
        &["prediction_id"],
        &["exec_id"],
        &["data", "id"],
        &["data", "predictionID"],
        &["prediction", "id"],
    ],
    urls: &[(&["urls", "get"], "prediction")],
    headers: &["x-prediction-id"],
};

/// The each::labs API.
pub struct Eachlabs {
    base: Url,
    client: ApiClient,
}

impl Eachlabs {
    /// Builds an adapter. `base` is `https://api.eachlabs.ai/v1`.
    ///
    /// The model pages send the key as [`Auth::XApiKey`]; since July 2026 the API reference
    /// documents [`Auth::Bearer`].
    pub fn new(
        base: Url,
        key: &ApiKey,
        auth: Auth,
        clock: Arc<dyn Clock>,
        timeouts: Timeouts,
        proxied: ProxiedLinks,
    ) -> Result<Self, SetupError> {
        let is_local = is_loopback(&base);
        let client = ApiClient::new(NAME, key, auth, clock, timeouts, proxied, is_local)?;
        Ok(Self { base, client })
    }

    fn prediction_url(&self, prediction_id: &str) -> Url {
        append_segments(&self.base, ["prediction", prediction_id])
    }

    /// Lists the executions of a model in a period, by id, each with when it was created. Those whose id
    /// cannot be asked for are added to the history as they are.
    async fn list_executions(
        &self,
        query: &HistoryQuery,
        pages: &mut HistoryPages,
    ) -> Result<BTreeMap<String, Option<Timestamp>>, Failure> {
        let mut ids = BTreeMap::new();
        let mut offset = 0;
        for _ in 0..MAX_PAGES {
            let mut url = append_segments(&self.base, ["executions"]);
            url.query_pairs_mut()
                .append_pair("model", &query.wire_model)
                .append_pair("from", &query.from.to_string())
                .append_pair("to", &query.to.to_string())
                .append_pair("limit", &HISTORY_PAGE.to_string())
                .append_pair("offset", &offset.to_string());
            let response = pages
                .get_page(NAME, &self.client, &url, "executions")
                .await?;
            let entries = read_entries(NAME, &response, "executions")?;
            let known = ids.len();
            for entry in entries {
                match parse_listed(entry) {
                    (Some(id), submitted_at) => {
                        ids.insert(id, submitted_at);
                    }
                    (None, submitted_at) => pages.add(HistoryEntry::without_id(submitted_at)),
                }
            }
            // The documentation ends the list at a page shorter than the limit. A server may return
            // short pages before (assumed), so only a page without a new id is taken as the end.
            if ids.len() == known {
                return Ok(ids);
            }
            if ids.len() > MAX_ENTRIES {
                break;
            }
            offset += entries.len();
        }
        Err(history_too_long(NAME))
    }

    /// Reads what a listed execution was submitted with. The documented history has no inputs, but
    /// each prediction returns its own. That an execution's id is its prediction's id is assumed.
    async fn read_execution(&self, id: String, deadline: Instant) -> Result<HistoryEntry, Failure> {
        let is_definite = |response: &ApiResponse| match &response.json {
            _ if response.status == 404 => Ok(()),
            Some(_) if response.status.is_success() => Ok(()),
            _ => Err(classify_unreadable(NAME, response, "a prediction")),
        };
        let url = self.prediction_url(&id);
        let response = get_with_retries(&self.client, &url, deadline, is_definite).await?;
        ID_PLACES.check(NAME, &response, &id)?;
        Ok(parse_execution(id, &response))
    }
}

/// Parses an entry of the list of executions: its id and when it was created.
pub(super) fn parse_listed(entry: &Value) -> (Option<String>, Option<Timestamp>) {
    let id = read_prediction_id(entry, &["id"]);
    (id, get_time(entry, &["created_at"]))
}

/// Parses what a prediction of the history was submitted with.
pub(super) fn parse_execution(id: String, response: &ApiResponse) -> HistoryEntry {
    let body = response.success();
    HistoryEntry {
        prediction_id: Some(id),
        submitted_at: None,
        content: EntryContent::Input(body.and_then(|body| get(body, &["input"])).cloned()),
        // A documented example of a failure has an empty input.
        is_unbilled: body.is_some_and(has_failed_unbilled),
        is_running: false,
    }
}

#[async_trait]
impl Provider for Eachlabs {
    fn name(&self) -> ProviderName {
        NAME
    }

    async fn submit(&self, submission: &Submission) -> Result<Acceptance, Failure> {
        let body = json!({ "model": submission.wire_model, "input": submission.request });
        // The model pages post to `/prediction/`, with the slash.
        let url = append_segments(&self.base, ["prediction", ""]);
        // Documented as echoed and for logs only: it does not deduplicate.
        let headers = [("X-Request-Id", submission.client_token.as_str())];
        let response = self.client.submit(url, &headers, &body).await?;
        parse_submit(&response)
    }

    async fn poll(
        &self,
        prediction: &PredictionHandle,
        _wire_model: &str,
    ) -> Result<PollResult, Failure> {
        let url = self.prediction_url(&prediction.prediction_id);
        let response = self.client.get(url).await?;
        ID_PLACES.check(NAME, &response, &prediction.prediction_id)?;
        parse_poll(&response, self.is_loopback())
    }

    async fn history(&self, query: &HistoryQuery) -> Result<History, Failure> {
        let mut pages = HistoryPages::default();
        for (id, submitted_at) in self.list_executions(query, &mut pages).await? {
            let entry = if query.known.contains(&id) {
                HistoryEntry::known(id)
            } else {
                self.read_execution(id, pages.deadline).await?
            };
            pages.add(HistoryEntry {
                submitted_at,
                ..entry
            });
        }
        // That running executions are listed is assumed, from the documented `status` filter, which
        // accepts `created` and `starting`.
        Ok(pages.into_history(true))
    }

    async fn cancel(
        &self,
        prediction: &PredictionHandle,
        _wire_model: &str,
    ) -> Result<Cancellation, Failure> {
        // Documented as best effort: the prediction may go on.
        let url = append_segments(
            &self.base,
            ["prediction", &prediction.prediction_id, "cancel"],
        );
        let response = self.client.request_idempotent(Method::POST, url).await?;
        ID_PLACES.check(NAME, &response, &prediction.prediction_id)?;
        if response.status.is_success() {
            Ok(Cancellation::Requested)
        } else {
            Err(classify_poll(NAME, &response))
        }
    }

    async fn balance(&self) -> Option<Money> {
        // Seen by users, not documented, so the field is a guess.
        let url = append_segments(&self.base, ["billing", "balance"]);
        let response = self.client.get(url).await.ok()?;
        let body = response.success()?;
        let fields = [
            "balance",
            "current_balance",
            "available_balance",
            "amount",
            "credits",
        ];
        let places = [body, body.get("data").unwrap_or(&Value::Null)];
        places
            .iter()
            .find_map(|place| fields.iter().find_map(|field| get_balance(place, &[field])))
    }

    async fn probe(&self, wire_model: &str, now: Timestamp) -> Vec<Probe> {
        let (from, to) = probe_window(now);
        let mut url = append_segments(&self.base, ["executions"]);
        url.query_pairs_mut()
            .append_pair("model", wire_model)
            .append_pair("from", &from)
            .append_pair("to", &to)
            .append_pair("limit", "1");
        let is_history =
            |response: &ApiResponse| read_entries(NAME, response, "executions").is_ok();
        vec![probe("api", &self.client, url, is_history).await]
    }

    async fn upload(&self, file: &ImageFile) -> Result<UploadedImage, Failure> {
        let url = append_segments(&self.base, ["upload", "presign"]);
        let body = json!({
            "content_type": file.content_type,
            "expires_in_seconds": UPLOAD_RETENTION.as_secs(),
        });
        upload(&self.client, url, &body, &PRESIGN, file).await
    }

    fn is_loopback(&self) -> bool {
        is_loopback(&self.base)
    }
}

/// Parses a response to a submission, of any status. A success without a prediction id is
/// [`Failure::Unknown`] unless its body is an error of the provider.
pub(super) fn parse_submit(response: &ApiResponse) -> Result<Acceptance, Failure> {
    let body = response.json.as_ref();
    // `predictionID` and `id` are documented; `prediction_id` is assumed.
    let keys = ["predictionID", "prediction_id", "id"];
    let id = body.and_then(|body| read_prediction_id(body, &keys));
    // An error that names a prediction does not prove that there is none.
    let error = body.filter(|body| !names_prediction(body, &keys) && is_own_error(body));
    match (id, error) {
        // Documented: the estimated cost of the executions in flight exceeds the balance.
        _ if response.status == 402 => Err(Failure::BalanceInUse {
            reason: denied_reason(NAME, response),
        }),
        _ if !response.status.is_success() => Err(classify_submit(NAME, response, error.is_some())),
        (Some(id), _) => Ok(Acceptance {
            prediction: PredictionHandle::from_id(id),
            early_cost: None,
        }),
        // Documented: a dispatch that failed at once has its error in `output`, and no prediction.
        (None, Some(body)) if is_retryable(body) => Err(Failure::Transient {
            reason: describe(NAME, response),
            retry_after: response.retry_after,
        }),
        (None, Some(_)) => Err(Failure::Rejected {
            reason: describe(NAME, response),
        }),
        (None, None) => Err(Failure::Unknown {
            reason: format!("{NAME} returned no prediction id for a submission"),
        }),
    }
}

/// Parses a response to a poll, of any status; 404 is [`PollResult::Missing`]. With
/// `allow_loopback`, the clip's URL may be on this machine.
pub(super) fn parse_poll(
    response: &ApiResponse,
    allow_loopback: bool,
) -> Result<PollResult, Failure> {
    // Documented for an unknown id: `Prediction not found`.
    if response.status == 404 {
        return Ok(PollResult::Missing {
            reason: describe(NAME, response),
        });
    }
    let (body, status) = read_status(NAME, response, "a prediction")?;
    Ok(match Phase::from_status(&status) {
        Some(Phase::Done) => {
            // Documented as the amount billed in US dollars, and 0 until the end. A 0 at the end is
            // taken as not reported (assumed).
            let cost = get_usd(body, &["metrics", "cost"])
                .filter(|cost| *cost > Money::ZERO)
                .map(CostReport::Usd);
            let processing = get_seconds(body, &["metrics", "predict_time"]);
            // A string on the model pages; also documented as a list or an object.
            let output_url = find_clip_url(get(body, &["output"]), allow_loopback);
            done(output_url, body, cost, processing)
        }
        Some(Phase::Failed) => {
            let message = response
                .error_message
                .as_deref()
                .unwrap_or("no reason given");
            // Every documented example of a failure bills nothing.
            let cost =
                get_usd(body, &["metrics", "cost"]).map_or(CostReport::ZERO, CostReport::Usd);
            PollResult::Failed {
                reason: format!("{NAME}: {status}: {message}"),
                cost: Some(cost),
                retryable: is_retryable(body),
            }
        }
        Some(Phase::Running) => PollResult::Running,
        None => {
            tracing::warn!(
                status = sanitize(&status),
                "the prediction has an unknown status, treating it as running"
            );
            PollResult::Running
        }
    })
}

/// The phase of a prediction, from its `status`.
enum Phase {
    Running,
    Done,
    Failed,
}

impl Phase {
    /// Returns the phase that a status means; `None` for an unknown one.
    ///
    /// The model pages, the API reference and the webhooks use different words. `processing`,
    /// `success` and `error` are on the model pages; `created`, `starting`, `failed`, `cancelled`
    /// and, in webhooks, `succeeded` are documented; the others are assumed.
    fn from_status(status: &str) -> Option<Self> {
        match status.to_ascii_lowercase().as_str() {
            "created" | "starting" | "processing" | "queued" | "running" | "pending" => {
                Some(Self::Running)
            }
            "success" | "succeeded" | "completed" => Some(Self::Done),
            "error" | "failed" | "cancelled" | "canceled" => Some(Self::Failed),
            _ => None,
        }
    }
}

/// Returns whether a prediction failed and no cost is reported for it.
fn has_failed_unbilled(body: &Value) -> bool {
    let has_failed = get_text(body, &["status"])
        .is_some_and(|status| matches!(Phase::from_status(&status), Some(Phase::Failed)));
    has_failed && get_usd(body, &["metrics", "cost"]).is_none_or(|cost| cost == Money::ZERO)
}

/// Returns whether a body is each::labs's own error, in one of its documented forms: a `status` of
/// `error`, an `error`, or an `error` in `output`.
fn is_own_error(body: &Value) -> bool {
    get_text(body, &["status"]).is_some_and(|status| status.eq_ignore_ascii_case("error"))
        || get(body, &["error"]).is_some()
        || get(body, &["output", "error"]).is_some()
}

/// Returns whether a failure is marked as worth another submission. `output.retryable` is
/// documented; `retryable` outside of `output` is assumed.
fn is_retryable(body: &Value) -> bool {
    is_true(body, &["output", "retryable"]) || is_true(body, &["retryable"])
}
