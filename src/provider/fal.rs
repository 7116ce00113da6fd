//! fal.ai through its queue API. Facts from its model page for Kling 1.0, its queue documentation and its
//! Platform API reference.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::clock::Clock;
use crate::domain::{CostReport, Failure, Money, PredictionHandle, ProviderName};
use crate::image::ImageFile;

use super::classify::{classify_poll, classify_submit, describe, unreadable};
use super::history::{Search, rows};
use super::http::{ApiClient, ApiResponse, Auth, SetupError, is_loopback, join};
use super::json::{InputMatch, at, compare_inputs, is_true, link, message, seconds, text, usd};
use super::probe::{Probe, probe, span};
use super::storage::{PresignFields, UploadedImage, upload};
use super::{
    Acceptance, ApiKey, HISTORY_PAGE, LostSubmission, MAX_PAGES, PollResult, Provider,
    Reconciliation, Submission, endless_history,
};

const NAME: ProviderName = ProviderName::Fal;

/// The id of a request that nobody made.
const UNUSED_REQUEST_ID: &str = "00000000-0000-0000-0000-000000000000";

/// `POST /storage/upload/initiate`, as fal's JavaScript client calls it. Media files have no end unless the account sets one.
const PRESIGN: PresignFields = PresignFields {
    upload_url: "upload_url",
    public_url: "file_url",
    headers: "headers",
    retention: None,
};

/// The fal.ai queue API.
pub struct Fal {
    queue: Url,
    platform: Url,
    storage: Option<Url>,
    client: ApiClient,
}

impl Fal {
    /// Makes a client. `queue` is `https://queue.fal.run`, `platform` is `https://api.fal.ai/v1`, `storage` is
    /// `https://rest.fal.ai`.
    pub fn new(
        queue: Url,
        platform: Url,
        storage: Option<Url>,
        key: &ApiKey,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SetupError> {
        // A proxy is left out only where no address needs one.
        let local = [Some(&queue), Some(&platform), storage.as_ref()]
            .into_iter()
            .flatten()
            .all(is_loopback);
        let client = ApiClient::new(NAME, key, Auth::Key, clock, local)?;
        Ok(Self {
            queue,
            platform,
            storage,
            client,
        })
    }

    /// The address of a request: the one fal gave, if it is on the configured host (the key goes there), else built.
    fn follow(
        &self,
        given: Option<&String>,
        wire_model: &str,
        id: &str,
        last: Option<&str>,
    ) -> Url {
        let given = given
            .and_then(|url| Url::parse(url).ok())
            .filter(|url| url.origin() == self.queue.origin());
        given.unwrap_or_else(|| {
            let segments = application(wire_model).chain(["requests", id]).chain(last);
            join(&self.queue, segments)
        })
    }

    /// Fetches the result of a request that has ended. Only here does a failed one tell its reason.
    async fn result(
        &self,
        prediction: &PredictionHandle,
        wire_model: &str,
        status: &Value,
    ) -> Result<PollResult, Failure> {
        let id = &prediction.prediction_id;
        let url = self.follow(prediction.response_url.as_ref(), wire_model, id, None);
        let reply = self.client.get(Method::GET, url).await?;
        let mut look = read_result(&reply, status, self.client.key())?;
        if let PollResult::Failed {
            cost: cost @ None, ..
        } = &mut look
        {
            *cost = self.billed_for(id).await;
        }
        Ok(look)
    }

    /// Asks what a request was billed; `None` where nobody says.
    async fn billed_for(&self, id: &str) -> Option<CostReport> {
        let mut url = join(&self.platform, ["models", "billing-events"]);
        url.query_pairs_mut().append_pair("request_id", id);
        let reply = self.client.get(Method::GET, url).await.ok()?;
        let events = rows(NAME, &reply, "billing_events").ok()?;
        // Events of other requests say that the question was not understood, not that nothing was billed.
        if events
            .iter()
            .any(|event| text(event, &["request_id"]).is_some_and(|request| request != id))
        {
            return None;
        }
        let costs: Option<Vec<Money>> = events.iter().map(billed).collect();
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
        let reply = self.client.submit(url, &[], &submission.request).await?;
        read_submit(&reply)
    }

    async fn poll(
        &self,
        prediction: &PredictionHandle,
        submission: &Submission,
    ) -> Result<PollResult, Failure> {
        let model = &submission.wire_model;
        let url = self.follow(
            prediction.status_url.as_ref(),
            model,
            &prediction.prediction_id,
            Some("status"),
        );
        let reply = self.client.get(Method::GET, url).await?;
        if reply.status == 404 {
            return Ok(PollResult::Missing {
                reason: describe(NAME, &reply),
            });
        }
        let status = reply.json.as_ref().and_then(|body| text(body, &["status"]));
        let (Some(body), Some(status), true) =
            (reply.json.as_ref(), status, reply.status.is_success())
        else {
            return Err(unreadable(NAME, &reply, "a status"));
        };
        match status.as_str() {
            // A failed and a cancelled request end as COMPLETED too: only the result tells.
            "COMPLETED" => self.result(prediction, model, body).await,
            "IN_QUEUE" | "IN_PROGRESS" => Ok(PollResult::Running),
            _ => {
                tracing::warn!(provider = %NAME, status, "unknown status, taken for running");
                Ok(PollResult::Running)
            }
        }
    }

    async fn reconcile(&self, doubt: &LostSubmission) -> Result<Reconciliation, Failure> {
        let (from, to) = doubt.window();
        let mut search = Search::default();
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
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
            let reply = search.page(NAME, &self.client, &url, "items").await?;
            for item in rows(NAME, &reply, "items")? {
                let id = text(item, &["request_id"]);
                if id.as_ref().is_some_and(|id| doubt.owned.contains(id)) {
                    continue;
                }
                match (
                    compare_inputs(&doubt.submission.request, at(item, &["json_input"])),
                    id,
                ) {
                    (InputMatch::Different, _) => {}
                    (InputMatch::Same, Some(id)) => search.found(id),
                    // Server errors are never billed, so paying again is not paying twice.
                    (InputMatch::Inconclusive, _) if is_server_error(item) => {}
                    _ => search.inconclusive(),
                }
            }
            let page = reply.json.as_ref();
            cursor = page.and_then(|page| text(page, &["next_cursor"]));
            if cursor.is_none() {
                let cut_short = page.is_some_and(|page| is_true(page, &["has_more"]));
                return if cut_short {
                    Err(unreadable(NAME, &reply, "a whole history"))
                } else {
                    search.close(NAME, false)
                };
            }
        }
        Err(endless_history(NAME))
    }

    async fn cancel(
        &self,
        prediction: &PredictionHandle,
        submission: &Submission,
    ) -> Result<(), Failure> {
        let id = &prediction.prediction_id;
        let url = self.follow(
            prediction.cancel_url.as_ref(),
            &submission.wire_model,
            id,
            Some("cancel"),
        );
        let reply = self.client.get(Method::PUT, url).await?;
        if reply.status.is_success() {
            Ok(())
        } else {
            Err(classify_poll(NAME, &reply))
        }
    }

    async fn probe(&self, wire_model: &str, now: Timestamp) -> Vec<Probe> {
        // The queue lists nothing: it is asked for a request that nobody made, and its own error is the right answer.
        let unmade = self.follow(None, wire_model, UNUSED_REQUEST_ID, Some("status"));
        let is_fals = |reply: &ApiResponse| match &reply.json {
            Some(body) => reply.status == 404 || (reply.status.is_client_error() && is_error(body)),
            None => false,
        };
        let (start, end) = span(now);
        let mut history = join(&self.platform, ["models", "requests", "by-endpoint"]);
        history
            .query_pairs_mut()
            .append_pair("endpoint_id", wire_model)
            .append_pair("start", &start)
            .append_pair("end", &end)
            .append_pair("limit", "1");
        let is_history = |reply: &ApiResponse| rows(NAME, reply, "items").is_ok();
        let (queue, platform) = futures_util::future::join(
            probe("api", &self.client, unmade, is_fals),
            probe("history", &self.client, history, is_history),
        )
        .await;
        vec![queue, platform]
    }

    async fn upload(&self, file: &ImageFile) -> Result<UploadedImage, Failure> {
        let Some(storage) = &self.storage else {
            return Err(Failure::Rejected {
                reason: "the address of fal's storage is not set".into(),
            });
        };
        let mut url = join(storage, ["storage", "upload", "initiate"]);
        url.query_pairs_mut()
            .append_pair("storage_type", "fal-cdn-v3");
        let question = json!({ "content_type": file.content_type, "file_name": file.name });
        upload(&self.client, url, &question, &PRESIGN, file).await
    }

    fn is_loopback(&self) -> bool {
        is_loopback(&self.queue)
    }
}

/// Reads the answer to a create.
pub(super) fn read_submit(reply: &ApiResponse) -> Result<Acceptance, Failure> {
    let body = reply.json.as_ref();
    let id = body.and_then(|body| text(body, &["request_id"]));
    if !reply.status.is_success() {
        let is_own = id.is_none() && body.is_some_and(is_error);
        return Err(classify_submit(NAME, reply, is_own));
    }
    let (Some(body), Some(prediction_id)) = (body, id) else {
        return Err(Failure::Unknown {
            reason: format!("{NAME} answered a create without a request id"),
        });
    };
    let prediction = PredictionHandle {
        prediction_id,
        status_url: text(body, &["status_url"]),
        response_url: text(body, &["response_url"]),
        cancel_url: text(body, &["cancel_url"]),
    };
    Ok(Acceptance {
        prediction,
        early_cost: None,
    })
}

/// Reads the result of a request that has ended; a failure's cost is left out where only the billing events tell.
pub(super) fn read_result(
    reply: &ApiResponse,
    status: &Value,
    key: &ApiKey,
) -> Result<PollResult, Failure> {
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
            tracing::warn!(provider = %NAME, "no link in the result, taken for running");
            return Ok(PollResult::Running);
        };
        return Ok(PollResult::Done {
            output_url,
            // A clip is never free, so 0 says no more than nothing does.
            cost: units(reply)
                .filter(|(_, amount)| *amount > 0.0)
                .map(|(report, _)| report),
            processing: seconds(status, &["metrics", "inference_time"]),
        });
    }
    let told = at(status, &["error"]).and_then(|error| message(error, key));
    let told = told.or_else(|| message(&text(status, &["error_type"])?.into(), key));
    let is_own = body.is_some_and(is_error);
    let is_the_predictions = body.is_some_and(|body| is_the_predictions(body, status));
    let failed = match reply.status.as_u16() {
        400 if is_own && is_still_going(reply) => return Ok(PollResult::Running),
        404 => {
            return Ok(PollResult::Missing {
                reason: describe(NAME, reply),
            });
        }
        401..=403 | 408 | 429 => false,
        400..=499 => is_own || told.is_some(),
        500.. => is_the_predictions || told.is_some(),
        _ => false,
    };
    if !failed {
        return Err(classify_poll(NAME, reply));
    }
    // A refused input may be billed if a runner has worked on it: the header says, else the billing events.
    let billed = units(reply).map(|(report, _)| report);
    if reply.status.is_server_error() && !is_the_predictions {
        // It failed, but how is hidden behind somebody else's error: it may be billed, and may fail again.
        let reason = format!(
            "{NAME} says it failed: {}",
            told.unwrap_or_else(|| "no reason given".into())
        );
        return Ok(PollResult::Failed {
            reason,
            cost: billed,
            retryable: false,
        });
    }
    let cost = if reply.status.is_server_error() {
        // Server errors of a model are never billed.
        Some(CostReport::ZERO)
    } else {
        billed
    };
    let reason = match told {
        Some(told) if !is_own => format!("{NAME} says it failed: {told}"),
        _ => describe(NAME, reply),
    };
    Ok(PollResult::Failed {
        reason,
        cost,
        retryable: is_own && is_retryable(reply),
    })
}

/// The part of a model id that follow-up addresses use: owner and application, behind a namespace if it has one.
fn application(wire_model: &str) -> impl Iterator<Item = &str> {
    let parts = if matches!(wire_model.split('/').next(), Some("workflows" | "comfy")) {
        3
    } else {
        2
    };
    wire_model.split('/').take(parts)
}

/// Tells whether a body has the form of fal's errors: the model's have a `detail`, the platform's an `error_type` too.
fn is_error(body: &Value) -> bool {
    ["detail", "error_type"]
        .iter()
        .any(|key| at(body, &[key]).is_some())
}

/// Tells whether a result call's server error is the prediction's own end. The platform's errors are flat, and may be
/// about this very call: taken for the prediction's end they would have a clip paid for twice. Only the model's form, a
/// list of details, says that it failed, or the status that named the same error before.
fn is_the_predictions(body: &Value, status: &Value) -> bool {
    let kind = |value| text(value, &["error_type"]);
    at(body, &["detail"]).is_some_and(Value::is_array)
        || (kind(body).is_some() && kind(body) == kind(status))
}

/// Reads the units billed, as a report and as a number.
fn units(reply: &ApiResponse) -> Option<(CostReport, f64)> {
    let units = reply
        .headers
        .get("x-fal-billable-units")?
        .to_str()
        .ok()?
        .trim();
    let amount: f64 = units.parse().ok().filter(|units| *units >= 0.0)?;
    Some((CostReport::Units(units.to_owned()), amount))
}

/// Reads what one billing event costs: its total, else the estimate in billionths of a dollar.
fn billed(event: &Value) -> Option<Money> {
    usd(event, &["cost_total"]).or_else(|| {
        Money::parse_rounded(&format!("{}e-9", text(event, &["cost_estimate_nano_usd"])?)).ok()
    })
}

fn is_server_error(item: &Value) -> bool {
    text(item, &["status_code"])
        .and_then(|code| code.parse().ok())
        .is_some_and(|code: u16| code >= 500)
}

fn is_still_going(reply: &ApiResponse) -> bool {
    reply
        .error_message
        .as_deref()
        .is_some_and(|error_message| error_message.to_lowercase().contains("in progress"))
}

/// Whether the same input may succeed another time: the header says; else server errors may, refused inputs may not.
fn is_retryable(reply: &ApiResponse) -> bool {
    // What the content policy refuses it refuses again, whatever the header says.
    let details = reply
        .json
        .as_ref()
        .and_then(|body| at(body, &["detail"]))
        .and_then(Value::as_array);
    let mut kinds = details
        .into_iter()
        .flatten()
        .filter_map(|detail| text(detail, &["type"]));
    if kinds.any(|kind| kind == "content_policy_violation") {
        return false;
    }
    let header = |name| {
        reply
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_ascii_lowercase)
    };
    match header("x-fal-retryable")
        .or_else(|| header("x-fal-needs-retry"))
        .as_deref()
    {
        Some("true" | "1" | "yes") => true,
        Some("false" | "0" | "no") => false,
        _ => reply.status.is_server_error(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follow_up_addresses_use_owner_and_application_only() {
        let part = |model| application(model).collect::<Vec<_>>().join("/");
        assert_eq!(
            part("fal-ai/kling-video/v1/standard/image-to-video"),
            "fal-ai/kling-video"
        );
        assert_eq!(part("workflows/owner/app/path"), "workflows/owner/app");
    }

    #[test]
    fn an_address_on_another_host_is_not_followed() {
        let clock = Arc::new(crate::clock::SystemClock);
        let url = |text: &str| Url::parse(text).unwrap();
        let key = ApiKey::new("id:secret").unwrap();
        let fal = Fal::new(
            url("https://queue.fal.run"),
            url("https://api.fal.ai/v1"),
            None,
            &key,
            clock,
        )
        .unwrap();
        let follow = |given: &str| {
            fal.follow(
                Some(&given.to_owned()),
                "fal-ai/kling-video/v1",
                "7",
                Some("status"),
            )
        };
        let own = "https://queue.fal.run/fal-ai/kling-video/requests/7/status";
        assert_eq!(follow(own).as_str(), own);
        for foreign in [
            "https://evil.example/x",
            "http://queue.fal.run/x",
            "https://queue.fal.run:444/x",
            "nonsense",
        ] {
            assert_eq!(follow(foreign).as_str(), own, "{foreign}");
        }
    }
}
