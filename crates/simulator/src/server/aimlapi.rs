//! AI/ML API, as its model page and its documentation describe it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::api::{Api, Call};
use crate::link::Links;
use crate::prediction::{Prediction, PredictionOutcome};
use crate::rules::ModelRules;

use super::dialect::{ApiDialect, handle};
use super::links::set_link;
use super::state::SharedState;
use super::wire::{HistoryQuery, bearer_key, dollars, fields_of, rfc3339};

/// Credits per micro-dollar: 2,000,000 credits are one dollar.
const CREDITS_PER_MICRO: i64 = 2;

/// A prediction is reported as queued for the first 1/16 of its processing time, as in the
/// published example.
const QUEUED_FRACTION_DIVISOR: i64 = 16;

/// The path from before all video models shared one. A create there returns 201.
const LEGACY_PATH: &str = "/v2/generate/video/kling/generation";

const CLIENT_REQUEST_ID_HEADER: &str = "x-client-request-id";

const HISTORY: HistoryQuery = HistoryQuery {
    api: Api::Aimlapi,
    from: "start",
    to: "end",
    offset: "offset",
    default_days: 92,
};

struct Aimlapi;

impl ApiDialect for Aimlapi {
    const API: Api = Api::Aimlapi;
    const INVALID_KEY_MESSAGE: &'static str = "Invalid or missing API key";
    const ECHOED_HEADER: Option<HeaderName> =
        Some(HeaderName::from_static(CLIENT_REQUEST_ID_HEADER));

    fn key(headers: &HeaderMap) -> Option<String> {
        bearer_key(headers)
    }

    fn error_body(status: StatusCode, message: &str) -> Value {
        let kind = if status == StatusCode::FORBIDDEN {
            "err_insufficent_credits"
        } else {
            "err_request"
        };
        let name = status.canonical_reason().unwrap_or("Http").replace(' ', "");
        json!({
            "title": status.canonical_reason(), "status": status.as_u16(), "message": message,
            "requestId": "56277efa-0000-4000-8000-000000000000",
            "error": {
                "name": format!("{name}Exception"),
                "message": message,
                "data": { "kind": kind },
            },
        })
    }
}

pub(super) fn routes() -> Router<Arc<SharedState>> {
    let generations = || post(create).get(poll);
    Router::new()
        .route("/v2/video/generations", generations())
        .route(LEGACY_PATH, generations())
        .route("/v2/logs", get(history))
        .route("/v2/billing", get(billing))
        .route("/v1/models", get(models))
}

async fn create(State(shared): State<Arc<SharedState>>, request: Request) -> Response {
    let client_id = request
        .headers()
        .get(CLIENT_REQUEST_ID_HEADER)
        .and_then(|value| value.to_str().ok());
    let client_id = client_id
        .filter(|id| is_valid_client_id(id))
        .map(str::to_owned);
    let is_legacy = request.uri().path() == LEGACY_PATH;
    handle::<Aimlapi>(&shared, request, Call::Create, |world, body, fails, now| {
        let input = fields_of(body);
        let Some(rules) = input
            .get("model")
            .and_then(Value::as_str)
            .and_then(|id| ModelRules::find(Api::Aimlapi, id))
        else {
            return Aimlapi::error_response(StatusCode::NOT_FOUND, "model not found");
        };
        if let Err(error) = rules.validate(&input) {
            let message = format!(
                "Body validation error: {} {}",
                error.field,
                error.problem.message()
            );
            return Aimlapi::error_response(StatusCode::BAD_REQUEST, &message);
        }
        if world.options().no_balance {
            return Aimlapi::error_response(StatusCode::FORBIDDEN, "You've run out of credits.");
        }
        let reports_credits = world.options().aimlapi_reports_credits;
        match world.create(rules, input, client_id, fails, now) {
            Ok(prediction) => {
                let mut json = json!({ "id": prediction.id, "status": "queued" });
                if reports_credits {
                    json["meta"] = usage_json(prediction.price);
                }
                let status = if is_legacy {
                    StatusCode::CREATED
                } else {
                    StatusCode::OK
                };
                (
                    status,
                    [("x-inference-id", prediction.id.clone())],
                    axum::Json(json),
                )
                    .into_response()
            }
            Err(_) => Aimlapi::limit_exceeded_response(world, now),
        }
    })
    .await
}

fn usage_json(micros: i64) -> Value {
    json!({ "usage": { "credits_used": micros * CREDITS_PER_MICRO } })
}

/// Returns whether a client request id is valid. AI/ML API silently ignores an invalid one.
fn is_valid_client_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}

async fn poll(
    State(shared): State<Arc<SharedState>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    let state = Arc::clone(&shared);
    handle::<Aimlapi>(&shared, request, Call::Poll, |world, _, _, now| {
        let id = query.get("generation_id").map_or("", String::as_str);
        let options = world.options();
        let links = options.links();
        let reports_credits = options.aimlapi_reports_final_credits;
        let newest_visible = now - millis(options.aimlapi_visibility_delay_s);
        let prediction = world
            .poll(Api::Aimlapi, id)
            .filter(|prediction| prediction.accepted_at <= newest_visible);
        let Some(prediction) = prediction else {
            return Aimlapi::error_response(StatusCode::NOT_FOUND, "Inference not found");
        };
        let mut json = prediction_json(&state, prediction, links, now);
        if reports_credits && json["status"] == "completed" {
            json["meta"] = usage_json(prediction.charged());
        }
        axum::Json(json).into_response()
    })
    .await
}

fn prediction_json(shared: &SharedState, prediction: &Prediction, links: Links, now: i64) -> Value {
    let mut json =
        json!({ "id": prediction.id, "status": "generating", "video": null, "error": null });
    let processing = prediction.ends_at - prediction.starts_at;
    let queued_until = prediction.starts_at + processing / QUEUED_FRACTION_DIVISOR;
    if now < queued_until {
        json["status"] = json!("queued");
    } else if !prediction.has_ended(now) {
        json["status"] = json!("generating");
    } else if prediction.outcome == PredictionOutcome::Clip {
        json["status"] = json!("completed");
        set_link(
            &mut json,
            "video",
            shared,
            prediction,
            (links, now),
            |url| json!({ "url": url }),
        );
    } else {
        json["status"] = json!("error");
        json["error"] = json!({ "name": "GenerationError", "message": "the generation failed" });
    }
    json
}

fn millis(seconds: f64) -> i64 {
    Duration::try_from_secs_f64(seconds).map_or(0, |time| {
        i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
    })
}

async fn history(
    State(shared): State<Arc<SharedState>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    handle::<Aimlapi>(&shared, request, Call::History, |world, _, _, now| {
        if !world.options().history {
            return Aimlapi::error_response(StatusCode::NOT_FOUND, "not found");
        }
        let lists_running = world.options().history_lists_running;
        let page = HISTORY.page(world, &query, now, |prediction| {
            lists_running || prediction.has_ended(now)
        });
        let page = match page {
            Ok(page) => page,
            Err(message) => return Aimlapi::error_response(StatusCode::BAD_REQUEST, &message),
        };
        let data: Vec<Value> = page.rows.iter().map(log_entry).collect();
        let pagination = json!({
            "limit": page.limit,
            "offset": page.offset,
            "total": page.total,
            "has_more": page.has_more(),
        });
        axum::Json(json!({ "data": data, "pagination": pagination })).into_response()
    })
    .await
}

fn log_entry(prediction: &Prediction) -> Value {
    let succeeded = prediction.outcome == PredictionOutcome::Clip;
    let charged = prediction.charged();
    json!({
        "created": rfc3339(prediction.accepted_at),
        "status": if succeeded { "succeeded" } else { "failed" },
        "origin": "api",
        "model": prediction.model,
        "cost": { "usd": dollars(charged), "credits": charged * CREDITS_PER_MICRO },
        "tokens": { "input": 0, "output": 0, "total": 0 },
        "request_id": format!("req-{}", prediction.id),
        "inference_id": prediction.id,
        "client_request_id": prediction.client_request_id,
    })
}

async fn billing(State(shared): State<Arc<SharedState>>, request: Request) -> Response {
    handle::<Aimlapi>(&shared, request, Call::History, |world, _, _, _| {
        let balance = world.options().balance();
        axum::Json(json!({ "current_balance": balance, "currency": "USD" })).into_response()
    })
    .await
}

async fn models(Query(query): Query<HashMap<String, String>>) -> Response {
    let id = query.get("id").map_or("", String::as_str);
    match ModelRules::find(Api::Aimlapi, id) {
        Some(rules) => {
            let price = dollars(rules.extra_second_price);
            let pricing = json!({ "kind": "fixed", "price": price, "per": 1, "unit": "second" });
            axum::Json(json!({ "data": [{ "id": rules.id, "pricing": pricing }] })).into_response()
        }
        None => axum::Json(json!({ "data": [] })).into_response(),
    }
}
