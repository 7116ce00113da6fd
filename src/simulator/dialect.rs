//! One API call: the key, the faults, and then what it does.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde_json::Value;

use super::shared::{Connection, Shared};
use super::world::World;
use super::{Api, Call, Fault, quoting};

/// Ten megabytes of zeros, compressed.
const BOMB: &[u8] = include_bytes!("bomb.gz");

/// The largest body a call may have.
const MAX_BODY_BYTES: usize = 32 << 20;

/// What is the same in every call of one API: its key's header, and its way to say that something is wrong.
pub(super) trait ApiDialect {
    const API: Api;

    /// What it says to a wrong key.
    const WRONG_KEY: &'static str;

    /// The header that it sends back as it came.
    const ECHOED: Option<HeaderName> = None;

    /// The key a call carries.
    fn key(headers: &HeaderMap) -> Option<String>;

    /// The body of an error.
    fn error(status: StatusCode, message: &str) -> Value;

    /// An error as an answer.
    fn refuse(status: StatusCode, message: &str) -> Response {
        (status, axum::Json(Self::error(status, message))).into_response()
    }

    /// The answer to a create that there is no room for.
    fn refuse_for_now(world: &mut World, now: i64) -> Response {
        let retry_after_s = world.options().limit_retry_after_s;
        Self::too_many_requests(world, retry_after_s, now)
    }

    /// 429, with or without a time to wait.
    fn too_many_requests(world: &mut World, retry_after_s: Option<u64>, now: i64) -> Response {
        let mut answer = Self::refuse(StatusCode::TOO_MANY_REQUESTS, "too many requests");
        if let Some(seconds) = retry_after_s {
            world.tell_to_wait(Self::API, seconds, now);
            answer
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        answer
    }
}

/// Carries a call out, unless its key or a fault is against it.
pub(super) async fn handle<M: ApiDialect>(
    shared: &Arc<Shared>,
    request: Request,
    call: Call,
    act: impl FnOnce(&mut World, &Value, bool, i64) -> Response,
) -> Response {
    let connection = request.extensions().get::<Connection>().cloned();
    let echoed =
        M::ECHOED.and_then(|name| Some((name.clone(), request.headers().get(name)?.clone())));
    let quoted = shared
        .world()
        .options()
        .quotes_secrets
        .then(|| quoting::of(request.headers()));
    let mut answer = answer::<M>(shared, request, call, connection.as_ref(), act).await;
    if let Some(quoted) = quoted {
        answer = quoting::quote(answer, &quoted).await;
    }
    if let Some((name, value)) = echoed {
        answer.headers_mut().insert(name, value);
    }
    answer
}

async fn answer<M: ApiDialect>(
    shared: &Arc<Shared>,
    request: Request,
    call: Call,
    connection: Option<&Connection>,
    act: impl FnOnce(&mut World, &Value, bool, i64) -> Response,
) -> Response {
    let key = M::key(request.headers()).filter(|key| !key.trim().is_empty());
    if call == Call::Create {
        shared.world().count(|ledger| &mut ledger.creates_seen);
    }
    let wanted = shared.world().options().key.clone();
    if key.is_none() || wanted.is_some_and(|wanted| key != Some(wanted)) {
        shared.world().count(|ledger| &mut ledger.unauthorized);
        return M::refuse(StatusCode::UNAUTHORIZED, M::WRONG_KEY);
    }
    let Ok(body) = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await else {
        return M::refuse(StatusCode::BAD_REQUEST, "the body cannot be read");
    };
    let luck = shared.world().arrive(M::API, call, shared.now());
    match luck.fault {
        Some(Fault::DropBefore) => return close(connection).await,
        Some(Fault::ServerError) if luck.coin => {
            return M::refuse(StatusCode::SERVICE_UNAVAILABLE, "service unavailable");
        }
        Some(Fault::ServerError) => {
            return M::refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal server error");
        }
        Some(Fault::BadGateway) => {
            return (
                StatusCode::BAD_GATEWAY,
                Html("<html><body>bad gateway</body></html>"),
            )
                .into_response();
        }
        Some(Fault::RateLimited) => {
            let mut world = shared.world();
            let retry_after_s = world.options().faults.retry_after_s;
            return M::too_many_requests(&mut world, Some(retry_after_s), shared.now());
        }
        Some(Fault::Garbage) if luck.coin => return garbage(),
        _ => {}
    }
    let Ok(body) = (if body.is_empty() {
        Ok(Value::Null)
    } else {
        serde_json::from_slice(&body)
    }) else {
        return M::refuse(StatusCode::BAD_REQUEST, "the body is not JSON");
    };
    let now = shared.now();
    let answer = act(
        &mut shared.world(),
        &body,
        luck.fault == Some(Fault::FailedPrediction),
        now,
    );
    match luck.fault {
        Some(Fault::DropAfter) => close(connection).await,
        Some(Fault::Garbage) => garbage(),
        Some(Fault::Redirect) => {
            // 307 asks for the same call, key and body included, at the other address.
            (
                StatusCode::TEMPORARY_REDIRECT,
                [(header::LOCATION, shared.elsewhere())],
            )
                .into_response()
        }
        Some(Fault::HugeBody) => {
            let megabyte = Bytes::from(vec![b' '; 1 << 20]);
            let chunks = std::iter::repeat_n(Ok::<_, Infallible>(megabyte), 100);
            Body::from_stream(stream::iter(chunks)).into_response()
        }
        Some(Fault::GzipBomb) => ([(header::CONTENT_ENCODING, "gzip")], BOMB).into_response(),
        Some(Fault::Slow) => {
            // After the act, not before: a caller that gives up has no answer, and yet has its prediction.
            let slow_s = shared.world().options().faults.slow_s;
            tokio::time::sleep(Duration::from_secs_f64(slow_s)).await;
            answer
        }
        _ => answer,
    }
}

/// Closes the connection a call came in on, without an answer.
pub(super) async fn close(connection: impl Into<Option<&Connection>>) -> Response {
    if let Some(Connection(cut)) = connection.into() {
        cut.notify_one();
    }
    std::future::pending().await
}

fn garbage() -> Response {
    (StatusCode::OK, "\u{0}\u{1}not what you asked for {{{").into_response()
}
