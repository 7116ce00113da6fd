//! The adapters against a server on loopback that answers what a test tells it to.

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
use crate::domain::{Failure, PredictionHandle};

use super::{ApiKey, LostSubmission, Submission};

/// A call that the server saw.
#[derive(Clone, Debug)]
struct Seen {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Value,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn param(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }
}

/// A server that answers by a function, and remembers what it saw.
struct Stub {
    base: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Stub {
    async fn answering(answer: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = address(&listener);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&seen));
        let app = axum::Router::new().fallback(move |request: Request| {
            let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
            async move {
                let (parts, body) = request.into_parts();
                let body = to_bytes(body, usize::MAX).await.unwrap();
                let seen = Seen {
                    method: parts.method.to_string(),
                    path: parts.uri.path().into(),
                    query: parts.uri.query().unwrap_or_default().into(),
                    headers: parts.headers,
                    body: serde_json::from_slice(&body).unwrap_or_default(),
                };
                log.lock().unwrap().push(seen.clone());
                answer(&seen)
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { base, seen }
    }

    /// Answers every call the same.
    async fn always(status: u16, body: Value) -> Self {
        Self::answering(move |_| answer(status, &body)).await
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// A server that reads the beginning of a request, writes `bytes`, and closes the connection; and how often it was called.
async fn broken(bytes: &'static [u8]) -> (Url, Arc<Mutex<u32>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = address(&listener);
    let calls = Arc::new(Mutex::new(0));
    let count = Arc::clone(&calls);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut beginning = [0; 4096];
            let _ = socket.read(&mut beginning).await;
            *count.lock().unwrap() += 1;
            let _ = socket.write_all(bytes).await;
            let _ = socket.shutdown().await;
        }
    });
    (base, calls)
}

/// A server that begins an answer and gives a byte of it now and then, for ever.
async fn dripping() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = address(&listener);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = socket.read(&mut [0; 4096]).await;
                let mut drip: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{";
                while socket.write_all(drip).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    drip = b" ";
                }
            });
        }
    });
    base
}

/// An address where nobody listens.
async fn refused() -> Url {
    address(&TcpListener::bind("127.0.0.1:0").await.unwrap())
}

fn address(listener: &TcpListener) -> Url {
    Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap()
}

fn answer(status: u16, body: &Value) -> Response {
    answer_with(status, &[], body)
}

fn answer_with(status: u16, headers: &[(&str, &str)], body: &Value) -> Response {
    let response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    // The server's clock is right, unless a test says otherwise.
    let right = [("date", "Thu, 20 Aug 2026 10:00:00 GMT")];
    let right = right
        .iter()
        .filter(|_| headers.iter().all(|(name, _)| *name != "date"));
    let headers = headers.iter().chain(right);
    let response = headers.fold(response, |response, (name, value)| {
        response.header(*name, *value)
    });
    response.body(Body::from(body.to_string())).unwrap()
}

/// What a proxy between us and the provider writes.
fn page(status: u16) -> Response {
    let body = Body::from("<html>the gateway is unwell</html>");
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

fn submission() -> Submission {
    Submission {
        wire_model: "owner/app/v1/image-to-video".into(),
        request: json!({ "prompt": "a snowy road", "image_url": "https://shop.example/1.jpg", "duration": "5" }),
        client_token: "overnight-7.1".into(),
    }
}

fn prediction() -> PredictionHandle {
    PredictionHandle::from_id("p-1")
}

fn doubt(owned: &[&str]) -> LostSubmission {
    LostSubmission {
        submission: submission(),
        sent_at: "2026-08-20T09:50:00Z".parse().unwrap(),
        clock_was_set: false,
        now: "2026-08-20T10:00:00Z".parse().unwrap(),
        owned: owned.iter().map(|id| (*id).to_owned()).collect(),
    }
}

fn kind<T: std::fmt::Debug>(result: &Result<T, Failure>) -> &'static str {
    match result {
        Ok(_) => "taken",
        Err(Failure::Transient { .. }) => "transient",
        Err(Failure::RateLimited { .. }) => "rate limited",
        Err(Failure::AccessDenied { .. }) => "closed",
        Err(Failure::Rejected { .. }) => "rejected",
        Err(Failure::Unknown { .. }) => "unknown",
    }
}
