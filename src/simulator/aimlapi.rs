//! AI/ML API as its model page and its documentation describe it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::dialect::{ApiDialect, handle};
use super::prediction::{End, Prediction};
use super::rules::ModelRules;
use super::shared::Shared;
use super::wire::{History, bearer, dollars, object, time};
use super::{Api, Call};

/// Credits in a micro-dollar: 2,000,000 make a dollar.
const CREDITS_PER_MICRO: i64 = 2;

/// A prediction is called queued for the first part of its time, one in so many, as in the published example.
const QUEUED_PART: i64 = 16;

/// The address from before all video models had one in common. It answers a create with 201.
const LEGACY_PATH: &str = "/v2/generate/video/kling/generation";

const CLIENT_REQUEST_ID: &str = "x-client-request-id";

const HISTORY: History = History {
    api: Api::Aimlapi,
    from: "start",
    to: "end",
    offset: "offset",
    days: 92,
};

struct Aimlapi;

impl ApiDialect for Aimlapi {
    const API: Api = Api::Aimlapi;
    const WRONG_KEY: &'static str = "Invalid or missing API key";
    const ECHOED: Option<HeaderName> = Some(HeaderName::from_static(CLIENT_REQUEST_ID));

    fn key(headers: &HeaderMap) -> Option<String> {
        bearer(headers)
    }

    fn error(status: StatusCode, message: &str) -> Value {
        let kind = if status == StatusCode::FORBIDDEN {
            "err_insufficent_credits"
        } else {
            "err_request"
        };
        let name = status.canonical_reason().unwrap_or("Http").replace(' ', "");
        json!({
            "title": status.canonical_reason(), "status": status.as_u16(), "message": message,
            "requestId": "56277efa-0000-4000-8000-000000000000",
            "error": { "name": format!("{name}Exception"), "message": message, "data": { "kind": kind } },
        })
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    let generations = || post(create).get(look);
    Router::new()
        .route("/v2/video/generations", generations())
        .route(LEGACY_PATH, generations())
        .route("/v2/logs", get(history))
        .route("/v2/billing", get(billing))
        .route("/v1/models", get(models))
}

async fn create(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let client_id = request
        .headers()
        .get(CLIENT_REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    let client_id = client_id.filter(|id| is_well_formed(id)).map(str::to_owned);
    let is_legacy = request.uri().path() == LEGACY_PATH;
    handle::<Aimlapi>(&shared, request, Call::Create, |world, body, fails, now| {
        let refuse = Aimlapi::refuse;
        let input = object(body);
        let Some(rules) = input
            .get("model")
            .and_then(Value::as_str)
            .and_then(|id| ModelRules::find(Api::Aimlapi, id))
        else {
            return refuse(StatusCode::NOT_FOUND, "model not found");
        };
        if let Err(wrong) = rules.check(&input) {
            let message = format!(
                "Body validation error: {} {}",
                wrong.field,
                wrong.flaw.message()
            );
            return refuse(StatusCode::BAD_REQUEST, &message);
        }
        if world.options().no_balance {
            return refuse(StatusCode::FORBIDDEN, "You've run out of credits.");
        }
        let reports = world.options().aimlapi_reports_credits;
        match world.create(rules, input, client_id, fails, now) {
            Ok(prediction) => {
                let mut answer = json!({ "id": prediction.id, "status": "queued" });
                if reports {
                    answer["meta"] = usage(prediction.price);
                }
                let status = if is_legacy {
                    StatusCode::CREATED
                } else {
                    StatusCode::OK
                };
                (
                    status,
                    [("x-inference-id", prediction.id.clone())],
                    axum::Json(answer),
                )
                    .into_response()
            }
            Err(_) => Aimlapi::refuse_for_now(world, now),
        }
    })
    .await
}

fn usage(micros: i64) -> Value {
    json!({ "usage": { "credits_used": micros * CREDITS_PER_MICRO } })
}

/// A malformed client request id is dropped without a word.
fn is_well_formed(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}

async fn look(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    let links = Arc::clone(&shared);
    handle::<Aimlapi>(&shared, request, Call::Poll, |world, _, _, now| {
        let id = query.get("generation_id").map_or("", String::as_str);
        let options = world.options();
        let hidden_until = now - millis(options.aimlapi_hides_new_s);
        let (life_s, with_credits) = (options.link_life_s, options.aimlapi_ends_with_credits);
        let known = world
            .look(Api::Aimlapi, id)
            .filter(|known| known.accepted_at <= hidden_until);
        let Some(prediction) = known else {
            return Aimlapi::refuse(StatusCode::NOT_FOUND, "Inference not found");
        };
        let mut shown = show(&links, prediction, life_s, now);
        if with_credits && shown["status"] == "completed" {
            shown["meta"] = usage(prediction.charged());
        }
        axum::Json(shown).into_response()
    })
    .await
}

fn show(shared: &Shared, prediction: &Prediction, life_s: u64, now: i64) -> Value {
    let mut shown =
        json!({ "id": prediction.id, "status": "generating", "video": null, "error": null });
    let queued_until =
        prediction.starts_at + (prediction.ends_at - prediction.starts_at) / QUEUED_PART;
    if now < queued_until {
        shown["status"] = json!("queued");
    } else if prediction.is_open(now) {
        shown["status"] = json!("generating");
    } else if prediction.end == End::Clip {
        shown["status"] = json!("completed");
        shown["video"] = json!({ "url": shared.link(prediction, life_s, now) });
    } else {
        shown["status"] = json!("error");
        shown["error"] = json!({ "name": "GenerationError", "message": "the generation failed" });
    }
    shown
}

fn millis(seconds: f64) -> i64 {
    Duration::try_from_secs_f64(seconds).map_or(0, |time| {
        i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
    })
}

async fn history(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    handle::<Aimlapi>(&shared, request, Call::History, |world, _, _, now| {
        if !world.options().history {
            return Aimlapi::refuse(StatusCode::NOT_FOUND, "not found");
        }
        let running_too = world.options().history_lists_running;
        let page = HISTORY.page(world, &query, now, |known| running_too || !known.is_open(now));
        let page = match page {
            Ok(page) => page,
            Err(wrong) => return Aimlapi::refuse(StatusCode::BAD_REQUEST, &wrong),
        };
        let data: Vec<Value> = page.rows.iter().map(|known| log_entry(known)).collect();
        let pagination = json!({
            "limit": page.limit, "offset": page.offset, "total": page.total, "has_more": page.has_more(),
        });
        axum::Json(json!({ "data": data, "pagination": pagination })).into_response()
    })
    .await
}

fn log_entry(known: &Prediction) -> Value {
    json!({
        "created": time(known.accepted_at),
        "status": if known.end == End::Clip { "succeeded" } else { "failed" },
        "origin": "api",
        "model": known.model,
        "cost": { "usd": dollars(known.charged()), "credits": known.charged() * CREDITS_PER_MICRO },
        "tokens": { "input": 0, "output": 0, "total": 0 },
        "request_id": format!("req-{}", known.id),
        "inference_id": known.id,
        "client_request_id": known.client_request_id,
    })
}

async fn billing(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    handle::<Aimlapi>(&shared, request, Call::History, |world, _, _, _| {
        let balance = if world.options().no_balance {
            0.0
        } else {
            100.0
        };
        axum::Json(json!({ "current_balance": balance, "currency": "USD" })).into_response()
    })
    .await
}

async fn models(Query(query): Query<HashMap<String, String>>) -> Response {
    let id = query.get("id").map_or("", String::as_str);
    match ModelRules::find(Api::Aimlapi, id) {
        Some(rules) => {
            let price = dollars(rules.further);
            let pricing = json!({ "kind": "fixed", "price": price, "per": 1, "unit": "second" });
            axum::Json(json!({ "data": [{ "id": rules.id, "pricing": pricing }] })).into_response()
        }
        None => axum::Json(json!({ "data": [] })).into_response(),
    }
}
