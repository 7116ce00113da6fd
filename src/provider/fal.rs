//! The adapter for fal.ai, through its queue API.
//!
//! Sources: the model page of Kling 1.0 ("model page"), the queue documentation and the Platform
//! API reference ("documented"), the source of the official clients, and findings published by
//! users ("seen by users"). What is marked "assumed" has no source.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::clock::Clock;
use crate::domain::{CostReport, Failure, Money, PredictionHandle, ProviderName};
use crate::image::ImageFile;

use super::classify::{classify_poll, classify_submit, classify_unreadable, describe, read_status};
use super::clip_link::{done, find_clip_url};
use super::history::{EntryContent, History, HistoryEntry, HistoryQuery};
use super::history_pages::{HISTORY_PAGE, HistoryPages, MAX_PAGES, history_too_long, read_entries};
use super::http::{ApiClient, ApiResponse, Auth, SetupError, append_segments, is_loopback};
use super::json::{
    find_message, get, get_balance, get_seconds, get_text, get_time, get_usd, is_true, sanitize,
};
use super::probe::{Probe, probe, probe_window};
use super::storage::{PresignFields, UploadedImage, upload};
use super::timeouts::Timeouts;
use super::{Acceptance, ApiKey, Cancellation, PollResult, Provider, Submission};

const NAME: ProviderName = ProviderName::Fal;

/// A request id that fal never issues.
const UNUSED_REQUEST_ID: &str = "00000000-0000-0000-0000-000000000000";

/// Response of `POST /storage/upload/initiate`, from the source of the JavaScript client. Files are
/// documented not to expire unless the account is set otherwise.
const PRESIGN: PresignFields = PresignFields {
    upload_url: "upload_url",
    public_url: "file_url",
    headers: "headers",
    retention: None,
};

/// The fal.ai queue API.
pub(crate) struct Fal {
    queue: Url,
    platform: Url,
    storage: Option<Url>,
    client: ApiClient,
}

impl Fal {
    /// Builds an adapter. `queue` is `https://queue.fal.run`, `platform` is
    /// `https://api.fal.ai/v1`, and `storage` is `https://rest.fal.ai`; without `storage`, every
    /// upload is rejected.
    pub(crate) fn new(
        queue: Url,
        platform: Url,
        storage: Option<Url>,
        key: &ApiKey,
        clock: Arc<dyn Clock>,
        timeouts: Timeouts,
    ) -> Result<Self, SetupError> {
        // One client serves all base URLs, so a proxy is bypassed only if none of them needs one.
        let is_local = [Some(&queue), Some(&platform), storage.as_ref()]
            .into_iter()
            .flatten()
            .all(is_loopback);
        let client = ApiClient::new(NAME, key, Auth::Key, clock, timeouts, is_local)?;
        Ok(Self {
            queue,
            platform,
            storage,
            client,
        })
    }

    /// Returns the URL of a request: the one that fal returned, which is the documented way, or
    /// else one built from `action`, its last segment.
    ///
    /// A returned URL is used only on the configured host, because the key is sent there.
    fn request_url(
        &self,
        returned: Option<&String>,
        wire_model: &str,
        request_id: &str,
        action: Option<&str>,
    ) -> Url {
        let returned = returned
            .and_then(|url| Url::parse(url).ok())
            .filter(|url| url.origin() == self.queue.origin());
        returned.unwrap_or_else(|| {
            let segments = app_id(wire_model)
                .chain(["requests", request_id])
                .chain(action);
            append_segments(&self.queue, segments)
        })
    }

    /// Reads the result of a completed request. Seen by users: an error of the model may be
    /// reported only here.
    async fn get_result(
        &self,
        prediction: &PredictionHandle,
        wire_model: &str,
        status: &Value,
    ) -> Result<PollResult, Failure> {
        let id = &prediction.prediction_id;
        let url = self.request_url(prediction.response_url.as_ref(), wire_model, id, None);
        let response = self.client.get(url).await?;
        let mut result = parse_result(&response, status, self.client.key(), self.is_loopback())?;
        if let PollResult::Failed {
            cost: cost @ None, ..
        } = &mut result
        {
            *cost = self.get_billed_cost(id).await;
        }
        Ok(result)
    }

    /// Reads what a request was billed from its billing events (documented); `None` if they are not
    /// available. That needs a key of the ADMIN scope.
    async fn get_billed_cost(&self, request_id: &str) -> Option<CostReport> {
        let mut url = append_segments(&self.platform, ["models", "billing-events"]);
        url.query_pairs_mut().append_pair("request_id", request_id);
        let response = self.client.get(url).await.ok()?;
        let events = read_entries(NAME, &response, "billing_events").ok()?;
        // Events of other requests show that the filter was ignored, not that nothing was billed.
        if events
            .iter()
            .any(|event| get_text(event, &["request_id"]).is_some_and(|id| id != request_id))
        {
            return None;
        }
        let costs: Option<Vec<Money>> = events.iter().map(event_cost).collect();
        costs.map(|costs| CostReport::Usd(costs.into_iter().sum()))
    }
}

#[async_trait]
impl Provider for Fal {
    fn name(&self) -> ProviderName {
        NAME
    }

    async fn submit(&self, submission: &Submission) -> Result<Acceptance, Failure> {
        // Documented: the body is the input itself, and the path is the whole model id.
        let url = append_segments(&self.queue, submission.wire_model.split('/'));
        let response = self.client.submit(url, &[], &submission.request).await?;
        parse_submit(&response)
    }

    async fn poll(
        &self,
        prediction: &PredictionHandle,
        wire_model: &str,
    ) -> Result<PollResult, Failure> {
        let url = self.request_url(
            prediction.status_url.as_ref(),
            wire_model,
            &prediction.prediction_id,
            Some("status"),
        );
        let response = self.client.get(url).await?;
        // Seen by users for an unknown id: `NOT_FOUND`.
        if response.status == 404 {
            return Ok(PollResult::Missing {
                reason: describe(NAME, &response),
            });
        }
        let (body, status) = read_status(NAME, &response, "a status")?;
        match status.as_str() {
            // Documented: failed and cancelled requests end as COMPLETED too.
            "COMPLETED" => self.get_result(prediction, wire_model, body).await,
            "IN_QUEUE" => Ok(PollResult::Queued {
                position: get_text(body, &["queue_position"]).and_then(|text| text.parse().ok()),
            }),
            "IN_PROGRESS" => Ok(PollResult::Running),
            _ => {
                tracing::warn!(
                    status = sanitize(&status),
                    "the request has an unknown status, treating it as running"
                );
                Ok(PollResult::Running)
            }
        }
    }

    async fn history(&self, query: &HistoryQuery) -> Result<History, Failure> {
        let mut pages = HistoryPages::default();
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            // Documented in the Platform API reference; `expand` adds the inputs.
            let mut url = append_segments(&self.platform, ["models", "requests", "by-endpoint"]);
            url.query_pairs_mut()
                .append_pair("endpoint_id", &query.wire_model)
                .append_pair("start", &query.from.to_string())
                .append_pair("end", &query.to.to_string())
                .append_pair("expand", "payloads")
                .append_pair("limit", &HISTORY_PAGE.to_string());
            if let Some(cursor) = &cursor {
                url.query_pairs_mut().append_pair("cursor", cursor);
            }
            let response = pages.get_page(NAME, &self.client, &url, "items").await?;
            for entry in read_entries(NAME, &response, "items")? {
                pages.add(HistoryEntry {
                    prediction_id: get_text(entry, &["request_id"]),
                    submitted_at: get_time(entry, &["sent_at"]),
                    content: EntryContent::Input(get(entry, &["json_input"]).cloned()),
                    // Documented: server errors are never billed.
                    is_unbilled: is_server_error(entry),
                    is_running: entry.get("ended_at").is_some_and(Value::is_null),
                });
            }
            let page = response.json.as_ref();
            cursor = page.and_then(|page| get_text(page, &["next_cursor"]));
            if cursor.is_none() {
                let is_incomplete = page.is_some_and(|page| is_true(page, &["has_more"]));
                return if is_incomplete {
                    Err(classify_unreadable(NAME, &response, "a complete history"))
                } else {
                    // Whether unfinished requests are listed is not documented; that they are not
                    // is assumed.
                    Ok(pages.into_history(false))
                };
            }
        }
        Err(history_too_long(NAME))
    }

    async fn cancel(
        &self,
        prediction: &PredictionHandle,
        wire_model: &str,
    ) -> Result<Cancellation, Failure> {
        let id = &prediction.prediction_id;
        let url = self.request_url(
            prediction.cancel_url.as_ref(),
            wire_model,
            id,
            Some("cancel"),
        );
        let response = self.client.request_idempotent(Method::PUT, url).await?;
        parse_cancellation(&response)
    }

    async fn balance(&self) -> Option<Money> {
        // Documented, for keys with the scope ADMIN.
        let mut url = append_segments(&self.platform, ["account", "billing"]);
        url.query_pairs_mut().append_pair("expand", "credits");
        if let Ok(response) = self.client.get(url).await
            && let Some(body) = response.success()
            && let Some(balance) = get_balance(body, &["credits", "current_balance"])
        {
            return Some(balance);
        }
        // Seen by users, for ordinary keys: a bare number, which may be negative.
        let url = append_segments(self.storage.as_ref()?, ["billing", "user_balance"]);
        let response = self.client.get(url).await.ok()?;
        get_balance(response.success()?, &[])
    }

    async fn probe(&self, wire_model: &str, now: Timestamp) -> Vec<Probe> {
        // The queue has no list, so the probe polls a request that does not exist. fal's own error
        // is the expected response.
        let status = self.request_url(None, wire_model, UNUSED_REQUEST_ID, Some("status"));
        let is_fal_error = |response: &ApiResponse| match &response.json {
            Some(body) => {
                response.status == 404 || (response.status.is_client_error() && is_own_error(body))
            }
            None => false,
        };
        let (start, end) = probe_window(now);
        let mut history = append_segments(&self.platform, ["models", "requests", "by-endpoint"]);
        history
            .query_pairs_mut()
            .append_pair("endpoint_id", wire_model)
            .append_pair("start", &start)
            .append_pair("end", &end)
            .append_pair("limit", "1");
        let is_history = |response: &ApiResponse| read_entries(NAME, response, "items").is_ok();
        let (queue, platform) = futures_util::future::join(
            probe("api", &self.client, status, is_fal_error),
            probe("history", &self.client, history, is_history),
        )
        .await;
        vec![queue, platform]
    }

    async fn upload(&self, file: &ImageFile) -> Result<UploadedImage, Failure> {
        let Some(storage) = &self.storage else {
            return Err(Failure::Rejected {
                reason: "the URL of fal's storage is not set".into(),
            });
        };
        let mut url = append_segments(storage, ["storage", "upload", "initiate"]);
        url.query_pairs_mut()
            .append_pair("storage_type", "fal-cdn-v3");
        let body = json!({ "content_type": file.content_type, "file_name": file.name });
        upload(&self.client, url, &body, &PRESIGN, file).await
    }

    fn is_loopback(&self) -> bool {
        is_loopback(&self.queue)
    }
}

/// Parses a response to a submission, of any status. A success without a request id is
/// [`Failure::Unknown`].
pub(super) fn parse_submit(response: &ApiResponse) -> Result<Acceptance, Failure> {
    let body = response.json.as_ref();
    let id = body.and_then(|body| get_text(body, &["request_id"]));
    if !response.status.is_success() {
        // An error that names a request does not prove that there is none.
        let is_own_error = id.is_none() && body.is_some_and(is_own_error);
        if is_locked(response) {
            return Err(Failure::Locked {
                reason: describe(NAME, response),
            });
        }
        return Err(classify_submit(NAME, response, is_own_error));
    }
    let (Some(body), Some(prediction_id)) = (body, id) else {
        return Err(Failure::Unknown {
            reason: format!("{NAME} returned no request id for a submission"),
        });
    };
    let prediction = PredictionHandle {
        prediction_id,
        status_url: get_text(body, &["status_url"]),
        response_url: get_text(body, &["response_url"]),
        cancel_url: get_text(body, &["cancel_url"]),
    };
    Ok(Acceptance {
        prediction,
        early_cost: None,
    })
}

/// Returns whether a submission was refused because the account is locked: seen by users for minutes
/// or hours, on accounts with money and for single models. The reason after it is not to be relied
/// on.
fn is_locked(response: &ApiResponse) -> bool {
    let message = response.error_message.as_deref().unwrap_or_default();
    response.status == 403 && message.to_ascii_lowercase().contains("user is locked")
}

/// Parses a response to a cancellation, of any status.
fn parse_cancellation(response: &ApiResponse) -> Result<Cancellation, Failure> {
    if !response.status.is_success() {
        return Err(classify_poll(NAME, response));
    }
    let status = response
        .json
        .as_ref()
        .and_then(|body| get_text(body, &["status"]));
    // Documented: OK removes the request from the queue. A running one only receives a signal, and
    // may still finish and be billed; its status is CANCELLATION_REQUESTED. That the former is a 200
    // is assumed.
    let is_removed = response.status == 200 && status.as_deref() == Some("OK");
    Ok(if is_removed {
        Cancellation::NeverRan
    } else {
        Cancellation::Requested
    })
}

/// Parses the result of a completed request, whose status response had the body `status`.
///
/// The cost of a failure is `None` if only the billing events can show it. With `allow_loopback`,
/// the clip's URL may be on this machine.
pub(super) fn parse_result(
    response: &ApiResponse,
    status: &Value,
    key: &ApiKey,
    allow_loopback: bool,
) -> Result<PollResult, Failure> {
    let body = response.json.as_ref();
    if response.status.is_success() {
        let Some(body) = body else {
            return Err(classify_unreadable(NAME, response, "a result"));
        };
        // `video.url` is on the model page; the other places are assumed.
        let places = ["video", "videos", "output"];
        let places = places.iter().filter_map(|place| get(body, &[place]));
        let output_url = find_clip_url(places.chain([body]), allow_loopback);
        // A clip is never free, so 0 is taken as not reported.
        let cost = read_billable_units(response)
            .filter(|(_, units)| *units > 0.0)
            .map(|(report, _)| report);
        let processing = get_seconds(status, &["metrics", "inference_time"]);
        return Ok(done(output_url, body, cost, processing));
    }
    // Documented: the status of a failed request has `error` and `error_type`.
    let status_error = get(status, &["error"]).and_then(|error| find_message(error, key));
    let status_error =
        status_error.or_else(|| find_message(&get_text(status, &["error_type"])?.into(), key));
    let is_own_error = body.is_some_and(is_own_error);
    let is_prediction_error = body.is_some_and(|body| is_prediction_error(body, status));
    let has_failed = match response.status.as_u16() {
        // Seen by users before completion: `Request is still in progress`.
        400 if is_own_error && is_still_in_progress(response) => return Ok(PollResult::Running),
        404 => {
            return Ok(PollResult::Missing {
                reason: describe(NAME, response),
            });
        }
        401..=403 | 408 | 429 => false,
        400..=499 => is_own_error || status_error.is_some(),
        500.. => is_prediction_error || status_error.is_some(),
        _ => false,
    };
    if !has_failed {
        return Err(classify_poll(NAME, response));
    }
    // Documented: a rejected input may be billed if a runner has already worked on it.
    let billed = read_billable_units(response).map(|(report, _)| report);
    if response.status.is_server_error() && !is_prediction_error {
        // The request failed, but the error in this response is not its own, so it may have been
        // billed and may fail again.
        let status_error = status_error.unwrap_or_else(|| "no reason given".into());
        return Ok(PollResult::Failed {
            reason: format!("{NAME} reported a failure: {status_error}"),
            cost: billed,
            retryable: false,
        });
    }
    let cost = if response.status.is_server_error() {
        // Documented: server errors are never billed.
        Some(CostReport::ZERO)
    } else {
        billed
    };
    let reason = match status_error {
        Some(status_error) if !is_own_error => {
            format!("{NAME} reported a failure: {status_error}")
        }
        _ => describe(NAME, response),
    };
    Ok(PollResult::Failed {
        reason,
        cost,
        retryable: is_own_error && is_retryable(response),
    })
}

/// Returns the segments of a model id that the URLs of its requests have: owner and application
/// (documented), after the namespace if there is one (source of the official clients).
fn app_id(wire_model: &str) -> impl Iterator<Item = &str> {
    let segments = if matches!(wire_model.split('/').next(), Some("workflows" | "comfy")) {
        3
    } else {
        2
    };
    wire_model.split('/').take(segments)
}

/// Returns whether a body has the form of fal's errors. Documented: those of a model have `detail`,
/// those of the platform `error_type` too.
fn is_own_error(body: &Value) -> bool {
    ["detail", "error_type"]
        .iter()
        .any(|key| get(body, &[key]).is_some())
}

/// Returns whether a server error in place of the result is the failure of the prediction itself.
///
/// The platform's errors are flat, and may concern only this request for the result; if they were
/// taken as the prediction's failure, the clip would be paid for twice. Two forms are proof: that
/// of the model, a list of details, and a repetition of the `error_type` in the status.
fn is_prediction_error(body: &Value, status: &Value) -> bool {
    let error_type = |value| get_text(value, &["error_type"]);
    get(body, &["detail"]).is_some_and(Value::is_array)
        || (error_type(body).is_some() && error_type(body) == error_type(status))
}

/// Returns the billed units in `X-Fal-Billable-Units` (documented), as a report and as a number.
fn read_billable_units(response: &ApiResponse) -> Option<(CostReport, f64)> {
    let text = response
        .headers
        .get("x-fal-billable-units")?
        .to_str()
        .ok()?
        .trim();
    let units: f64 = text.parse().ok().filter(|units| *units >= 0.0)?;
    Some((CostReport::Units(text.to_owned()), units))
}

/// Returns the cost of one billing event: its total, else its estimate in billionths of a US
/// dollar. Both are documented; the total may be absent.
fn event_cost(event: &Value) -> Option<Money> {
    get_usd(event, &["cost_total"]).or_else(|| {
        let nano_usd = get_text(event, &["cost_estimate_nano_usd"])?;
        Money::parse_rounded(&format!("{nano_usd}e-9")).ok()
    })
}

/// Returns whether an entry of the history ended with a server error.
fn is_server_error(entry: &Value) -> bool {
    get_text(entry, &["status_code"])
        .and_then(|code| code.parse().ok())
        .is_some_and(|code: u16| code >= 500)
}

fn is_still_in_progress(response: &ApiResponse) -> bool {
    response
        .error_message
        .as_deref()
        .is_some_and(|message| message.to_lowercase().contains("in progress"))
}

/// Returns whether the same input may succeed next time.
///
/// The header decides: `X-Fal-Retryable`, or `X-Fal-Needs-Retry` in newer documentation. Without
/// it, a server error is retryable and a rejected input is not.
fn is_retryable(response: &ApiResponse) -> bool {
    // The content policy refuses the same input again, whatever the header says (assumed). The
    // error type is documented.
    let details = response
        .json
        .as_ref()
        .and_then(|body| get(body, &["detail"]))
        .and_then(Value::as_array);
    let mut error_types = details
        .into_iter()
        .flatten()
        .filter_map(|detail| get_text(detail, &["type"]));
    if error_types.any(|error_type| error_type == "content_policy_violation") {
        return false;
    }
    let header = |name| {
        response
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_ascii_lowercase)
    };
    match header("x-fal-retryable")
        .or_else(|| header("x-fal-needs-retry"))
        .as_deref()
    {
        Some("true" | "1" | "yes") => true,
        Some("false" | "0" | "no") => false,
        _ => response.status.is_server_error(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_urls_have_owner_and_application_only() {
        let app_id = |model| app_id(model).collect::<Vec<_>>().join("/");
        assert_eq!(
            app_id("fal-ai/kling-video/v1/standard/image-to-video"),
            "fal-ai/kling-video"
        );
        assert_eq!(app_id("workflows/owner/app/path"), "workflows/owner/app");
    }

    #[test]
    fn a_returned_url_on_another_host_is_not_used() {
        let clock = Arc::new(crate::clock::SystemClock);
        let url = |text: &str| Url::parse(text).unwrap();
        let key = ApiKey::new("id:secret").unwrap();
        let fal = Fal::new(
            url("https://queue.fal.run"),
            url("https://api.fal.ai/v1"),
            None,
            &key,
            clock,
            Timeouts::default(),
        )
        .unwrap();
        let request_url = |returned: &str| {
            fal.request_url(
                Some(&returned.to_owned()),
                "fal-ai/kling-video/v1",
                "7",
                Some("status"),
            )
        };
        let own = "https://queue.fal.run/fal-ai/kling-video/requests/7/status";
        assert_eq!(request_url(own).as_str(), own);
        for foreign in [
            "https://evil.example/x",
            "http://queue.fal.run/x",
            "https://queue.fal.run:444/x",
            "nonsense",
        ] {
            assert_eq!(request_url(foreign).as_str(), own, "{foreign}");
        }
    }
}
