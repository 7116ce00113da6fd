//! fal.ai's queue API, as its documentation describes it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api::{Api, Call};
use crate::link::Links;
use crate::prediction::{Prediction, PredictionOutcome};
use crate::rules::{FieldError, FieldProblem, ModelRules};
use crate::world::CancelOutcome;

use super::dialect::{ApiDialect, handle};
use super::links::set_link;
use super::state::SharedState;
use super::wire::fields_of;

pub(super) struct Fal;

impl ApiDialect for Fal {
    const API: Api = Api::Fal;
    const INVALID_KEY_MESSAGE: &'static str = "No user found for Key ID and Secret";

    fn key(headers: &HeaderMap) -> Option<String> {
        authorization_key(headers)
    }

    fn error_body(status: StatusCode, message: &str) -> Value {
        match status.as_u16() {
            500.. => json!({ "detail": message, "error_type": "internal_error" }),
            _ => json!({ "detail": message }),
        }
    }
}

/// Returns the key of a `Key` authorization header.
pub(super) fn authorization_key(headers: &HeaderMap) -> Option<String> {
    headers
        .get("authorization")?
        .to_str()
        .ok()?
        .strip_prefix("Key ")
        .map(str::to_owned)
}

pub(super) fn routes() -> Router<Arc<SharedState>> {
    Router::new().fallback(dispatch)
}

/// Dispatches a call by its path. The router cannot, because paths begin with a model id of any
/// number of segments.
async fn dispatch(State(shared): State<Arc<SharedState>>, request: Request) -> Response {
    let path = request.uri().path().trim_matches('/').to_owned();
    let Some((model, rest)) = path.split_once("/requests/") else {
        return if request.method() == Method::POST {
            create(shared, request, &path).await
        } else {
            not_found()
        };
    };
    let (id, action) = rest.split_once('/').unwrap_or((rest, "response"));
    // Both forms are documented: with the full model id, and with its owner and application only,
    // which is the form that responses link to.
    if !shared.world().has_prediction(Api::Fal, id, |full_model| {
        model == full_model || model == application(full_model)
    }) {
        return not_found();
    }
    match (request.method().as_str(), action) {
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

async fn create(shared: Arc<SharedState>, request: Request, model: &str) -> Response {
    let state = Arc::clone(&shared);
    handle::<Fal>(&shared, request, Call::Create, |world, body, fails, now| {
        let Some(rules) = ModelRules::find(Api::Fal, model) else {
            let message = format!("Application '{model}' not found");
            return Fal::error_response(StatusCode::NOT_FOUND, &message);
        };
        if world.options().no_balance {
            // A lock may pass by itself: see `locked_models`.
            let message = "Exhausted balance. Top up your balance at fal.ai/dashboard/billing.";
            return Fal::error_response(StatusCode::FORBIDDEN, message);
        }
        if world
            .options()
            .locked_models
            .iter()
            .any(|locked| locked == model)
        {
            return Fal::error_response(
                StatusCode::FORBIDDEN,
                "User is locked. Reason: Admin lock",
            );
        }
        // The runner validates the fields, so an invalid one is reported only in the result.
        let Ok(prediction) = world
            .create(rules, fields_of(body), None, fails, now)
            .cloned()
        else {
            return Fal::limit_exceeded_response(world, now);
        };
        let mut json = urls(&state, &prediction);
        json["status"] = json!("IN_QUEUE");
        json["queue_position"] = json!(world.queue_position(&prediction, now));
        json["logs"] = Value::Null;
        json["metrics"] = json!({});
        ([("x-fal-request-id", prediction.id)], axum::Json(json)).into_response()
    })
    .await
}

/// Returns the owner and the application: the part of a model id with which the URLs of its
/// requests begin.
fn application(model: &str) -> String {
    model.split('/').take(2).collect::<Vec<_>>().join("/")
}

fn urls(shared: &SharedState, prediction: &Prediction) -> Value {
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

async fn status(shared: Arc<SharedState>, request: Request, id: &str) -> Response {
    let state = Arc::clone(&shared);
    let wants_logs = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("logs=1") || query.contains("logs=true"));
    handle::<Fal>(&shared, request, Call::Poll, |world, _, _, now| {
        let Some(prediction) = world.poll(Api::Fal, id).cloned() else {
            return not_found();
        };
        let mut json = urls(&state, &prediction);
        json["logs"] = if wants_logs { json!([]) } else { Value::Null };
        json["metrics"] = json!({});
        if prediction.is_queued(now) {
            json["status"] = json!("IN_QUEUE");
            json["queue_position"] = json!(world.queue_position(&prediction, now));
            return (StatusCode::ACCEPTED, axum::Json(json)).into_response();
        }
        if !prediction.has_ended(now) {
            json["status"] = json!("IN_PROGRESS");
            return (StatusCode::ACCEPTED, axum::Json(json)).into_response();
        }
        // A failed or rejected prediction looks like a finished one here: only the result shows the
        // difference.
        json["status"] = json!("COMPLETED");
        json["metrics"] = json!({ "inference_time": prediction.processing_s() });
        if prediction.outcome == PredictionOutcome::Cancelled {
            json["error"] = json!("Request was cancelled");
            json["error_type"] = json!("client_cancelled");
        }
        axum::Json(json).into_response()
    })
    .await
}

async fn result(shared: Arc<SharedState>, request: Request, id: &str) -> Response {
    let state = Arc::clone(&shared);
    handle::<Fal>(&shared, request, Call::Poll, |world, _, _, now| {
        let links = world.options().links();
        let Some(prediction) = world.poll(Api::Fal, id) else {
            return not_found();
        };
        if !prediction.has_ended(now) {
            return Fal::error_response(StatusCode::BAD_REQUEST, "Request is still in progress");
        }
        let body = axum::Json(result_body(&state, prediction, links, now));
        let status = status_code(prediction);
        let id = [("x-fal-request-id", prediction.id.clone())];
        let response = match &prediction.outcome {
            PredictionOutcome::Clip => {
                let units = prediction.clip_seconds().to_string();
                (status, [("x-fal-billable-units", units)], body).into_response()
            }
            PredictionOutcome::Failed => {
                (status, [("x-fal-retryable", "true")], body).into_response()
            }
            PredictionOutcome::InputRejected(_) => {
                let headers = [("x-fal-retryable", "false"), ("x-fal-billable-units", "0")];
                (status, headers, body).into_response()
            }
            PredictionOutcome::Cancelled => {
                (status, [("x-fal-error-type", "client_cancelled")], body).into_response()
            }
        };
        (id, response).into_response()
    })
    .await
}

/// Returns the HTTP status of the result of a prediction that has ended.
pub(super) fn status_code(prediction: &Prediction) -> StatusCode {
    match prediction.outcome {
        PredictionOutcome::Clip => StatusCode::OK,
        PredictionOutcome::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        PredictionOutcome::InputRejected(_) => StatusCode::UNPROCESSABLE_ENTITY,
        // `StatusCode` has no constant for 499.
        PredictionOutcome::Cancelled => {
            StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
        }
    }
}

/// Returns the body of the result of a prediction that has ended.
pub(super) fn result_body(
    shared: &SharedState,
    prediction: &Prediction,
    links: Links,
    now: i64,
) -> Value {
    let error = |kind: &str, location: &[&str], message: &str| {
        let url = format!("https://docs.fal.ai/errors#{kind}");
        json!({ "detail": [{ "loc": location, "msg": message, "type": kind, "url": url }] })
    };
    match &prediction.outcome {
        PredictionOutcome::Clip => {
            let mut body = json!({});
            set_link(
                &mut body,
                "video",
                shared,
                prediction,
                (links, now),
                |url| json!({ "url": url, "content_type": "video/mp4", "file_name": "output.mp4" }),
            );
            body
        }
        PredictionOutcome::Failed => error(
            "downstream_service_error",
            &["body"],
            "the generation failed",
        ),
        PredictionOutcome::InputRejected(FieldError { field, problem }) => {
            let kind = match problem {
                FieldProblem::Missing => "missing",
                FieldProblem::NotAllowed => "value_error",
                FieldProblem::Unknown => "extra_forbidden",
                FieldProblem::FileNotFound => "file_download_error",
            };
            error(kind, &["body", field], problem.message())
        }
        PredictionOutcome::Cancelled => {
            json!({ "detail": "Request was cancelled", "error_type": "client_cancelled" })
        }
    }
}

async fn cancel(shared: Arc<SharedState>, request: Request, id: &str) -> Response {
    handle::<Fal>(&shared, request, Call::Poll, |world, _, _, now| {
        let (code, status) = match world.cancel(Api::Fal, id, now) {
            Some(CancelOutcome::Queued) => (StatusCode::OK, "OK"),
            Some(CancelOutcome::Running) => (StatusCode::ACCEPTED, "CANCELLATION_REQUESTED"),
            Some(CancelOutcome::TooLate) => (StatusCode::BAD_REQUEST, "ALREADY_COMPLETED"),
            None => return not_found(),
        };
        (code, axum::Json(json!({ "status": status }))).into_response()
    })
    .await
}
