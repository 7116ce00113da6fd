//! What the responses of fal.ai mean.
//!
//! The sources of the facts are named as in [the adapter](super).

use serde_json::Value;

use crate::domain::{CostReport, Failure, Money, PredictionHandle, ProviderName};
use crate::provider::classify::{classify_poll, classify_submit, classify_unreadable, describe};
use crate::provider::clip_link::{done, find_clip_url};
use crate::provider::http::ApiResponse;
use crate::provider::json::{find_message, get, get_seconds, get_text, get_time, get_usd};
use crate::provider::named_prediction::{IdPlaces, names_prediction, read_prediction_id};
use crate::provider::{Acceptance, ApiKey, Cancellation, EntryContent, HistoryEntry, PollResult};

/// The provider of these responses.
pub(super) const NAME: ProviderName = ProviderName::Fal;

/// `request_id`, the URLs and the header are documented, the other places are assumed. The
/// `gateway_request_id` differs from the request's own after a retry inside of fal.
pub(super) const ID_PLACES: IdPlaces = IdPlaces {
    body: &[
        &["request_id"],
        &["data", "request_id"],
        &["request", "request_id"],
    ],
    urls: &[
        (&["status_url"], "requests"),
        (&["response_url"], "requests"),
        (&["cancel_url"], "requests"),
    ],
    headers: &["x-fal-request-id"],
};

/// Parses a response to a submission, of any status. A success without a request id is
/// [`Failure::Unknown`].
pub(in crate::provider) fn parse_submit(response: &ApiResponse) -> Result<Acceptance, Failure> {
    let body = response.json.as_ref();
    let id = body.and_then(|body| read_prediction_id(body, &["request_id"]));
    if !response.status.is_success() {
        // An error that names a request does not prove that there is none.
        let is_own_error =
            body.is_some_and(|body| !names_prediction(body, &["request_id"]) && is_own_error(body));
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
pub(super) fn parse_cancellation(response: &ApiResponse) -> Result<Cancellation, Failure> {
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
pub(in crate::provider) fn parse_result(
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

/// Returns whether a body has the form of fal's errors. Documented: those of a model have `detail`,
/// those of the platform `error_type` too.
pub(super) fn is_own_error(body: &Value) -> bool {
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
pub(super) fn event_cost(event: &Value) -> Option<Money> {
    get_usd(event, &["cost_total"]).or_else(|| {
        let nano_usd = get_text(event, &["cost_estimate_nano_usd"])?;
        Money::parse_rounded(&format!("{nano_usd}e-9")).ok()
    })
}

/// Parses an entry of the history.
pub(in crate::provider) fn parse_history_entry(entry: &Value) -> HistoryEntry {
    HistoryEntry {
        prediction_id: read_prediction_id(entry, &["request_id"]),
        submitted_at: get_time(entry, &["sent_at"]),
        content: EntryContent::Input(get(entry, &["json_input"]).cloned()),
        // Documented: server errors are never billed.
        is_unbilled: is_server_error(entry),
        is_running: entry.get("ended_at").is_some_and(Value::is_null),
    }
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
