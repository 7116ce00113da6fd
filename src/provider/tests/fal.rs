//! fal.ai: every form of response that is documented, seen by users, or assumed.

use std::time::Duration;

use serde_json::json;

use super::super::fal::Fal;
use super::*;
use crate::domain::{CostReport, Money};
use crate::provider::{Cancellation, PollResult, Provider, Reconciliation};

const REQUEST_PATH: &str = "/owner/app/requests/p-1";

fn adapter(server: &StubServer) -> Fal {
    let storage = Some(server.base.clone());
    Fal::new(
        server.base.clone(),
        server.base.join("v1").unwrap(),
        storage,
        &key(),
        clock(),
        timeouts(),
        ProxiedLinks::default(),
    )
    .unwrap()
}

/// Builds the response to one request.
type Handler = fn() -> Response;

/// Polls a request with the given status, result and billing events.
async fn poll(
    status: Value,
    result: impl Fn() -> Response + Send + Sync + 'static,
    events: impl Fn() -> Response + Send + Sync + 'static,
) -> Result<PollResult, Failure> {
    let server = StubServer::with_handler(move |request| match request.path.as_str() {
        "/owner/app/requests/p-1/status" => json_response(200, &status),
        REQUEST_PATH => result(),
        "/v1/models/billing-events"
            if request.query_param("request_id").as_deref() == Some("p-1") =>
        {
            events()
        }
        path => panic!("unexpected request for {path}"),
    })
    .await;
    adapter(&server)
        .poll(&prediction(), &submission().wire_model)
        .await
}

fn completed() -> Value {
    json!({ "status": "COMPLETED", "metrics": { "inference_time": 3.42 } })
}

/// Panics, because the adapter sent a request that it should not send.
fn unexpected() -> Response {
    panic!("unexpected request")
}

fn billing_events(events: Value) -> Response {
    json_response(200, &json!({ "billing_events": events }))
}

fn no_events() -> Response {
    billing_events(json!([]))
}

fn model_error(error_type: &str) -> Value {
    json!({ "detail": [{
        "loc": ["body", "image_url"],
        "msg": "it did not work",
        "type": error_type,
        "url": "https://docs",
    }] })
}

#[tokio::test]
async fn a_submission_posts_the_input_itself_to_the_whole_model_id() {
    let body = json!({
        "status": "IN_QUEUE",
        "request_id": "p-1",
        "response_url": "https://queue.example/r",
        "status_url": "https://queue.example/s",
        "cancel_url": "https://queue.example/c",
    });
    let server = StubServer::with_response(200, body).await;
    let acceptance = adapter(&server).submit(&submission()).await.unwrap();
    let expected = PredictionHandle {
        prediction_id: "p-1".into(),
        status_url: Some("https://queue.example/s".into()),
        response_url: Some("https://queue.example/r".into()),
        cancel_url: Some("https://queue.example/c".into()),
    };
    assert_eq!(acceptance.prediction, expected);
    let request = &server.requests()[0];
    assert_eq!(request.method, "POST");
    assert_eq!(request.path, "/owner/app/v1/image-to-video");
    assert_eq!(request.body, submission().request);
    assert_eq!(request.header("authorization"), Some("Key id-1:secret-123"));
    // The history would have no inputs if fal did not store them.
    assert_eq!(request.header("x-fal-store-io"), None);
}

#[tokio::test]
async fn failed_submissions_are_classified() {
    let locked = "User is locked. Reason: Exhausted balance. \
        Top up your balance at fal.ai/dashboard/billing.";
    for (status, body, expected) in [
        (
            401,
            json!({ "detail": "invalid key credentials" }),
            "access denied",
        ),
        (403, json!({ "detail": locked }), "locked"),
        (403, json!({ "detail": "Forbidden" }), "access denied"),
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
        let server = StubServer::with_response(status, body.clone()).await;
        let submitted = adapter(&server).submit(&submission()).await;
        assert_eq!(variant(&submitted), expected, "{status} {body}");
    }
}

#[tokio::test]
async fn the_key_is_sent_to_the_configured_host_only() {
    let foreign = StubServer::with_response(200, json!({ "status": "IN_QUEUE" })).await;
    let own = StubServer::with_response(202, json!({ "status": "IN_QUEUE" })).await;
    let mut handle = prediction();
    handle.status_url = Some(foreign.base.join("s").unwrap().into());
    handle.cancel_url = Some(foreign.base.join("c").unwrap().into());
    let adapter = adapter(&own);
    assert_eq!(
        adapter.poll(&handle, &submission().wire_model).await,
        Ok(PollResult::Queued { position: None })
    );
    adapter
        .cancel(&handle, &submission().wire_model)
        .await
        .unwrap();
    assert!(foreign.requests().is_empty());
    let requests: Vec<_> = own
        .requests()
        .iter()
        .map(|request| format!("{} {}", request.method, request.path))
        .collect();
    assert_eq!(
        requests,
        [
            format!("GET {REQUEST_PATH}/status"),
            format!("PUT {REQUEST_PATH}/cancel")
        ]
    );
    handle.status_url = Some(own.base.join("given/p-1/status").unwrap().into());
    adapter
        .poll(&handle, &submission().wire_model)
        .await
        .unwrap();
    assert_eq!(own.requests().last().unwrap().path, "/given/p-1/status");
}

#[tokio::test]
async fn the_result_is_requested_only_of_a_completed_request() {
    for (status, expected) in [
        (json!({ "status": "IN_PROGRESS" }), PollResult::Running),
        (json!({ "status": "SOMETHING_NEW" }), PollResult::Running),
        (
            json!({ "status": "IN_QUEUE" }),
            PollResult::Queued { position: None },
        ),
        (
            json!({ "status": "IN_QUEUE", "queue_position": 12 }),
            PollResult::Queued { position: Some(12) },
        ),
    ] {
        let context = status.to_string();
        let polled = poll(status, unexpected, unexpected).await;
        assert_eq!(polled, Ok(expected), "{context}");
    }
}

#[tokio::test]
async fn only_a_request_that_was_removed_from_the_queue_is_known_to_have_never_run() {
    for (status, body, expected) in [
        (200, json!({ "status": "OK" }), Some(Cancellation::NeverRan)),
        (
            202,
            json!({ "status": "CANCELLATION_REQUESTED" }),
            Some(Cancellation::Requested),
        ),
        (
            202,
            json!({ "status": "OK" }),
            Some(Cancellation::Requested),
        ),
        (
            200,
            json!({ "status": "CANCELLATION_REQUESTED" }),
            Some(Cancellation::Requested),
        ),
        (200, json!({}), Some(Cancellation::Requested)),
        (400, json!({ "status": "ALREADY_COMPLETED" }), None),
        (404, json!({ "status": "NOT_FOUND" }), None),
        (500, json!({ "status": "OK" }), None),
    ] {
        let server = StubServer::with_response(status, body.clone()).await;
        let cancelled = adapter(&server)
            .cancel(&prediction(), &submission().wire_model)
            .await;
        assert_eq!(cancelled.ok(), expected, "{status} {body}");
    }
}

#[tokio::test]
async fn a_result_that_is_not_ready_is_still_running() {
    let too_early = || json_response(400, &json!({ "detail": "Request is still in progress" }));
    assert_eq!(
        poll(completed(), too_early, unexpected).await,
        Ok(PollResult::Running)
    );
}

#[tokio::test]
async fn a_clip_is_found_with_its_billable_units_and_its_processing_time() {
    let url = "https://v3.fal.media/files/output.mp4";
    for body in [
        json!({ "video": { "url": url, "content_type": "video/mp4" } }),
        json!({ "videos": [{ "url": url }] }),
        json!({ "output": url }),
    ] {
        let result =
            move || json_response_with_headers(200, &[("X-Fal-Billable-Units", "5.0")], &body);
        let expected = PollResult::Done {
            output_url: url.into(),
            cost: Some(CostReport::Units("5.0".into())),
            processing: Some(Duration::from_millis(3_420)),
        };
        assert_eq!(poll(completed(), result, unexpected).await, Ok(expected));
    }
    for headers in [
        &[][..],
        &[("x-fal-billable-units", "0")],
        &[("x-fal-billable-units", "many")],
    ] {
        let result =
            move || json_response_with_headers(200, headers, &json!({ "video": { "url": url } }));
        let polled = poll(completed(), result, unexpected).await;
        assert!(
            matches!(polled, Ok(PollResult::Done { cost: None, .. })),
            "{polled:?}"
        );
    }
    let no_url = || json_response(200, &json!({ "video": null }));
    let expected = PollResult::DoneWithoutLink {
        response: json!({ "video": null }),
        cost: None,
        processing: Some(Duration::from_millis(3_420)),
    };
    assert_eq!(poll(completed(), no_url, unexpected).await, Ok(expected));
    let no_json = || html_response(200);
    let polled = poll(completed(), no_json, unexpected).await;
    assert_eq!(variant(&polled), "transient", "{polled:?}");
}

#[tokio::test]
async fn a_models_own_server_error_bills_nothing_and_is_retryable_unless_the_header_denies_it() {
    let mut failed_status = completed();
    failed_status["error_type"] = json!("runner_disconnected");
    let platform_error = json!({ "detail": "gone", "error_type": "runner_disconnected" });
    for (request_status, status, body, headers, expected) in [
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
        (failed_status, 503, platform_error, &[], true),
    ] {
        let result = move || json_response_with_headers(status, headers, &body);
        let polled = poll(request_status, result, unexpected).await.unwrap();
        let PollResult::Failed {
            cost,
            retryable,
            reason,
        } = polled
        else {
            panic!("{status}: {polled:?}")
        };
        assert_eq!(cost, Some(CostReport::ZERO), "{reason}");
        assert_eq!(retryable, expected, "{reason}");
    }
}

#[tokio::test]
async fn a_server_error_that_is_not_the_models_says_nothing_about_the_prediction() {
    for status in [500, 502, 503, 504, 524] {
        let result = move || html_response(status);
        let polled = poll(completed(), result, unexpected).await;
        assert_eq!(variant(&polled), "transient", "{status}");
    }
    // The platform's errors may concern this request alone; the next one may return the clip.
    for body in [
        json!({ "message": "Internal server error" }),
        json!({ "detail": "Internal server error" }),
        json!({ "detail": "Request timed out", "error_type": "request_timeout" }),
    ] {
        let result = move || json_response(500, &body);
        let polled = poll(completed(), result, unexpected).await;
        assert_eq!(variant(&polled), "transient");
    }
}

#[tokio::test]
async fn a_failure_reported_by_the_status_stands_whatever_the_result() {
    let mut status = completed();
    status["error"] = json!("Invalid status code: 422");
    let expected = PollResult::Failed {
        reason: "fal reported a failure: Invalid status code: 422".into(),
        cost: Some(CostReport::ZERO),
        retryable: false,
    };
    assert_eq!(
        poll(status.clone(), || html_response(502), no_events).await,
        Ok(expected)
    );
    // An error that concerns this request does not make a refused input worth a second submission.
    let platform_error = || {
        json_response(
            500,
            &json!({ "detail": "Busy", "error_type": "internal_error" }),
        )
    };
    let polled = poll(status.clone(), platform_error, no_events).await;
    assert!(
        matches!(
            polled,
            Ok(PollResult::Failed {
                retryable: false,
                ..
            })
        ),
        "{polled:?}"
    );
    // A response that concerns the key says nothing about the prediction, whatever the status
    // reported.
    let polled = poll(status.clone(), || html_response(429), unexpected).await;
    assert_eq!(variant(&polled), "rate limited");
    let polled = poll(status, || html_response(401), unexpected).await;
    assert_eq!(variant(&polled), "access denied");
}

#[tokio::test]
async fn a_refused_input_costs_what_its_billing_events_report() {
    let usd = |micros| Some(CostReport::Usd(Money::from_micros(micros)));
    let cases: [(Handler, Option<CostReport>); 7] = [
        (no_events, Some(CostReport::ZERO)),
        (|| json_response(404, &json!({})), None),
        (|| html_response(200), None),
        (
            || {
                billing_events(json!([
                    { "request_id": "p-1", "cost_total": 0.1 },
                    { "request_id": "p-1", "cost_total": "0.125" },
                ]))
            },
            usd(225_000),
        ),
        (
            || billing_events(json!([{ "cost_estimate_nano_usd": 225_000_000 }])),
            usd(225_000),
        ),
        (
            || billing_events(json!([{ "request_id": "another", "cost_total": 1 }])),
            None,
        ),
        (|| billing_events(json!([{ "request_id": "p-1" }])), None),
    ];
    for (events, expected) in cases {
        let result = || json_response(422, &model_error("file_download_error"));
        let failed = PollResult::Failed {
            reason: "fal returned 422: image_url: it did not work".into(),
            cost: expected,
            retryable: false,
        };
        assert_eq!(poll(completed(), result, events).await, Ok(failed));
    }
    let result = || {
        json_response_with_headers(
            422,
            &[("x-fal-billable-units", "0")],
            &model_error("missing"),
        )
    };
    let Ok(PollResult::Failed { cost, .. }) = poll(completed(), result, unexpected).await else {
        panic!("not failed")
    };
    assert_eq!(cost, Some(CostReport::Units("0".into())));
}

#[tokio::test]
async fn an_input_refused_by_the_content_policy_is_never_retryable() {
    let headers = [("x-fal-retryable", "true")];
    for (error_type, expected) in [
        ("content_policy_violation", false),
        ("file_download_error", true),
    ] {
        let result = move || json_response_with_headers(422, &headers, &model_error(error_type));
        let polled = poll(completed(), result, no_events).await;
        assert!(
            matches!(polled, Ok(PollResult::Failed { retryable, .. }) if retryable == expected),
            "{polled:?}"
        );
    }
}

#[tokio::test]
async fn a_lost_submission_is_found_by_its_input_on_any_page() {
    let server = StubServer::with_handler(|request| {
        let mut input = submission().request;
        input["cfg_scale"] = json!(0.5);
        let body = match request.query_param("cursor").as_deref() {
            None => json!({ "next_cursor": "two", "has_more": true, "items": [
                { "request_id": "owned", "json_input": input },
                { "request_id": "other", "json_input": { "prompt": "another" } },
            ] }),
            _ => json!({ "next_cursor": null, "has_more": false, "items": [
                { "request_id": "lost", "json_input": input },
                { "request_id": "lost", "json_input": input },
            ] }),
        };
        json_response(200, &body)
    })
    .await;
    let reconciled = adapter(&server)
        .reconcile(&lost_submission(&["owned"]))
        .await;
    assert_eq!(
        reconciled,
        Ok(Reconciliation::Found(PredictionHandle::from_id("lost")))
    );
    let first = &server.requests()[0];
    assert_eq!(first.path, "/v1/models/requests/by-endpoint");
    for (name, value) in [
        ("endpoint_id", "owner/app/v1/image-to-video"),
        ("start", "2026-08-20T09:48:00Z"),
        ("end", "2026-08-20T10:02:00Z"),
        ("expand", "payloads"),
        ("limit", "100"),
    ] {
        assert_eq!(first.query_param(name).as_deref(), Some(value), "{name}");
    }
}

#[tokio::test]
async fn only_a_complete_history_with_inputs_proves_absence() {
    let other = json!({ "prompt": "another" });
    for (body, expected) in [
        (
            json!({ "items": [], "next_cursor": null, "has_more": false }),
            "ok",
        ),
        (
            json!({ "items": [{ "request_id": "a", "json_input": other }] }),
            "ok",
        ),
        (
            json!({ "items": [{ "request_id": "a", "status_code": 500 }] }),
            "ok",
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
        let server = StubServer::with_response(200, body.clone()).await;
        let reconciled = adapter(&server).reconcile(&lost_submission(&[])).await;
        assert_eq!(variant(&reconciled), expected, "{body}");
        if let Ok(reconciliation) = reconciled {
            assert_eq!(
                reconciliation,
                absent(false, LaterSubmissions::None),
                "{body}"
            );
        }
    }
}

#[tokio::test]
async fn the_key_is_redacted_in_an_error_from_the_status() {
    for field in ["error", "error_type"] {
        let mut status = completed();
        status[field] = json!("runner refused id-1:secret-123");
        let polled = poll(status, || html_response(500), no_events).await;
        let Ok(PollResult::Failed { reason, .. }) = polled else {
            panic!("{polled:?}")
        };
        assert!(reason.contains("refused [key]"), "{reason}");
    }
}
