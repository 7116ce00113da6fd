//! each::labs. Facts from its model pages and its API reference (OpenAPI v1).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::clock::Clock;
use crate::domain::{CostReport, Failure, Money, PredictionHandle, ProviderName};
use crate::image::ImageFile;

use super::classify::{classify_poll, classify_submit, describe, unreadable};
use super::history::{Search, ask, rows};
use super::http::{ApiClient, ApiResponse, Auth, SetupError, is_loopback, join};
use super::json::{InputMatch, at, compare_inputs, is_true, link, seconds, text, usd};
use super::probe::{Probe, probe, span};
use super::storage::{PresignFields, UploadedImage, upload};
use super::{
    Acceptance, ApiKey, HISTORY_PAGE, LostSubmission, MAX_PAGES, PollResult, Provider,
    Reconciliation, Submission, endless_history,
};

const NAME: ProviderName = ProviderName::Eachlabs;

/// How long an uploaded file is asked to be kept: 30 days, longer than a batch waits for a person.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// `POST /v1/upload/presign`. Its `expires_at` may be the place's, which lives for minutes, so what was asked for counts.
const PRESIGN: PresignFields = PresignFields {
    upload_url: "presigned_url",
    public_url: "public_url",
    headers: "required_headers",
    retention: Some(KEPT),
};

/// The each::labs API.
pub struct Eachlabs {
    base: Url,
    client: ApiClient,
}

impl Eachlabs {
    /// Makes a client. `base` is `https://api.eachlabs.ai/v1`. The model pages send the key in [`Auth::XApiKey`], the
    /// API reference names [`Auth::Bearer`] since July 2026.
    pub fn new(
        base: Url,
        key: &ApiKey,
        auth: Auth,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        let client = ApiClient::new(NAME, key, auth, clock, is_loopback(&base))?;
        Ok(Self { base, client })
    }

    fn prediction_url(&self, prediction_id: &str) -> Url {
        join(&self.base, ["prediction", prediction_id])
    }

    /// Lists the ids of one model's executions in the time around a lost create.
    async fn executions(
        &self,
        doubt: &LostSubmission,
        search: &mut Search,
    ) -> Result<BTreeSet<String>, Failure> {
        let (from, to) = doubt.window();
        let mut ids = BTreeSet::new();
        let mut offset = 0;
        for _ in 0..MAX_PAGES {
            let mut url = join(&self.base, ["executions"]);
            url.query_pairs_mut()
                .append_pair("model", &doubt.submission.wire_model)
                .append_pair("from", &from.to_string())
                .append_pair("to", &to.to_string())
                .append_pair("limit", &HISTORY_PAGE.to_string())
                .append_pair("offset", &offset.to_string());
            let reply = search.page(NAME, &self.client, &url, "executions").await?;
            let rows = rows(NAME, &reply, "executions")?;
            let known = ids.len();
            for row in rows {
                ids.insert(
                    text(row, &["id"]).ok_or_else(|| unreadable(NAME, &reply, "a history"))?,
                );
            }
            // A server may give fewer rows than asked for before the end, so only a page with nothing new is the end.
            if ids.len() == known {
                return Ok(ids);
            }
            offset += rows.len();
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
        let reply = self.client.submit(url, &headers, &body).await?;
        read_submit(&reply)
    }

    async fn poll(
        &self,
        prediction: &PredictionHandle,
        _submission: &Submission,
    ) -> Result<PollResult, Failure> {
        let reply = self
            .client
            .get(Method::GET, self.prediction_url(&prediction.prediction_id))
            .await?;
        read_poll(&reply)
    }

    async fn reconcile(&self, doubt: &LostSubmission) -> Result<Reconciliation, Failure> {
        let sent = &doubt.submission.request;
        let mut search = Search::default();
        let ids = self.executions(doubt, &mut search).await?;
        for id in ids.into_iter().filter(|id| !doubt.owned.contains(id)) {
            // A row of the history does not show its input; the prediction does.
            let is_known = |reply: &ApiResponse| match &reply.json {
                _ if reply.status == 404 => Ok(()),
                Some(_) if reply.status.is_success() => Ok(()),
                _ => Err(unreadable(NAME, reply, "a prediction")),
            };
            let reply = ask(&self.client, &self.prediction_url(&id), is_known).await?;
            let Some(body) = reply.json.as_ref().filter(|_| reply.status.is_success()) else {
                search.inconclusive();
                continue;
            };
            match compare_inputs(sent, at(body, &["input"])) {
                InputMatch::Same => search.found(id),
                InputMatch::Different => {}
                // A published example of a failure shows an empty input. What failed unbilled cannot be paid twice.
                InputMatch::Inconclusive if has_failed_unbilled(body) => {}
                InputMatch::Inconclusive => search.inconclusive(),
            }
        }
        search.close(NAME, true)
    }

    async fn cancel(
        &self,
        prediction: &PredictionHandle,
        _submission: &Submission,
    ) -> Result<(), Failure> {
        let url = join(
            &self.base,
            ["prediction", &prediction.prediction_id, "cancel"],
        );
        let reply = self.client.get(Method::POST, url).await?;
        if reply.status.is_success() {
            Ok(())
        } else {
            Err(classify_poll(NAME, &reply))
        }
    }

    async fn probe(&self, wire_model: &str, now: Timestamp) -> Vec<Probe> {
        let (from, to) = span(now);
        let mut url = join(&self.base, ["executions"]);
        url.query_pairs_mut()
            .append_pair("model", wire_model)
            .append_pair("from", &from)
            .append_pair("to", &to)
            .append_pair("limit", "1");
        vec![
            probe("api", &self.client, url, |reply| {
                rows(NAME, reply, "executions").is_ok()
            })
            .await,
        ]
    }

    async fn upload(&self, file: &ImageFile) -> Result<UploadedImage, Failure> {
        let url = join(&self.base, ["upload", "presign"]);
        let question =
            json!({ "content_type": file.content_type, "expires_in_seconds": KEPT.as_secs() });
        upload(&self.client, url, &question, &PRESIGN, file).await
    }

    fn is_loopback(&self) -> bool {
        is_loopback(&self.base)
    }
}

/// Reads the answer to a create.
pub(super) fn read_submit(reply: &ApiResponse) -> Result<Acceptance, Failure> {
    let body = reply.json.as_ref();
    let id = body.and_then(|body| {
        ["predictionID", "prediction_id", "id"]
            .iter()
            .find_map(|key| text(body, &[key]))
    });
    let refusal = body.filter(|body| id.is_none() && is_error(body));
    match (id, refusal) {
        _ if !reply.status.is_success() => Err(classify_submit(NAME, reply, refusal.is_some())),
        (Some(id), _) => Ok(Acceptance {
            prediction: PredictionHandle::from_id(id),
            early_cost: None,
        }),
        // A dispatch that failed at once has its error in the answer's output, and no prediction.
        (None, Some(body)) if is_retryable(body) => Err(Failure::Transient {
            reason: describe(NAME, reply),
            retry_after: reply.retry_after,
        }),
        (None, Some(_)) => Err(Failure::Rejected {
            reason: describe(NAME, reply),
        }),
        (None, None) => Err(Failure::Unknown {
            reason: format!("{NAME} answered a create without a prediction id"),
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
    let Some(body) = reply.json.as_ref().filter(|_| reply.status.is_success()) else {
        return Err(unreadable(NAME, reply, "a prediction"));
    };
    let Some(status) = text(body, &["status"]) else {
        return Err(unreadable(NAME, reply, "a prediction"));
    };
    Ok(match phase(&status) {
        Some(Phase::Done) => {
            let Some(output_url) = at(body, &["output"]).and_then(link) else {
                tracing::warn!(provider = %NAME, status, "no link in the answer, taken for running");
                return Ok(PollResult::Running);
            };
            // 0 stands there until the end, and in answers that carry no cost.
            let cost = usd(body, &["metrics", "cost"])
                .filter(|cost| *cost > Money::ZERO)
                .map(CostReport::Usd);
            PollResult::Done {
                output_url,
                cost,
                processing: seconds(body, &["metrics", "predict_time"]),
            }
        }
        Some(Phase::Failed) => {
            let error_message = reply.error_message.as_deref().unwrap_or("no reason given");
            // Every published example of a failure bills nothing.
            let cost = usd(body, &["metrics", "cost"]).map_or(CostReport::ZERO, CostReport::Usd);
            PollResult::Failed {
                reason: format!("{NAME}: {status}: {error_message}"),
                cost: Some(cost),
                retryable: is_retryable(body),
            }
        }
        Some(Phase::Running) => PollResult::Running,
        None => {
            tracing::warn!(provider = %NAME, status, "unknown status, taken for running");
            PollResult::Running
        }
    })
}

/// How far a prediction is.
enum Phase {
    Running,
    Done,
    Failed,
}

/// Reads a status. The model pages, the API reference and the webhooks use different words.
fn phase(status: &str) -> Option<Phase> {
    match status.to_ascii_lowercase().as_str() {
        "created" | "starting" | "processing" | "queued" | "running" | "pending" => {
            Some(Phase::Running)
        }
        "success" | "succeeded" | "completed" => Some(Phase::Done),
        "error" | "failed" | "cancelled" | "canceled" => Some(Phase::Failed),
        _ => None,
    }
}

fn has_failed_unbilled(body: &Value) -> bool {
    let failed =
        text(body, &["status"]).is_some_and(|status| matches!(phase(&status), Some(Phase::Failed)));
    failed && usd(body, &["metrics", "cost"]).is_none_or(|cost| cost == Money::ZERO)
}

/// Tells whether a body is each::labs's own error: `status` is `error`, or there is an `error`, or one in the output.
fn is_error(body: &Value) -> bool {
    text(body, &["status"]).is_some_and(|status| status.eq_ignore_ascii_case("error"))
        || at(body, &["error"]).is_some()
        || at(body, &["output", "error"]).is_some()
}

fn is_retryable(body: &Value) -> bool {
    is_true(body, &["output", "retryable"]) || is_true(body, &["retryable"])
}
