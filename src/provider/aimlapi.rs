//! AI/ML API. Facts from its model page for Kling 1.0 and its API documentation.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;
use url::Url;

use crate::clock::Clock;
use crate::domain::{CostReport, Failure, Money, PredictionHandle, ProviderName};

use super::classify::{classify_submit, describe, unreadable};
use super::history::{Search, rows};
use super::http::{ApiClient, ApiResponse, Auth, SetupError, is_loopback, join};
use super::json::{at, credits, link, text, usd};
use super::probe::{Probe, probe, span};
use super::{
    Acceptance, ApiKey, HISTORY_PAGE, LostSubmission, MAX_PAGES, PollResult, Provider,
    Reconciliation, Submission, endless_history,
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
        let client = ApiClient::new(NAME, key, Auth::Bearer, clock, is_loopback(&base))?;
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
        let Some(fields) = body.as_object_mut() else {
            return Err(Failure::Rejected {
                reason: format!("the input for {NAME} is not an object"),
            });
        };
        fields.insert("model".into(), Value::from(submission.wire_model.as_str()));
        // Stored and searchable, but not said to make a repeated create the same one.
        let headers = [("X-Client-Request-Id", submission.client_token.as_str())];
        let reply = self
            .client
            .submit(self.generations(), &headers, &body)
            .await?;
        read_submit(&reply)
    }

    async fn poll(
        &self,
        prediction: &PredictionHandle,
        _submission: &Submission,
    ) -> Result<PollResult, Failure> {
        let mut url = self.generations();
        url.query_pairs_mut()
            .append_pair("generation_id", &prediction.prediction_id);
        let reply = self.client.get(Method::GET, url).await?;
        read_poll(&reply)
    }

    async fn reconcile(&self, doubt: &LostSubmission) -> Result<Reconciliation, Failure> {
        let (from, to) = doubt.window();
        let mut search = Search::default();
        let mut offset = 0;
        for _ in 0..MAX_PAGES {
            let mut url = join(&self.base, ["v2", "logs"]);
            url.query_pairs_mut()
                .append_pair("start", &from.to_string())
                .append_pair("end", &to.to_string())
                .append_pair("limit", &HISTORY_PAGE.to_string())
                .append_pair("offset", &offset.to_string());
            let reply = search.page(NAME, &self.client, &url, "data").await?;
            let rows = rows(NAME, &reply, "data")?;
            for row in rows {
                match (row.get("client_request_id"), text(row, &["inference_id"])) {
                    (Some(token), id)
                        if token.as_str() == Some(doubt.submission.client_token.as_str()) =>
                    {
                        match id {
                            Some(id) => search.found(id),
                            None => search.inconclusive(),
                        }
                    }
                    (Some(_), _) => {}
                    // A log that does not show what the caller sent along cannot prove that it is absent.
                    (None, Some(id)) if doubt.owned.contains(&id) => {}
                    (None, _)
                        if text(row, &["model"])
                            .is_none_or(|it| it == doubt.submission.wire_model) =>
                    {
                        search.inconclusive();
                    }
                    (None, _) => {}
                }
            }
            offset += rows.len();
            let has_more = reply
                .json
                .as_ref()
                .and_then(|body| at(body, &["pagination", "has_more"]));
            match has_more.and_then(Value::as_bool) {
                Some(true) if rows.is_empty() => return Err(unreadable(NAME, &reply, "a history")),
                Some(true) => {}
                // Where the answer does not say, only an empty page is the end.
                None if !rows.is_empty() => {}
                _ => return search.close(NAME, false),
            }
        }
        Err(endless_history(NAME))
    }

    async fn cancel(
        &self,
        _prediction: &PredictionHandle,
        _submission: &Submission,
    ) -> Result<(), Failure> {
        Err(Failure::Rejected {
            reason: format!("{NAME} documents no way to cancel a video"),
        })
    }

    async fn probe(&self, _wire_model: &str, now: Timestamp) -> Vec<Probe> {
        let (start, end) = span(now);
        let mut url = join(&self.base, ["v2", "logs"]);
        url.query_pairs_mut()
            .append_pair("start", &start)
            .append_pair("end", &end)
            .append_pair("limit", "1");
        vec![
            probe("api", &self.client, url, |reply| {
                rows(NAME, reply, "data").is_ok()
            })
            .await,
        ]
    }

    fn is_loopback(&self) -> bool {
        is_loopback(&self.base)
    }
}

/// Reads the answer to a create.
pub(super) fn read_submit(reply: &ApiResponse) -> Result<Acceptance, Failure> {
    let body = reply.json.as_ref();
    let id = body.and_then(|body| text(body, &["id"]).or_else(|| text(body, &["generation_id"])));
    match id {
        _ if !reply.status.is_success() => {
            let is_own = id.is_none() && body.is_some_and(is_error);
            Err(classify_submit(NAME, reply, is_own))
        }
        Some(id) => Ok(Acceptance {
            prediction: PredictionHandle::from_id(id),
            early_cost: cost(reply),
        }),
        None => Err(Failure::Unknown {
            reason: format!("{NAME} answered a create without a generation id"),
        }),
    }
}

/// Reads the answer to a look.
pub(super) fn read_poll(reply: &ApiResponse) -> Result<PollResult, Failure> {
    if reply.status == 404 {
        return Ok(PollResult::Missing {
            reason: describe(NAME, reply),
        });
    }
    let status = reply.json.as_ref().and_then(|body| text(body, &["status"]));
    let (Some(body), Some(status), true) = (reply.json.as_ref(), status, reply.status.is_success())
    else {
        return Err(unreadable(NAME, reply, "a generation"));
    };
    Ok(match status.to_ascii_lowercase().as_str() {
        "completed" | "succeeded" | "success" => {
            let Some(output_url) = at(body, &["video"])
                .or_else(|| at(body, &["output"]))
                .and_then(link)
            else {
                tracing::warn!(provider = %NAME, status, "no link in the answer, taken for running");
                return Ok(PollResult::Running);
            };
            PollResult::Done {
                output_url,
                cost: cost(reply),
                processing: None,
            }
        }
        "error" | "failed" | "cancelled" | "canceled" => {
            let error_message = reply.error_message.as_deref().unwrap_or("no reason given");
            PollResult::Failed {
                reason: format!("{NAME}: {status}: {error_message}"),
                // The hold on the credits is rolled back.
                cost: Some(CostReport::ZERO),
                retryable: false,
            }
        }
        "queued" | "generating" | "waiting" | "active" | "processing" => PollResult::Running,
        _ => {
            tracing::warn!(provider = %NAME, status, "unknown status, taken for running");
            PollResult::Running
        }
    })
}

/// Tells whether a body is the API's own error: of the present form, with a named `error`, or of the older one, with a
/// `message` beside what identifies the request. A `message` alone is what gateways write.
fn is_error(body: &Value) -> bool {
    let identified = ["requestId", "statusCode", "timestamp"]
        .iter()
        .any(|key| at(body, &[key]).is_some());
    at(body, &["error", "name"]).is_some() || (identified && at(body, &["message"]).is_some())
}

/// What an answer says of the cost: dollars, else credits, in the body, else in the headers. A clip is never free, so 0
/// says no more than nothing does.
fn cost(reply: &ApiResponse) -> Option<CostReport> {
    let usage = reply
        .json
        .as_ref()
        .and_then(|body| at(body, &["meta", "usage"]));
    let dollars =
        |value: &Value, path: &[&str]| usd(value, path).map(CostReport::Usd).filter(is_something);
    let credits = |value: &Value, path: &[&str]| credits(value, path).filter(is_something);
    let in_body = usage.and_then(|usage| {
        dollars(usage, &["usd_spent"])
            .or_else(|| credits(usage, &["credits_used"]))
            .or_else(|| credits(usage, &["tokens_used"]))
    });
    in_body
        .or_else(|| dollars(&header_value(&reply.headers, "x-aimlapi-usd-spent")?, &[]))
        .or_else(|| {
            credits(
                &header_value(&reply.headers, "x-aimlapi-credits-used")?,
                &[],
            )
        })
}

fn is_something(report: &CostReport) -> bool {
    !matches!(
        report,
        CostReport::Usd(Money::ZERO) | CostReport::Credits(0)
    )
}

fn header_value(headers: &HeaderMap, name: &str) -> Option<Value> {
    headers.get(name)?.to_str().ok().map(Value::from)
}
