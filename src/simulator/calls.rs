//! One API call: the key, the faults, and then what it does.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::Value;

use super::shared::{Connection, Shared};
use super::world::World;
use super::{Api, Call, Fault};

/// The largest body a call may have.
const LARGEST_BODY: usize = 32 << 20;

/// What is the same in every call of one API: its key's header, and its way to say that something is wrong.
pub(super) trait Manners {
    const API: Api;

    /// The key a call carries.
    fn key(headers: &HeaderMap) -> Option<String>;

    /// The body of an error.
    fn error(status: StatusCode, message: &str) -> Value;

    /// An error as an answer.
    fn refuse(status: StatusCode, message: &str) -> Response {
        (status, axum::Json(Self::error(status, message))).into_response()
    }
}

/// Carries a call out, unless its key or a fault is against it.
pub(super) async fn carry_out<M: Manners>(
    shared: &Arc<Shared>,
    request: Request,
    call: Call,
    act: impl FnOnce(&mut World, &Value, bool, i64) -> Response,
) -> Response {
    let connection = request.extensions().get::<Connection>().cloned();
    let key = M::key(request.headers()).filter(|key| !key.trim().is_empty());
    if call == Call::Create {
        shared.world().count(|ledger| &mut ledger.creates_seen);
    }
    let wanted = shared.world().options().key.clone();
    if key.is_none() || wanted.is_some_and(|wanted| key != Some(wanted)) {
        shared.world().count(|ledger| &mut ledger.unauthorized);
        return M::refuse(StatusCode::UNAUTHORIZED, "invalid or missing API key");
    }
    let Ok(body) = axum::body::to_bytes(request.into_body(), LARGEST_BODY).await else {
        return M::refuse(StatusCode::BAD_REQUEST, "the body cannot be read");
    };
    let fault = shared.world().roll(Some(M::API), call, shared.now());
    match fault {
        Some(Fault::DropBefore) => return close(connection).await,
        Some(Fault::ServerError) => {
            return M::refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal server error");
        }
        Some(Fault::BadGateway) => {
            return (StatusCode::BAD_GATEWAY, Html("<html><body>bad gateway</body></html>")).into_response();
        }
        Some(Fault::RateLimited) => {
            let seconds = shared.world().options().faults.retry_after_s;
            let mut answer = M::refuse(StatusCode::TOO_MANY_REQUESTS, "too many requests");
            answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            return answer;
        }
        Some(Fault::Slow) => {
            let seconds = shared.world().options().faults.slow_s;
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        }
        Some(Fault::Garbage) if shared.world().coin() => return garbage(),
        _ => {}
    }
    let Ok(body) = (if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) }) else {
        return M::refuse(StatusCode::BAD_REQUEST, "the body is not JSON");
    };
    let now = shared.now();
    let answer = act(&mut shared.world(), &body, fault == Some(Fault::FailedPrediction), now);
    match fault {
        Some(Fault::DropAfter) => close(connection).await,
        Some(Fault::Garbage) => garbage(),
        _ => answer,
    }
}

/// Closes the connection a call came in on, without an answer.
pub(super) async fn close(connection: Option<Connection>) -> Response {
    if let Some(Connection(cut)) = connection {
        cut.notify_one();
    }
    std::future::pending().await
}

fn garbage() -> Response {
    (StatusCode::OK, "\u{0}\u{1}not what you asked for {{{").into_response()
}
