//! fal.ai's platform API, as its reference describes it: history, billing events, prices and
//! balance.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use crate::api::{Api, Call};
use crate::prediction::Prediction;
use crate::rules::ModelRules;

use super::dialect::{ApiDialect, handle};
use super::fal;
use super::state::SharedState;
use super::wire::{HistoryQuery, Page, dollars, rfc3339};

const HISTORY: HistoryQuery = HistoryQuery {
    api: Api::Fal,
    from: "start",
    to: "end",
    offset: "cursor",
    default_days: 1,
};

/// Default time range of billing events, and of the history if a request id is given, in days.
const LONG_RANGE_DAYS: i64 = 90;

struct Platform;

impl ApiDialect for Platform {
    const API: Api = Api::Fal;
    const INVALID_KEY_MESSAGE: &'static str = "Authentication is required";

    fn key(headers: &HeaderMap) -> Option<String> {
        fal::authorization_key(headers)
    }

    fn error_body(status: StatusCode, message: &str) -> Value {
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

pub(super) fn routes() -> Router<Arc<SharedState>> {
    Router::new()
        .route("/v1/models/requests/by-endpoint", get(history))
        .route("/v1/models/billing-events", get(billing_events))
        .route("/v1/models/pricing", get(pricing))
        .route("/v1/account/billing", get(billing))
}

async fn history(
    State(shared): State<Arc<SharedState>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    let state = Arc::clone(&shared);
    handle::<Platform>(&shared, request, Call::History, |world, _, _, now| {
        if !world.options().history {
            return Platform::error_response(StatusCode::NOT_IMPLEMENTED, "not implemented");
        }
        let Some(model) = query.get("endpoint_id") else {
            return Platform::error_response(StatusCode::BAD_REQUEST, "endpoint_id is required");
        };
        let id = query.get("request_id");
        let class = query.get("status");
        let lists_running = world.options().history_lists_running;
        let default_days = if id.is_some() {
            LONG_RANGE_DAYS
        } else {
            HISTORY.default_days
        };
        let history = HistoryQuery {
            default_days,
            ..HISTORY
        };
        let page = history.page(world, &query, now, |prediction| {
            let ended = prediction.has_ended(now);
            (ended || lists_running)
                && *model == prediction.model
                && id.is_none_or(|id| *id == prediction.id)
                && class.is_none_or(|class| ended && class == status_class(prediction))
        });
        let page = match page {
            Ok(page) => page,
            Err(message) => return Platform::error_response(StatusCode::BAD_REQUEST, &message),
        };
        let includes_payloads = query
            .get("expand")
            .is_some_and(|expand| expand.contains("payloads"));
        let links = world.options().links();
        let items = page.rows.iter().map(|prediction| {
            let ended = prediction.has_ended(now);
            let mut item = json!({
                "request_id": prediction.id,
                "endpoint_id": prediction.model,
                "sent_at": rfc3339(prediction.accepted_at),
                "started_at": (!prediction.is_queued(now)).then(|| rfc3339(prediction.starts_at)),
                "ended_at": ended.then(|| rfc3339(prediction.ends_at)),
                "status_code": ended.then(|| fal::status_code(prediction).as_u16()),
                "duration": ended.then(|| prediction.processing_s()),
            });
            if includes_payloads {
                item["json_input"] = json!(prediction.input);
                item["json_output"] =
                    json!(ended.then(|| fal::result_body(&state, prediction, links, now)));
            }
            item
        });
        let next = next_cursor(&page);
        let items: Vec<Value> = items.collect();
        axum::Json(json!({ "items": items, "has_more": next.is_some(), "next_cursor": next }))
            .into_response()
    })
    .await
}

/// Returns the cursor of the page after this one: the offset of its first row.
fn next_cursor(page: &Page) -> Option<String> {
    page.has_more().then(|| page.next_offset().to_string())
}

/// Returns the name that the history's status filter uses for the outcome of a prediction that has
/// ended.
fn status_class(prediction: &Prediction) -> &'static str {
    match fal::status_code(prediction).as_u16() {
        ..400 => "success",
        400..500 => "user_error",
        _ => "error",
    }
}

async fn billing_events(
    State(shared): State<Arc<SharedState>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    handle::<Platform>(&shared, request, Call::History, |world, _, _, now| {
        let id = query.get("request_id");
        let model = query.get("endpoint_id");
        let history = HistoryQuery {
            default_days: LONG_RANGE_DAYS,
            ..HISTORY
        };
        let page = history.page(world, &query, now, |prediction| {
            prediction.has_ended(now)
                && prediction.charged() > 0
                && id.is_none_or(|id| *id == prediction.id)
                && model.is_none_or(|model| *model == prediction.model)
        });
        let page = match page {
            Ok(page) => page,
            Err(message) => return Platform::error_response(StatusCode::BAD_REQUEST, &message),
        };
        let events = page.rows.iter().map(|prediction| {
            json!({
                "request_id": prediction.id,
                "endpoint_id": prediction.model,
                "timestamp": rfc3339(prediction.ends_at),
                "output_units": prediction.clip_seconds(),
                "unit_price": dollars(prediction.price / prediction.clip_seconds().max(1)),
                "percent_discount": 0,
                "cost_subtotal": dollars(prediction.charged()),
                "cost_discount": 0,
                "cost_total": dollars(prediction.charged()),
                "cost_estimate_nano_usd": prediction.charged() * 1000,
            })
        });
        let next = next_cursor(&page);
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
    let price = ModelRules::find(Api::Fal, id).map(|rules| {
        json!({
            "endpoint_id": rules.id,
            "unit_price": dollars(rules.extra_second_price),
            "unit": "seconds",
            "currency": "USD",
        })
    });
    axum::Json(json!({
        "prices": price.into_iter().collect::<Vec<_>>(),
        "next_cursor": null,
        "has_more": false,
    }))
    .into_response()
}

async fn billing(State(shared): State<Arc<SharedState>>, request: Request) -> Response {
    handle::<Platform>(&shared, request, Call::History, |world, _, _, _| {
        let balance = world.options().balance();
        let credits = json!({ "current_balance": balance, "currency": "USD" });
        axum::Json(json!({ "username": "simulated", "credits": credits })).into_response()
    })
    .await
}
