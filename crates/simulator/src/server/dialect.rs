//! The handling of one API call, common to the three APIs: key, faults, effect, response.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde_json::Value;

use crate::api::{Api, Call};
use crate::fault::Fault;
use crate::world::World;

use super::connection::Connection;
use super::quoting;
use super::state::SharedState;

/// 10 MiB of zeros, compressed with gzip to 10 KB.
const GZIP_BOMB: &[u8] = include_bytes!("bomb.gz");

/// Maximum size of a request body, in bytes.
const MAX_BODY_BYTES: usize = 32 << 20;

/// What all calls of one API have in common: where the key is, and how errors look.
pub(super) trait ApiDialect {
    const API: Api;

    /// The error message for a missing or wrong key.
    const INVALID_KEY_MESSAGE: &'static str;

    /// A request header that the API copies to its response.
    const ECHOED_HEADER: Option<HeaderName> = None;

    /// Returns the key that a call carries.
    fn key(headers: &HeaderMap) -> Option<String>;

    /// Returns the body of an error response.
    fn error_body(status: StatusCode, message: &str) -> Value;

    fn error_response(status: StatusCode, message: &str) -> Response {
        (status, axum::Json(Self::error_body(status, message))).into_response()
    }

    /// Returns the response to a create that exceeds a limit.
    fn limit_exceeded_response(world: &mut World, now: i64) -> Response {
        let retry_after_s = world.options().limit_retry_after_s;
        Self::too_many_requests_response(world, retry_after_s, Call::Create, now)
    }

    /// Returns a 429, with `Retry-After` if a number of seconds is given.
    fn too_many_requests_response(
        world: &mut World,
        retry_after_s: Option<u64>,
        call: Call,
        now: i64,
    ) -> Response {
        let mut response = Self::error_response(StatusCode::TOO_MANY_REQUESTS, "too many requests");
        if let Some(seconds) = retry_after_s {
            world.record_retry_after(Self::API, call, seconds, now);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// Handles a call: checks its key, injects its fault, and calls `effect` unless either prevents it.
///
/// `effect` receives the world, the JSON body (null if empty), whether a created prediction must
/// fail, and the time.
pub(super) async fn handle<D: ApiDialect>(
    shared: &Arc<SharedState>,
    request: Request,
    call: Call,
    effect: impl FnOnce(&mut World, &Value, bool, i64) -> Response,
) -> Response {
    let connection = Connection::of_request(&request);
    let echoed = D::ECHOED_HEADER
        .and_then(|name| Some((name.clone(), request.headers().get(name)?.clone())));
    let secrets = shared
        .world()
        .options()
        .quotes_secrets
        .then(|| quoting::secrets_of(request.headers()));
    let mut response = respond::<D>(shared, request, call, &connection, effect).await;
    if let Some(secrets) = secrets {
        response = quoting::quote(response, &secrets).await;
    }
    if let Some((name, value)) = echoed {
        response.headers_mut().insert(name, value);
    }
    response
}

async fn respond<D: ApiDialect>(
    shared: &Arc<SharedState>,
    request: Request,
    call: Call,
    connection: &Connection,
    effect: impl FnOnce(&mut World, &Value, bool, i64) -> Response,
) -> Response {
    let key = D::key(request.headers()).filter(|key| !key.trim().is_empty());
    if call == Call::Create {
        shared.world().increment(|ledger| &mut ledger.creates_seen);
    }
    let required_key = shared.world().options().key.clone();
    if key.is_none() || required_key.is_some_and(|required| key != Some(required)) {
        shared.world().increment(|ledger| &mut ledger.unauthorized);
        return D::error_response(StatusCode::UNAUTHORIZED, D::INVALID_KEY_MESSAGE);
    }
    let Ok(body) = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES).await else {
        return D::error_response(StatusCode::BAD_REQUEST, "cannot read the body");
    };
    let draw = shared.world().record_call(D::API, call, shared.now());
    match draw.fault {
        Some(Fault::DropBefore) => return connection.close_without_response().await,
        Some(Fault::ServerError) if draw.coin => {
            return D::error_response(StatusCode::SERVICE_UNAVAILABLE, "service unavailable");
        }
        Some(Fault::ServerError) => {
            return D::error_response(StatusCode::INTERNAL_SERVER_ERROR, "internal server error");
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
            let now = shared.now();
            return D::too_many_requests_response(&mut world, Some(retry_after_s), call, now);
        }
        Some(Fault::Garbage) if draw.coin => return garbage_response(),
        _ => {}
    }
    let Ok(body) = (if body.is_empty() {
        Ok(Value::Null)
    } else {
        serde_json::from_slice(&body)
    }) else {
        return D::error_response(StatusCode::BAD_REQUEST, "the body is not JSON");
    };
    let mut now = shared.now();
    if draw.fault == Some(Fault::TakenLate) {
        // Listed and finished as if it were accepted only then.
        now += shared.slow_ms();
    }
    let fails = draw.fault == Some(Fault::FailedPrediction);
    let response = shared.apply(|world| {
        let accepted = world.predictions().len();
        let response = effect(world, &body, fails, now);
        if draw.fault.is_some_and(Fault::loses_response) {
            world.mark_unanswered(accepted);
        }
        response
    });
    match draw.fault {
        Some(Fault::DropAfter | Fault::TakenLate) => connection.close_without_response().await,
        Some(Fault::Page) => Html("<html><body>one moment, please</body></html>").into_response(),
        Some(Fault::SameId) => with_first_id(shared, response, D::API).await,
        Some(Fault::Garbage) => garbage_response(),
        Some(Fault::Redirect) => {
            // 307 asks the client to repeat the request, key and body included, at the other
            // address.
            (
                StatusCode::TEMPORARY_REDIRECT,
                [(header::LOCATION, shared.redirect_trap_url())],
            )
                .into_response()
        }
        Some(Fault::HugeBody) => {
            let mebibyte = Bytes::from(vec![b' '; 1 << 20]);
            let chunks = std::iter::repeat_n(Ok::<_, Infallible>(mebibyte), 100);
            Body::from_stream(stream::iter(chunks)).into_response()
        }
        Some(Fault::GzipBomb) => ([(header::CONTENT_ENCODING, "gzip")], GZIP_BOMB).into_response(),
        Some(Fault::Slow) => {
            // After the effect, not before: the prediction exists even if the client gives up
            // waiting.
            shared.wait_slowly().await;
            response
        }
        _ => response,
    }
}

/// Replaces the id of the last prediction in a response by that of the first one.
async fn with_first_id(shared: &SharedState, response: Response, api: Api) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY_BYTES)
        .await
        .unwrap_or_default();
    let mut body = String::from_utf8_lossy(&body).into_owned();
    let world = shared.world();
    let mut ids = world
        .predictions()
        .iter()
        .filter(|prediction| prediction.api == api);
    if let (Some(first), Some(last)) = (ids.next(), ids.next_back()) {
        body = body.replace(&last.id, &first.id);
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body))
}

fn garbage_response() -> Response {
    (StatusCode::OK, "\u{0}\u{1}not what you asked for {{{").into_response()
}
