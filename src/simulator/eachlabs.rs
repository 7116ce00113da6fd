//! each::labs as its model pages and its API reference describe it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::dialect::{ApiDialect, handle};
use super::prediction::{End, Prediction};
use super::rules::ModelRules;
use super::shared::Shared;
use super::wire::{History, bearer, dollars, time};
use super::{Api, Call};

/// What a create may have beside the input.
const CREATE_FIELDS: [&str; 5] = ["model", "input", "version", "webhook_url", "webhook_secret"];

const HISTORY: History = History {
    api: Api::Eachlabs,
    from: "from",
    to: "to",
    offset: "offset",
    days: 90,
};

pub(super) struct Eachlabs;

impl ApiDialect for Eachlabs {
    const API: Api = Api::Eachlabs;
    const WRONG_KEY: &'static str = "Invalid or missing API key";
    const ECHOED: Option<HeaderName> = Some(HeaderName::from_static("x-request-id"));

    fn key(headers: &HeaderMap) -> Option<String> {
        let own = headers
            .get("x-api-key")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        own.or_else(|| bearer(headers))
    }

    fn error(status: StatusCode, message: &str) -> Value {
        match status {
            StatusCode::UNAUTHORIZED => json!({ "error": message }),
            StatusCode::TOO_MANY_REQUESTS => {
                json!({ "status": 429, "error": message, "details": "Account rate limited" })
            }
            StatusCode::PAYMENT_REQUIRED => {
                json!({ "status": 402, "error": message, "details": "the balance is below the price" })
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
    handle::<Eachlabs>(&shared, request, Call::Create, |world, body, fails, now| {
        let refuse = Eachlabs::refuse;
        let Some(rules) = body["model"]
            .as_str()
            .and_then(|model| ModelRules::find(Api::Eachlabs, model))
        else {
            return refuse(
                StatusCode::NOT_FOUND,
                "Failed to fetch model: model not found",
            );
        };
        let fields = body.as_object().into_iter().flatten();
        if let Some((unknown, _)) = fields
            .into_iter()
            .find(|(name, _)| !CREATE_FIELDS.contains(&name.as_str()))
        {
            return refuse(
                StatusCode::BAD_REQUEST,
                &format!("{unknown}: field is not known"),
            );
        }
        let Some(input) = body["input"].as_object().cloned() else {
            return refuse(StatusCode::BAD_REQUEST, "Invalid input for model");
        };
        if let Err(wrong) = rules.check(&input) {
            return refuse(
                StatusCode::BAD_REQUEST,
                &format!("{}: {}", wrong.field, wrong.flaw.message()),
            );
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
            Err(_) => Eachlabs::refuse_for_now(world, now),
        }
    })
    .await
}

async fn look(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let links = Arc::clone(&shared);
    handle::<Eachlabs>(&shared, request, Call::Poll, |world, _, _, now| {
        let (reports_cost, life_s) = (
            world.options().eachlabs_reports_cost,
            world.options().link_life_s,
        );
        let Some(prediction) = world.look(Api::Eachlabs, &id) else {
            return Eachlabs::refuse(StatusCode::NOT_FOUND, "Prediction not found");
        };
        let mut shown = show(&links, prediction, life_s, now);
        if !reports_cost && let Some(metrics) = shown["metrics"].as_object_mut() {
            metrics.remove("cost");
        }
        axum::Json(shown).into_response()
    })
    .await
}

fn show(shared: &Shared, prediction: &Prediction, life_s: u64, now: i64) -> Value {
    let base = format!("http://{}/v1/prediction/{}", shared.address, prediction.id);
    let mut shown = json!({
        "id": prediction.id,
        "input": prediction.input,
        "status": status(prediction, now),
        "output": null,
        "logs": null,
        "metrics": { "predict_time": 0, "cost": 0 },
        "urls": { "get": base, "cancel": format!("{base}/cancel") },
    });
    if prediction.is_open(now) {
        return shown;
    }
    shown["metrics"] =
        json!({ "predict_time": prediction.worked_s(), "cost": dollars(prediction.charged()) });
    match prediction.end {
        End::Clip => shown["output"] = json!(shared.link(prediction, life_s, now)),
        End::Cancelled => {}
        End::Failure | End::Refusal(_) => {
            // The model pages put the reason beside the status, the API reference into the output.
            shown["message"] = json!("Generation failed");
            shown["details"] = json!("the generation failed");
            shown["output"] = json!({
                "error": "Execution failed", "error_code": "PROVIDER_FAILED", "error_step": "poll",
                "error_message": "the generation failed", "classification": { "category": "PROVIDER" },
                "retryable": true, "success": false,
                "execution_id": prediction.id, "model_slug": prediction.model,
            });
        }
    }
    shown
}

fn status(prediction: &Prediction, now: i64) -> &'static str {
    match prediction.end {
        _ if prediction.is_open(now) => "processing",
        End::Clip => "success",
        End::Cancelled => "cancelled",
        End::Failure | End::Refusal(_) => "error",
    }
}

async fn cancel(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    handle::<Eachlabs>(&shared, request, Call::Poll, |world, _, _, now| {
        if world.cancel(Api::Eachlabs, &id, now).is_none() {
            return Eachlabs::refuse(StatusCode::NOT_FOUND, "Prediction not found");
        }
        let message = "Prediction canceled successfully";
        axum::Json(json!({ "status": "cancelled", "message": message, "predictionID": id }))
            .into_response()
    })
    .await
}

async fn history(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    let links = Arc::clone(&shared);
    handle::<Eachlabs>(&shared, request, Call::History, |world, _, _, now| {
        if !world.options().history {
            return Eachlabs::refuse(StatusCode::NOT_FOUND, "not found");
        }
        let said = |known: &Prediction| match status(known, now) {
            "processing" => "starting",
            status => status,
        };
        let page = HISTORY.page(world, &query, now, |known| {
            query.get("model").is_none_or(|model| *model == known.model)
                && query.get("status").is_none_or(|wanted| wanted == said(known))
        });
        let page = match page {
            Ok(page) => page,
            Err(wrong) => return Eachlabs::refuse(StatusCode::BAD_REQUEST, &wrong),
        };
        let life_s = world.options().link_life_s;
        let shown = page.rows.iter().map(|known| {
            let ended = !known.is_open(now);
            let has_clip = ended && known.end == End::Clip;
            json!({
                "id": known.id,
                "model": known.model,
                "requested_model": null,
                "status": said(known),
                "execution_cost": if ended { dollars(known.charged()) } else { json!(0) },
                "run_time": if ended { known.worked_s() } else { 0.0 },
                "created_at": time(known.accepted_at),
                "started_at": time(known.starts_at),
                "completed_at": ended.then(|| time(known.ends_at)),
                "output": has_clip.then(|| links.link(known, life_s, now)),
                "workflow_id": null,
            })
        });
        axum::Json(json!({
            "executions": shown.collect::<Vec<_>>(), "total_count": page.total, "total_capped": false,
            "offset": page.offset, "limit": page.limit,
        }))
        .into_response()
    })
    .await
}

async fn model(Query(query): Query<HashMap<String, String>>) -> Response {
    let slug = query.get("slug").map_or("", String::as_str);
    match ModelRules::find(Api::Eachlabs, slug) {
        Some(rules) => axum::Json(json!({
            "title": rules.id, "slug": rules.id, "version": "0.0.1", "output_type": "video",
            "request_schema": { "type": "object" },
        }))
        .into_response(),
        None => Eachlabs::refuse(StatusCode::NOT_FOUND, "model not found"),
    }
}
