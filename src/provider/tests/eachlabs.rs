//! each::labs: every form of response that is documented or assumed.

use std::time::Duration;

use serde_json::json;

use super::super::eachlabs::Eachlabs;
use super::super::http::Auth;
use super::*;
use crate::domain::{CostReport, Money};
use crate::provider::{PollResult, Provider, Reconciliation};

fn adapter(server: &StubServer) -> Eachlabs {
    Eachlabs::new(
        server.base.join("v1").unwrap(),
        &key(),
        Auth::XApiKey,
        clock(),
        timeouts(),
        ProxiedLinks::default(),
    )
    .unwrap()
}

/// Submits to a server with the given response; returns the prediction id.
async fn submit(status: u16, body: Value) -> Result<String, Failure> {
    let server = StubServer::with_response(status, body).await;
    adapter(&server)
        .submit(&submission())
        .await
        .map(|acceptance| acceptance.prediction.prediction_id)
}

async fn poll(body: Value) -> Result<PollResult, Failure> {
    adapter(&StubServer::with_response(200, body).await)
        .poll(&prediction(), &submission().wire_model)
        .await
}

async fn reconcile(server: &StubServer, owned_ids: &[&str]) -> Result<Reconciliation, Failure> {
    adapter(server).reconcile(&lost_submission(owned_ids)).await
}

#[tokio::test]
async fn a_submission_posts_the_model_its_input_and_our_token() {
    let body = json!({ "status": "success", "predictionID": "p-1" });
    let server = StubServer::with_response(200, body).await;
    let acceptance = adapter(&server).submit(&submission()).await.unwrap();
    assert_eq!(acceptance.prediction, prediction());
    let request = &server.requests()[0];
    assert_eq!(request.method, "POST");
    assert_eq!(request.path, "/v1/prediction/");
    assert_eq!(
        request.body,
        json!({ "model": submission().wire_model, "input": submission().request })
    );
    assert_eq!(request.header("x-api-key"), Some("id-1:secret-123"));
    assert_eq!(request.header("x-request-id"), Some("overnight-7.1"));
}

#[tokio::test]
async fn the_key_can_be_sent_as_a_bearer_token() {
    let server = StubServer::with_response(201, json!({ "id": "p-1" })).await;
    let adapter = Eachlabs::new(
        server.base.clone(),
        &key(),
        Auth::Bearer,
        clock(),
        timeouts(),
        ProxiedLinks::default(),
    )
    .unwrap();
    adapter.submit(&submission()).await.unwrap();
    let request = &server.requests()[0];
    assert_eq!(
        request.header("authorization"),
        Some("Bearer id-1:secret-123")
    );
    assert_eq!(request.header("x-api-key"), None);
}

#[tokio::test]
async fn an_accepted_submission_is_recognised_by_any_name_of_its_id() {
    for body in [
        json!({ "predictionID": "a" }),
        json!({ "prediction_id": "a" }),
        json!({ "id": "a" }),
    ] {
        assert_eq!(submit(201, body).await.unwrap(), "a");
    }
    // A prediction that failed at once was accepted too: its poll returns the failure.
    let failed = json!({ "status": "error", "predictionID": "a" });
    assert_eq!(submit(200, failed).await.unwrap(), "a");
}

#[tokio::test]
async fn failed_submissions_are_classified() {
    let own_error = json!({ "status": "error", "message": "Bad", "details": "image" });
    for (status, body, expected) in [
        (400, json!({}), "rejected"),
        (
            404,
            json!({ "error": "Failed to fetch model: model not found" }),
            "rejected",
        ),
        (
            402,
            json!({ "status": 402, "error": "payment required", "details": "balance" }),
            "balance in use",
        ),
        (
            429,
            json!({ "status": 429, "error": "too many requests" }),
            "rate limited",
        ),
        (500, own_error.clone(), "transient"),
        (503, own_error.clone(), "transient"),
        (500, json!({ "error": "boom" }), "transient"),
        (502, own_error.clone(), "unknown"),
        (504, own_error.clone(), "unknown"),
        (500, json!({}), "unknown"),
        // An error that names a prediction does not prove that there is none.
        (
            500,
            json!({ "status": "error", "message": "Bad", "predictionID": "a" }),
            "unknown",
        ),
        (200, json!({ "status": "success" }), "unknown"),
        (200, own_error, "rejected"),
        (
            200,
            json!({ "output": { "error": "Execution failed", "retryable": true } }),
            "transient",
        ),
        (
            200,
            json!({ "output": { "error": "Execution failed", "retryable": false } }),
            "rejected",
        ),
    ] {
        let submitted = submit(status, body.clone()).await;
        assert_eq!(variant(&submitted), expected, "{status} {body}");
    }
}

#[tokio::test]
async fn every_status_is_understood() {
    for status in ["created", "starting", "processing", "something-new"] {
        assert_eq!(
            poll(json!({ "status": status, "output": null })).await,
            Ok(PollResult::Running),
            "{status}"
        );
    }
    for status in ["success", "succeeded", "completed", "Success"] {
        let body = json!({ "status": status, "output": "https://cdn.example/a.mp4" });
        assert!(
            matches!(poll(body).await, Ok(PollResult::Done { .. })),
            "{status}"
        );
    }
    for status in ["error", "failed", "cancelled", "canceled"] {
        assert!(
            matches!(
                poll(json!({ "status": status })).await,
                Ok(PollResult::Failed { .. })
            ),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_clip_is_found_in_every_form_of_output() {
    let url = "https://cdn.example/a.mp4";
    for output in [
        json!(url),
        json!([url]),
        json!([{ "url": url }]),
        json!({ "url": url }),
        json!({ "video": url }),
        json!({ "video": { "url": url } }),
    ] {
        let body = json!({
            "id": "p-1",
            "status": "success",
            "output": output,
            "metrics": { "predict_time": 268.4, "cost": 0.225 },
        });
        let expected = PollResult::Done {
            output_url: url.into(),
            cost: Some(CostReport::Usd(Money::from_micros(225_000))),
            processing: Some(Duration::from_millis(268_400)),
        };
        assert_eq!(poll(body).await, Ok(expected), "{output}");
    }
    let body = json!({ "status": "success", "output": null, "metrics": { "cost": 0.225 } });
    let expected = PollResult::DoneWithoutLink {
        response: body.clone(),
        cost: Some(CostReport::Usd(Money::from_micros(225_000))),
        processing: None,
    };
    assert_eq!(poll(body).await, Ok(expected));
}

#[tokio::test]
async fn a_cost_of_zero_for_a_finished_clip_is_not_a_reported_cost() {
    for metrics in [
        json!({ "predict_time": 3 }),
        json!({ "cost": 0 }),
        json!({ "cost": null }),
        json!(null),
    ] {
        let body = json!({
            "status": "success",
            "output": "https://cdn.example/a.mp4",
            "metrics": metrics,
        });
        let Ok(PollResult::Done { cost, .. }) = poll(body).await else {
            panic!("not done: {metrics}")
        };
        assert_eq!(cost, None, "{metrics}");
    }
}

#[tokio::test]
async fn both_forms_of_a_failure_are_parsed() {
    let short = json!({
        "status": "error",
        "message": "Generation failed",
        "details": "provider rejected the image",
    });
    let expected = PollResult::Failed {
        reason: "eachlabs: error: Generation failed: provider rejected the image".into(),
        cost: Some(CostReport::ZERO),
        retryable: false,
    };
    assert_eq!(poll(short).await, Ok(expected));
    let envelope = json!({
        "status": "error",
        "input": {},
        "metrics": { "predict_time": 3.4, "cost": 0.05 },
        "output": {
            "error": "Execution failed",
            "error_code": "PROVIDER_FAILED",
            "error_message": "timed out",
            "retryable": true,
            "success": false,
        },
    });
    let expected = PollResult::Failed {
        reason: "eachlabs: error: timed out".into(),
        cost: Some(CostReport::Usd(Money::from_micros(50_000))),
        retryable: true,
    };
    assert_eq!(poll(envelope).await, Ok(expected));
}

/// Starts a server with a history of these pages of ids, and with `prediction` for each id.
async fn history_server(
    pages: &'static [&'static [&'static str]],
    prediction: impl Fn(&str) -> Response + Send + Sync + 'static,
) -> StubServer {
    StubServer::with_handler(move |request| {
        if let Some(id) = request.path.strip_prefix("/v1/prediction/") {
            return prediction(id);
        }
        let offset: usize = request.query_param("offset").unwrap().parse().unwrap();
        let mut page_end = 0;
        let page = pages.iter().find(|page| {
            page_end += page.len();
            page_end > offset
        });
        let entries: Vec<Value> = page
            .into_iter()
            .copied()
            .flatten()
            .map(|id| json!({ "id": id, "status": "success" }))
            .collect();
        json_response(
            200,
            &json!({ "executions": entries, "total_count": entries.len() }),
        )
    })
    .await
}

fn prediction_with_input(input: &Value) -> Response {
    json_response(200, &json!({ "status": "processing", "input": input }))
}

/// Returns the submitted input as the provider may return it.
fn returned_input() -> Value {
    let mut input = submission().request;
    input["duration"] = json!(5);
    input["negative_prompt"] = json!("blur");
    input
}

#[tokio::test]
async fn a_lost_submission_is_found_by_its_input_whatever_its_status() {
    for status in ["processing", "success", "error", "cancelled"] {
        let server = history_server(&[&["other", "owned"], &["lost"]], move |id| match id {
            "lost" => json_response(200, &json!({ "status": status, "input": returned_input() })),
            "other" => prediction_with_input(&json!({ "prompt": "another" })),
            _ => html_response(500),
        })
        .await;
        assert_eq!(
            reconcile(&server, &["owned"]).await,
            Ok(Reconciliation::Found(PredictionHandle::from_id("lost"))),
            "{status}"
        );
        let first = &server.requests()[0];
        assert_eq!(first.path, "/v1/executions");
        for (name, value) in [
            ("model", submission().wire_model.as_str()),
            ("from", "2026-08-20T09:48:00Z"),
            ("to", "2026-08-20T10:02:00Z"),
        ] {
            assert_eq!(first.query_param(name).as_deref(), Some(value), "{name}");
        }
    }
}

#[tokio::test]
async fn an_entry_listed_twice_is_one_match_and_two_entries_are_ambiguous() {
    let server = history_server(&[&["a", "b"], &["b"]], |id| {
        prediction_with_input(&json!({ "prompt": id }))
    })
    .await;
    assert_eq!(
        reconcile(&server, &[]).await,
        Ok(absent(true, LaterSubmissions::None))
    );
    let server = history_server(&[&["a"], &["a"]], |_| {
        prediction_with_input(&returned_input())
    })
    .await;
    let found = Reconciliation::Found(PredictionHandle::from_id("a"));
    assert_eq!(reconcile(&server, &[]).await, Ok(found));
    let server = history_server(&[&["a"], &["b"]], |_| {
        prediction_with_input(&returned_input())
    })
    .await;
    let ambiguous = Reconciliation::Ambiguous(vec!["a".into(), "b".into()]);
    assert_eq!(reconcile(&server, &[]).await, Ok(ambiguous));
}

#[tokio::test]
async fn an_execution_that_cannot_be_compared_proves_nothing_unless_it_failed_unbilled() {
    let server = history_server(&[&["a"]], |_| {
        json_response(404, &json!({ "error": "Prediction not found" }))
    })
    .await;
    assert_eq!(variant(&reconcile(&server, &[]).await), "transient");
    let server = history_server(&[&["a"]], |_| {
        json_response(200, &json!({ "status": "processing" }))
    })
    .await;
    assert_eq!(variant(&reconcile(&server, &[]).await), "transient");
    let server = history_server(&[&["a"]], |_| {
        json_response(200, &json!({ "status": "error", "input": {} }))
    })
    .await;
    assert_eq!(
        reconcile(&server, &[]).await,
        Ok(absent(true, LaterSubmissions::None))
    );
}

#[tokio::test]
async fn a_history_without_ids_or_without_end_proves_nothing() {
    let body = json!({ "executions": [{ "model": "m" }] });
    let server = StubServer::with_response(200, body).await;
    assert_eq!(variant(&reconcile(&server, &[]).await), "transient");
    let server = StubServer::with_handler(|request| {
        let offset = request.query_param("offset").unwrap();
        json_response(200, &json!({ "executions": [{ "id": offset }] }))
    })
    .await;
    assert_eq!(
        reconcile(&server, &[]).await.unwrap_err().to_string(),
        "eachlabs's history is too long to search"
    );
}

#[tokio::test]
async fn a_cancellation_is_requested_by_id() {
    let server = StubServer::with_response(200, json!({ "status": "cancelled" })).await;
    adapter(&server)
        .cancel(&prediction(), &submission().wire_model)
        .await
        .unwrap();
    let request = &server.requests()[0];
    assert_eq!(request.method, "POST");
    assert_eq!(request.path, "/v1/prediction/p-1/cancel");
}
