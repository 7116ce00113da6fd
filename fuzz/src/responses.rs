//! Any bytes as a provider's response: the status on the first line, headers, an empty line, the
//! body.

use overnight::catalog;
use overnight::domain::{Catalog, CostReport, Failure, Money, ProviderName};
use overnight::provider::http::ApiResponse;
use overnight::provider::{Acceptance, ApiKey, EntryContent, PollResult, parse};
use serde_json::Value;
use std::sync::LazyLock;

/// The key of each client. Some seeds quote it.
const KEY: &str = "key-id:key-secret-0123456789";

/// Maximum length of a reason, in characters, exclusive.
const MAX_REASON_CHARS: usize = 600;

/// Maximum delay that a response can request, in seconds.
const MAX_RETRY_AFTER_SECS: u64 = 24 * 3600;

/// Maximum number of headers that are sent with an upload.
const MAX_UPLOAD_HEADERS: usize = 50;

static CATALOG: LazyLock<Catalog> =
    LazyLock::new(|| catalog::load(&[]).expect("the built-in catalogue"));

/// Checks how each adapter parses a response, to a submission and to a poll.
pub fn check(bytes: &[u8]) {
    let Some((response, key)) = read_response(bytes) else {
        return;
    };
    for provider in ProviderName::ALL {
        let submitted = parse::parse_submit(provider, &response);
        check_submit(provider, &response, submitted);
        // The status response before fal's result can have any body, also this one.
        let body = response.json.as_ref().unwrap_or(&Value::Null);
        for status_body in [&Value::Null, body] {
            let polled = parse::parse_poll(provider, &response, status_body, &key);
            check_poll(provider, &response, status_body, polled);
        }
    }
}

/// Checks how each adapter parses a page of its history.
pub fn check_history(bytes: &[u8]) {
    let Some((response, _)) = read_response(bytes) else {
        return;
    };
    for provider in ProviderName::ALL {
        match parse::parse_history(provider, &response, "kling") {
            Ok(entries) => entries.iter().for_each(|entry| {
                assert!(response.status.is_success());
                let id = entry.prediction_id.as_deref();
                assert!(id.is_none_or(is_plain_id), "{id:?}");
                if let EntryContent::Input(Some(input)) = &entry.content {
                    let is_object = input.is_object();
                    let is_asked_for = entry.asks_for(input, 0);
                    assert!(is_object || !is_asked_for, "{input} is no request");
                }
            }),
            Err(failure) => check_failure(&failure),
        }
    }
}

/// Checks how each adapter parses a response to an upload request.
pub fn check_upload(bytes: &[u8]) {
    let Some((response, _)) = read_response(bytes) else {
        return;
    };
    for provider in ProviderName::ALL {
        match parse::parse_upload(provider, &response) {
            None => assert_eq!(provider, ProviderName::Aimlapi),
            Some(Err(failure)) => check_failure(&failure),
            Some(Ok(presigned)) => {
                assert!(response.status.is_success());
                assert!(presigned.headers.len() <= MAX_UPLOAD_HEADERS);
                for own in ["host", "content-length", "transfer-encoding", "connection"] {
                    assert!(!presigned.headers.contains_key(own), "{own}");
                }
            }
        }
    }
}

fn is_plain_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:~=+@/".contains(&byte);
    let is_path = id.split('/').any(|part| matches!(part, "" | "." | ".."));
    id.len() <= 200 && id.bytes().all(is_plain) && !is_path
}

/// Reads a response, and returns it with the client's key; `None` if its status is invalid.
fn read_response(bytes: &[u8]) -> Option<(ApiResponse, ApiKey)> {
    let (head, body) = match bytes.windows(2).position(|end| end == b"\n\n") {
        Some(end) => (&bytes[..end], &bytes[end + 2..]),
        None => (&b"200"[..], bytes),
    };
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.trim().parse().ok())
        .unwrap_or(200);
    let headers = lines.filter_map(|line| line.split_once(": "));
    let key = ApiKey::new(KEY).expect("a key");
    let now = "2026-08-20T10:00:00Z".parse().expect("a time");
    let response = parse::build_response(status, headers, body, &key, now)?;
    Some((response, key))
}

fn check_submit(
    provider: ProviderName,
    response: &ApiResponse,
    submitted: Result<Acceptance, Failure>,
) {
    let status = response.status.as_u16();
    let is_success = response.status.is_success();
    let object = response.json.as_ref().filter(|body| body.is_object());
    match submitted {
        Ok(acceptance) => {
            let id = &acceptance.prediction.prediction_id;
            assert!(is_success && !id.trim().is_empty());
            assert!(
                object.is_some_and(|body| contains_value(body, id)),
                "`{id}` is not in the response"
            );
            check_cost(acceptance.early_cost.as_ref());
        }
        Err(failure) => {
            check_failure(&failure);
            // Only the provider itself can state that nothing was accepted.
            match failure {
                Failure::Rejected { .. } if is_success => {
                    assert!(provider == ProviderName::Eachlabs && object.is_some());
                }
                Failure::Rejected { .. } => assert!((400..500).contains(&status), "{status}"),
                Failure::Transient { .. } if is_success => {
                    assert!(provider == ProviderName::Eachlabs && object.is_some());
                }
                Failure::Transient { .. } => {
                    assert!(matches!(status, 500 | 503) && object.is_some(), "{status}");
                    assert!(object.is_none_or(|body| !has_prediction_id(provider, body)));
                }
                Failure::RateLimited { .. } => assert_eq!(status, 429),
                Failure::AccessDenied { .. } => assert!(matches!(status, 401..=403), "{status}"),
                Failure::Locked { .. } => assert_eq!(status, 403),
                Failure::BalanceInUse { .. } => assert_eq!(status, 402),
                Failure::Unknown { .. } => {}
            }
        }
    }
}

fn check_poll(
    provider: ProviderName,
    response: &ApiResponse,
    status_body: &Value,
    polled: Result<PollResult, Failure>,
) {
    let status = response.status.as_u16();
    let is_success = response.status.is_success();
    match polled {
        Ok(PollResult::Done {
            output_url,
            cost,
            processing,
        }) => {
            let scheme = output_url.trim().get(..5).unwrap_or_default();
            assert!(is_success && scheme.eq_ignore_ascii_case("https"));
            assert!(
                response
                    .json
                    .as_ref()
                    .is_some_and(|body| contains_value(body, &output_url))
            );
            assert!(processing.is_none_or(|time| !time.is_zero()));
            check_cost(cost.as_ref());
        }
        Ok(PollResult::DoneWithoutLink {
            response: quoted,
            cost,
            processing,
        }) => {
            assert!(is_success && response.json.is_some());
            assert!(processing.is_none_or(|time| !time.is_zero()));
            check_quoted(&quoted);
            check_cost(cost.as_ref());
        }
        Ok(PollResult::Failed {
            reason,
            cost,
            retryable,
        }) => {
            check_reason(&reason);
            check_cost(cost.as_ref());
            // These statuses concern the request, not the prediction.
            assert!(
                !matches!(status, 300..=399 | 401..=404 | 408 | 429),
                "{status}"
            );
            assert!(is_success || provider == ProviderName::Fal);
            assert!(
                response.json.is_some() || !status_body.is_null(),
                "no body reports a failure"
            );
            assert!(!retryable || response.json.is_some());
        }
        Ok(PollResult::Missing { reason }) => {
            assert_eq!(status, 404);
            check_reason(&reason);
        }
        Ok(PollResult::Running | PollResult::Queued { .. }) => assert!(
            is_success || (status == 400 && provider == ProviderName::Fal),
            "{status}"
        ),
        Err(failure) => check_failure(&failure),
    }
}

fn check_failure(failure: &Failure) {
    check_reason(&failure.to_string());
    if let Failure::Transient { retry_after, .. } | Failure::RateLimited { retry_after, .. } =
        failure
    {
        assert!(
            retry_after.is_none_or(|delay| delay.as_secs() <= MAX_RETRY_AFTER_SECS),
            "{retry_after:?}"
        );
    }
}

/// Checks that a reason, which is displayed and stored, is one short line without the key.
fn check_reason(reason: &str) {
    let secret = KEY.rsplit(':').next().unwrap_or(KEY);
    assert!(!reason.contains(secret), "{reason}");
    assert!(!reason.chars().any(char::is_control), "{reason:?}");
    assert!(reason.chars().count() < MAX_REASON_CHARS, "{reason}");
}

/// Checks that each text of a quoted response is one short line without the key.
fn check_quoted(response: &Value) {
    match response {
        Value::String(text) => check_reason(text),
        Value::Array(items) => items.iter().for_each(check_quoted),
        Value::Object(fields) => fields.values().for_each(check_quoted),
        _ => {}
    }
}

/// Checks that a reported cost can be settled by the price rule of every route.
fn check_cost(report: Option<&CostReport>) {
    if let Some(CostReport::Usd(amount)) = report {
        assert!(*amount >= Money::ZERO, "{amount}");
    }
    for route in CATALOG.models.iter().flat_map(|model| &model.routes) {
        let cost = route.price.settle(report, route.price.estimate(5));
        assert!(cost.amount >= Money::ZERO, "{cost:?}");
    }
}

fn has_prediction_id(provider: ProviderName, body: &Value) -> bool {
    let keys: &[&str] = match provider {
        ProviderName::Eachlabs => &["predictionID", "prediction_id", "id"],
        ProviderName::Aimlapi => &["id", "generation_id"],
        ProviderName::Fal => &["request_id"],
    };
    keys.iter()
        .any(|key| body[*key].as_str().is_some_and(|id| !id.trim().is_empty()))
}

/// Returns whether a body contains a string, or a number formatted as that string, at any depth.
fn contains_value(body: &Value, wanted: &str) -> bool {
    match body {
        Value::String(text) => text == wanted,
        Value::Number(number) => number.to_string() == wanted,
        Value::Array(items) => items.iter().any(|item| contains_value(item, wanted)),
        Value::Object(fields) => fields.values().any(|value| contains_value(value, wanted)),
        _ => false,
    }
}
