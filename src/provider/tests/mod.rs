//! The adapters against servers on loopback whose responses the tests determine.

mod aimlapi;
mod calls;
mod eachlabs;
mod fal;
mod storage;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

use crate::clock::{Clock, ManualClock};
use crate::domain::{Failure, LaterSubmissions, OwnedPrediction, PredictionHandle};
use crate::link_client::ProxiedLinks;

use super::timeouts::Timeouts;
use super::{AbsenceEvidence, ApiKey, LostSubmission, Reconciliation, Submission};

/// A request that the server received.
#[derive(Clone, Debug)]
struct RecordedRequest {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Value,
}

impl RecordedRequest {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn query_param(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }
}

/// A server that responds by a function and records the requests.
struct StubServer {
    base: Url,
    requests: Arc<Mutex<Vec<RecordedRequest>>>,
}

impl StubServer {
    async fn with_handler(
        handler: impl Fn(&RecordedRequest) -> Response + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = base_url(&listener);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let handler = Arc::new(handler);
        let log = Arc::clone(&requests);
        let app = axum::Router::new().fallback(move |request: Request| {
            let handler = Arc::clone(&handler);
            let log = Arc::clone(&log);
            async move {
                let (parts, body) = request.into_parts();
                let body = to_bytes(body, usize::MAX).await.unwrap();
                let request = RecordedRequest {
                    method: parts.method.to_string(),
                    path: parts.uri.path().into(),
                    query: parts.uri.query().unwrap_or_default().into(),
                    headers: parts.headers,
                    body: serde_json::from_slice(&body).unwrap_or_default(),
                };
                log.lock().unwrap().push(request.clone());
                handler(&request)
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { base, requests }
    }

    /// Starts a server that gives every request the same response.
    async fn with_response(status: u16, body: Value) -> Self {
        Self::with_handler(move |_| json_response(status, &body)).await
    }

    fn requests(&self) -> Vec<RecordedRequest> {
        self.requests.lock().unwrap().clone()
    }
}

/// Starts a server that reads the start of a request, writes `bytes`, and closes the connection.
/// Returns its URL and the number of requests it received.
async fn spawn_broken_server(bytes: &'static [u8]) -> (Url, Arc<Mutex<u32>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = base_url(&listener);
    let requests = Arc::new(Mutex::new(0));
    let count = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut start = [0; 4096];
            let _ = socket.read(&mut start).await;
            *count.lock().unwrap() += 1;
            let _ = socket.write_all(bytes).await;
            let _ = socket.shutdown().await;
        }
    });
    (base, requests)
}

/// Starts a server that sends its response byte by byte, without end.
async fn spawn_slow_server() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = base_url(&listener);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = socket.read(&mut [0; 4096]).await;
                let mut next: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{";
                while socket.write_all(next).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    next = b" ";
                }
            });
        }
    });
    base
}

/// Returns a URL on which no server listens.
async fn unused_url() -> Url {
    base_url(&TcpListener::bind("127.0.0.1:0").await.unwrap())
}

fn base_url(listener: &TcpListener) -> Url {
    Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap()
}

fn json_response(status: u16, body: &Value) -> Response {
    json_response_with_headers(status, &[], body)
}

/// Builds a response with the time of [`clock`], unless `headers` has another `date`.
fn json_response_with_headers(status: u16, headers: &[(&str, &str)], body: &Value) -> Response {
    let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    if headers.iter().all(|(name, _)| *name != "date") {
        response = response.header("date", "Thu, 20 Aug 2026 10:00:00 GMT");
    }
    response.body(Body::from(body.to_string())).unwrap()
}

/// Builds a response as a gateway in front of the provider writes it.
fn html_response(status: u16) -> Response {
    let body = Body::from("<html>Bad Gateway</html>");
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .body(body)
        .unwrap()
}

fn key() -> ApiKey {
    ApiKey::new("id-1:secret-123").unwrap()
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new("2026-08-20T10:00:00Z".parse().unwrap()))
}

/// Short enough that no test waits long for a server that does not respond.
fn timeouts() -> Timeouts {
    let call = Duration::from_secs(1);
    Timeouts {
        connect: call,
        submit: call,
        // Longer than that of a probe, which is the first to give up.
        poll: 2 * call,
        upload: call,
        probe: call,
        retry_pause: Duration::from_millis(1),
    }
}

fn submission() -> Submission {
    Submission {
        wire_model: "owner/app/v1/image-to-video".into(),
        request: json!({
            "prompt": "a snowy road",
            "image_url": "https://shop.example/1.jpg",
            "duration": "5",
        }),
        client_token: "overnight-7.1".into(),
    }
}

fn prediction() -> PredictionHandle {
    PredictionHandle::from_id("p-1")
}

/// Returns a lost submission; the predictions that are owned were submitted at the same time.
fn lost_submission(owned: &[&str]) -> LostSubmission {
    LostSubmission {
        submission: submission(),
        submitted_at: "2026-08-20T09:50:00Z".parse().unwrap(),
        call_ended_at: "2026-08-20T09:50:00Z".parse().unwrap(),
        clock_was_changed: false,
        now: "2026-08-20T10:00:00Z".parse().unwrap(),
        owned: owned
            .iter()
            .map(|id| {
                let owned = OwnedPrediction {
                    submitted_at: "2026-08-20T09:50:00Z".parse().unwrap(),
                    request_digest: Some(2),
                };
                ((*id).to_owned(), owned)
            })
            .collect(),
        request_digest: 1,
    }
}

fn absent(lists_running: bool, later: LaterSubmissions) -> Reconciliation {
    Reconciliation::Absent(AbsenceEvidence {
        lists_running,
        later,
        is_later_certain: later == LaterSubmissions::Listed,
    })
}

fn variant<T: std::fmt::Debug>(result: &Result<T, Failure>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(Failure::Transient { .. }) => "transient",
        Err(Failure::RateLimited { .. }) => "rate limited",
        Err(Failure::AccessDenied { .. }) => "access denied",
        Err(Failure::Locked { .. }) => "locked",
        Err(Failure::BalanceInUse { .. }) => "balance in use",
        Err(Failure::Rejected { .. }) => "rejected",
        Err(Failure::Unknown { .. }) => "unknown",
    }
}
