//! What holds for every call, whichever API it goes to.

use axum::response::Response;
use serde_json::json;

use super::super::aimlapi::Aimlapi;
use super::super::eachlabs::Eachlabs;
use super::super::fal::Fal;
use super::*;
use crate::provider::http::Auth;
use crate::provider::{PollResult, Provider, Reconciliation};

fn all(base: &Url) -> [Box<dyn Provider>; 3] {
    [
        Box::new(Eachlabs::new(base.clone(), &key(), Auth::XApiKey, clock()).unwrap()),
        Box::new(Aimlapi::new(base.clone(), &key(), clock()).unwrap()),
        Box::new(Fal::new(base.clone(), base.clone(), None, &key(), clock()).unwrap()),
    ]
}

#[tokio::test]
async fn a_refused_connection_says_that_nothing_was_sent() {
    let base = refused().await;
    for provider in all(&base) {
        assert_eq!(
            kind(&provider.submit(&submission()).await),
            "transient",
            "{}",
            provider.name()
        );
        assert_eq!(
            kind(&provider.poll(&prediction(), &submission()).await),
            "transient"
        );
        assert_eq!(kind(&provider.reconcile(&doubt(&[])).await), "transient");
    }
}

#[tokio::test]
async fn a_create_whose_connection_is_dropped_is_unknown_and_is_not_repeated() {
    let fail_point =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"id\": \"p-1\"";
    for bytes in [
        b"".as_slice(),
        b"HTTP/1.1 200",
        b"nonsense\r\n\r\n",
        fail_point,
    ] {
        let (base, calls) = broken(bytes).await;
        for (sent, provider) in (1..).zip(all(&base)) {
            assert_eq!(
                kind(&provider.submit(&submission()).await),
                "unknown",
                "{}",
                provider.name()
            );
            assert_eq!(*calls.lock().unwrap(), sent, "{}", provider.name());
        }
    }
}

#[tokio::test]
async fn a_look_whose_connection_is_dropped_is_transient() {
    let (base, _) = broken(b"").await;
    for provider in all(&base) {
        assert_eq!(
            kind(&provider.poll(&prediction(), &submission()).await),
            "transient"
        );
        assert_eq!(kind(&provider.reconcile(&doubt(&[])).await), "transient");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_does_not_take_the_key_along() {
    let elsewhere = Stub::always(200, json!({ "id": "p-1", "request_id": "p-1" })).await;
    let target = elsewhere.base.to_string();
    let stub =
        Stub::answering(move |_| answer_with(307, &[("location", &target)], &json!({}))).await;
    for provider in all(&stub.base) {
        assert_eq!(kind(&provider.submit(&submission()).await), "unknown");
        let look = provider.poll(&prediction(), &submission()).await;
        assert_eq!(kind(&look), "transient");
        assert!(
            look.unwrap_err()
                .to_string()
                .ends_with("answered 307: a redirect, which is not followed")
        );
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_body_that_is_not_the_providers_is_unknown_for_a_create_and_transient_for_a_look() {
    let huge = |_: &Seen| answer(200, &json!("x".repeat(5 << 20)));
    let empty = |_: &Seen| answer(200, &json!({}));
    let answers: [fn(&Seen) -> Response; 6] = [
        |_| page(200),
        |_| page(500),
        |_| page(502),
        |_| page(503),
        huge,
        empty,
    ];
    for answer in answers {
        let stub = Stub::answering(answer).await;
        for provider in all(&stub.base) {
            let name = provider.name();
            assert_eq!(
                kind(&provider.submit(&submission()).await),
                "unknown",
                "{name}"
            );
            assert_eq!(
                kind(&provider.poll(&prediction(), &submission()).await),
                "transient",
                "{name}"
            );
            assert_eq!(
                kind(&provider.reconcile(&doubt(&[])).await),
                "transient",
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn a_gateways_message_is_not_taken_for_the_providers_word() {
    for status in [500, 503] {
        let stub = Stub::always(status, json!({ "message": "Service Unavailable" })).await;
        for provider in all(&stub.base) {
            assert_eq!(
                kind(&provider.submit(&submission()).await),
                "unknown",
                "{}",
                provider.name()
            );
        }
    }
}

#[tokio::test]
async fn too_many_calls_say_when_to_come_back() {
    let wait = |_: &Seen| {
        answer_with(
            429,
            &[("retry-after", "7")],
            &json!({ "message": "slow down" }),
        )
    };
    let stub = Stub::answering(wait).await;
    for provider in all(&stub.base) {
        let name = provider.name();
        let expected = Failure::RateLimited {
            reason: format!("{name} answered 429: slow down"),
            retry_after: Some(Duration::from_secs(7)),
        };
        assert_eq!(provider.submit(&submission()).await.unwrap_err(), expected);
        assert_eq!(
            provider
                .poll(&prediction(), &submission())
                .await
                .unwrap_err(),
            expected
        );
        assert_eq!(provider.reconcile(&doubt(&[])).await.unwrap_err(), expected);
    }
}

#[tokio::test]
async fn a_refused_key_names_its_variable_and_is_never_quoted() {
    let stub = Stub::always(401, json!({ "detail": "no user for id-1:secret-123" })).await;
    for provider in all(&stub.base) {
        let variable = provider.name().key_variable();
        let failure = provider.submit(&submission()).await.unwrap_err();
        assert!(matches!(failure, Failure::AccessDenied { .. }), "{failure}");
        assert!(failure.to_string().contains(variable), "{failure}");
        assert!(!failure.to_string().contains("secret"), "{failure}");
    }
}

#[tokio::test]
async fn a_definite_404_is_a_missing_prediction() {
    let stub = Stub::always(
        404,
        json!({ "status": "NOT_FOUND", "message": "not found" }),
    )
    .await;
    for provider in all(&stub.base) {
        let look = provider.poll(&prediction(), &submission()).await;
        assert!(matches!(look, Ok(PollResult::Missing { .. })), "{look:?}");
    }
}

#[tokio::test]
async fn a_history_that_fails_proves_nothing() {
    for status in [404, 500, 501, 503] {
        let stub = Stub::always(status, json!({ "error": { "type": "not_implemented" } })).await;
        for provider in all(&stub.base) {
            assert_eq!(
                kind(&provider.reconcile(&doubt(&[])).await),
                "transient",
                "{status}"
            );
        }
    }
}

#[tokio::test]
async fn every_call_says_who_calls() {
    let stub = Stub::always(500, json!({})).await;
    for provider in all(&stub.base) {
        let _ = provider.submit(&submission()).await;
        let _ = provider.poll(&prediction(), &submission()).await;
    }
    let agent = concat!("overnight/", env!("CARGO_PKG_VERSION"));
    assert!(
        stub.seen()
            .iter()
            .all(|seen| seen.header("user-agent") == Some(agent))
    );
    assert!(
        all(&stub.base)
            .iter()
            .all(|provider| provider.is_loopback())
    );
}

#[tokio::test]
async fn a_history_searched_by_a_wrong_clock_proves_nothing() {
    for (date, is_proof) in [
        ("Thu, 20 Aug 2026 10:00:30 GMT", true),
        ("Thu, 20 Aug 2026 10:05:00 GMT", false),
        ("Thu, 20 Aug 2026 08:00:00 GMT", false),
    ] {
        let empty = json!({ "executions": [], "data": [], "items": [], "pagination": { "has_more": false } });
        let stub = Stub::answering(move |_| answer_with(200, &[("date", date)], &empty)).await;
        for provider in all(&stub.base) {
            let trace = provider.reconcile(&doubt(&[])).await;
            if is_proof {
                assert!(
                    matches!(trace, Ok(Reconciliation::Absent { .. })),
                    "{date}: {trace:?}"
                );
            } else {
                let told = trace.expect_err("no proof").to_string();
                assert!(
                    told.contains("seconds") && told.ends_with("set the clock"),
                    "{told}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_answers_byte_by_byte_holds_nobody_up_and_leaves_a_create_unknown() {
    let base = dripping().await;
    for provider in all(&base) {
        assert_eq!(kind(&provider.submit(&submission()).await), "unknown");
        assert_eq!(
            kind(&provider.poll(&prediction(), &submission()).await),
            "transient"
        );
    }
}

#[tokio::test]
async fn a_search_survives_calls_that_fail_now_and_then() {
    let calls = Arc::new(Mutex::new(0));
    let count = Arc::clone(&calls);
    let stub = Stub::answering(move |_| {
        let mut calls = count.lock().unwrap();
        *calls += 1;
        let empty = json!({ "executions": [], "data": [], "items": [], "pagination": { "has_more": false } });
        if *calls % 3 == 0 { answer(200, &empty) } else { page(503) }
    })
    .await;
    for provider in all(&stub.base) {
        let trace = provider.reconcile(&doubt(&[])).await;
        assert!(
            matches!(trace, Ok(Reconciliation::Absent { .. })),
            "{trace:?}"
        );
    }
    assert_eq!(*calls.lock().unwrap(), 9);
}
