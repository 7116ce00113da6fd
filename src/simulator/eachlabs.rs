//! each::labs as its model pages and its API reference describe it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::calls::{Manners, carry_out};
use super::rules::ModelRules;
use super::shared::Shared;
use super::wire::{bearer, dollars, page, time};
use super::world::{End, NoRoom, Prediction};
use super::{Api, Call};

struct Eachlabs;

impl Manners for Eachlabs {
    const API: Api = Api::Eachlabs;

    fn key(headers: &HeaderMap) -> Option<String> {
        let own = headers.get("x-api-key").and_then(|value| value.to_str().ok()).map(str::to_owned);
        own.or_else(|| bearer(headers))
    }

    fn error(status: StatusCode, message: &str) -> Value {
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYMENT_REQUIRED => {
                json!({ "status": status.as_u16(), "error": message, "details": "Account rate limited or without balance" })
            }
            _ => json!({ "status": "error", "message": message, "details": "" }),
        }
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/prediction", post(create))
        .route("/v1/prediction/", post(create))
        .route("/v1/prediction/{id}", get(look))
        .route("/v1/prediction/{id}/cancel", post(cancel))
        .route("/v1/executions", get(history))
        .route("/v1/model", get(model))
}

async fn create(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    carry_out::<Eachlabs>(&shared, request, Call::Create, |world, body, fails, now| {
        let refuse = Eachlabs::refuse;
        let Some(rules) = body["model"].as_str().and_then(|model| ModelRules::find(Api::Eachlabs, model))
        else {
            return refuse(StatusCode::NOT_FOUND, "Failed to fetch model: model not found");
        };
        let Some(input) = body["input"].as_object().cloned() else {
            return refuse(StatusCode::BAD_REQUEST, "Invalid input for model");
        };
        if let Err(wrong) = rules.check(&input) {
            return refuse(StatusCode::BAD_REQUEST, &format!("{}: {}", wrong.field, wrong.message));
        }
        if world.options().no_balance {
            return refuse(StatusCode::PAYMENT_REQUIRED, "payment required");
        }
        match world.create(rules, input, None, fails, now) {
            Ok(prediction) => axum::Json(json!({
                "status": "success",
                "message": "Prediction created successfully",
                "predictionID": prediction.id,
            }))
            .into_response(),
            Err(NoRoom::Rate | NoRoom::Slots) => refuse(StatusCode::TOO_MANY_REQUESTS, "too many requests"),
        }
    })
    .await
}

async fn look(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Response {
    let links = Arc::clone(&shared);
    carry_out::<Eachlabs>(&shared, request, Call::Poll, |world, _, _, now| {
        let reports_cost = world.options().eachlabs_reports_cost;
        match world.look(Api::Eachlabs, &id) {
            Some(prediction) => axum::Json(show(&links, prediction, reports_cost, now)).into_response(),
            None => Eachlabs::refuse(StatusCode::NOT_FOUND, "Prediction not found"),
        }
    })
    .await
}

fn show(shared: &Shared, prediction: &Prediction, reports_cost: bool, now: i64) -> Value {
    let base = format!("http://{}/v1/prediction/{}", shared.address, prediction.id);
    let mut shown = json!({
        "id": prediction.id,
        "input": prediction.input,
        "status": "processing",
        "output": null,
        "logs": null,
        "metrics": { "predict_time": 0, "cost": 0 },
        "urls": { "get": base, "cancel": format!("{base}/cancel") },
    });
    if !prediction.is_open(now) {
        shown["metrics"] =
            json!({ "predict_time": prediction.worked_s(), "cost": dollars(prediction.charged()) });
        match prediction.end {
            End::Clip => {
                shown["status"] = json!("success");
                shown["output"] = json!(shared.link(Api::Eachlabs, &prediction.id, prediction.link));
            }
            End::Cancelled => shown["status"] = json!("cancelled"),
            End::Failure | End::Refusal { .. } => {
                shown["status"] = json!("error");
                shown["output"] = json!({
                    "error": "Execution failed", "error_code": "PROVIDER_FAILED", "success": false,
                    "error_message": "the generation failed", "retryable": true,
                });
            }
        }
    }
    if !reports_cost && let Some(metrics) = shown["metrics"].as_object_mut() {
        metrics.remove("cost");
    }
    shown
}

async fn cancel(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Response {
    carry_out::<Eachlabs>(&shared, request, Call::Poll, |world, _, _, now| {
        if world.cancel(Api::Eachlabs, &id, now).is_none() {
            return Eachlabs::refuse(StatusCode::NOT_FOUND, "Prediction not found");
        }
        let message = "Prediction canceled successfully";
        axum::Json(json!({ "status": "cancelled", "message": message, "predictionID": id })).into_response()
    })
    .await
}

async fn history(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    carry_out::<Eachlabs>(&shared, request, Call::History, |world, _, _, now| {
        if !world.options().history {
            return Eachlabs::refuse(StatusCode::NOT_FOUND, "not found");
        }
        let rows = page(world, Api::Eachlabs, &query, ["model", "from", "to"], |_| true);
        let shown = rows.iter().map(|known| {
            let (ended, clip) = (!known.is_open(now), known.end == End::Clip);
            json!({
                "id": known.id,
                "model": known.rules.id,
                "status": if !ended { "starting" } else if clip { "success" } else { "error" },
                "execution_cost": if ended { dollars(known.charged()) } else { json!(0) },
                "run_time": if ended { known.worked_s() } else { 0.0 },
                "created_at": time(known.accepted_at),
                "completed_at": if ended { json!(time(known.ends_at)) } else { Value::Null },
            })
        });
        let shown: Vec<Value> = shown.collect();
        axum::Json(json!({ "total_count": shown.len(), "total_capped": false, "executions": shown }))
            .into_response()
    })
    .await
}

async fn model(Query(query): Query<HashMap<String, String>>) -> Response {
    let slug = query.get("slug").map_or("", String::as_str);
    match ModelRules::find(Api::Eachlabs, slug) {
        Some(rules) => axum::Json(json!({ "slug": rules.id, "version": "0.0.1", "output_type": "video" }))
            .into_response(),
        None => Eachlabs::refuse(StatusCode::NOT_FOUND, "model not found"),
    }
}
