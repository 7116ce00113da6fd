//! AI/ML API. Facts from its model page for Kling 1.0 and its API documentation.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use serde_json::{Value, json};
use url::Url;

use crate::clock::Clock;
use crate::domain::{CostReport, Failure, Prediction, ProviderName};

use super::answer::{at, credits, link, message, text, usd};
use super::http::{ApiClient, Reply, SetupError, describe, is_loopback, join, refused_create, refused_look};
use super::{
    Acceptance, ApiKey, Doubt, HISTORY_PAGE, Look, MOST_PAGES, Provider, Submission, Trace, endless_history,
};

const NAME: ProviderName = ProviderName::Aimlapi;

/// The AI/ML API.
pub struct Aimlapi {
    base: Url,
    client: ApiClient,
}

impl Aimlapi {
    /// Makes a client. `base` is `https://api.aimlapi.com`.
    pub fn new(base: Url, key: &ApiKey, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let client = ApiClient::new(NAME, key, AUTHORIZATION, "Bearer ", clock, is_loopback(&base))?;
        Ok(Self { base, client })
    }

    fn generations(&self) -> Url {
        join(&self.base, ["v2", "video", "generations"])
    }
}

#[async_trait]
impl Provider for Aimlapi {
    fn name(&self) -> ProviderName {
        NAME
    }

    async fn submit(&self, submission: &Submission) -> Result<Acceptance, Failure> {
        let mut body = submission.request.clone();
        body["model"] = json!(submission.wire_model);
        // Stored and searchable, but not said to make a repeated create the same one.
        let headers = [("X-Client-Request-Id", submission.client_token.as_str())];
        let reply = self.client.create(self.generations(), &headers, &body).await?;
        let body = reply.json.as_ref();
        if !reply.status.is_success() {
            let is_own =
                body.is_some_and(|body| at(body, &["message"]).or_else(|| at(body, &["error"])).is_some());
            return Err(refused_create(NAME, &reply, is_own));
        }
        let id = body.and_then(|body| text(body, &["id"]).or_else(|| text(body, &["generation_id"])));
        let Some(id) = id else {
            return Err(Failure::Unknown {
                reason: format!("{NAME} answered a create without a generation id"),
            });
        };
        Ok(Acceptance { prediction: Prediction::from_id(id), early_cost: cost(&reply) })
    }

    async fn poll(&self, prediction: &Prediction, _submission: &Submission) -> Result<Look, Failure> {
        let mut url = self.generations();
        url.query_pairs_mut().append_pair("generation_id", &prediction.prediction_id);
        let reply = self.client.look(Method::GET, url).await?;
        if reply.status == 404 {
            return Ok(Look::Missing { reason: describe(NAME, &reply) });
        }
        let status = reply.json.as_ref().and_then(|body| text(body, &["status"]));
        let (Some(body), Some(status), true) = (reply.json.as_ref(), status, reply.status.is_success())
        else {
            if reply.status.is_success() {
                let reason = format!("{NAME} answered with a body that is not a generation");
                return Err(Failure::Transient { reason, retry_after: reply.retry_after });
            }
            return Err(refused_look(NAME, &reply));
        };
        Ok(match status.to_ascii_lowercase().as_str() {
            "completed" | "succeeded" | "success" => {
                let Some(output_url) = at(body, &["video"]).or_else(|| at(body, &["output"])).and_then(link)
                else {
                    let reason = format!("{NAME} says it completed, but gives no link");
                    return Err(Failure::Transient { reason, retry_after: None });
                };
                Look::Done { output_url, cost: cost(&reply), processing: None }
            }
            "error" | "failed" | "cancelled" | "canceled" => {
                let said = at(body, &["error"]).and_then(message).or_else(|| message(body));
                Look::Failed {
                    reason: format!("{NAME}: {status}: {}", said.unwrap_or_else(|| "no reason given".into())),
                    // The hold on the credits is rolled back.
                    cost: Some(CostReport::NOTHING),
                    retryable: false,
                }
            }
            "queued" | "generating" | "waiting" | "active" | "processing" => Look::Running,
            _ => {
                tracing::warn!(provider = %NAME, status, "unknown status, taken for running");
                Look::Running
            }
        })
    }

    async fn reconcile(&self, doubt: &Doubt) -> Result<Trace, Failure> {
        let (from, to) = doubt.window();
        let mut found = Vec::new();
        for page in 0..MOST_PAGES {
            let mut url = join(&self.base, ["v2", "logs"]);
            url.query_pairs_mut()
                .append_pair("start", &from.to_string())
                .append_pair("end", &to.to_string())
                .append_pair("limit", &HISTORY_PAGE.to_string())
                .append_pair("offset", &(page * HISTORY_PAGE).to_string());
            let reply = self.client.look(Method::GET, url).await?;
            let rows = reply.json.as_ref().and_then(|body| at(body, &["data"])).and_then(Value::as_array);
            let (Some(rows), Some(body), true) = (rows, reply.json.as_ref(), reply.status.is_success())
            else {
                return Err(refused_look(NAME, &reply));
            };
            let ours = rows.iter().filter(|row| {
                text(row, &["client_request_id"]).as_deref() == Some(doubt.submission.client_token.as_str())
            });
            found.extend(ours.filter_map(|row| text(row, &["inference_id"])));
            let more = at(body, &["pagination", "has_more"])
                .and_then(Value::as_bool)
                .unwrap_or(rows.len() == HISTORY_PAGE);
            if !more || rows.is_empty() {
                found.sort();
                found.dedup();
                return Ok(Trace::of(found, false));
            }
        }
        Err(endless_history(NAME))
    }

    async fn cancel(&self, _prediction: &Prediction, _submission: &Submission) -> Result<(), Failure> {
        Err(Failure::Rejected { reason: format!("{NAME} documents no way to cancel a video") })
    }

    fn is_loopback(&self) -> bool {
        is_loopback(&self.base)
    }
}

/// What an answer says of the cost: dollars, else credits, in the body, else in the headers.
fn cost(reply: &Reply) -> Option<CostReport> {
    let usage = reply.json.as_ref().and_then(|body| at(body, &["meta", "usage"]));
    let in_body = usage.and_then(|usage| {
        let dollars = usd(usage, &["usd_spent"]).map(CostReport::Usd);
        dollars.or_else(|| credits(usage, &["credits_used"])).or_else(|| credits(usage, &["tokens_used"]))
    });
    in_body
        .or_else(|| {
            let header = |name: &str| header_value(&reply.headers, name);
            usd(&header("x-aimlapi-usd-spent")?, &[]).map(CostReport::Usd)
        })
        .or_else(|| credits(&header_value(&reply.headers, "x-aimlapi-credits-used")?, &[]))
}

fn header_value(headers: &HeaderMap, name: &str) -> Option<Value> {
    headers.get(name)?.to_str().ok().map(Value::from)
}
