//! each::labs: every documented form of its answers.

use std::time::Duration;

use serde_json::json;

use super::super::eachlabs::Eachlabs;
use super::super::http::Auth;
use super::*;
use crate::domain::{CostReport, Money};
use crate::provider::{PollResult, Provider, Reconciliation};

fn adapter(stub: &Stub) -> Eachlabs {
    Eachlabs::new(
        stub.base.join("v1").unwrap(),
        &key(),
        Auth::XApiKey,
        clock(),
    )
    .unwrap()
}

async fn submitted(status: u16, body: Value) -> Result<String, Failure> {
    let stub = Stub::always(status, body).await;
    adapter(&stub)
        .submit(&submission())
        .await
        .map(|acceptance| acceptance.prediction.prediction_id)
}

async fn poll(body: Value) -> Result<PollResult, Failure> {
    adapter(&Stub::always(200, body).await)
        .poll(&prediction(), &submission())
        .await
}

#[tokio::test]
async fn a_create_posts_the_model_its_input_and_our_token() {
    let stub = Stub::always(200, json!({ "status": "success", "predictionID": "p-1" })).await;
    let acceptance = adapter(&stub).submit(&submission()).await.unwrap();
    assert_eq!(acceptance.prediction, prediction());
    let seen = &stub.seen()[0];
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str()),
        ("POST", "/v1/prediction/")
    );
    assert_eq!(
        seen.body,
        json!({ "model": submission().wire_model, "input": submission().request })
    );
    assert_eq!(seen.header("x-api-key"), Some("id-1:secret-123"));
    assert_eq!(seen.header("x-request-id"), Some("overnight-7.1"));
}

#[tokio::test]
async fn the_key_can_be_sent_as_a_bearer_token() {
    let stub = Stub::always(201, json!({ "id": "p-1" })).await;
    let adapter = Eachlabs::new(stub.base.clone(), &key(), Auth::Bearer, clock()).unwrap();
    adapter.submit(&submission()).await.unwrap();
    assert_eq!(
        stub.seen()[0].header("authorization"),
        Some("Bearer id-1:secret-123")
    );
    assert_eq!(stub.seen()[0].header("x-api-key"), None);
}

#[tokio::test]
async fn an_accepted_create_is_known_by_any_of_the_names_of_its_id() {
    for body in [
        json!({ "predictionID": "a" }),
        json!({ "prediction_id": "a" }),
        json!({ "id": "a" }),
    ] {
        assert_eq!(submitted(201, body).await.unwrap(), "a");
    }
    // What was taken and failed at once is a prediction all the same: its poll tells.
    assert_eq!(
        submitted(200, json!({ "status": "error", "predictionID": "a" }))
            .await
            .unwrap(),
        "a"
    );
}

#[tokio::test]
async fn failed_creates_are_told_apart() {
    let own = json!({ "status": "error", "message": "Bad", "details": "image" });
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
            "closed",
        ),
        (
            429,
            json!({ "status": 429, "error": "too many requests" }),
            "rate limited",
        ),
        (500, own.clone(), "transient"),
        (503, own.clone(), "transient"),
        (500, json!({ "error": "boom" }), "transient"),
        (502, own.clone(), "unknown"),
        (504, own.clone(), "unknown"),
        (500, json!({}), "unknown"),
        // An error that names a prediction is no proof that there is none.
        (
            500,
            json!({ "status": "error", "message": "Bad", "predictionID": "a" }),
            "unknown",
        ),
        (200, json!({ "status": "success" }), "unknown"),
        (200, own, "rejected"),
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
        assert_eq!(
            kind(&submitted(status, body.clone()).await),
            expected,
            "{status} {body}"
        );
    }
}

#[tokio::test]
async fn every_documented_status_is_understood() {
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
            "id": "p-1", "status": "success", "output": output, "metrics": { "predict_time": 268.4, "cost": 0.225 },
        });
        let expected = PollResult::Done {
            output_url: url.into(),
            cost: Some(CostReport::Usd(Money::from_micros(225_000))),
            processing: Some(Duration::from_millis(268_400)),
        };
        assert_eq!(poll(body).await, Ok(expected), "{output}");
    }
    assert_eq!(
        poll(json!({ "status": "success", "output": null })).await,
        Ok(PollResult::Running)
    );
}

#[tokio::test]
async fn a_success_that_costs_nothing_has_not_told_its_cost() {
    for metrics in [
        json!({ "predict_time": 3 }),
        json!({ "cost": 0 }),
        json!({ "cost": null }),
        json!(null),
    ] {
        let body = json!({ "status": "success", "output": "https://cdn.example/a.mp4", "metrics": metrics });
        let Ok(PollResult::Done { cost, .. }) = poll(body).await else {
            panic!("not done: {metrics}")
        };
        assert_eq!(cost, None, "{metrics}");
    }
}

#[tokio::test]
async fn both_forms_of_a_failure_are_read() {
    let short = json!({ "status": "error", "message": "Generation failed", "details": "provider rejected the image" });
    let expected = PollResult::Failed {
        reason: "eachlabs: error: Generation failed: provider rejected the image".into(),
        cost: Some(CostReport::ZERO),
        retryable: false,
    };
    assert_eq!(poll(short).await, Ok(expected));
    let envelope = json!({
        "status": "error", "input": {}, "metrics": { "predict_time": 3.4, "cost": 0.05 },
        "output": { "error": "Execution failed", "error_code": "PROVIDER_FAILED", "error_message": "timed out",
            "retryable": true, "success": false },
    });
    let expected = PollResult::Failed {
        reason: "eachlabs: error: timed out".into(),
        cost: Some(CostReport::Usd(Money::from_micros(50_000))),
        retryable: true,
    };
    assert_eq!(poll(envelope).await, Ok(expected));
}

/// Serves pages of ids, and each prediction as `shown` tells.
async fn history(
    pages: &'static [&'static [&'static str]],
    shown: impl Fn(&str) -> Response + Send + Sync + 'static,
) -> Stub {
    Stub::answering(move |seen| {
        if let Some(id) = seen.path.strip_prefix("/v1/prediction/") {
            return shown(id);
        }
        let offset: usize = seen.param("offset").unwrap().parse().unwrap();
        let mut before = 0;
        let page = pages.iter().find(|page| {
            before += page.len();
            before > offset
        });
        let rows: Vec<Value> = page
            .into_iter()
            .copied()
            .flatten()
            .map(|id| json!({ "id": id, "status": "success" }))
            .collect();
        answer(
            200,
            &json!({ "executions": rows, "total_count": rows.len() }),
        )
    })
    .await
}

fn with_input(input: &Value) -> Response {
    answer(200, &json!({ "status": "processing", "input": input }))
}

fn its_input() -> Value {
    let mut input = submission().request;
    input["duration"] = json!(5);
    input["negative_prompt"] = json!("blur");
    input
}

#[tokio::test]
async fn a_lost_submission_is_found_by_its_input_whatever_became_of_it() {
    for status in ["processing", "success", "error", "cancelled"] {
        let stub = history(&[&["other", "owned"], &["lost"]], move |id| match id {
            "lost" => answer(200, &json!({ "status": status, "input": its_input() })),
            "other" => with_input(&json!({ "prompt": "another" })),
            _ => page(500),
        })
        .await;
        let trace = adapter(&stub).reconcile(&doubt(&["owned"])).await;
        assert_eq!(
            trace,
            Ok(Reconciliation::Found(PredictionHandle::from_id("lost"))),
            "{status}"
        );
        let first = &stub.seen()[0];
        assert_eq!(first.path, "/v1/executions");
        assert_eq!(first.param("model").unwrap(), submission().wire_model);
        assert_eq!(first.param("from").unwrap(), "2026-08-20T09:48:00Z");
        assert_eq!(first.param("to").unwrap(), "2026-08-20T10:02:00Z");
    }
}

#[tokio::test]
async fn a_row_listed_twice_is_one_prediction_and_twins_are_several() {
    let stub = history(&[&["a", "b"], &["b"]], |id| {
        with_input(&json!({ "prompt": id }))
    })
    .await;
    let absent = adapter(&stub).reconcile(&doubt(&[])).await;
    assert_eq!(
        absent,
        Ok(Reconciliation::Absent {
            lists_running: true
        })
    );
    let stub = history(&[&["a"], &["a"]], |_| with_input(&its_input())).await;
    assert_eq!(
        adapter(&stub).reconcile(&doubt(&[])).await,
        Ok(Reconciliation::Found(PredictionHandle::from_id("a")))
    );
    let stub = history(&[&["a"], &["b"]], |_| with_input(&its_input())).await;
    let twins = Reconciliation::Ambiguous(vec!["a".into(), "b".into()]);
    assert_eq!(adapter(&stub).reconcile(&doubt(&[])).await, Ok(twins));
}

#[tokio::test]
async fn an_execution_that_cannot_be_compared_is_no_proof_of_absence() {
    let stub = history(&[&["a"]], |_| {
        answer(404, &json!({ "error": "Prediction not found" }))
    })
    .await;
    assert_eq!(
        kind(&adapter(&stub).reconcile(&doubt(&[])).await),
        "transient"
    );
    let stub = history(&[&["a"]], |_| {
        answer(200, &json!({ "status": "processing" }))
    })
    .await;
    assert_eq!(
        kind(&adapter(&stub).reconcile(&doubt(&[])).await),
        "transient"
    );
    // What failed and bills nothing cannot be paid twice.
    let stub = history(&[&["a"]], |_| {
        answer(200, &json!({ "status": "error", "input": {} }))
    })
    .await;
    let trace = adapter(&stub).reconcile(&doubt(&[])).await;
    assert_eq!(
        trace,
        Ok(Reconciliation::Absent {
            lists_running: true
        })
    );
}

#[tokio::test]
async fn a_history_without_ids_or_without_end_proves_nothing() {
    let stub = Stub::always(200, json!({ "executions": [{ "model": "m" }] })).await;
    assert_eq!(
        kind(&adapter(&stub).reconcile(&doubt(&[])).await),
        "transient"
    );
    let stub = Stub::answering(|seen| {
        let offset = seen.param("offset").unwrap();
        answer(200, &json!({ "executions": [{ "id": offset }] }))
    })
    .await;
    let failure = adapter(&stub).reconcile(&doubt(&[])).await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        "eachlabs's history is too long to search"
    );
}

#[tokio::test]
async fn a_cancel_is_asked_for_by_id() {
    let stub = Stub::always(200, json!({ "status": "cancelled" })).await;
    adapter(&stub)
        .cancel(&prediction(), &submission())
        .await
        .unwrap();
    let seen = &stub.seen()[0];
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str()),
        ("POST", "/v1/prediction/p-1/cancel")
    );
}
