//! each::labs. Facts from its model pages and its API reference (OpenAPI v1).

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::{Method, header::HeaderName};
use serde_json::{Value, json};
use url::Url;

use crate::clock::Clock;
use crate::domain::{CostReport, Failure, Money, Prediction, ProviderName};

use super::answer::{at, link, message, same_input, seconds, text, usd};
use super::http::{ApiClient, SetupError, describe, is_loopback, join, refused_create, refused_look};
use super::{
    Acceptance, ApiKey, Doubt, HISTORY_PAGE, Look, MOST_PAGES, Provider, Submission, Trace, endless_history,
};

const NAME: ProviderName = ProviderName::Eachlabs;

/// The each::labs API.
pub struct Eachlabs {
    base: Url,
    client: ApiClient,
}

impl Eachlabs {
    /// Makes a client. `base` is `https://api.eachlabs.ai/v1`.
    pub fn new(base: Url, key: &ApiKey, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let header = HeaderName::from_static("x-api-key");
        let client = ApiClient::new(NAME, key, header, "", clock, is_loopback(&base))?;
        Ok(Self { base, client })
    }

    async fn prediction(&self, prediction_id: &str) -> Result<super::http::Reply, Failure> {
        self.client.look(Method::GET, join(&self.base, ["prediction", prediction_id])).await
    }

    /// Lists the ids of one model's executions in the time around a lost create.
    async fn executions(&self, doubt: &Doubt) -> Result<Vec<String>, Failure> {
        let (from, to) = doubt.window();
        let mut ids = Vec::new();
        for page in 0..MOST_PAGES {
            let mut url = join(&self.base, ["executions"]);
            url.query_pairs_mut()
                .append_pair("model", &doubt.submission.wire_model)
                .append_pair("from", &from.to_string())
                .append_pair("to", &to.to_string())
                .append_pair("limit", &HISTORY_PAGE.to_string())
                .append_pair("offset", &(page * HISTORY_PAGE).to_string());
            let reply = self.client.look(Method::GET, url).await?;
            let rows =
                reply.json.as_ref().and_then(|body| at(body, &["executions"])).and_then(Value::as_array);
            let Some(rows) = rows.filter(|_| reply.status.is_success()) else {
                return Err(refused_look(NAME, &reply));
            };
            ids.extend(rows.iter().filter_map(|row| text(row, &["id"])));
            if rows.len() < HISTORY_PAGE {
                return Ok(ids);
            }
        }
        Err(endless_history(NAME))
    }
}

#[async_trait]
impl Provider for Eachlabs {
    fn name(&self) -> ProviderName {
        NAME
    }

    async fn submit(&self, submission: &Submission) -> Result<Acceptance, Failure> {
        let body = json!({ "model": submission.wire_model, "input": submission.request });
        // The model pages post to `/prediction/`, with the slash.
        let url = join(&self.base, ["prediction", ""]);
        let headers = [("X-Request-Id", submission.client_token.as_str())];
        let reply = self.client.create(url, &headers, &body).await?;
        let body = reply.json.as_ref();
        if !reply.status.is_success() {
            let is_own =
                body.is_some_and(|body| at(body, &["error"]).is_some() || text(body, &["status"]).is_some());
            return Err(refused_create(NAME, &reply, is_own));
        }
        let id = body.and_then(|body| {
            ["predictionID", "prediction_id", "id"].iter().find_map(|key| text(body, &[key]))
        });
        if let Some(id) = id {
            return Ok(Acceptance { prediction: Prediction::from_id(id), early_cost: None });
        }
        // A dispatch that failed at once has its error in the answer's output, and no prediction.
        match body.filter(|body| text(body, &["status"]).as_deref() == Some("error")) {
            Some(body) if is_retryable(body) => {
                Err(Failure::Transient { reason: describe(NAME, &reply), retry_after: reply.retry_after })
            }
            Some(_) => Err(Failure::Rejected { reason: describe(NAME, &reply) }),
            None => {
                Err(Failure::Unknown { reason: format!("{NAME} answered a create without a prediction id") })
            }
        }
    }

    async fn poll(&self, prediction: &Prediction, _submission: &Submission) -> Result<Look, Failure> {
        let reply = self.prediction(&prediction.prediction_id).await?;
        if reply.status == 404 {
            return Ok(Look::Missing { reason: describe(NAME, &reply) });
        }
        let Some(body) = reply.json.as_ref().filter(|_| reply.status.is_success()) else {
            return Err(garbage_or(&reply));
        };
        let Some(status) = text(body, &["status"]) else { return Err(garbage_or(&reply)) };
        Ok(match status.to_ascii_lowercase().as_str() {
            "success" | "succeeded" | "completed" => {
                let Some(output_url) = at(body, &["output"]).and_then(link) else {
                    let reason = format!("{NAME} says it succeeded, but gives no link");
                    return Err(Failure::Transient { reason, retry_after: None });
                };
                // 0 stands there until the end, and in answers that carry no cost.
                let cost =
                    usd(body, &["metrics", "cost"]).filter(|cost| *cost > Money::ZERO).map(CostReport::Usd);
                Look::Done { output_url, cost, processing: seconds(body, &["metrics", "predict_time"]) }
            }
            "error" | "failed" | "cancelled" | "canceled" => {
                let said = message(body).unwrap_or_else(|| "no reason given".into());
                // Every published example of a failure bills nothing.
                let cost = usd(body, &["metrics", "cost"]).map_or(CostReport::NOTHING, CostReport::Usd);
                Look::Failed {
                    reason: format!("{NAME}: {status}: {said}"),
                    cost: Some(cost),
                    retryable: is_retryable(body),
                }
            }
            "created" | "starting" | "processing" | "queued" | "running" | "pending" => Look::Running,
            _ => {
                tracing::warn!(provider = %NAME, status, "unknown status, taken for running");
                Look::Running
            }
        })
    }

    async fn reconcile(&self, doubt: &Doubt) -> Result<Trace, Failure> {
        let mut found = Vec::new();
        for id in self.executions(doubt).await?.into_iter().filter(|id| !doubt.owned.contains(id)) {
            // A row of the history does not show its input; the prediction does.
            let reply = self.prediction(&id).await?;
            if reply.status == 404 {
                continue;
            }
            let Some(body) = reply.json.as_ref().filter(|_| reply.status.is_success()) else {
                return Err(garbage_or(&reply));
            };
            if at(body, &["input"]).is_some_and(|input| same_input(&doubt.submission.request, input)) {
                found.push(id);
            }
        }
        Ok(Trace::of(found, true))
    }

    async fn cancel(&self, prediction: &Prediction, _submission: &Submission) -> Result<(), Failure> {
        let url = join(&self.base, ["prediction", &prediction.prediction_id, "cancel"]);
        let reply = self.client.look(Method::POST, url).await?;
        if reply.status.is_success() { Ok(()) } else { Err(refused_look(NAME, &reply)) }
    }

    fn is_loopback(&self) -> bool {
        is_loopback(&self.base)
    }
}

/// What an answer means that is not a prediction: its status, or a body that cannot be read.
fn garbage_or(reply: &super::http::Reply) -> Failure {
    if reply.status.is_success() {
        let reason = format!("{NAME} answered with a body that is not a prediction");
        return Failure::Transient { reason, retry_after: reply.retry_after };
    }
    refused_look(NAME, reply)
}

fn is_retryable(body: &Value) -> bool {
    at(body, &["output", "retryable"])
        .or_else(|| at(body, &["retryable"]))
        .and_then(Value::as_bool)
        .unwrap_or(false)
}
