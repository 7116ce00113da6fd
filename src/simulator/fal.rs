//! fal.ai's queue API as its documentation describes it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::dialect::{ApiDialect, handle};
use super::prediction::{End, Prediction};
use super::rules::{Flaw, ModelRules, Wrong};
use super::shared::Shared;
use super::wire::object;
use super::world::CancelOutcome;
use super::{Api, Call};

pub(super) struct Fal;

impl ApiDialect for Fal {
    const API: Api = Api::Fal;
    const WRONG_KEY: &'static str = "No user found for Key ID and Secret";

    fn key(headers: &HeaderMap) -> Option<String> {
        key(headers)
    }

    fn error(status: StatusCode, message: &str) -> Value {
        match status.as_u16() {
            500.. => json!({ "detail": message, "error_type": "internal_error" }),
            _ => json!({ "detail": message }),
        }
    }
}

/// The key behind `Key`.
pub(super) fn key(headers: &HeaderMap) -> Option<String> {
    headers
        .get("authorization")?
        .to_str()
        .ok()?
        .strip_prefix("Key ")
        .map(str::to_owned)
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().fallback(queue)
}

/// The queue API's addresses begin with a model id of any length, so they are told apart here.
async fn queue(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().trim_matches('/').to_owned();
    let Some((model, follow_up)) = path.split_once("/requests/") else {
        return if request.method() == Method::POST {
            create(shared, request, &path).await
        } else {
            not_found()
        };
    };
    let (id, what) = follow_up.split_once('/').unwrap_or((follow_up, "response"));
    // Both forms are documented; the short one is what the answers link to.
    if !shared.world().knows(Api::Fal, id, |known| {
        model == known || model == application(known)
    }) {
        return not_found();
    }
    match (request.method().as_str(), what) {
        ("GET", "status") => status(shared, request, id).await,
        ("GET", "response") => result(shared, request, id).await,
        ("PUT", "cancel") => cancel(shared, request, id).await,
        _ => not_found(),
    }
}

fn not_found() -> Response {
    (
        StatusCode::NOT_FOUND,
        axum::Json(json!({ "status": "NOT_FOUND" })),
    )
        .into_response()
}

async fn create(shared: Arc<Shared>, request: Request, model: &str) -> Response {
    let links = Arc::clone(&shared);
    handle::<Fal>(&shared, request, Call::Create, |world, body, fails, now| {
        let Some(rules) = ModelRules::find(Api::Fal, model) else {
            return Fal::refuse(StatusCode::NOT_FOUND, &format!("Application '{model}' not found"));
        };
        if world.options().no_balance {
            let message =
                "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing.";
            return Fal::refuse(StatusCode::FORBIDDEN, message);
        }
        // Fields are checked by the runner: a wrong one is found out only by the result.
        let Ok(prediction) = world.create(rules, object(body), None, fails, now).cloned() else {
            return Fal::refuse_for_now(world, now);
        };
        let mut answer = urls(&links, &prediction);
        answer["status"] = json!("IN_QUEUE");
        answer["queue_position"] = json!(world.queue_position(&prediction, now));
        answer["logs"] = Value::Null;
        answer["metrics"] = json!({});
        ([("x-fal-request-id", prediction.id)], axum::Json(answer)).into_response()
    })
    .await
}

/// Owner and application: the part of a model id that the addresses of its requests begin with.
fn application(model: &str) -> String {
    model.split('/').take(2).collect::<Vec<_>>().join("/")
}

fn urls(shared: &Shared, prediction: &Prediction) -> Value {
    let application = application(&prediction.model);
    let base = format!(
        "http://{}/{application}/requests/{}",
        shared.address, prediction.id
    );
    json!({
        "request_id": prediction.id,
        "response_url": base,
        "status_url": format!("{base}/status"),
        "cancel_url": format!("{base}/cancel"),
    })
}

async fn status(shared: Arc<Shared>, request: Request, id: &str) -> Response {
    let links = Arc::clone(&shared);
    let logs = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("logs=1") || query.contains("logs=true"));
    handle::<Fal>(&shared, request, Call::Poll, |world, _, _, now| {
        let Some(prediction) = world.look(Api::Fal, id).cloned() else {
            return not_found();
        };
        let mut shown = urls(&links, &prediction);
        shown["logs"] = if logs { json!([]) } else { Value::Null };
        shown["metrics"] = json!({});
        if prediction.is_waiting(now) {
            shown["status"] = json!("IN_QUEUE");
            shown["queue_position"] = json!(world.queue_position(&prediction, now));
            return (StatusCode::ACCEPTED, axum::Json(shown)).into_response();
        }
        if prediction.is_open(now) {
            shown["status"] = json!("IN_PROGRESS");
            return (StatusCode::ACCEPTED, axum::Json(shown)).into_response();
        }
        // What a model refused or failed at looks like any other here: only the result tells.
        shown["status"] = json!("COMPLETED");
        shown["metrics"] = json!({ "inference_time": prediction.worked_s() });
        if prediction.end == End::Cancelled {
            shown["error"] = json!("Request was cancelled");
            shown["error_type"] = json!("client_cancelled");
        }
        axum::Json(shown).into_response()
    })
    .await
}

async fn result(shared: Arc<Shared>, request: Request, id: &str) -> Response {
    let links = Arc::clone(&shared);
    handle::<Fal>(&shared, request, Call::Poll, |world, _, _, now| {
        let life_s = world.options().link_life_s;
        let Some(prediction) = world.look(Api::Fal, id) else {
            return not_found();
        };
        if prediction.is_open(now) {
            return Fal::refuse(StatusCode::BAD_REQUEST, "Request is still in progress");
        }
        let body = axum::Json(outcome(&links, prediction, life_s, now));
        let status = status_code(prediction);
        match &prediction.end {
            End::Clip => {
                let units = prediction.seconds().to_string();
                (status, [("x-fal-billable-units", units)], body).into_response()
            }
            End::Failure => (status, [("x-fal-retryable", "true")], body).into_response(),
            End::Refusal(_) => {
                let headers = [("x-fal-retryable", "false"), ("x-fal-billable-units", "0")];
                (status, headers, body).into_response()
            }
            End::Cancelled => {
                (status, [("x-fal-error-type", "client_cancelled")], body).into_response()
            }
        }
    })
    .await
}

/// The status of the result of a request that has ended.
pub(super) fn status_code(prediction: &Prediction) -> StatusCode {
    match prediction.end {
        End::Clip => StatusCode::OK,
        End::Failure => StatusCode::INTERNAL_SERVER_ERROR,
        End::Refusal(_) => StatusCode::UNPROCESSABLE_ENTITY,
        // 499 has no name of its own.
        End::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
    }
}

/// The body of the result of a request that has ended.
pub(super) fn outcome(shared: &Shared, prediction: &Prediction, life_s: u64, now: i64) -> Value {
    let error = |kind: &str, location: &[&str], message: &str| {
        let url = format!("https://docs.fal.ai/errors#{kind}");
        json!({ "detail": [{ "loc": location, "msg": message, "type": kind, "url": url }] })
    };
    match &prediction.end {
        End::Clip => {
            let url = shared.link(prediction, life_s, now);
            json!({ "video": { "url": url, "content_type": "video/mp4", "file_name": "output.mp4" } })
        }
        End::Failure => error(
            "downstream_service_error",
            &["body"],
            "the generation failed",
        ),
        End::Refusal(Wrong { field, flaw }) => {
            let kind = match flaw {
                Flaw::Missing => "missing",
                Flaw::NotAllowed => "value_error",
                Flaw::Unknown => "extra_forbidden",
                Flaw::NotFound => "file_download_error",
            };
            error(kind, &["body", field], flaw.message())
        }
        End::Cancelled => {
            json!({ "detail": "Request was cancelled", "error_type": "client_cancelled" })
        }
    }
}

async fn cancel(shared: Arc<Shared>, request: Request, id: &str) -> Response {
    handle::<Fal>(&shared, request, Call::Poll, |world, _, _, now| {
        let (code, status) = match world.cancel(Api::Fal, id, now) {
            Some(CancelOutcome::Waiting) => (StatusCode::OK, "OK"),
            Some(CancelOutcome::Running) => (StatusCode::ACCEPTED, "CANCELLATION_REQUESTED"),
            Some(CancelOutcome::TooLate) => (StatusCode::BAD_REQUEST, "ALREADY_COMPLETED"),
            None => return not_found(),
        };
        (code, axum::Json(json!({ "status": status }))).into_response()
    })
    .await
}
