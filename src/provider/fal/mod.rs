//! The adapter for fal.ai, through its queue API.
//!
//! Sources: the model page of Kling 1.0 ("model page"), the queue documentation and the Platform
//! API reference ("documented"), the source of the official clients, and findings published by
//! users ("seen by users"). What is marked "assumed" has no source.

pub(super) mod response;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::clock::Clock;
use crate::domain::public_address::has_credentials;
use crate::domain::{CostReport, Failure, Money, PredictionHandle, ProviderName};
use crate::image::ImageFile;
use crate::link_client::ProxiedLinks;
use crate::provider::classify::{classify_unreadable, describe, read_status};
use crate::provider::history::{History, HistoryQuery};
use crate::provider::history_pages::{
    HISTORY_PAGE, HistoryPages, MAX_PAGES, history_too_long, read_entries,
};
use crate::provider::http::{
    ApiClient, ApiResponse, Auth, SetupError, append_segments, is_loopback,
};
use crate::provider::json::{get_balance, get_text, is_true, sanitize};
use crate::provider::probe::{Probe, probe, probe_window};
use crate::provider::storage::{PresignFields, UploadedImage, upload};
use crate::provider::timeouts::Timeouts;
use crate::provider::{Acceptance, ApiKey, Cancellation, PollResult, Provider, Submission};

use response::{
    ID_PLACES, NAME, event_cost, is_own_error, parse_cancellation, parse_result, parse_submit,
};

/// A request id that fal never issues.
const UNUSED_REQUEST_ID: &str = "00000000-0000-0000-0000-000000000000";

/// Response of `POST /storage/upload/initiate`, from the source of the JavaScript client. Files are
/// documented not to expire unless the account is set otherwise.
pub(super) const PRESIGN: PresignFields = PresignFields {
    upload_url: "upload_url",
    public_url: "file_url",
    headers: "headers",
    retention: None,
};

/// The fal.ai queue API.
pub(crate) struct Fal {
    queue: Url,
    platform: Url,
    storage: Option<Url>,
    client: ApiClient,
}

impl Fal {
    /// Builds an adapter. `queue` is `https://queue.fal.run`, `platform` is
    /// `https://api.fal.ai/v1`, and `storage` is `https://rest.fal.ai`; without `storage`, every
    /// upload is rejected.
    pub(crate) fn new(
        queue: Url,
        platform: Url,
        storage: Option<Url>,
        key: &ApiKey,
        clock: Arc<dyn Clock>,
        timeouts: Timeouts,
        proxied: ProxiedLinks,
    ) -> Result<Self, SetupError> {
        // One client serves all base URLs, so a proxy is bypassed only if none of them needs one.
        let is_local = [Some(&queue), Some(&platform), storage.as_ref()]
            .into_iter()
            .flatten()
            .all(is_loopback);
        let client = ApiClient::new(NAME, key, Auth::Key, clock, timeouts, proxied, is_local)?;
        Ok(Self {
            queue,
            platform,
            storage,
            client,
        })
    }

    /// Returns the URL of a request: the one that fal returned, which is the documented way, or
    /// else one built from `action`, its last segment.
    ///
    /// A returned URL is used only on the configured host, because the key is sent there, and only if it
    /// names the request.
    fn request_url(
        &self,
        returned: Option<&String>,
        wire_model: &str,
        request_id: &str,
        action: Option<&str>,
    ) -> Url {
        let returned = returned
            .and_then(|url| Url::parse(url).ok())
            .filter(|url| url.origin() == self.queue.origin() && names_request(url, request_id));
        returned.unwrap_or_else(|| {
            let segments = app_id(wire_model)
                .chain(["requests", request_id])
                .chain(action);
            append_segments(&self.queue, segments)
        })
    }

    /// Reads the result of a completed request. Seen by users: an error of the model may be
    /// reported only here.
    async fn get_result(
        &self,
        prediction: &PredictionHandle,
        wire_model: &str,
        status: &Value,
    ) -> Result<PollResult, Failure> {
        let id = &prediction.prediction_id;
        let url = self.request_url(prediction.response_url.as_ref(), wire_model, id, None);
        let response = self.client.get(url).await?;
        ID_PLACES.check(NAME, &response, id)?;
        let mut result = parse_result(&response, status, self.client.key(), self.is_loopback())?;
        if let PollResult::Failed {
            cost: cost @ None, ..
        } = &mut result
        {
            *cost = self.get_billed_cost(id).await;
        }
        Ok(result)
    }

    /// Reads what a request was billed from its billing events (documented); `None` if they are not
    /// available. That needs a key of the ADMIN scope.
    async fn get_billed_cost(&self, request_id: &str) -> Option<CostReport> {
        let mut url = append_segments(&self.platform, ["models", "billing-events"]);
        url.query_pairs_mut().append_pair("request_id", request_id);
        let response = self.client.get(url).await.ok()?;
        let events = read_entries(NAME, &response, "billing_events").ok()?;
        // Events of other requests show that the filter was ignored, not that nothing was billed.
        if events
            .iter()
            .any(|event| get_text(event, &["request_id"]).is_some_and(|id| id != request_id))
        {
            return None;
        }
        let costs: Option<Vec<Money>> = events.iter().map(event_cost).collect();
        costs.map(|costs| CostReport::Usd(costs.into_iter().sum()))
    }
}

#[async_trait]
impl Provider for Fal {
    fn name(&self) -> ProviderName {
        NAME
    }

    async fn submit(&self, submission: &Submission) -> Result<Acceptance, Failure> {
        // Documented: the body is the input itself, and the path is the whole model id.
        let url = append_segments(&self.queue, submission.wire_model.split('/'));
        let response = self.client.submit(url, &[], &submission.request).await?;
        parse_submit(&response)
    }

    async fn poll(
        &self,
        prediction: &PredictionHandle,
        wire_model: &str,
    ) -> Result<PollResult, Failure> {
        let url = self.request_url(
            prediction.status_url.as_ref(),
            wire_model,
            &prediction.prediction_id,
            Some("status"),
        );
        let response = self.client.get(url).await?;
        ID_PLACES.check(NAME, &response, &prediction.prediction_id)?;
        // Seen by users for an unknown id: `NOT_FOUND`.
        if response.status == 404 {
            return Ok(PollResult::Missing {
                reason: describe(NAME, &response),
            });
        }
        let (body, status) = read_status(NAME, &response, "a status")?;
        match status.as_str() {
            // Documented: failed and cancelled requests end as COMPLETED too.
            "COMPLETED" => self.get_result(prediction, wire_model, body).await,
            "IN_QUEUE" => Ok(PollResult::Queued {
                position: get_text(body, &["queue_position"]).and_then(|text| text.parse().ok()),
            }),
            "IN_PROGRESS" => Ok(PollResult::Running),
            _ => {
                tracing::warn!(
                    status = sanitize(&status),
                    "the request has an unknown status, treating it as running"
                );
                Ok(PollResult::Running)
            }
        }
    }

    async fn history(&self, query: &HistoryQuery) -> Result<History, Failure> {
        let mut pages = HistoryPages::default();
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            // Documented in the Platform API reference; `expand` adds the inputs.
            let mut url = append_segments(&self.platform, ["models", "requests", "by-endpoint"]);
            url.query_pairs_mut()
                .append_pair("endpoint_id", &query.wire_model)
                .append_pair("start", &query.from.to_string())
                .append_pair("end", &query.to.to_string())
                .append_pair("expand", "payloads")
                .append_pair("limit", &HISTORY_PAGE.to_string());
            if let Some(cursor) = &cursor {
                url.query_pairs_mut().append_pair("cursor", cursor);
            }
            let response = pages.get_page(NAME, &self.client, &url, "items").await?;
            let entries = read_entries(NAME, &response, "items")?;
            let entries = entries.iter().map(response::parse_history_entry);
            entries.for_each(|entry| pages.add(entry));
            let page = response.json.as_ref();
            cursor = page.and_then(|page| get_text(page, &["next_cursor"]));
            if cursor.is_none() {
                let is_incomplete = page.is_some_and(|page| is_true(page, &["has_more"]));
                return if is_incomplete {
                    Err(classify_unreadable(NAME, &response, "a complete history"))
                } else {
                    // Whether unfinished requests are listed is not documented; that they are not
                    // is assumed.
                    Ok(pages.into_history(false))
                };
            }
        }
        Err(history_too_long(NAME))
    }

    async fn cancel(
        &self,
        prediction: &PredictionHandle,
        wire_model: &str,
    ) -> Result<Cancellation, Failure> {
        let id = &prediction.prediction_id;
        let url = self.request_url(
            prediction.cancel_url.as_ref(),
            wire_model,
            id,
            Some("cancel"),
        );
        let response = self.client.request_idempotent(Method::PUT, url).await?;
        ID_PLACES.check(NAME, &response, id)?;
        parse_cancellation(&response)
    }

    async fn balance(&self) -> Option<Money> {
        // Documented, for keys with the scope ADMIN.
        let mut url = append_segments(&self.platform, ["account", "billing"]);
        url.query_pairs_mut().append_pair("expand", "credits");
        if let Ok(response) = self.client.get(url).await
            && let Some(body) = response.success()
            && let Some(balance) = get_balance(body, &["credits", "current_balance"])
        {
            return Some(balance);
        }
        // Seen by users, for ordinary keys: a bare number, which may be negative.
        let url = append_segments(self.storage.as_ref()?, ["billing", "user_balance"]);
        let response = self.client.get(url).await.ok()?;
        get_balance(response.success()?, &[])
    }

    async fn probe(&self, wire_model: &str, now: Timestamp) -> Vec<Probe> {
        // The queue has no list, so the probe polls a request that does not exist. fal's own error
        // is the expected response.
        let status = self.request_url(None, wire_model, UNUSED_REQUEST_ID, Some("status"));
        let is_fal_error = |response: &ApiResponse| match &response.json {
            Some(body) => {
                response.status == 404 || (response.status.is_client_error() && is_own_error(body))
            }
            None => false,
        };
        let (start, end) = probe_window(now);
        let mut history = append_segments(&self.platform, ["models", "requests", "by-endpoint"]);
        history
            .query_pairs_mut()
            .append_pair("endpoint_id", wire_model)
            .append_pair("start", &start)
            .append_pair("end", &end)
            .append_pair("limit", "1");
        let is_history = |response: &ApiResponse| read_entries(NAME, response, "items").is_ok();
        let (queue, platform) = futures_util::future::join(
            probe("api", &self.client, status, is_fal_error),
            probe("history", &self.client, history, is_history),
        )
        .await;
        vec![queue, platform]
    }

    async fn upload(&self, file: &ImageFile) -> Result<UploadedImage, Failure> {
        let Some(storage) = &self.storage else {
            return Err(Failure::Rejected {
                reason: "the URL of fal's storage is not set".into(),
            });
        };
        let mut url = append_segments(storage, ["storage", "upload", "initiate"]);
        url.query_pairs_mut()
            .append_pair("storage_type", "fal-cdn-v3");
        let body = json!({ "content_type": file.content_type, "file_name": file.name });
        upload(&self.client, url, &body, &PRESIGN, file).await
    }

    fn is_loopback(&self) -> bool {
        is_loopback(&self.queue)
    }
}

/// Returns whether a URL names a request, in a segment or in its query, and has no credentials of its own.
fn names_request(url: &Url, request_id: &str) -> bool {
    let mut segments = url.path_segments().into_iter().flatten();
    let in_query = || url.query_pairs().any(|(_, value)| value == request_id);
    !has_credentials(url) && (segments.any(|segment| segment == request_id) || in_query())
}

/// Returns the segments of a model id that the URLs of its requests have: owner and application
/// (documented), after the namespace if there is one (source of the official clients).
fn app_id(wire_model: &str) -> impl Iterator<Item = &str> {
    let segments = if matches!(wire_model.split('/').next(), Some("workflows" | "comfy")) {
        3
    } else {
        2
    };
    wire_model.split('/').take(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_urls_have_owner_and_application_only() {
        let app_id = |model| app_id(model).collect::<Vec<_>>().join("/");
        assert_eq!(
            app_id("fal-ai/kling-video/v1/standard/image-to-video"),
            "fal-ai/kling-video"
        );
        assert_eq!(app_id("workflows/owner/app/path"), "workflows/owner/app");
    }

    #[test]
    fn a_returned_url_on_another_host_is_not_used() {
        let clock = Arc::new(crate::clock::SystemClock);
        let url = |text: &str| Url::parse(text).unwrap();
        let key = ApiKey::new("id:secret").unwrap();
        let fal = Fal::new(
            url("https://queue.fal.run"),
            url("https://api.fal.ai/v1"),
            None,
            &key,
            clock,
            Timeouts::default(),
            ProxiedLinks::default(),
        )
        .unwrap();
        let request_url = |returned: &str| {
            fal.request_url(
                Some(&returned.to_owned()),
                "fal-ai/kling-video/v1",
                "7",
                Some("status"),
            )
        };
        let own = "https://queue.fal.run/fal-ai/kling-video/requests/7/status";
        assert_eq!(request_url(own).as_str(), own);
        for foreign in [
            "https://evil.example/x",
            "http://queue.fal.run/x",
            "https://queue.fal.run:444/x",
            "https://queue.fal.run/fal-ai/kling-video/requests/8/status",
            "https://me@queue.fal.run/fal-ai/kling-video/requests/7/status",
            "nonsense",
        ] {
            assert_eq!(request_url(foreign).as_str(), own, "{foreign}");
        }
    }
}
