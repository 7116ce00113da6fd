//! AI/ML API: every form of response that is documented, seen by users, or assumed.

use std::time::Duration;

use serde_json::json;

use super::super::aimlapi::Aimlapi;
use super::*;
use crate::domain::{CostReport, Money};
use crate::provider::{PollResult, Provider, Reconciliation};

fn adapter(server: &StubServer) -> Aimlapi {
    Aimlapi::new(server.base.clone(), &key(), clock(), timeouts()).unwrap()
}

async fn poll(body: Value) -> Result<PollResult, Failure> {
    adapter(&StubServer::with_response(200, body).await)
        .poll(&prediction(), &submission().wire_model)
        .await
}

#[tokio::test]
async fn a_submission_is_a_flat_body_and_carries_our_token() {
    let body = json!({ "id": "p-1", "status": "queued" });
    let server = StubServer::with_response(201, body).await;
    let acceptance = adapter(&server).submit(&submission()).await.unwrap();
    assert_eq!(acceptance.prediction, prediction());
    assert_eq!(acceptance.early_cost, None);
    let request = &server.requests()[0];
    let mut body = submission().request;
    body["model"] = json!(submission().wire_model);
    assert_eq!(request.method, "POST");
    assert_eq!(request.path, "/v2/video/generations");
    assert_eq!(request.body, body);
    assert_eq!(
        request.header("authorization"),
        Some("Bearer id-1:secret-123")
    );
    assert_eq!(request.header("x-client-request-id"), Some("overnight-7.1"));
}

#[tokio::test]
async fn an_early_cost_is_read_from_the_most_precise_source() {
    let usd = Some(CostReport::Usd(Money::from_micros(236_250)));
    let credits = Some(CostReport::Credits(472_500));
    let headers: &'static [_] = &[
        ("x-aimlapi-usd-spent", "0.23625"),
        ("x-aimlapi-credits-used", "472500"),
    ];
    for (headers, usage, expected) in [
        (
            &headers[..0],
            json!({ "credits_used": 472_500, "usd_spent": 0.23625 }),
            usd.clone(),
        ),
        (
            &headers[..0],
            json!({ "credits_used": 472_500 }),
            credits.clone(),
        ),
        (
            &headers[..0],
            json!({ "tokens_used": "472500" }),
            credits.clone(),
        ),
        (headers, json!(null), usd),
        (
            &headers[1..],
            json!({ "credits_used": null }),
            credits.clone(),
        ),
        (&headers[1..], json!({ "credits_used": 0 }), credits),
        (
            &headers[..0],
            json!({ "credits_used": 0, "usd_spent": 0 }),
            None,
        ),
    ] {
        let body = json!({ "generation_id": "p-1", "meta": { "usage": usage } });
        let server =
            StubServer::with_handler(move |_| json_response_with_headers(200, headers, &body))
                .await;
        let acceptance = adapter(&server).submit(&submission()).await.unwrap();
        assert_eq!(acceptance.early_cost, expected, "{usage}");
    }
}

#[tokio::test]
async fn failed_submissions_are_classified() {
    let own_error = json!({
        "title": "Forbidden",
        "status": 403,
        "message": "You've run out of credits.",
        "requestId": "56277efa",
        "error": {
            "name": "ForbiddenException",
            "message": "…",
            "data": { "kind": "err_insufficent_credits" },
        },
    });
    let older_error = json!({
        "message": ["one", "two"],
        "path": "/v2",
        "requestId": "r",
        "statusCode": "500",
    });
    for (status, body, expected) in [
        (400, older_error.clone(), "rejected"),
        (403, own_error.clone(), "access denied"),
        (429, own_error.clone(), "rate limited"),
        (500, own_error.clone(), "transient"),
        (503, older_error, "transient"),
        (502, own_error.clone(), "unknown"),
        (524, own_error, "unknown"),
        (
            500,
            json!({ "message": "Internal server error" }),
            "unknown",
        ),
        (200, json!({ "status": "queued" }), "unknown"),
    ] {
        let server = StubServer::with_response(status, body.clone()).await;
        let submitted = adapter(&server).submit(&submission()).await;
        assert_eq!(variant(&submitted), expected, "{status} {body}");
    }
}

#[tokio::test]
async fn an_id_is_percent_encoded_in_the_query() {
    let id = "1b1b:kling-video/v1 standard&x=1";
    let server = StubServer::with_response(200, json!({ "status": "queued" })).await;
    adapter(&server)
        .poll(&PredictionHandle::from_id(id), &submission().wire_model)
        .await
        .unwrap();
    let request = &server.requests()[0];
    assert_eq!(request.query_param("generation_id").as_deref(), Some(id));
}

#[tokio::test]
async fn every_status_is_understood() {
    for status in [
        "queued",
        "generating",
        "waiting",
        "active",
        "processing",
        "something-new",
    ] {
        assert_eq!(
            poll(json!({ "status": status, "video": null })).await,
            Ok(PollResult::Running),
            "{status}"
        );
    }
    for status in ["completed", "succeeded"] {
        for video in [
            json!({ "url": "https://cdn.example/a.mp4?ksTime=1" }),
            json!([{ "url": "https://cdn.example/a.mp4?ksTime=1" }]),
        ] {
            let expected = PollResult::Done {
                output_url: "https://cdn.example/a.mp4?ksTime=1".into(),
                cost: Some(CostReport::Credits(472_500)),
                processing: None,
            };
            let usage = json!({ "usage": { "credits_used": 472_500 } });
            assert_eq!(
                poll(json!({ "status": status, "video": video, "meta": usage })).await,
                Ok(expected)
            );
        }
        let body = json!({ "status": status, "video": null });
        let expected = PollResult::DoneWithoutLink {
            response: body.clone(),
            cost: None,
            processing: None,
        };
        assert_eq!(poll(body).await, Ok(expected));
    }
}

#[tokio::test]
async fn every_form_of_a_failure_is_parsed_and_bills_nothing() {
    for (status, error, message) in [
        (
            "error",
            json!({ "name": "Error", "message": "no face" }),
            "no face",
        ),
        ("failed", json!("no face"), "no face"),
        (
            "error",
            json!({ "detail": [{ "loc": ["body", "image_url"], "msg": "no face" }] }),
            "image_url: no face",
        ),
        ("cancelled", json!(null), "no reason given"),
    ] {
        let expected = PollResult::Failed {
            reason: format!("aimlapi: {status}: {message}"),
            cost: Some(CostReport::ZERO),
            retryable: false,
        };
        assert_eq!(
            poll(json!({ "status": status, "video": null, "error": error })).await,
            Ok(expected)
        );
    }
}

#[tokio::test]
async fn a_server_error_on_a_poll_is_transient() {
    for status in [500, 502, 504, 524] {
        let server = StubServer::with_handler(move |_| html_response(status)).await;
        let polled = adapter(&server)
            .poll(&prediction(), &submission().wire_model)
            .await;
        assert_eq!(variant(&polled), "transient", "{status}");
    }
}

#[tokio::test]
async fn a_lost_submission_is_found_by_our_token_alone() {
    let server = StubServer::with_handler(|request| {
        let entry = |token: &str, id: &str| {
            json!({ "client_request_id": token, "inference_id": id, "model": "m" })
        };
        let is_first_page = request.query_param("offset").as_deref() == Some("0");
        let entries = if is_first_page {
            [entry("overnight-7.11", "a"), entry("Overnight-7.1", "b")]
        } else {
            [
                entry("overnight-7.1", "lost"),
                entry("overnight-7.1", "lost"),
            ]
        };
        let pagination = json!({ "has_more": is_first_page });
        json_response(200, &json!({ "data": entries, "pagination": pagination }))
    })
    .await;
    let reconciled = adapter(&server).reconcile(&lost_submission(&[])).await;
    assert_eq!(
        reconciled,
        Ok(Reconciliation::Found(PredictionHandle::from_id("lost")))
    );
    let requests = server.requests();
    let offsets: Vec<_> = requests
        .iter()
        .map(|request| request.query_param("offset").unwrap())
        .collect();
    assert_eq!(offsets, ["0", "2"]);
    for (name, value) in [
        ("start", "2026-08-20T09:48:00Z"),
        ("end", "2026-08-20T10:02:00Z"),
    ] {
        assert_eq!(
            requests[0].query_param(name).as_deref(),
            Some(value),
            "{name}"
        );
    }
}

#[tokio::test]
async fn only_a_complete_log_with_tokens_proves_absence() {
    let model = submission().wire_model;
    let complete = json!({ "has_more": false });
    for (body, expected) in [
        (json!({ "data": [], "pagination": complete }), "ok"),
        (json!({ "data": [] }), "ok"),
        (
            json!({
                "data": [{ "client_request_id": null, "inference_id": "a", "model": model }],
                "pagination": complete,
            }),
            "ok",
        ),
        (
            json!({
                "data": [{ "inference_id": "a", "model": "another" }],
                "pagination": complete,
            }),
            "ok",
        ),
        (
            json!({
                "data": [{ "inference_id": "owned", "model": model }],
                "pagination": complete,
            }),
            "ok",
        ),
        (
            json!({
                "data": [{ "inference_id": "a", "model": model }],
                "pagination": complete,
            }),
            "transient",
        ),
        (
            json!({
                "data": [{ "client_request_id": "overnight-7.1" }],
                "pagination": complete,
            }),
            "transient",
        ),
        (
            json!({ "data": [], "pagination": { "has_more": true } }),
            "transient",
        ),
    ] {
        let server = StubServer::with_response(200, body.clone()).await;
        let reconciled = adapter(&server)
            .reconcile(&lost_submission(&["owned"]))
            .await;
        assert_eq!(variant(&reconciled), expected, "{body}");
        if let Ok(reconciliation) = reconciled {
            let later = if body["data"][0]["inference_id"] == "owned" {
                LaterSubmissions::Listed
            } else {
                // Submitted at the same time, ten minutes ago.
                LaterSubmissions::Unlisted {
                    since: Duration::from_secs(600),
                }
            };
            assert_eq!(reconciliation, absent(false, later), "{body}");
        }
    }
}

#[tokio::test]
async fn a_cancellation_is_rejected_without_a_request() {
    let server = StubServer::with_response(200, json!({})).await;
    let cancelled = adapter(&server)
        .cancel(&prediction(), &submission().wire_model)
        .await;
    assert_eq!(variant(&cancelled), "rejected");
    assert!(server.requests().is_empty());
}
