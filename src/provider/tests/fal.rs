//! fal.ai: every documented form of its answers.

use std::time::Duration;

use serde_json::json;

use super::super::fal::Fal;
use super::*;
use crate::domain::{CostReport, Money};
use crate::provider::{PollResult, Provider, Reconciliation};

const REQUEST: &str = "/owner/app/requests/p-1";

fn adapter(stub: &Stub) -> Fal {
    let storage = Some(stub.base.clone());
    Fal::new(
        stub.base.clone(),
        stub.base.join("v1").unwrap(),
        storage,
        &key(),
        clock(),
    )
    .unwrap()
}

/// Serves a request whose status, result and billing events are told, and looks at it.
async fn poll(
    status: Value,
    result: impl Fn() -> Response + Send + Sync + 'static,
    events: impl Fn() -> Response + Send + Sync + 'static,
) -> Result<PollResult, Failure> {
    let stub = Stub::answering(move |seen| match seen.path.as_str() {
        "/owner/app/requests/p-1/status" => answer(200, &status),
        REQUEST => result(),
        "/v1/models/billing-events" if seen.param("request_id").as_deref() == Some("p-1") => {
            events()
        }
        path => panic!("nobody asks for {path}"),
    })
    .await;
    adapter(&stub).poll(&prediction(), &submission()).await
}

fn completed() -> Value {
    json!({ "status": "COMPLETED", "metrics": { "inference_time": 3.42 } })
}

/// What the server answers.
type Answer = fn() -> Response;

/// A call that the test says is not made.
fn nobody() -> Response {
    panic!("nobody asks for this")
}

fn no_events() -> Response {
    answer(200, &json!({ "billing_events": [] }))
}

fn model_error(kind: &str) -> Value {
    json!({ "detail": [{ "loc": ["body", "image_url"], "msg": "it did not work", "type": kind, "url": "https://docs" }] })
}

#[tokio::test]
async fn a_create_posts_the_input_itself_to_the_whole_model_id() {
    let links = json!({
        "status": "IN_QUEUE", "request_id": "p-1", "response_url": "https://queue.example/r",
        "status_url": "https://queue.example/s", "cancel_url": "https://queue.example/c",
    });
    let stub = Stub::always(200, links).await;
    let acceptance = adapter(&stub).submit(&submission()).await.unwrap();
    let expected = PredictionHandle {
        prediction_id: "p-1".into(),
        status_url: Some("https://queue.example/s".into()),
        response_url: Some("https://queue.example/r".into()),
        cancel_url: Some("https://queue.example/c".into()),
    };
    assert_eq!(acceptance.prediction, expected);
    let seen = &stub.seen()[0];
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str()),
        ("POST", "/owner/app/v1/image-to-video")
    );
    assert_eq!(seen.body, submission().request);
    assert_eq!(seen.header("authorization"), Some("Key id-1:secret-123"));
    assert_eq!(seen.header("x-fal-store-io"), None);
}

#[tokio::test]
async fn failed_creates_are_told_apart() {
    let locked = "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing.";
    for (status, body, expected) in [
        (
            401,
            json!({ "detail": "invalid key credentials" }),
            "closed",
        ),
        (403, json!({ "detail": locked }), "closed"),
        (
            404,
            json!({ "detail": "Application 'x' not found" }),
            "rejected",
        ),
        (422, model_error("missing"), "rejected"),
        (
            429,
            json!({ "detail": { "type": "concurrent_requests_limit" } }),
            "rate limited",
        ),
        (
            500,
            json!({ "detail": "Internal", "error_type": "internal_error" }),
            "transient",
        ),
        (
            503,
            json!({ "detail": "Busy", "error_type": "runner_scheduling_failure" }),
            "transient",
        ),
        (
            502,
            json!({ "detail": "Broken", "error_type": "runner_incomplete_response" }),
            "unknown",
        ),
        (
            504,
            json!({ "detail": "Late", "error_type": "request_timeout" }),
            "unknown",
        ),
        (500, json!({ "error": "upstream" }), "unknown"),
        (
            500,
            json!({ "detail": "Internal", "request_id": "p-1" }),
            "unknown",
        ),
        (200, json!({ "status": "IN_QUEUE" }), "unknown"),
    ] {
        let stub = Stub::always(status, body.clone()).await;
        assert_eq!(
            kind(&adapter(&stub).submit(&submission()).await),
            expected,
            "{status} {body}"
        );
    }
}

#[tokio::test]
async fn the_key_is_sent_to_the_configured_host_only() {
    let foreign = Stub::always(200, json!({ "status": "IN_QUEUE" })).await;
    let own = Stub::always(202, json!({ "status": "IN_QUEUE" })).await;
    let mut known = prediction();
    known.status_url = Some(foreign.base.join("s").unwrap().into());
    known.cancel_url = Some(foreign.base.join("c").unwrap().into());
    let adapter = adapter(&own);
    assert_eq!(
        adapter.poll(&known, &submission()).await,
        Ok(PollResult::Running)
    );
    adapter.cancel(&known, &submission()).await.unwrap();
    assert!(foreign.seen().is_empty());
    let calls: Vec<_> = own
        .seen()
        .iter()
        .map(|seen| format!("{} {}", seen.method, seen.path))
        .collect();
    assert_eq!(
        calls,
        [
            format!("GET {REQUEST}/status"),
            format!("PUT {REQUEST}/cancel")
        ]
    );
    known.status_url = Some(own.base.join("given/status").unwrap().into());
    adapter.poll(&known, &submission()).await.unwrap();
    assert_eq!(own.seen().last().unwrap().path, "/given/status");
}

#[tokio::test]
async fn a_request_that_has_not_ended_is_not_asked_for_its_result() {
    for status in ["IN_QUEUE", "IN_PROGRESS", "SOMETHING_NEW"] {
        assert_eq!(
            poll(json!({ "status": status }), nobody, nobody).await,
            Ok(PollResult::Running),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_result_that_is_not_ready_is_still_running() {
    let early = || answer(400, &json!({ "detail": "Request is still in progress" }));
    assert_eq!(
        poll(completed(), early, nobody).await,
        Ok(PollResult::Running)
    );
}

#[tokio::test]
async fn a_clip_is_found_with_its_units_and_its_time() {
    let url = "https://v3.fal.media/files/output.mp4";
    for body in [
        json!({ "video": { "url": url, "content_type": "video/mp4" } }),
        json!({ "videos": [{ "url": url }] }),
        json!({ "output": url }),
    ] {
        let result = move || answer_with(200, &[("X-Fal-Billable-Units", "5.0")], &body);
        let expected = PollResult::Done {
            output_url: url.into(),
            cost: Some(CostReport::Units("5.0".into())),
            processing: Some(Duration::from_millis(3_420)),
        };
        assert_eq!(poll(completed(), result, nobody).await, Ok(expected));
    }
    for headers in [
        &[][..],
        &[("x-fal-billable-units", "0")],
        &[("x-fal-billable-units", "many")],
    ] {
        let result = move || answer_with(200, headers, &json!({ "video": { "url": url } }));
        let look = poll(completed(), result, nobody).await;
        assert!(
            matches!(look, Ok(PollResult::Done { cost: None, .. })),
            "{look:?}"
        );
    }
    let without = || answer(200, &json!({ "video": null }));
    assert_eq!(
        poll(completed(), without, nobody).await,
        Ok(PollResult::Running)
    );
}

#[tokio::test]
async fn a_models_own_server_error_bills_nothing_and_may_pass() {
    let mut told = completed();
    told["error_type"] = json!("runner_disconnected");
    let flat = json!({ "detail": "gone", "error_type": "runner_disconnected" });
    for (before, status, body, headers, again) in [
        (
            completed(),
            500,
            model_error("downstream_service_error"),
            &[][..],
            true,
        ),
        (
            completed(),
            504,
            model_error("generation_timeout"),
            &[],
            true,
        ),
        (
            completed(),
            500,
            model_error("internal_server_error"),
            &[("x-fal-retryable", "false")],
            false,
        ),
        (
            completed(),
            500,
            model_error("internal_server_error"),
            &[("x-fal-needs-retry", "1")],
            true,
        ),
        (told, 503, flat, &[], true),
    ] {
        let result = move || answer_with(status, headers, &body);
        let look = poll(before, result, nobody).await.unwrap();
        let PollResult::Failed {
            cost,
            retryable,
            reason,
        } = look
        else {
            panic!("{status}: {look:?}")
        };
        assert_eq!(
            (cost, retryable),
            (Some(CostReport::ZERO), again),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn a_server_error_that_is_not_the_models_does_not_end_the_prediction() {
    for status in [500, 502, 503, 504, 524] {
        let result = move || page(status);
        assert_eq!(
            kind(&poll(completed(), result, nobody).await),
            "transient",
            "{status}"
        );
    }
    // The platform's own errors may be about the result call alone: the clip may be there the next time.
    for body in [
        json!({ "message": "Internal server error" }),
        json!({ "detail": "Internal server error" }),
        json!({ "detail": "Request timed out", "error_type": "request_timeout" }),
    ] {
        let result = move || answer(500, &body);
        assert_eq!(kind(&poll(completed(), result, nobody).await), "transient");
    }
}

#[tokio::test]
async fn a_failure_that_the_status_told_is_believed_behind_any_result() {
    let mut status = completed();
    status["error"] = json!("Invalid status code: 422");
    let expected = PollResult::Failed {
        reason: "fal says it failed: Invalid status code: 422".into(),
        cost: Some(CostReport::ZERO),
        retryable: false,
    };
    assert_eq!(
        poll(status.clone(), || page(502), no_events).await,
        Ok(expected)
    );
    // An error about the call itself does not make a refused input one that is worth a second bill.
    let flat = || {
        answer(
            500,
            &json!({ "detail": "Busy", "error_type": "internal_error" }),
        )
    };
    let failed = poll(status.clone(), flat, no_events).await;
    assert!(
        matches!(
            failed,
            Ok(PollResult::Failed {
                retryable: false,
                ..
            })
        ),
        "{failed:?}"
    );
    // What concerns the key or the pace says nothing of the prediction, whatever the status told.
    assert_eq!(
        kind(&poll(status.clone(), || page(429), nobody).await),
        "rate limited"
    );
    assert_eq!(kind(&poll(status, || page(401), nobody).await), "closed");
}

#[tokio::test]
async fn a_refused_input_costs_what_fal_says_it_billed() {
    let usd = |micros| Some(CostReport::Usd(Money::from_micros(micros)));
    let event = |fields: Value| answer(200, &json!({ "billing_events": [fields] }));
    let cases: [(Answer, Option<CostReport>); 6] = [
        (no_events, Some(CostReport::ZERO)),
        (|| answer(404, &json!({})), None),
        (|| page(200), None),
        (
            || {
                answer(
                    200,
                    &json!({ "billing_events": [
            { "request_id": "p-1", "cost_total": 0.1 }, { "request_id": "p-1", "cost_total": "0.125" } ] }),
                )
            },
            usd(225_000),
        ),
        (
            || {
                answer(
                    200,
                    &json!({ "billing_events": [{ "cost_estimate_nano_usd": 225_000_000 }] }),
                )
            },
            usd(225_000),
        ),
        (
            || {
                answer(
                    200,
                    &json!({ "billing_events": [{ "request_id": "another", "cost_total": 1 }] }),
                )
            },
            None,
        ),
    ];
    for (events, expected) in cases {
        let result = || answer(422, &model_error("file_download_error"));
        let failed = PollResult::Failed {
            reason: "fal answered 422: image_url: it did not work".into(),
            cost: expected,
            retryable: false,
        };
        assert_eq!(poll(completed(), result, events).await, Ok(failed));
    }
    let unpriced = move || event(json!({ "request_id": "p-1" }));
    let result = || answer(422, &model_error("file_download_error"));
    assert!(matches!(
        poll(completed(), result, unpriced).await,
        Ok(PollResult::Failed { cost: None, .. })
    ));
    let result = || {
        answer_with(
            422,
            &[("x-fal-billable-units", "0")],
            &model_error("missing"),
        )
    };
    let Ok(PollResult::Failed { cost, .. }) = poll(completed(), result, nobody).await else {
        panic!("not failed")
    };
    assert_eq!(cost, Some(CostReport::Units("0".into())));
}

#[tokio::test]
async fn what_the_content_policy_refuses_is_not_tried_again() {
    let headers = [("x-fal-retryable", "true")];
    for (kind, again) in [
        ("content_policy_violation", false),
        ("file_download_error", true),
    ] {
        let result = move || answer_with(422, &headers, &model_error(kind));
        let look = poll(completed(), result, no_events).await;
        assert!(
            matches!(look, Ok(PollResult::Failed { retryable, .. }) if retryable == again),
            "{look:?}"
        );
    }
}

#[tokio::test]
async fn a_lost_submission_is_found_by_its_input_over_all_pages() {
    let stub = Stub::answering(|seen| {
        let mut input = submission().request;
        input["cfg_scale"] = json!(0.5);
        let body = match seen.param("cursor").as_deref() {
            None => json!({ "next_cursor": "two", "has_more": true, "items": [
                { "request_id": "owned", "json_input": input },
                { "request_id": "other", "json_input": { "prompt": "another" } },
            ] }),
            _ => json!({ "next_cursor": null, "has_more": false, "items": [
                { "request_id": "lost", "json_input": input }, { "request_id": "lost", "json_input": input },
            ] }),
        };
        answer(200, &body)
    })
    .await;
    let trace = adapter(&stub).reconcile(&doubt(&["owned"])).await;
    assert_eq!(
        trace,
        Ok(Reconciliation::Found(PredictionHandle::from_id("lost")))
    );
    let first = &stub.seen()[0];
    assert_eq!(first.path, "/v1/models/requests/by-endpoint");
    for (name, value) in [
        ("endpoint_id", "owner/app/v1/image-to-video"),
        ("start", "2026-08-20T09:48:00Z"),
        ("end", "2026-08-20T10:02:00Z"),
        ("expand", "payloads"),
        ("limit", "100"),
    ] {
        assert_eq!(first.param(name).as_deref(), Some(value), "{name}");
    }
}

#[tokio::test]
async fn only_a_whole_history_with_inputs_proves_absence() {
    let other = json!({ "prompt": "another" });
    for (body, expected) in [
        (
            json!({ "items": [], "next_cursor": null, "has_more": false }),
            "taken",
        ),
        (
            json!({ "items": [{ "request_id": "a", "json_input": other }] }),
            "taken",
        ),
        (
            json!({ "items": [{ "request_id": "a", "status_code": 500 }] }),
            "taken",
        ),
        (
            json!({ "items": [{ "request_id": "a", "status_code": 200 }] }),
            "transient",
        ),
        (
            json!({ "items": [{ "request_id": "a", "json_input": null }] }),
            "transient",
        ),
        (
            json!({ "items": [{ "json_input": submission().request }] }),
            "transient",
        ),
        (
            json!({ "items": [], "next_cursor": null, "has_more": true }),
            "transient",
        ),
        (json!({ "items": [], "next_cursor": "again" }), "transient"),
    ] {
        let stub = Stub::always(200, body.clone()).await;
        let trace = adapter(&stub).reconcile(&doubt(&[])).await;
        assert_eq!(kind(&trace), expected, "{body}");
        if let Ok(trace) = trace {
            assert_eq!(
                trace,
                Reconciliation::Absent {
                    lists_running: false
                },
                "{body}"
            );
        }
    }
}

#[tokio::test]
async fn a_failures_reason_in_the_status_does_not_quote_the_key() {
    for field in ["error", "error_type"] {
        let mut status = completed();
        status[field] = json!("runner refused id-1:secret-123");
        let look = poll(status, || page(500), no_events).await;
        let Ok(PollResult::Failed { reason, .. }) = look else {
            panic!("{look:?}")
        };
        assert!(reason.contains("refused [key]"), "{reason}");
    }
}
