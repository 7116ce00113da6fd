//! AI/ML API as its model page and its documentation describe it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::calls::{Manners, carry_out};
use super::rules::ModelRules;
use super::shared::Shared;
use super::wire::{bearer, dollars, object, page, time};
use super::world::{End, NoRoom};
use super::{Api, Call};

/// Credits in a thousandth of a cent: 2,000,000 make a dollar, so two make a micro-dollar.
const CREDITS_PER_MICRO: i64 = 2;

struct Aimlapi;

impl Manners for Aimlapi {
    const API: Api = Api::Aimlapi;

    fn key(headers: &HeaderMap) -> Option<String> {
        bearer(headers)
    }

    fn error(status: StatusCode, message: &str) -> Value {
        let kind = if status == StatusCode::FORBIDDEN { "err_insufficent_credits" } else { "err_request" };
        json!({
            "title": status.canonical_reason(), "status": status.as_u16(), "message": message,
            "requestId": "56277efa-0000-4000-8000-000000000000",
            "error": { "name": "HttpException", "message": message, "data": { "kind": kind } },
        })
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    let generations = || post(create).get(look);
    Router::new()
        .route("/v2/video/generations", generations())
        .route("/v2/generate/video/kling/generation", generations())
        .route("/v2/logs", get(history))
        .route("/v2/billing", get(billing))
        .route("/v1/models", get(models))
}

async fn create(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let client_id = request.headers().get("x-client-request-id").and_then(|value| value.to_str().ok());
    let client_id = client_id.filter(|id| is_well_formed(id)).map(str::to_owned);
    carry_out::<Aimlapi>(&shared, request, Call::Create, |world, body, fails, now| {
        let refuse = Aimlapi::refuse;
        let input = object(body);
        let Some(rules) =
            input.get("model").and_then(Value::as_str).and_then(|id| ModelRules::find(Api::Aimlapi, id))
        else {
            return refuse(StatusCode::NOT_FOUND, "model not found");
        };
        if let Err(wrong) = rules.check(&input) {
            let message = format!("Body validation error: {} {}", wrong.field, wrong.message);
            return refuse(StatusCode::BAD_REQUEST, &message);
        }
        if world.options().no_balance {
            return refuse(StatusCode::FORBIDDEN, "You've run out of credits.");
        }
        let reports = world.options().aimlapi_reports_credits;
        match world.create(rules, input, client_id, fails, now) {
            Ok(prediction) => {
                let credits = rules.price(&prediction.input) * CREDITS_PER_MICRO;
                let mut answer = json!({ "id": prediction.id, "status": "queued" });
                if reports {
                    answer["meta"] = json!({ "usage": { "credits_used": credits } });
                }
                (StatusCode::OK, axum::Json(answer)).into_response()
            }
            Err(NoRoom::Rate | NoRoom::Slots) => refuse(StatusCode::TOO_MANY_REQUESTS, "too many requests"),
        }
    })
    .await
}

/// A malformed client request id is dropped without a word.
fn is_well_formed(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}

async fn look(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    let links = Arc::clone(&shared);
    carry_out::<Aimlapi>(&shared, request, Call::Poll, |world, _, _, now| {
        let id = query.get("generation_id").map_or("", String::as_str);
        let Some(prediction) = world.look(Api::Aimlapi, id) else {
            return Aimlapi::refuse(StatusCode::NOT_FOUND, "Inference not found");
        };
        let mut shown = json!({ "id": prediction.id, "status": "generating", "video": null, "error": null });
        if !prediction.is_open(now) {
            if prediction.end == End::Clip {
                shown["status"] = json!("completed");
                shown["video"] = json!({ "url": links.link(Api::Aimlapi, &prediction.id, prediction.link) });
            } else {
                shown["status"] = json!("error");
                shown["error"] = json!({ "name": "GenerationError", "message": "the generation failed" });
            }
        }
        axum::Json(shown).into_response()
    })
    .await
}

async fn history(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    carry_out::<Aimlapi>(&shared, request, Call::History, |world, _, _, now| {
        if !world.options().history {
            return Aimlapi::refuse(StatusCode::NOT_FOUND, "not found");
        }
        let running_too = world.options().history_lists_running;
        let rows = page(world, Api::Aimlapi, &query, ["model", "start", "end"], |known| {
            running_too || !known.is_open(now)
        });
        let shown = rows.iter().map(|known| {
            json!({
                "created": time(known.accepted_at),
                "status": if known.end == End::Clip { "succeeded" } else { "failed" },
                "origin": "api",
                "model": known.rules.id,
                "cost": { "usd": dollars(known.charged()), "credits": known.charged() * CREDITS_PER_MICRO },
                "inference_id": known.id,
                "client_request_id": known.client_request_id,
            })
        });
        let shown: Vec<Value> = shown.collect();
        axum::Json(
            json!({ "pagination": { "total": shown.len(), "has_more": shown.len() == 100 }, "data": shown }),
        )
        .into_response()
    })
    .await
}

async fn billing() -> Response {
    axum::Json(json!({ "current_balance": 100.0, "currency": "USD" })).into_response()
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
