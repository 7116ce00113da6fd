//! The HTTP client that the adapters share: one request, one response, no retries, no redirects.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::{Client, Method, RequestBuilder, StatusCode, redirect};
use serde_json::Value;
use url::Url;

use crate::clock::Clock;
use crate::domain::public_address::is_loopback_host;
use crate::domain::{Failure, ProviderName};
use crate::failpoint::fail_point;
use crate::link_client::{LinkClient, LinkError, ProxiedLinks};
use crate::{open_files, tls};

use super::json::find_message;
use super::key::ApiKey;
use super::timeouts::Timeouts;

/// Maximum length of a response body, in bytes. No response of these APIs comes near it, so a
/// longer one is not theirs.
const MAX_BODY_BYTES: usize = 4 << 20;

/// Assumed minimum upload rate, in bytes per second; extends the timeout of a request with a large
/// body.
const MIN_BYTES_PER_SECOND: u64 = 50_000;

/// Maximum delay that a server may request with `Retry-After`; a longer one is shortened to this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why an adapter could not be constructed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The key cannot be sent in a header.
    #[error(transparent)]
    Key(#[from] super::key::InvalidKey),
    /// The HTTP client could not be built, for example because no root certificates were found.
    #[error("cannot set up HTTPS: {0}")]
    Http(#[from] reqwest::Error),
}

/// The header in which a provider expects the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `X-API-Key: …`
    XApiKey,
    /// `Authorization: Bearer …`
    Bearer,
    /// `Authorization: Key …`
    Key,
}

impl Auth {
    /// Returns the header's name and what precedes the key in its value.
    fn header(self) -> (HeaderName, &'static str) {
        match self {
            Self::XApiKey => (HeaderName::from_static("x-api-key"), ""),
            Self::Bearer => (AUTHORIZATION, "Bearer "),
            Self::Key => (AUTHORIZATION, "Key "),
        }
    }
}

/// An HTTP client for one provider's API.
#[derive(Clone)]
pub struct ApiClient {
    provider: ProviderName,
    submit_client: Client,
    poll_client: Client,
    /// For the addresses that the provider names.
    links: LinkClient,
    is_local: bool,
    key: ApiKey,
    auth: (HeaderName, HeaderValue),
    clock: Arc<dyn Clock>,
    timeouts: Timeouts,
}

/// A complete response, whatever its status.
#[derive(Clone, Debug)]
pub struct ApiResponse {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers, as received.
    pub headers: HeaderMap,
    /// The body as JSON, with the key redacted; `None` if the body is not JSON.
    pub json: Option<Value>,
    /// The error message in the body, on one line, with the key redacted; `None` if there is none.
    pub error_message: Option<String>,
    /// The delay requested by `Retry-After`, at most a day; `None` without a valid header.
    pub retry_after: Option<Duration>,
    /// How far our clock is ahead of the server's; `None` without a valid `Date` header.
    pub clock_ahead: Option<SignedDuration>,
}

impl ApiResponse {
    /// Returns the body of a success; `None` if it is none, or not JSON.
    pub(super) fn success(&self) -> Option<&Value> {
        self.json.as_ref().filter(|_| self.status.is_success())
    }

    /// Parses a response. `now` is when it was received.
    pub fn from_parts(
        status: StatusCode,
        headers: HeaderMap,
        body: &[u8],
        key: &ApiKey,
        now: Timestamp,
    ) -> Self {
        let mut json: Option<Value> = serde_json::from_slice(body).ok();
        json.iter_mut().for_each(|json| key.redact_json(json));
        let error_message = json.as_ref().and_then(|json| find_message(json, key));
        let retry_after = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| parse_retry_after(text, now));
        let date = headers
            .get(DATE)
            .and_then(|value| parse_http_date(value.to_str().ok()?));
        let clock_ahead = date.map(|date| now.duration_since(date));
        Self {
            status,
            headers,
            json,
            error_message,
            retry_after,
            clock_ahead,
        }
    }
}

/// Why there is no response.
pub enum TransportError {
    /// The request never left this machine, so the server cannot have acted on it.
    NotSent(String),
    /// The request was sent, or may have been.
    MaybeSent(String),
}

/// Converts the error of a submission. For any other request use `as_transient`: it may be
/// repeated whether it was sent or not.
impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::NotSent(reason) => Self::Transient {
                reason,
                retry_after: None,
            },
            TransportError::MaybeSent(reason) => Self::Unknown { reason },
        }
    }
}

impl ApiClient {
    /// Builds a client. `is_local` states that the provider's base URL is on this machine.
    pub fn new(
        provider: ProviderName,
        key: &ApiKey,
        auth: Auth,
        clock: Arc<dyn Clock>,
        timeouts: Timeouts,
        proxied: ProxiedLinks,
        is_local: bool,
    ) -> Result<Self, SetupError> {
        let builder = |timeout, protocols| {
            let builder = tls::client_builder(protocols)
                .connect_timeout(timeouts.connect)
                .timeout(timeout)
                .pool_max_idle_per_host(open_files::max_idle_connections())
                .user_agent(concat!("overnight/", env!("CARGO_PKG_VERSION")))
                // A redirect would send the key to another host, and a repeated submission would
                // be a second bill.
                .redirect(redirect::Policy::none())
                .retry(reqwest::retry::never());
            // A proxy could not reach this machine.
            if is_local {
                builder.no_proxy()
            } else {
                builder
            }
        };
        let (header, prefix) = auth.header();
        Ok(Self {
            provider,
            // The server may close a pooled connection just as a submission is written to it, which
            // leaves unknown whether the request was read. A fresh connection for each submission
            // makes that rare.
            submit_client: builder(timeouts.submit, tls::HTTP_1)
                .pool_max_idle_per_host(0)
                .http1_only()
                .build()?,
            poll_client: builder(timeouts.poll, tls::ANY_HTTP).build()?,
            links: LinkClient::new(proxied, |builder| builder.connect_timeout(timeouts.connect))?,
            is_local,
            key: key.clone(),
            auth: (header, key.to_header_value(prefix)?),
            clock,
            timeouts,
        })
    }

    /// Sends a submission, at most once. Without a response it is [`Failure::Transient`] if the
    /// request cannot have left this machine, and [`Failure::Unknown`] otherwise.
    pub async fn submit(
        &self,
        url: Url,
        headers: &[(&'static str, &str)],
        body: &Value,
    ) -> Result<ApiResponse, Failure> {
        let body = body.to_string();
        // An image in the body takes a while on a slow line, which should not put the job in doubt.
        let upload_time = Duration::from_secs(body.len() as u64 / MIN_BYTES_PER_SECOND);
        let mut request = self
            .submit_client
            .post(url)
            .header(CONTENT_TYPE, JSON)
            .timeout(self.timeouts.submit + upload_time)
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(self.send_with_key(request).await?)
    }

    /// Sends a GET request. A missing response is [`Failure::Transient`].
    pub async fn get(&self, url: Url) -> Result<ApiResponse, Failure> {
        self.request_idempotent(Method::GET, url).await
    }

    /// Sends a request without a body that may be repeated. A missing response is
    /// [`Failure::Transient`].
    pub(super) async fn request_idempotent(
        &self,
        method: Method,
        url: Url,
    ) -> Result<ApiResponse, Failure> {
        as_transient(
            self.send_with_key(self.poll_client.request(method, url))
                .await,
        )
    }

    /// Sends a POST request that may be repeated. A missing response is [`Failure::Transient`].
    pub(super) async fn post_idempotent(
        &self,
        url: Url,
        body: &Value,
    ) -> Result<ApiResponse, Failure> {
        as_transient(
            self.send_with_key(self.poll_client.post(url).json(body))
                .await,
        )
    }

    /// Uploads bytes to a URL that the provider returned, without the key: the URL is signed, and
    /// may be on a host of a third party. A missing response is [`Failure::Transient`], a URL that is
    /// not allowed [`Failure::Rejected`].
    pub(super) async fn put_presigned(
        &self,
        url: &Url,
        headers: HeaderMap,
        bytes: Bytes,
    ) -> Result<ApiResponse, Failure> {
        let upload_time = Duration::from_secs(bytes.len() as u64 / MIN_BYTES_PER_SECOND);
        let request = self.links.request(Method::PUT, url, self.is_local).await;
        let request = request.map_err(|error| self.link_failure(error))?;
        let request = request
            .headers(headers)
            .body(bytes)
            .timeout(self.timeouts.upload + upload_time);
        as_transient(self.send(request).await)
    }

    fn link_failure(&self, error: LinkError) -> Failure {
        let reason = format!("{} returned an upload URL: {error}", self.provider);
        match error {
            LinkError::NotAllowed(_) => Failure::Rejected { reason },
            _ => Failure::Transient {
                reason,
                retry_after: None,
            },
        }
    }

    /// Returns the provider whose API this client calls.
    pub(super) fn provider(&self) -> ProviderName {
        self.provider
    }

    /// Returns how long its calls may take.
    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Returns the key that is sent with every request, for redaction.
    pub(super) fn key(&self) -> &ApiKey {
        &self.key
    }

    async fn send_with_key(&self, request: RequestBuilder) -> Result<ApiResponse, TransportError> {
        let (name, value) = self.auth.clone();
        self.send(request.header(name, value)).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<ApiResponse, TransportError> {
        let response = request
            .send()
            .await
            .map_err(|error| self.transport_error(&error))?;
        fail_point!("response started");
        let status = response.status();
        let headers = response.headers().clone();
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| self.transport_error(&error))?;
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(TransportError::MaybeSent(format!(
                    "{} returned a body of more than {} MiB",
                    self.provider,
                    MAX_BODY_BYTES >> 20
                )));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(ApiResponse::from_parts(
            status,
            headers,
            &body,
            &self.key,
            self.clock.now(),
        ))
    }

    /// Classifies an error by whether the request can have reached the server. The message leaves
    /// out the URL, which may be signed.
    fn transport_error(&self, error: &reqwest::Error) -> TransportError {
        let causes =
            std::iter::successors(std::error::Error::source(error), |cause| cause.source());
        let cause = causes
            .last()
            .map_or(String::new(), |cause| format!(": {cause}"));
        let provider = self.provider;
        // Name resolution, connecting and TLS come before the first byte of the request. A connect
        // that timed out is both `is_connect` and `is_timeout`, so the order matters.
        if error.is_connect() || error.is_builder() {
            TransportError::NotSent(format!("{provider} cannot be reached{cause}"))
        } else if error.is_timeout() {
            TransportError::MaybeSent(format!("{provider} did not respond in time"))
        } else {
            TransportError::MaybeSent(format!("the connection to {provider} was lost{cause}"))
        }
    }
}

/// Converts the error of a request that may be repeated, whether it was sent or not.
fn as_transient(response: Result<ApiResponse, TransportError>) -> Result<ApiResponse, Failure> {
    response.map_err(|error| match error {
        TransportError::NotSent(reason) | TransportError::MaybeSent(reason) => Failure::Transient {
            reason,
            retry_after: None,
        },
    })
}

/// Parses `Retry-After`: seconds, or an HTTP date (RFC 9110, section 10.2.3).
fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        if seconds.is_nan() {
            return None;
        }
        return Duration::try_from_secs_f64(seconds.min(MAX_RETRY_AFTER.as_secs_f64())).ok();
    }
    let delay = parse_http_date(text)?.duration_since(now);
    let delay = Duration::try_from(delay).unwrap_or(Duration::ZERO);
    Some(delay.min(MAX_RETRY_AFTER))
}

/// Parses an HTTP date (RFC 9110, section 5.6.7).
fn parse_http_date(text: &str) -> Option<Timestamp> {
    Some(
        rfc2822::DateTimeParser::new()
            .relaxed_weekday(true)
            .parse_zoned(text)
            .ok()?
            .timestamp(),
    )
}

/// Returns whether the host of a URL is this machine.
pub fn is_loopback(url: &Url) -> bool {
    url.host().is_some_and(is_loopback_host)
}

/// Returns a URL with path segments appended and percent-encoded. Each stays one segment: `.` and `..`,
/// which would lead elsewhere, are encoded twice, so that they name nothing.
pub fn append_segments<'a>(base: &Url, segments: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = base.clone();
    let as_one = |segment: &'a str| match segment {
        "." => "%2E",
        ".." => "%2E%2E",
        segment => segment,
    };
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments.into_iter().map(as_one));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_parsed_as_seconds_or_as_a_date() {
        let now = "2026-08-20T10:00:00Z".parse().unwrap();
        let millis = |text| parse_retry_after(text, now).map(|delay| delay.as_millis());
        assert_eq!(millis("7"), Some(7_000));
        assert_eq!(millis("1.5"), Some(1_500));
        assert_eq!(millis("Thu, 20 Aug 2026 10:00:30 GMT"), Some(30_000));
        assert_eq!(millis("Thu, 20 Aug 2026 09:00:00 GMT"), Some(0));
        for too_long in ["864000", "1e300", "Fri, 20 Aug 2027 10:00:00 GMT"] {
            assert_eq!(millis(too_long), Some(86_400_000), "{too_long}");
        }
        for invalid in ["soon", "-5", "NaN", ""] {
            assert_eq!(millis(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn path_segments_are_appended_and_percent_encoded() {
        let base = Url::parse("https://api.eachlabs.ai/v1").unwrap();
        assert_eq!(
            append_segments(&base, ["prediction", "a/b?c"]).as_str(),
            "https://api.eachlabs.ai/v1/prediction/a%2Fb%3Fc"
        );
        for (segment, path) in [
            ("..", "%252E%252E"),
            (".", "%252E"),
            ("%2e%2e", "%252e%252e"),
        ] {
            assert_eq!(
                append_segments(&base, ["prediction", segment]).path(),
                format!("/v1/prediction/{path}")
            );
        }
    }

    #[test]
    fn only_hosts_on_this_machine_are_loopback() {
        let is_loopback = |text: &str| is_loopback(&Url::parse(text).unwrap());
        for url in [
            "http://localhost:1",
            "http://127.0.0.1:1/v1",
            "http://127.9.9.9",
            "http://[::1]:1",
        ] {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "https://queue.fal.run",
            "http://10.0.0.1",
            "https://localhost.example.com",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
