//! The shared HTTP client: one request, one answer, no retry, no redirect.

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
use crate::tls;

use super::json::message;
use super::key::ApiKey;

/// No answer of these APIs comes near this size; a larger one is not theirs.
const MAX_BODY_BYTES: usize = 4 << 20;

const CONNECT: Duration = Duration::from_secs(10);
/// A create answers within seconds; whoever waits less long makes doubts, and doubts cost a search each.
/// The whole answer counts, so that a server that gives it byte by byte holds nobody up for longer.
const CREATE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });
const LOOK: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What a line gives at the least: what is sent more slowly is not on its way any more.
pub(super) const MIN_BYTES_PER_SECOND: u64 = 50_000;

/// A server may ask for patience, not for ever.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A client that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The key cannot be sent.
    #[error(transparent)]
    Key(#[from] super::key::InvalidKey),
    /// The HTTP client cannot be made.
    #[error("cannot set up HTTPS: {0}")]
    Http(#[from] reqwest::Error),
}

/// How a key is put on the wire.
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
    fn header(self) -> (HeaderName, &'static str) {
        match self {
            Self::XApiKey => (HeaderName::from_static("x-api-key"), ""),
            Self::Bearer => (AUTHORIZATION, "Bearer "),
            Self::Key => (AUTHORIZATION, "Key "),
        }
    }
}

/// Calls one provider.
#[derive(Clone)]
pub struct ApiClient {
    provider: ProviderName,
    creates: Client,
    looks: Client,
    key: ApiKey,
    auth: (HeaderName, HeaderValue),
    clock: Arc<dyn Clock>,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct ApiResponse {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as JSON, never with the key in it; `None` where it is none.
    pub json: Option<Value>,
    /// What the body says went wrong, if it says.
    pub error_message: Option<String>,
    /// How long the server asked to wait, if it did.
    pub retry_after: Option<Duration>,
    /// How far our clock is ahead of the server's, by its `Date`.
    pub clock_ahead: Option<SignedDuration>,
}

impl ApiResponse {
    /// Reads what came over the wire.
    pub fn read(
        status: StatusCode,
        headers: HeaderMap,
        body: &[u8],
        key: &ApiKey,
        now: Timestamp,
    ) -> Self {
        let mut json: Option<Value> = serde_json::from_slice(body).ok();
        json.iter_mut().for_each(|json| key.redact_json(json));
        let error_message = json.as_ref().and_then(|json| message(json, key));
        let retry_after = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| read_retry_after(text, now));
        let date = headers
            .get(DATE)
            .and_then(|value| read_date(value.to_str().ok()?));
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

/// Why there is no answer.
pub enum TransportError {
    /// The request never left: nothing can have come of it.
    NotSent(String),
    /// The request left, or may have.
    MaybeSent(String),
}

/// Only a create is told so: any other call may be repeated, whether it was sent or not.
impl From<TransportError> for Failure {
    fn from(no_reply: TransportError) -> Self {
        match no_reply {
            TransportError::NotSent(reason) => Self::Transient {
                reason,
                retry_after: None,
            },
            TransportError::MaybeSent(reason) => Self::Unknown { reason },
        }
    }
}

impl ApiClient {
    /// Makes a client. `local` says that the provider's base address is this machine.
    pub fn new(
        provider: ProviderName,
        key: &ApiKey,
        auth: Auth,
        clock: Arc<dyn Clock>,
        local: bool,
    ) -> Result<Self, SetupError> {
        let builder = |timeout, protocols| {
            let builder = tls::client_builder(protocols)
                .connect_timeout(CONNECT)
                .timeout(timeout)
                .user_agent(concat!("overnight/", env!("CARGO_PKG_VERSION")))
                // A redirect would take the key to another host, and a repeated create would be a second bill.
                .redirect(redirect::Policy::none())
                .retry(reqwest::retry::never());
            // A proxy could not reach this machine.
            if local { builder.no_proxy() } else { builder }
        };
        let (header, scheme) = auth.header();
        Ok(Self {
            provider,
            // A kept connection may be closed by the server in the instant a create is written to it, and then nobody
            // knows whether it was read. A fresh connection for each create makes that doubt rare.
            creates: builder(CREATE, tls::HTTP_1)
                .pool_max_idle_per_host(0)
                .http1_only()
                .build()?,
            looks: builder(LOOK, tls::ANY_HTTP).build()?,
            key: key.clone(),
            auth: (header, key.header(scheme)?),
            clock,
        })
    }

    /// Sends a create call, once. Without an answer it is [`Failure::Transient`] if the request cannot have left, and
    /// [`Failure::Unknown`] otherwise.
    pub async fn submit(
        &self,
        url: Url,
        headers: &[(&'static str, &str)],
        body: &Value,
    ) -> Result<ApiResponse, Failure> {
        let body = body.to_string();
        // A picture inside takes its time on a slow line; nobody should have to doubt because of it.
        let patience = CREATE + Duration::from_secs(body.len() as u64 / MIN_BYTES_PER_SECOND);
        let request = self
            .creates
            .post(url)
            .header(CONTENT_TYPE, JSON)
            .timeout(patience);
        let mut request = request.body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(self.send(request).await?)
    }

    /// Makes a call that can be repeated; a missing answer is a failure that will pass.
    pub async fn get(&self, method: Method, url: Url) -> Result<ApiResponse, Failure> {
        as_transient(self.send(self.looks.request(method, url)).await)
    }

    /// Asks for something with a body, which can be repeated as a look can.
    pub(super) async fn post_idempotent(
        &self,
        url: Url,
        body: &Value,
    ) -> Result<ApiResponse, Failure> {
        as_transient(self.send(self.looks.post(url).json(body)).await)
    }

    /// Puts bytes where the provider said, without the key: the address is signed, and may be another's.
    pub(super) async fn put_presigned(
        &self,
        url: Url,
        headers: HeaderMap,
        bytes: Bytes,
        patience: Duration,
    ) -> Result<ApiResponse, Failure> {
        as_transient(
            self.exchange(
                self.looks
                    .put(url)
                    .headers(headers)
                    .body(bytes)
                    .timeout(patience),
            )
            .await,
        )
    }

    /// Whom it calls.
    pub(super) fn provider(&self) -> ProviderName {
        self.provider
    }

    /// The key it sends, for blotting it out.
    pub(super) fn key(&self) -> &ApiKey {
        &self.key
    }

    async fn send(&self, request: RequestBuilder) -> Result<ApiResponse, TransportError> {
        let (name, value) = self.auth.clone();
        self.exchange(request.header(name, value)).await
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<ApiResponse, TransportError> {
        let response = request
            .send()
            .await
            .map_err(|error| self.no_reply(&error))?;
        fail_point!("response started");
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| self.no_reply(&error))?;
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(TransportError::MaybeSent(format!(
                    "{} answered with a huge body",
                    self.provider
                )));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(ApiResponse::read(
            status,
            headers,
            &body,
            &self.key,
            self.clock.now(),
        ))
    }

    /// Tells whether a request that failed can have reached the server. Never shows the address: it may be signed.
    fn no_reply(&self, error: &reqwest::Error) -> TransportError {
        let causes =
            std::iter::successors(std::error::Error::source(error), |cause| cause.source());
        let cause = causes
            .last()
            .map_or(String::new(), |cause| format!(": {cause}"));
        let provider = self.provider;
        // Name resolution, connecting and TLS come before the first byte of the request. A connect that timed out is
        // both `is_connect` and `is_timeout`, so the order counts.
        if error.is_connect() || error.is_builder() {
            TransportError::NotSent(format!("{provider} cannot be reached{cause}"))
        } else if error.is_timeout() {
            TransportError::MaybeSent(format!("{provider} did not answer in time"))
        } else {
            TransportError::MaybeSent(format!("the connection to {provider} broke off{cause}"))
        }
    }
}

/// What became of a call that may be made again, whether it was sent or not.
fn as_transient(answer: Result<ApiResponse, TransportError>) -> Result<ApiResponse, Failure> {
    answer.map_err(|no_reply| match no_reply {
        TransportError::NotSent(reason) | TransportError::MaybeSent(reason) => Failure::Transient {
            reason,
            retry_after: None,
        },
    })
}

/// Reads `Retry-After`: seconds, or an HTTP date (RFC 9110, section 10.2.3).
fn read_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        if seconds.is_nan() {
            return None;
        }
        return Duration::try_from_secs_f64(seconds.min(MAX_RETRY_AFTER.as_secs_f64())).ok();
    }
    let delay = Duration::try_from(read_date(text)?.duration_since(now)).unwrap_or(Duration::ZERO);
    Some(delay.min(MAX_RETRY_AFTER))
}

/// Reads an HTTP date (RFC 9110, section 5.6.7).
fn read_date(text: &str) -> Option<Timestamp> {
    Some(
        rfc2822::DateTimeParser::new()
            .relaxed_weekday(true)
            .parse_zoned(text)
            .ok()?
            .timestamp(),
    )
}

/// Tells whether an address is this machine.
pub fn is_loopback(url: &Url) -> bool {
    url.host().is_some_and(is_loopback_host)
}

/// Appends path segments to an address.
pub fn join<'a>(base: &Url, segments: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let now = "2026-08-20T10:00:00Z".parse().unwrap();
        let millis = |text| read_retry_after(text, now).map(|delay| delay.as_millis());
        assert_eq!(millis("7"), Some(7_000));
        assert_eq!(millis("1.5"), Some(1_500));
        assert_eq!(millis("Thu, 20 Aug 2026 10:00:30 GMT"), Some(30_000));
        assert_eq!(millis("Thu, 20 Aug 2026 09:00:00 GMT"), Some(0));
        for endless in ["86400", "1e300", "Fri, 20 Aug 2027 10:00:00 GMT"] {
            assert_eq!(millis(endless), Some(3_600_000), "{endless}");
        }
        for nonsense in ["soon", "-5", "NaN", ""] {
            assert_eq!(millis(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn segments_are_appended_and_encoded() {
        let base = Url::parse("https://api.eachlabs.ai/v1").unwrap();
        assert_eq!(
            join(&base, ["prediction", "a/b?c"]).as_str(),
            "https://api.eachlabs.ai/v1/prediction/a%2Fb%3Fc"
        );
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let local = |text: &str| is_loopback(&Url::parse(text).unwrap());
        for url in [
            "http://localhost:1",
            "http://127.0.0.1:1/v1",
            "http://127.9.9.9",
            "http://[::1]:1",
        ] {
            assert!(local(url), "{url}");
        }
        for url in [
            "https://queue.fal.run",
            "http://10.0.0.1",
            "https://localhost.example.com",
        ] {
            assert!(!local(url), "{url}");
        }
    }
}
