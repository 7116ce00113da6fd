//! fal.ai through its queue API. Facts from its model page for Kling 1.0, its queue documentation and its
//! Platform API reference.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::Value;
use url::Url;

use crate::clock::Clock;
use crate::domain::{CostReport, Failure, Money, Prediction, ProviderName};

use super::answer::{at, link, message, same_input, seconds, text, usd};
use super::http::{ApiClient, Reply, SetupError, describe, is_loopback, join, refused_create, refused_look};
use super::{
    Acceptance, ApiKey, Doubt, HISTORY_PAGE, Look, MOST_PAGES, Provider, Submission, Trace, endless_history,
};

const NAME: ProviderName = ProviderName::Fal;

/// The fal.ai queue API.
pub struct Fal {
    queue: Url,
    platform: Url,
    client: ApiClient,
}

impl Fal {
    /// Makes a client. `queue` is `https://queue.fal.run`, `platform` is `https://api.fal.ai/v1`.
    pub fn new(queue: Url, platform: Url, key: &ApiKey, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let client = ApiClient::new(NAME, key, AUTHORIZATION, "Key ", clock, is_loopback(&queue))?;
        Ok(Self { queue, platform, client })
    }

    /// The address of a request: the one fal gave, if it is on the configured host (the key goes there), else built.
    fn follow(&self, given: Option<&String>, wire_model: &str, id: &str, last: Option<&str>) -> Url {
        let given =
            given.and_then(|url| Url::parse(url).ok()).filter(|url| url.origin() == self.queue.origin());
        given.unwrap_or_else(|| {
            let segments = application(wire_model).chain(["requests", id]).chain(last);
            join(&self.queue, segments)
        })
    }

    /// Fetches the result of a request that has ended. Only here does a failed one tell its reason.
    async fn result(
        &self,
        prediction: &Prediction,
        wire_model: &str,
        status: &Value,
    ) -> Result<Look, Failure> {
        let id = &prediction.prediction_id;
        let url = self.follow(prediction.response_url.as_ref(), wire_model, id, None);
        let reply = self.client.look(Method::GET, url).await?;
        let body = reply.json.as_ref();
        if reply.status.is_success() {
            let video = body.and_then(|body| {
                ["video", "videos", "output"]
                    .iter()
                    .find_map(|key| at(body, &[key]))
                    .and_then(link)
                    .or_else(|| link(body))
            });
            let Some(output_url) = video else {
                let reason = format!("{NAME} says it completed, but gives no link");
                return Err(Failure::Transient { reason, retry_after: None });
            };
            return Ok(Look::Done {
                output_url,
                cost: units(&reply),
                processing: seconds(status, &["metrics", "inference_time"]),
            });
        }
        // Whatever the model said is the prediction's end; what stands between us and the model says nothing of it.
        let told = at(status, &["error"]).is_some() || at(status, &["error_type"]).is_some();
        let is_own = body.is_some_and(|body| at(body, &["detail"]).is_some());
        let has_model_form = body.is_some_and(|body| at(body, &["detail"]).is_some_and(Value::is_array));
        match reply.status.as_u16() {
            400 if is_own && is_still_going(&reply) => Ok(Look::Running),
            404 => Ok(Look::Missing { reason: describe(NAME, &reply) }),
            401..=403 | 408 | 429 => Err(refused_look(NAME, &reply)),
            400..=499 if is_own || told => Ok(Look::Failed {
                reason: describe(NAME, &reply),
                cost: self.cost_of_failure(id, &reply).await,
                retryable: is_retryable(&reply),
            }),
            // The platform's own errors are flat, and may be about this very call: taken for the prediction's end they
            // would have a clip paid for twice. Only the model's form, or the status before, says that it failed.
            500.. if told || has_model_form => Ok(Look::Failed {
                reason: describe(NAME, &reply),
                // Server errors are never billed.
                cost: Some(CostReport::NOTHING),
                retryable: is_retryable(&reply),
            }),
            _ => Err(refused_look(NAME, &reply)),
        }
    }

    /// A refused input may be billed if a runner has worked on it: the header says, else the billing events.
    async fn cost_of_failure(&self, id: &str, reply: &Reply) -> Option<CostReport> {
        if let Some(units) = units(reply) {
            return Some(units);
        }
        let mut url = join(&self.platform, ["models", "billing-events"]);
        url.query_pairs_mut().append_pair("request_id", id);
        let reply =
            self.client.look(Method::GET, url).await.ok().filter(|reply| reply.status.is_success())?;
        let events =
            reply.json.as_ref().and_then(|body| at(body, &["billing_events"])).and_then(Value::as_array)?;
        let events =
            events.iter().filter(|event| text(event, &["request_id"]).is_none_or(|request| request == id));
        let costs: Option<Vec<Money>> = events.map(|event| usd(event, &["cost_total"])).collect();
        costs.map(|costs| CostReport::Usd(costs.into_iter().sum()))
    }
}

#[async_trait]
impl Provider for Fal {
    fn name(&self) -> ProviderName {
        NAME
    }

    async fn submit(&self, submission: &Submission) -> Result<Acceptance, Failure> {
        let url = join(&self.queue, submission.wire_model.split('/'));
        let reply = self.client.create(url, &[], &submission.request).await?;
        let body = reply.json.as_ref();
        if !reply.status.is_success() {
            let is_own = body.is_some_and(|body| at(body, &["detail"]).is_some());
            return Err(refused_create(NAME, &reply, is_own));
        }
        let Some(body) = body.filter(|body| text(body, &["request_id"]).is_some()) else {
            return Err(Failure::Unknown {
                reason: format!("{NAME} answered a create without a request id"),
            });
        };
        let prediction = Prediction {
            prediction_id: text(body, &["request_id"]).unwrap_or_default(),
            status_url: text(body, &["status_url"]),
            response_url: text(body, &["response_url"]),
            cancel_url: text(body, &["cancel_url"]),
        };
        Ok(Acceptance { prediction, early_cost: None })
    }

    async fn poll(&self, prediction: &Prediction, submission: &Submission) -> Result<Look, Failure> {
        let model = &submission.wire_model;
        let url =
            self.follow(prediction.status_url.as_ref(), model, &prediction.prediction_id, Some("status"));
        let reply = self.client.look(Method::GET, url).await?;
        if reply.status == 404 {
            return Ok(Look::Missing { reason: describe(NAME, &reply) });
        }
        let status = reply.json.as_ref().and_then(|body| text(body, &["status"]));
        let (Some(body), Some(status), true) = (reply.json.as_ref(), status, reply.status.is_success())
        else {
            if reply.status.is_success() {
                let reason = format!("{NAME} answered with a body that is not a status");
                return Err(Failure::Transient { reason, retry_after: reply.retry_after });
            }
            return Err(refused_look(NAME, &reply));
        };
        match status.as_str() {
            // A failed and a cancelled request end as COMPLETED too: only the result tells.
            "COMPLETED" => self.result(prediction, model, body).await,
            "IN_QUEUE" | "IN_PROGRESS" => Ok(Look::Running),
            _ => {
                tracing::warn!(provider = %NAME, status, "unknown status, taken for running");
                Ok(Look::Running)
            }
        }
    }

    async fn reconcile(&self, doubt: &Doubt) -> Result<Trace, Failure> {
        let (from, to) = doubt.window();
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut url = join(&self.platform, ["models", "requests", "by-endpoint"]);
            url.query_pairs_mut()
                .append_pair("endpoint_id", &doubt.submission.wire_model)
                .append_pair("start", &from.to_string())
                .append_pair("end", &to.to_string())
                .append_pair("expand", "payloads")
                .append_pair("limit", &HISTORY_PAGE.to_string());
            if let Some(cursor) = &cursor {
                url.query_pairs_mut().append_pair("cursor", cursor);
            }
            let reply = self.client.look(Method::GET, url).await?;
            let items = reply.json.as_ref().and_then(|body| at(body, &["items"])).and_then(Value::as_array);
            let (Some(items), Some(body), true) = (items, reply.json.as_ref(), reply.status.is_success())
            else {
                return Err(refused_look(NAME, &reply));
            };
            let same = items.iter().filter(|item| {
                at(item, &["json_input"]).is_some_and(|input| same_input(&doubt.submission.request, input))
            });
            let ids = same.filter_map(|item| text(item, &["request_id"]));
            found.extend(ids.filter(|id| !doubt.owned.contains(id)));
            cursor = text(body, &["next_cursor"]);
            if cursor.is_none() {
                return Ok(Trace::of(found, false));
            }
        }
        Err(endless_history(NAME))
    }

    async fn cancel(&self, prediction: &Prediction, submission: &Submission) -> Result<(), Failure> {
        let id = &prediction.prediction_id;
        let url = self.follow(prediction.cancel_url.as_ref(), &submission.wire_model, id, Some("cancel"));
        let reply = self.client.look(Method::PUT, url).await?;
        if reply.status.is_success() { Ok(()) } else { Err(refused_look(NAME, &reply)) }
    }

    fn is_loopback(&self) -> bool {
        is_loopback(&self.queue)
    }
}

/// The part of a model id that follow-up addresses use: owner and application, behind a namespace if it has one.
fn application(wire_model: &str) -> impl Iterator<Item = &str> {
    let parts = if matches!(wire_model.split('/').next(), Some("workflows" | "comfy")) { 3 } else { 2 };
    wire_model.split('/').take(parts)
}

fn units(reply: &Reply) -> Option<CostReport> {
    let units = reply.headers.get("x-fal-billable-units")?.to_str().ok()?.trim();
    units.parse::<f64>().ok().filter(|units| *units >= 0.0)?;
    Some(CostReport::Units(units.to_owned()))
}

fn is_still_going(reply: &Reply) -> bool {
    reply.json.as_ref().and_then(message).is_some_and(|said| said.to_lowercase().contains("in progress"))
}

/// Whether the same input may succeed another time: the header says; else server errors may, refused inputs may not.
fn is_retryable(reply: &Reply) -> bool {
    let header =
        |name| reply.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_ascii_lowercase);
    match header("x-fal-retryable").or_else(|| header("x-fal-needs-retry")).as_deref() {
        Some("true" | "1") => true,
        Some("false" | "0") => false,
        _ => reply.status.is_server_error(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follow_up_addresses_use_owner_and_application_only() {
        let part = |model| application(model).collect::<Vec<_>>().join("/");
        assert_eq!(part("fal-ai/kling-video/v1/standard/image-to-video"), "fal-ai/kling-video");
        assert_eq!(part("workflows/owner/app/path"), "workflows/owner/app");
    }

    #[test]
    fn an_address_on_another_host_is_not_followed() {
        let clock = Arc::new(crate::clock::SystemClock);
        let url = |text: &str| Url::parse(text).unwrap();
        let key = ApiKey::new("id:secret").unwrap();
        let fal = Fal::new(url("https://queue.fal.run"), url("https://api.fal.ai/v1"), &key, clock).unwrap();
        let follow =
            |given: &str| fal.follow(Some(&given.to_owned()), "fal-ai/kling-video/v1", "7", Some("status"));
        let own = "https://queue.fal.run/fal-ai/kling-video/requests/7/status";
        assert_eq!(follow(own).as_str(), own);
        for foreign in
            ["https://evil.example/x", "http://queue.fal.run/x", "https://queue.fal.run:444/x", "nonsense"]
        {
            assert_eq!(follow(foreign).as_str(), own, "{foreign}");
        }
    }
}
