//! fal.ai's queue API and platform API as its documentation describes them.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::calls::{Manners, carry_out};
use super::rules::ModelRules;
use super::shared::Shared;
use super::wire::{dollars, object, page, time};
use super::world::{End, Prediction};
use super::{Api, Call};

struct Fal;

impl Manners for Fal {
    const API: Api = Api::Fal;

    fn key(headers: &HeaderMap) -> Option<String> {
        headers.get("authorization")?.to_str().ok()?.strip_prefix("Key ").map(str::to_owned)
    }

    fn error(status: StatusCode, message: &str) -> Value {
        match status.as_u16() {
            500.. => json!({ "detail": message, "error_type": "internal_error" }),
            _ => json!({ "detail": message }),
        }
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/models/requests/by-endpoint", get(history))
        .route("/v1/models/billing-events", get(billing_events))
        .route("/v1/models/pricing", get(pricing))
        .route("/v1/account/billing", get(billing))
        .fallback(queue)
}

/// The queue API's addresses begin with a model id of any length, so they are told apart here.
async fn queue(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path().trim_matches('/').to_owned();
    let Some((_, follow_up)) = path.split_once("/requests/") else {
        return if request.method() == Method::POST {
            create(shared, request, &path).await
        } else {
            not_found()
        };
    };
    let (id, what) = follow_up.split_once('/').unwrap_or((follow_up, "response"));
    match (request.method().as_str(), what) {
        ("GET", "status") => status(shared, request, id).await,
        ("GET", "response") => result(shared, request, id).await,
        ("PUT", "cancel") => cancel(shared, request, id).await,
        _ => not_found(),
    }
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, axum::Json(json!({ "status": "NOT_FOUND" }))).into_response()
}

async fn create(shared: Arc<Shared>, request: Request, model: &str) -> Response {
    let links = Arc::clone(&shared);
    carry_out::<Fal>(&shared, request, Call::Create, |world, body, fails, now| {
        let Some(rules) = ModelRules::find(Api::Fal, model) else {
            return Fal::refuse(StatusCode::NOT_FOUND, &format!("Application '{model}' not found"));
        };
        if world.options().no_balance {
            let message =
                "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing.";
            return Fal::refuse(StatusCode::FORBIDDEN, message);
        }
        // Fields are checked by the runner: a wrong one is found out only by the result.
        match world.create(rules, object(body), None, fails, now) {
            Ok(prediction) => {
                let mut answer = urls(&links, prediction);
                answer["status"] = json!("IN_QUEUE");
                answer["queue_position"] = json!(0);
                answer["logs"] = Value::Null;
                answer["metrics"] = json!({});
                axum::Json(answer).into_response()
            }
            Err(_) => Fal::refuse(StatusCode::TOO_MANY_REQUESTS, "too many requests"),
        }
    })
    .await
}

fn urls(shared: &Shared, prediction: &Prediction) -> Value {
    let application: Vec<&str> = prediction.rules.id.split('/').take(2).collect();
    let base = format!("http://{}/{}/requests/{}", shared.address, application.join("/"), prediction.id);
    json!({
        "request_id": prediction.id,
        "response_url": base,
        "status_url": format!("{base}/status"),
        "cancel_url": format!("{base}/cancel"),
    })
}

async fn status(shared: Arc<Shared>, request: Request, id: &str) -> Response {
    let links = Arc::clone(&shared);
    let logs =
        request.uri().query().is_some_and(|query| query.contains("logs=1") || query.contains("logs=true"));
    carry_out::<Fal>(&shared, request, Call::Poll, |world, _, _, now| {
        let Some(prediction) = world.look(Api::Fal, id) else { return not_found() };
        let mut shown = urls(&links, prediction);
        shown["logs"] = if logs { json!([]) } else { Value::Null };
        if prediction.is_open(now) {
            let waits = now < prediction.starts_at;
            shown["status"] = json!(if waits { "IN_QUEUE" } else { "IN_PROGRESS" });
            if waits {
                shown["queue_position"] = json!(1);
            }
            shown["metrics"] = json!({});
            return (StatusCode::ACCEPTED, axum::Json(shown)).into_response();
        }
        // A failed request looks like any other here.
        shown["status"] = json!("COMPLETED");
        shown["metrics"] = json!({ "inference_time": prediction.worked_s() });
        axum::Json(shown).into_response()
    })
    .await
}

async fn result(shared: Arc<Shared>, request: Request, id: &str) -> Response {
    let links = Arc::clone(&shared);
    carry_out::<Fal>(&shared, request, Call::Poll, |world, _, _, now| {
        let Some(prediction) = world.look(Api::Fal, id) else { return not_found() };
        if prediction.is_open(now) {
            return Fal::refuse(StatusCode::BAD_REQUEST, "Request is still in progress");
        }
        let error = |kind: &str, field: &str, message: &str| {
            let url = format!("https://docs.fal.ai/errors#{kind}");
            axum::Json(
                json!({ "detail": [{ "loc": ["body", field], "msg": message, "type": kind, "url": url }] }),
            )
        };
        match &prediction.end {
            End::Clip => {
                let units = prediction.rules.seconds(&prediction.input).to_string();
                let url = links.link(Api::Fal, id, prediction.link);
                let video = json!({ "url": url, "content_type": "video/mp4", "file_name": "output.mp4" });
                ([("x-fal-billable-units", units)], axum::Json(json!({ "video": video }))).into_response()
            }
            End::Failure => {
                let body = error("downstream_service_error", "", "the generation failed");
                (StatusCode::INTERNAL_SERVER_ERROR, [("x-fal-retryable", "true")], body).into_response()
            }
            End::Refusal { field, message } => {
                let body = error("value_error", field, message);
                let headers = [("x-fal-retryable", "false"), ("x-fal-billable-units", "0")];
                (StatusCode::UNPROCESSABLE_ENTITY, headers, body).into_response()
            }
            End::Cancelled => {
                let status = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
                let body = json!({ "detail": "Request was cancelled", "error_type": "client_cancelled" });
                (status, axum::Json(body)).into_response()
            }
        }
    })
    .await
}

async fn cancel(shared: Arc<Shared>, request: Request, id: &str) -> Response {
    carry_out::<Fal>(&shared, request, Call::Poll, |world, _, _, now| match world.cancel(Api::Fal, id, now) {
        Some(true) => axum::Json(json!({ "status": "OK" })).into_response(),
        Some(false) => {
            (StatusCode::BAD_REQUEST, axum::Json(json!({ "status": "ALREADY_COMPLETED" }))).into_response()
        }
        None => not_found(),
    })
    .await
}

async fn history(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    carry_out::<Fal>(&shared, request, Call::History, |world, _, _, now| {
        if !world.options().history {
            return (
                StatusCode::NOT_IMPLEMENTED,
                axum::Json(json!({ "error": { "type": "not_implemented" } })),
            )
                .into_response();
        }
        let running_too = world.options().history_lists_running;
        // Its pages are asked for by a cursor, which is the offset here.
        let offset: usize = query.get("cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let mut query = query.clone();
        query.insert("offset".into(), offset.to_string());
        let rows = page(world, Api::Fal, &query, ["endpoint_id", "start", "end"], |known| {
            running_too || !known.is_open(now)
        });
        let with_payloads = query.get("expand").is_some_and(|expand| expand.contains("payloads"));
        let items = rows.iter().map(|known| {
            let ended = !known.is_open(now);
            let mut item = json!({
                "request_id": known.id,
                "endpoint_id": known.rules.id,
                "sent_at": time(known.accepted_at),
                "started_at": time(known.starts_at),
                "ended_at": if ended { json!(time(known.ends_at)) } else { Value::Null },
                "status_code": if known.end == End::Clip { 200 } else { 500 },
                "duration": known.worked_s(),
            });
            if with_payloads {
                item["json_input"] = json!(known.input);
            }
            item
        });
        let items: Vec<Value> = items.collect();
        let limit: usize = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(50).min(100);
        let next = (items.len() == limit).then(|| (offset + limit).to_string());
        axum::Json(json!({ "has_more": next.is_some(), "next_cursor": next, "items": items })).into_response()
    })
    .await
}

async fn billing_events(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    carry_out::<Fal>(&shared, request, Call::History, |world, _, _, now| {
        let id = query.get("request_id").map_or("", String::as_str);
        let known = world.history(Api::Fal, None, 0, i64::MAX);
        let billed =
            known.into_iter().filter(|known| known.id == id && !known.is_open(now) && known.charged() > 0);
        let events = billed.map(|known| {
            json!({
                "request_id": known.id, "endpoint_id": known.rules.id, "timestamp": time(known.ends_at),
                "output_units": known.rules.seconds(&known.input), "cost_total": dollars(known.charged()),
            })
        });
        axum::Json(json!({ "billing_events": events.collect::<Vec<_>>() })).into_response()
    })
    .await
}

async fn pricing(Query(query): Query<HashMap<String, String>>) -> Response {
    let id = query.get("endpoint_id").map_or("", String::as_str);
    let prices = ModelRules::find(Api::Fal, id).map(|rules| {
        json!({ "endpoint_id": rules.id, "unit_price": dollars(rules.further), "unit": "seconds", "currency": "USD" })
    });
    axum::Json(
        json!({ "prices": prices.into_iter().collect::<Vec<_>>(), "next_cursor": null, "has_more": false }),
    )
    .into_response()
}

async fn billing() -> Response {
    axum::Json(json!({ "username": "simulated", "credits": { "current_balance": 100.0, "currency": "USD" } }))
        .into_response()
}
