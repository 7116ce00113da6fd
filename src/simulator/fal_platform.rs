//! fal.ai's platform API, which tells what was done and what it cost, as its reference describes it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::dialect::{ApiDialect, handle};
use super::fal;
use super::prediction::Prediction;
use super::rules::ModelRules;
use super::shared::Shared;
use super::wire::{History, dollars, time};
use super::{Api, Call};

const HISTORY: History = History {
    api: Api::Fal,
    from: "start",
    to: "end",
    offset: "cursor",
    days: 1,
};

/// A request asked for by its id is looked for further back, in days.
const DAYS_FOR_ONE: i64 = 90;

struct Platform;

impl ApiDialect for Platform {
    const API: Api = Api::Fal;
    const WRONG_KEY: &'static str = "Authentication is required";

    fn key(headers: &HeaderMap) -> Option<String> {
        fal::key(headers)
    }

    fn error(status: StatusCode, message: &str) -> Value {
        let kind = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "authorization_error",
            StatusCode::NOT_FOUND => "not_found",
            StatusCode::TOO_MANY_REQUESTS => "rate_limited",
            StatusCode::NOT_IMPLEMENTED => "not_implemented",
            _ if status.is_server_error() => "server_error",
            _ => "validation_error",
        };
        json!({ "error": { "type": kind, "message": message } })
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/models/requests/by-endpoint", get(history))
        .route("/v1/models/billing-events", get(billing_events))
        .route("/v1/models/pricing", get(pricing))
        .route("/v1/account/billing", get(billing))
}

async fn history(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    let links = Arc::clone(&shared);
    handle::<Platform>(&shared, request, Call::History, |world, _, _, now| {
        if !world.options().history {
            return Platform::refuse(StatusCode::NOT_IMPLEMENTED, "not implemented");
        }
        let Some(model) = query.get("endpoint_id") else {
            return Platform::refuse(StatusCode::BAD_REQUEST, "endpoint_id is required");
        };
        let (id, wanted) = (query.get("request_id"), query.get("status"));
        let running_too = world.options().history_lists_running;
        let days = if id.is_some() {
            DAYS_FOR_ONE
        } else {
            HISTORY.days
        };
        let page = History { days, ..HISTORY }.page(world, &query, now, |known| {
            let ended = !known.is_open(now);
            (ended || running_too)
                && *model == known.model
                && id.is_none_or(|id| *id == known.id)
                && wanted.is_none_or(|wanted| ended && wanted == class(known))
        });
        let page = match page {
            Ok(page) => page,
            Err(wrong) => return Platform::refuse(StatusCode::BAD_REQUEST, &wrong),
        };
        let with_payloads = query
            .get("expand")
            .is_some_and(|expand| expand.contains("payloads"));
        let life_s = world.options().link_life_s;
        let items = page.rows.iter().map(|known| {
            let ended = !known.is_open(now);
            let mut item = json!({
                "request_id": known.id,
                "endpoint_id": known.model,
                "sent_at": time(known.accepted_at),
                "started_at": (!known.is_waiting(now)).then(|| time(known.starts_at)),
                "ended_at": ended.then(|| time(known.ends_at)),
                "status_code": ended.then(|| fal::status_code(known).as_u16()),
                "duration": ended.then(|| known.worked_s()),
            });
            if with_payloads {
                item["json_input"] = json!(known.input);
                item["json_output"] =
                    json!(ended.then(|| fal::outcome(&links, known, life_s, now)));
            }
            item
        });
        // Its pages are asked for by a cursor, which is the offset here.
        let next = page
            .has_more()
            .then(|| (page.offset + page.rows.len()).to_string());
        let items: Vec<Value> = items.collect();
        axum::Json(json!({ "items": items, "has_more": next.is_some(), "next_cursor": next }))
            .into_response()
    })
    .await
}

/// What the history's filter calls the end of a request.
fn class(known: &Prediction) -> &'static str {
    match fal::status_code(known).as_u16() {
        ..400 => "success",
        400..500 => "user_error",
        _ => "error",
    }
}

async fn billing_events(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    handle::<Platform>(&shared, request, Call::History, |world, _, _, now| {
        let (id, model) = (query.get("request_id"), query.get("endpoint_id"));
        let history = History {
            days: DAYS_FOR_ONE,
            ..HISTORY
        };
        let page = history.page(world, &query, now, |known| {
            !known.is_open(now)
                && known.charged() > 0
                && id.is_none_or(|id| *id == known.id)
                && model.is_none_or(|model| *model == known.model)
        });
        let page = match page {
            Ok(page) => page,
            Err(wrong) => return Platform::refuse(StatusCode::BAD_REQUEST, &wrong),
        };
        let events = page.rows.iter().map(|known| {
            json!({
                "request_id": known.id,
                "endpoint_id": known.model,
                "timestamp": time(known.ends_at),
                "output_units": known.seconds(),
                "unit_price": dollars(known.price / known.seconds().max(1)),
                "percent_discount": 0,
                "cost_subtotal": dollars(known.charged()),
                "cost_discount": 0,
                "cost_total": dollars(known.charged()),
                "cost_estimate_nano_usd": known.charged() * 1000,
            })
        });
        let next = page
            .has_more()
            .then(|| (page.offset + page.rows.len()).to_string());
        let events: Vec<Value> = events.collect();
        axum::Json(
            json!({ "billing_events": events, "has_more": next.is_some(), "next_cursor": next }),
        )
        .into_response()
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

async fn billing(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    handle::<Platform>(&shared, request, Call::History, |world, _, _, _| {
        let balance = if world.options().no_balance {
            0.0
        } else {
            100.0
        };
        let credits = json!({ "current_balance": balance, "currency": "USD" });
        axum::Json(json!({ "username": "simulated", "credits": credits })).into_response()
    })
    .await
}
