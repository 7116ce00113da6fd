//! AI/ML API: every documented form of its answers.

use serde_json::json;

use super::super::aimlapi::Aimlapi;
use super::*;
use crate::domain::{CostReport, Money};
use crate::provider::{PollResult, Provider, Reconciliation};

fn adapter(stub: &Stub) -> Aimlapi {
    Aimlapi::new(stub.base.clone(), &key(), clock()).unwrap()
}

async fn poll(body: Value) -> Result<PollResult, Failure> {
    adapter(&Stub::always(200, body).await)
        .poll(&prediction(), &submission())
        .await
}

#[tokio::test]
async fn a_create_is_flat_and_carries_our_token() {
    let stub = Stub::always(201, json!({ "id": "p-1", "status": "queued" })).await;
    let acceptance = adapter(&stub).submit(&submission()).await.unwrap();
    assert_eq!(
        (acceptance.prediction, acceptance.early_cost),
        (prediction(), None)
    );
    let seen = &stub.seen()[0];
    let mut body = submission().request;
    body["model"] = json!(submission().wire_model);
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str(), &seen.body),
        ("POST", "/v2/video/generations", &body)
    );
    assert_eq!(seen.header("authorization"), Some("Bearer id-1:secret-123"));
    assert_eq!(seen.header("x-client-request-id"), Some("overnight-7.1"));
}

#[tokio::test]
async fn an_early_cost_is_taken_from_the_best_place_there_is() {
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
        let stub = Stub::answering(move |_| answer_with(200, headers, &body)).await;
        let acceptance = adapter(&stub).submit(&submission()).await.unwrap();
        assert_eq!(acceptance.early_cost, expected, "{usage}");
    }
}

#[tokio::test]
async fn failed_creates_are_told_apart() {
    let own = json!({
        "title": "Forbidden", "status": 403, "message": "You've run out of credits.", "requestId": "56277efa",
        "error": { "name": "ForbiddenException", "message": "…", "data": { "kind": "err_insufficent_credits" } },
    });
    let older =
        json!({ "message": ["one", "two"], "path": "/v2", "requestId": "r", "statusCode": "500" });
    for (status, body, expected) in [
        (400, older.clone(), "rejected"),
        (403, own.clone(), "closed"),
        (429, own.clone(), "rate limited"),
        (500, own.clone(), "transient"),
        (503, older, "transient"),
        (502, own.clone(), "unknown"),
        (524, own, "unknown"),
        (
            500,
            json!({ "message": "Internal server error" }),
            "unknown",
        ),
        (200, json!({ "status": "queued" }), "unknown"),
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
async fn an_id_of_any_characters_is_asked_for_whole() {
    let id = "1b1b:kling-video/v1 standard&x=1";
    let stub = Stub::always(200, json!({ "status": "queued" })).await;
    adapter(&stub)
        .poll(&PredictionHandle::from_id(id), &submission())
        .await
        .unwrap();
    assert_eq!(stub.seen()[0].param("generation_id").as_deref(), Some(id));
}

#[tokio::test]
async fn every_documented_status_is_understood() {
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
        assert_eq!(
            poll(json!({ "status": status, "video": null })).await,
            Ok(PollResult::Running)
        );
    }
}

#[tokio::test]
async fn every_form_of_a_failure_is_read_and_bills_nothing() {
    for (status, error, error_message) in [
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
            reason: format!("aimlapi: {status}: {error_message}"),
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
async fn a_poll_that_meets_a_tired_server_is_transient() {
    for status in [500, 502, 504, 524] {
        let stub = Stub::answering(move |_| page(status)).await;
        assert_eq!(
            kind(&adapter(&stub).poll(&prediction(), &submission()).await),
            "transient",
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_lost_submission_is_found_by_our_token_alone() {
    let stub = Stub::answering(|seen| {
        let row =
            |token: &str, id: &str| json!({ "client_request_id": token, "inference_id": id, "model": "m" });
        let (rows, more) = match seen.param("offset").as_deref() {
            Some("0") => (vec![row("overnight-7.11", "a"), row("Overnight-7.1", "b")], true),
            _ => (vec![row("overnight-7.1", "lost"), row("overnight-7.1", "lost")], false),
        };
        answer(200, &json!({ "data": rows, "pagination": { "has_more": more } }))
    })
    .await;
    let trace = adapter(&stub).reconcile(&doubt(&[])).await;
    assert_eq!(
        trace,
        Ok(Reconciliation::Found(PredictionHandle::from_id("lost")))
    );
    let offsets: Vec<_> = stub
        .seen()
        .iter()
        .map(|seen| seen.param("offset").unwrap())
        .collect();
    assert_eq!(offsets, ["0", "2"]);
    assert_eq!(
        stub.seen()[0].param("start").unwrap(),
        "2026-08-20T09:48:00Z"
    );
    assert_eq!(stub.seen()[0].param("end").unwrap(), "2026-08-20T10:02:00Z");
}

#[tokio::test]
async fn only_a_whole_log_with_tokens_proves_absence() {
    let model = submission().wire_model;
    let whole = json!({ "has_more": false });
    for (body, expected) in [
        (json!({ "data": [], "pagination": whole }), "taken"),
        (json!({ "data": [] }), "taken"),
        (
            json!({ "data": [{ "client_request_id": null, "inference_id": "a", "model": model }], "pagination": whole }),
            "taken",
        ),
        (
            json!({ "data": [{ "inference_id": "a", "model": "another" }], "pagination": whole }),
            "taken",
        ),
        (
            json!({ "data": [{ "inference_id": "owned", "model": model }], "pagination": whole }),
            "taken",
        ),
        (
            json!({ "data": [{ "inference_id": "a", "model": model }], "pagination": whole }),
            "transient",
        ),
        (
            json!({ "data": [{ "client_request_id": "overnight-7.1" }], "pagination": whole }),
            "transient",
        ),
        (
            json!({ "data": [], "pagination": { "has_more": true } }),
            "transient",
        ),
    ] {
        let stub = Stub::always(200, body.clone()).await;
        let trace = adapter(&stub).reconcile(&doubt(&["owned"])).await;
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
async fn a_video_cannot_be_cancelled() {
    let stub = Stub::always(200, json!({})).await;
    assert_eq!(
        kind(&adapter(&stub).cancel(&prediction(), &submission()).await),
        "rejected"
    );
    assert!(stub.seen().is_empty());
}
