//! What every adapter does alike.

use axum::response::Response;
use serde_json::json;
use tracing::Instrument;

use super::super::aimlapi::Aimlapi;
use super::super::eachlabs::Eachlabs;
use super::super::fal::Fal;
use super::*;
use crate::provider::http::Auth;
use crate::provider::{PollResult, ProbeResult, Provider, Reconciliation};

fn adapters(base: &Url) -> [Box<dyn Provider>; 3] {
    [
        Box::new(
            Eachlabs::new(
                base.clone(),
                &key(),
                Auth::XApiKey,
                clock(),
                timeouts(),
                ProxiedLinks::default(),
            )
            .unwrap(),
        ),
        Box::new(Aimlapi::new(base.clone(), &key(), clock(), timeouts()).unwrap()),
        Box::new(
            Fal::new(
                base.clone(),
                base.clone(),
                None,
                &key(),
                clock(),
                timeouts(),
                ProxiedLinks::default(),
            )
            .unwrap(),
        ),
    ]
}

/// Returns the body of an empty history of any provider.
fn empty_history() -> Value {
    json!({ "executions": [], "data": [], "items": [], "pagination": { "has_more": false } })
}

#[tokio::test]
async fn a_refused_connection_is_transient_for_a_submission_too() {
    let base = unused_url().await;
    for provider in adapters(&base) {
        let name = provider.name();
        let submitted = provider.submit(&submission()).await;
        assert_eq!(variant(&submitted), "transient", "{name}");
        let polled = provider.poll(&prediction(), &submission().wire_model).await;
        assert_eq!(variant(&polled), "transient", "{name}");
        let reconciled = provider.reconcile(&lost_submission(&[])).await;
        assert_eq!(variant(&reconciled), "transient", "{name}");
    }
}

#[tokio::test]
async fn a_submission_whose_connection_is_lost_is_unknown_and_is_not_repeated() {
    let truncated_body = b"HTTP/1.1 200 OK\r\n\
        content-type: application/json\r\n\
        content-length: 500\r\n\
        \r\n\
        {\"id\": \"p-1\"";
    for bytes in [
        b"".as_slice(),
        b"HTTP/1.1 200",
        b"nonsense\r\n\r\n",
        truncated_body,
    ] {
        let (base, requests) = spawn_broken_server(bytes).await;
        for (sent, provider) in (1..).zip(adapters(&base)) {
            let name = provider.name();
            let submitted = provider.submit(&submission()).await;
            assert_eq!(variant(&submitted), "unknown", "{name}");
            assert_eq!(*requests.lock().unwrap(), sent, "{name}");
        }
    }
}

#[tokio::test]
async fn a_poll_or_search_whose_connection_is_lost_is_transient() {
    let (base, _) = spawn_broken_server(b"").await;
    for provider in adapters(&base) {
        let name = provider.name();
        let polled = provider.poll(&prediction(), &submission().wire_model).await;
        assert_eq!(variant(&polled), "transient", "{name}");
        let reconciled = provider.reconcile(&lost_submission(&[])).await;
        assert_eq!(variant(&reconciled), "transient", "{name}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_key_is_not_sent_to_its_target() {
    let target = StubServer::with_response(200, json!({ "id": "p-1", "request_id": "p-1" })).await;
    let location = target.base.to_string();
    let server = StubServer::with_handler(move |_| {
        json_response_with_headers(307, &[("location", &location)], &json!({}))
    })
    .await;
    for provider in adapters(&server.base) {
        let submitted = provider.submit(&submission()).await;
        assert_eq!(variant(&submitted), "unknown");
        let polled = provider.poll(&prediction(), &submission().wire_model).await;
        assert_eq!(variant(&polled), "transient");
        assert!(
            polled
                .unwrap_err()
                .to_string()
                .ends_with("returned 307: a redirect, which is not followed")
        );
    }
    assert!(target.requests().is_empty());
}

#[tokio::test]
async fn a_foreign_body_makes_a_submission_unknown_and_a_poll_transient() {
    let huge = |_: &RecordedRequest| json_response(200, &json!("x".repeat(5 << 20)));
    let empty = |_: &RecordedRequest| json_response(200, &json!({}));
    let handlers: [fn(&RecordedRequest) -> Response; 6] = [
        |_| html_response(200),
        |_| html_response(500),
        |_| html_response(502),
        |_| html_response(503),
        huge,
        empty,
    ];
    for handler in handlers {
        let server = StubServer::with_handler(handler).await;
        for provider in adapters(&server.base) {
            let name = provider.name();
            let submitted = provider.submit(&submission()).await;
            assert_eq!(variant(&submitted), "unknown", "{name}");
            let polled = provider.poll(&prediction(), &submission().wire_model).await;
            assert_eq!(variant(&polled), "transient", "{name}");
            let reconciled = provider.reconcile(&lost_submission(&[])).await;
            assert_eq!(variant(&reconciled), "transient", "{name}");
        }
    }
}

#[tokio::test]
async fn a_gateways_json_error_is_not_taken_for_the_providers() {
    for status in [500, 503] {
        let body = json!({ "message": "Service Unavailable" });
        let server = StubServer::with_response(status, body).await;
        for provider in adapters(&server.base) {
            let submitted = provider.submit(&submission()).await;
            assert_eq!(variant(&submitted), "unknown", "{}", provider.name());
        }
    }
}

#[tokio::test]
async fn a_rate_limit_reports_its_retry_after() {
    let rate_limit = |_: &RecordedRequest| {
        json_response_with_headers(
            429,
            &[("retry-after", "7")],
            &json!({ "message": "slow down" }),
        )
    };
    let server = StubServer::with_handler(rate_limit).await;
    for provider in adapters(&server.base) {
        let name = provider.name();
        let expected = Failure::RateLimited {
            reason: format!("{name} returned 429: slow down"),
            retry_after: Some(Duration::from_secs(7)),
        };
        let submitted = provider.submit(&submission()).await;
        assert_eq!(submitted.unwrap_err(), expected);
        let polled = provider.poll(&prediction(), &submission().wire_model).await;
        assert_eq!(polled.unwrap_err(), expected);
        let reconciled = provider.reconcile(&lost_submission(&[])).await;
        assert_eq!(reconciled.unwrap_err(), expected);
    }
}

#[tokio::test]
async fn a_refused_key_is_reported_by_its_variable_and_never_quoted() {
    let body = json!({ "detail": "no user for id-1:secret-123" });
    let server = StubServer::with_response(401, body).await;
    for provider in adapters(&server.base) {
        let variable = provider.name().key_variable();
        let failure = provider.submit(&submission()).await.unwrap_err();
        assert!(matches!(failure, Failure::AccessDenied { .. }), "{failure}");
        assert!(failure.to_string().contains(variable), "{failure}");
        assert!(!failure.to_string().contains("secret"), "{failure}");
    }
}

#[tokio::test]
async fn a_404_on_a_poll_is_a_missing_prediction() {
    let body = json!({ "status": "NOT_FOUND", "message": "not found" });
    let server = StubServer::with_response(404, body).await;
    for provider in adapters(&server.base) {
        let polled = provider.poll(&prediction(), &submission().wire_model).await;
        assert!(
            matches!(polled, Ok(PollResult::Missing { .. })),
            "{polled:?}"
        );
    }
}

#[tokio::test]
async fn a_history_that_fails_proves_nothing() {
    for status in [404, 500, 501, 503] {
        let body = json!({ "error": { "type": "not_implemented" } });
        let server = StubServer::with_response(status, body).await;
        for provider in adapters(&server.base) {
            let reconciled = provider.reconcile(&lost_submission(&[])).await;
            assert_eq!(variant(&reconciled), "transient", "{status}");
        }
    }
}

#[tokio::test]
async fn every_request_has_our_user_agent() {
    let server = StubServer::with_response(500, json!({})).await;
    for provider in adapters(&server.base) {
        let _ = provider.submit(&submission()).await;
        let _ = provider.poll(&prediction(), &submission().wire_model).await;
    }
    let user_agent = concat!("overnight/", env!("CARGO_PKG_VERSION"));
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.header("user-agent") == Some(user_agent))
    );
}

/// A log in memory.
#[derive(Clone, Default)]
struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn log_lines_inherit_the_callers_span() {
    let log = LogBuffer::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = StubServer::with_response(200, json!({ "status": "SOMETHING_NEW" })).await;
    for provider in adapters(&server.base) {
        let span = tracing::error_span!("step", job.id = 7);
        let polled = provider
            .poll(&prediction(), &submission().wire_model)
            .instrument(span)
            .await;
        assert_eq!(polled, Ok(PollResult::Running));
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.lines().count(), 3, "{log}");
    for line in log.lines() {
        assert!(line.contains("step{job.id=7}"), "{line}");
        assert!(line.contains("unknown status"), "{line}");
        assert!(line.contains("status=\"SOMETHING_NEW\""), "{line}");
    }
}

#[tokio::test]
async fn a_provider_on_this_machine_is_loopback() {
    let base = unused_url().await;
    assert!(
        adapters(&base)
            .iter()
            .all(|provider| provider.is_loopback())
    );
}

#[tokio::test]
async fn a_history_proves_nothing_if_the_clocks_differ_by_more_than_a_minute() {
    for (date, is_proof) in [
        ("Thu, 20 Aug 2026 10:00:30 GMT", true),
        ("Thu, 20 Aug 2026 10:05:00 GMT", false),
        ("Thu, 20 Aug 2026 08:00:00 GMT", false),
    ] {
        let server = StubServer::with_handler(move |_| {
            json_response_with_headers(200, &[("date", date)], &empty_history())
        })
        .await;
        for provider in adapters(&server.base) {
            let reconciled = provider.reconcile(&lost_submission(&[])).await;
            if is_proof {
                assert!(
                    matches!(reconciled, Ok(Reconciliation::Absent { .. })),
                    "{date}: {reconciled:?}"
                );
            } else {
                let message = reconciled.expect_err("no proof").to_string();
                assert!(
                    message.contains("seconds") && message.ends_with("set the clock"),
                    "{message}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_response_that_arrives_byte_by_byte_times_out_and_makes_a_submission_unknown() {
    let base = spawn_slow_server().await;
    for provider in adapters(&base) {
        let submitted = provider.submit(&submission()).await;
        assert_eq!(variant(&submitted), "unknown");
        let polled = provider.poll(&prediction(), &submission().wire_model).await;
        assert_eq!(variant(&polled), "transient");
    }
}

#[tokio::test]
async fn a_probe_of_a_silent_provider_times_out() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for provider in adapters(&base_url(&silent)) {
        for probe in provider.probe("m", clock().now()).await {
            let reason = format!("{} did not respond within 1 s", provider.name());
            assert_eq!(probe.finding, ProbeResult::Unreachable { reason });
        }
    }
}

#[tokio::test]
async fn a_search_tries_each_request_up_to_three_times() {
    let requests = Arc::new(Mutex::new(0));
    let count = Arc::clone(&requests);
    let server = StubServer::with_handler(move |_| {
        let mut requests = count.lock().unwrap();
        *requests += 1;
        if *requests % 3 == 0 {
            json_response(200, &empty_history())
        } else {
            html_response(503)
        }
    })
    .await;
    for provider in adapters(&server.base) {
        let reconciled = provider.reconcile(&lost_submission(&[])).await;
        assert!(
            matches!(reconciled, Ok(Reconciliation::Absent { .. })),
            "{reconciled:?}"
        );
    }
    assert_eq!(*requests.lock().unwrap(), 9);
}
