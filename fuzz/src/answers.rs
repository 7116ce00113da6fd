//! Any bytes as a provider's answer: the status on the first line, headers, an empty line, the body.

use overnight::catalog;
use overnight::domain::{Catalog, CostReport, Failure, Money, ProviderName};
use overnight::provider::http::ApiResponse;
use overnight::provider::{Acceptance, ApiKey, PollResult, parse};
use serde_json::Value;
use std::sync::LazyLock;

/// Seeds quote it.
const KEY: &str = "key-id:key-secret-0123456789";

static CATALOG: LazyLock<Catalog> =
    LazyLock::new(|| catalog::load(&[]).expect("the built-in catalogue"));

/// Checks what each provider's adapter takes it for: as the answer to a create, and to a look.
pub fn check(bytes: &[u8]) {
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
    let Some(reply) = parse::reply(status, headers, body, &key, now) else {
        return;
    };
    for provider in ProviderName::ALL {
        check_create(provider, &reply, parse::submit(provider, &reply));
        // Whatever the status call said before.
        for before in [&Value::Null, reply.json.as_ref().unwrap_or(&Value::Null)] {
            check_look(
                provider,
                &reply,
                before,
                parse::poll(provider, &reply, before, &key),
            );
        }
    }
}

fn check_create(provider: ProviderName, reply: &ApiResponse, taken: Result<Acceptance, Failure>) {
    let (status, ok) = (reply.status.as_u16(), reply.status.is_success());
    let object = reply.json.as_ref().filter(|body| body.is_object());
    match taken {
        Ok(acceptance) => {
            let id = &acceptance.prediction.prediction_id;
            assert!(ok && !id.trim().is_empty());
            assert!(
                object.is_some_and(|body| holds(body, id)),
                "`{id}` is nowhere in the answer"
            );
            check_cost(acceptance.early_cost.as_ref());
        }
        Err(failure) => {
            check_reason(&failure);
            // What says that nothing was taken has to be the provider's own word.
            match failure {
                Failure::Rejected { .. } if ok => {
                    assert!(provider == ProviderName::Eachlabs && object.is_some())
                }
                Failure::Rejected { .. } => assert!((400..500).contains(&status), "{status}"),
                Failure::Transient { .. } if ok => {
                    assert!(provider == ProviderName::Eachlabs && object.is_some());
                }
                Failure::Transient { .. } => {
                    assert!(matches!(status, 500 | 503) && object.is_some(), "{status}");
                    assert!(object.is_none_or(|body| !names_a_prediction(provider, body)));
                }
                Failure::RateLimited { .. } => assert_eq!(status, 429),
                Failure::AccessDenied { .. } => assert!(matches!(status, 401..=403), "{status}"),
                Failure::Unknown { .. } => {}
            }
        }
    }
}

fn check_look(
    provider: ProviderName,
    reply: &ApiResponse,
    before: &Value,
    look: Result<PollResult, Failure>,
) {
    let (status, ok) = (reply.status.as_u16(), reply.status.is_success());
    match look {
        Ok(PollResult::Done {
            output_url,
            cost,
            processing,
        }) => {
            assert!(ok && output_url.starts_with("http"));
            assert!(
                reply
                    .json
                    .as_ref()
                    .is_some_and(|body| holds(body, &output_url))
            );
            assert!(processing.is_none_or(|time| !time.is_zero()));
            check_cost(cost.as_ref());
        }
        Ok(PollResult::Failed {
            reason,
            cost,
            retryable,
        }) => {
            check_text(&reason);
            check_cost(cost.as_ref());
            // Such an answer is about the call, whoever gave it.
            assert!(
                !matches!(status, 300..=399 | 401..=404 | 408 | 429),
                "{status}"
            );
            assert!(ok || provider == ProviderName::Fal);
            assert!(
                reply.json.is_some() || !before.is_null(),
                "nobody said that it failed"
            );
            assert!(!retryable || reply.json.is_some());
        }
        Ok(PollResult::Missing { reason }) => {
            assert_eq!(status, 404);
            check_text(&reason);
        }
        Ok(PollResult::Running) => assert!(
            ok || (status == 400 && provider == ProviderName::Fal),
            "{status}"
        ),
        Err(failure) => check_reason(&failure),
    }
}

fn check_reason(failure: &Failure) {
    check_text(&failure.to_string());
    if let Failure::Transient { retry_after, .. } | Failure::RateLimited { retry_after, .. } =
        failure
    {
        assert!(
            retry_after.is_none_or(|wait| wait.as_secs() <= 3600),
            "{retry_after:?}"
        );
    }
}

/// A reason is shown and stored, so it is one short line without the key.
fn check_text(text: &str) {
    let secret = KEY.rsplit(':').next().unwrap_or(KEY);
    assert!(!text.contains(secret), "{text}");
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(text.chars().count() < 600, "{text}");
}

/// Whatever was billed can be booked.
fn check_cost(report: Option<&CostReport>) {
    if let Some(CostReport::Usd(amount)) = report {
        assert!(*amount >= Money::ZERO, "{amount}");
    }
    for route in CATALOG.models.iter().flat_map(|model| &model.routes) {
        let cost = route.price.settle(report, route.price.estimate(5));
        assert!(cost.amount >= Money::ZERO, "{cost:?}");
    }
}

fn names_a_prediction(provider: ProviderName, body: &Value) -> bool {
    let names: &[&str] = match provider {
        ProviderName::Eachlabs => &["predictionID", "prediction_id", "id"],
        ProviderName::Aimlapi => &["id", "generation_id"],
        ProviderName::Fal => &["request_id"],
    };
    names
        .iter()
        .any(|name| body[*name].as_str().is_some_and(|id| !id.trim().is_empty()))
}

/// Tells whether a text, or a number written so, stands anywhere in a body.
fn holds(body: &Value, wanted: &str) -> bool {
    match body {
        Value::String(text) => text == wanted,
        Value::Number(number) => number.to_string() == wanted,
        Value::Array(items) => items.iter().any(|item| holds(item, wanted)),
        Value::Object(fields) => fields.values().any(|value| holds(value, wanted)),
        _ => false,
    }
}
