//! each::labs's API, as its model pages and its API reference describe it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
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
use super::wire::{HistoryQuery, bearer_key, dollars, rfc3339};

/// The fields that the body of a create may have.
const CREATE_FIELDS: [&str; 5] = ["model", "input", "version", "webhook_url", "webhook_secret"];

const HISTORY: HistoryQuery = HistoryQuery {
    api: Api::Eachlabs,
    from: "from",
    to: "to",
    offset: "offset",
    default_days: 90,
};

pub(super) struct Eachlabs;

impl ApiDialect for Eachlabs {
    const API: Api = Api::Eachlabs;
    const INVALID_KEY_MESSAGE: &'static str = "Invalid or missing API key";
    const ECHOED_HEADER: Option<HeaderName> = Some(HeaderName::from_static("x-request-id"));

    fn key(headers: &HeaderMap) -> Option<String> {
        let api_key = headers
            .get("x-api-key")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        api_key.or_else(|| bearer_key(headers))
    }

    fn error_body(status: StatusCode, message: &str) -> Value {
        match status {
            StatusCode::UNAUTHORIZED => json!({ "error": message }),
            StatusCode::TOO_MANY_REQUESTS => {
                json!({ "status": 429, "error": message, "details": "Account rate limited" })
            }
            StatusCode::PAYMENT_REQUIRED => {
                let details = "the balance is below the price";
                json!({ "status": 402, "error": message, "details": details })
            }
            _ => json!({ "status": "error", "message": message, "details": "" }),
        }
    }
}

pub(super) fn routes() -> Router<Arc<SharedState>> {
    Router::new()
        .route("/v1/prediction", post(create))
        .route("/v1/prediction/", post(create))
        .route("/v1/prediction/{id}", get(poll))
        .route("/v1/prediction/{id}/cancel", post(cancel))
        .route("/v1/executions", get(history))
        .route("/v1/billing/balance", get(billing))
        .route("/v1/model", get(model))
}

async fn create(State(shared): State<Arc<SharedState>>, request: Request) -> Response {
    handle::<Eachlabs>(&shared, request, Call::Create, |world, body, fails, now| {
        let Some(rules) = body["model"]
            .as_str()
            .and_then(|model| ModelRules::find(Api::Eachlabs, model))
        else {
            return Eachlabs::error_response(
                StatusCode::NOT_FOUND,
                "Failed to fetch model: model not found",
            );
        };
        let fields = body.as_object().into_iter().flatten();
        if let Some((unknown, _)) = fields
            .into_iter()
            .find(|(name, _)| !CREATE_FIELDS.contains(&name.as_str()))
        {
            return Eachlabs::error_response(
                StatusCode::BAD_REQUEST,
                &format!("{unknown}: field is not known"),
            );
        }
        let Some(input) = body["input"].as_object().cloned() else {
            return Eachlabs::error_response(StatusCode::BAD_REQUEST, "Invalid input for model");
        };
        if let Err(error) = rules.validate(&input) {
            return Eachlabs::error_response(
                StatusCode::BAD_REQUEST,
                &format!("{}: {}", error.field, error.problem.message()),
            );
        }
        if world.options().no_balance {
            return Eachlabs::error_response(StatusCode::PAYMENT_REQUIRED, "payment required");
        }
        if world.is_balance_in_use(Api::Eachlabs, now) {
            let message = "the estimated cost of the executions in flight exceeds the balance; \
                wait for an active execution to finish or top up";
            return Eachlabs::error_response(StatusCode::PAYMENT_REQUIRED, message);
        }
        if world.is_too_soon(Api::Eachlabs, now) {
            return Eachlabs::too_many_requests_response(world, None, Call::Create, now);
        }
        match world.create(rules, input, None, fails, now) {
            Ok(prediction) => axum::Json(json!({
                "status": "success",
                "message": "Prediction created successfully",
                "predictionID": prediction.id,
            }))
            .into_response(),
            Err(_) => Eachlabs::limit_exceeded_response(world, now),
        }
    })
    .await
}

async fn poll(
    State(shared): State<Arc<SharedState>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let state = Arc::clone(&shared);
    handle::<Eachlabs>(&shared, request, Call::Poll, |world, _, _, now| {
        let reports_cost = world.options().eachlabs_reports_cost;
        let links = world.options().links();
        let Some(prediction) = world.poll(Api::Eachlabs, &id) else {
            return Eachlabs::error_response(StatusCode::NOT_FOUND, "Prediction not found");
        };
        let mut json = prediction_json(&state, prediction, links, now);
        if !reports_cost && let Some(metrics) = json["metrics"].as_object_mut() {
            metrics.remove("cost");
        }
        axum::Json(json).into_response()
    })
    .await
}

fn prediction_json(shared: &SharedState, prediction: &Prediction, links: Links, now: i64) -> Value {
    let url = format!("http://{}/v1/prediction/{}", shared.address, prediction.id);
    let mut json = json!({
        "id": prediction.id,
        "input": prediction.input,
        "status": status(prediction, now),
        "output": null,
        "logs": null,
        "metrics": { "predict_time": 0, "cost": 0 },
        "urls": { "get": url, "cancel": format!("{url}/cancel") },
    });
    if !prediction.has_ended(now) {
        return json;
    }
    json["metrics"] =
        json!({ "predict_time": prediction.processing_s(), "cost": dollars(prediction.charged()) });
    match prediction.outcome {
        PredictionOutcome::Clip => {
            set_link(
                &mut json,
                "output",
                shared,
                prediction,
                (links, now),
                Value::String,
            );
        }
        PredictionOutcome::Cancelled => {}
        PredictionOutcome::Failed | PredictionOutcome::InputRejected(_) => {
            // The model pages put the reason next to the status, the API reference in the output.
            json["message"] = json!("Generation failed");
            json["details"] = json!("the generation failed");
            json["output"] = json!({
                "error": "Execution failed",
                "error_code": "PROVIDER_FAILED",
                "error_step": "poll",
                "error_message": "the generation failed",
                "classification": { "category": "PROVIDER" },
                "retryable": true,
                "success": false,
                "execution_id": prediction.id,
                "model_slug": prediction.model,
            });
        }
    }
    json
}

fn status(prediction: &Prediction, now: i64) -> &'static str {
    match prediction.outcome {
        _ if !prediction.has_ended(now) => "processing",
        PredictionOutcome::Clip => "success",
        PredictionOutcome::Cancelled => "cancelled",
        PredictionOutcome::Failed | PredictionOutcome::InputRejected(_) => "error",
    }
}

/// Returns the status as the history spells it.
fn history_status(prediction: &Prediction, now: i64) -> &'static str {
    match status(prediction, now) {
        "processing" => "starting",
        status => status,
    }
}

async fn cancel(
    State(shared): State<Arc<SharedState>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    handle::<Eachlabs>(&shared, request, Call::Poll, |world, _, _, now| {
        if world.cancel(Api::Eachlabs, &id, now).is_none() {
            return Eachlabs::error_response(StatusCode::NOT_FOUND, "Prediction not found");
        }
        let message = "Prediction canceled successfully";
        axum::Json(json!({ "status": "cancelled", "message": message, "predictionID": id }))
            .into_response()
    })
    .await
}

async fn billing(State(shared): State<Arc<SharedState>>, request: Request) -> Response {
    handle::<Eachlabs>(&shared, request, Call::History, |world, _, _, _| {
        axum::Json(json!({ "balance": world.options().balance() })).into_response()
    })
    .await
}

async fn history(
    State(shared): State<Arc<SharedState>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    let state = Arc::clone(&shared);
    handle::<Eachlabs>(&shared, request, Call::History, |world, _, _, now| {
        if !world.options().history {
            return Eachlabs::error_response(StatusCode::NOT_FOUND, "not found");
        }
        let page = HISTORY.page(world, &query, now, |prediction| {
            let status = history_status(prediction, now);
            query
                .get("model")
                .is_none_or(|model| *model == prediction.model)
                && query.get("status").is_none_or(|wanted| wanted == status)
        });
        let page = match page {
            Ok(page) => page,
            Err(message) => return Eachlabs::error_response(StatusCode::BAD_REQUEST, &message),
        };
        let links = world.options().links();
        let executions = page.rows.iter().map(|prediction| {
            let ended = prediction.has_ended(now);
            let has_clip = ended && prediction.outcome == PredictionOutcome::Clip;
            let cost = if ended {
                dollars(prediction.charged())
            } else {
                json!(0)
            };
            json!({
                "id": prediction.id,
                "model": prediction.model,
                "requested_model": null,
                "status": history_status(prediction, now),
                "execution_cost": cost,
                "run_time": if ended { prediction.processing_s() } else { 0.0 },
                "created_at": rfc3339(prediction.accepted_at),
                "started_at": rfc3339(prediction.starts_at),
                "completed_at": ended.then(|| rfc3339(prediction.ends_at)),
                "output": has_clip.then(|| state.clip_url(prediction, links.life_s, now)),
                "workflow_id": null,
            })
        });
        axum::Json(json!({
            "executions": executions.collect::<Vec<_>>(),
            "total_count": page.total,
            "total_capped": false,
            "offset": page.offset,
            "limit": page.limit,
        }))
        .into_response()
    })
    .await
}

async fn model(Query(query): Query<HashMap<String, String>>) -> Response {
    let slug = query.get("slug").map_or("", String::as_str);
    match ModelRules::find(Api::Eachlabs, slug) {
        Some(rules) => axum::Json(json!({
            "title": rules.id,
            "slug": rules.id,
            "version": "0.0.1",
            "output_type": "video",
            "request_schema": { "type": "object" },
        }))
        .into_response(),
        None => Eachlabs::error_response(StatusCode::NOT_FOUND, "model not found"),
    }
}
