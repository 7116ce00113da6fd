//! The shared HTTP client: one request, one answer, no retry, no redirect; and what a failure means.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::fmt::rfc2822;
use reqwest::header::{HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, StatusCode, redirect};
use serde_json::Value;
use url::Url;

use crate::clock::Clock;
use crate::domain::public_address::is_loopback_host;
use crate::domain::{Failure, ProviderName};

use super::answer::message;
use super::key::ApiKey;

/// No answer of these APIs comes near this size; a larger one is not theirs.
const LARGEST_BODY: usize = 4 << 20;

const CONNECT: Duration = Duration::from_secs(10);
/// A create answers within seconds; whoever waits less long makes doubts, and doubts cost a search each.
const CREATE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_secs(30);

/// A server may ask for patience, not for ever.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A client that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The key cannot be sent.
    #[error(transparent)]
    Key(#[from] super::key::BadKey),
    /// The HTTP client cannot be made.
    #[error("cannot set up HTTPS: {0}")]
    Http(#[from] reqwest::Error),
}

/// Calls one provider.
#[derive(Clone)]
pub struct ApiClient {
    provider: ProviderName,
    creates: Client,
    looks: Client,
    auth: (HeaderName, reqwest::header::HeaderValue),
    clock: Arc<dyn Clock>,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as JSON; `None` where it is none.
    pub json: Option<Value>,
    /// How long the server asked to wait, if it did.
    pub retry_after: Option<Duration>,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub enum NoReply {
    /// The request never left: nothing can have come of it.
    NotSent(String),
    /// The request left, or may have.
    MaybeSent(String),
}

/// Only a create is told so: any other call may be repeated, whether it was sent or not.
impl From<NoReply> for Failure {
    fn from(no_reply: NoReply) -> Self {
        match no_reply {
            NoReply::NotSent(reason) => Self::Transient { reason, retry_after: None },
            NoReply::MaybeSent(reason) => Self::Unknown { reason },
        }
    }
}

impl ApiClient {
    /// Makes a client that sends `key` in the header `header`, after `scheme`.
    pub fn new(
        provider: ProviderName,
        key: &ApiKey,
        header: HeaderName,
        scheme: &str,
        clock: Arc<dyn Clock>,
        local: bool,
    ) -> Result<Self, SetupError> {
        crate::tls::install();
        let builder = |timeout| {
            let builder = Client::builder()
                .connect_timeout(CONNECT)
                .timeout(timeout)
                .user_agent(concat!("overnight/", env!("CARGO_PKG_VERSION")))
                // A redirect would take the key to another host, and a repeated create would be a second bill.
                .redirect(redirect::Policy::none())
                .retry(reqwest::retry::never());
            // A proxy could not reach this machine.
            if local { builder.no_proxy() } else { builder }
        };
        Ok(Self {
            provider,
            // A kept connection may be closed by the server in the instant a create is written to it, and then nobody
            // knows whether it was read. A fresh connection for each create makes that doubt rare.
            creates: builder(CREATE).pool_max_idle_per_host(0).http1_only().build()?,
            looks: builder(LOOK).build()?,
            auth: (header, key.header(scheme)?),
            clock,
        })
    }

    /// Sends a create call.
    pub async fn create(
        &self,
        url: Url,
        headers: &[(&'static str, &str)],
        body: &Value,
    ) -> Result<Reply, NoReply> {
        let mut request = self.creates.post(url).json(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request).await
    }

    /// Makes a call that can be repeated; a missing answer is a failure that will pass.
    pub async fn look(&self, method: Method, url: Url) -> Result<Reply, Failure> {
        self.send(self.looks.request(method, url)).await.map_err(|no_reply| match no_reply {
            NoReply::NotSent(reason) | NoReply::MaybeSent(reason) => {
                Failure::Transient { reason, retry_after: None }
            }
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Reply, NoReply> {
        let (name, value) = self.auth.clone();
        let response = request.header(name, value).send().await.map_err(|error| self.no_reply(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| self.no_reply(&error))?;
            if body.len() + chunk.len() > LARGEST_BODY {
                return Err(NoReply::MaybeSent(format!("{} answered with a huge body", self.provider)));
            }
            body.extend_from_slice(&chunk);
        }
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| read_retry_after(text, self.clock.now()));
        Ok(Reply { status, headers, json: serde_json::from_slice(&body).ok(), retry_after })
    }

    /// Tells whether a request that failed can have reached the server. Never shows the address: it may be signed.
    fn no_reply(&self, error: &reqwest::Error) -> NoReply {
        let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
        let cause = causes.last().map_or(String::new(), |cause| format!(": {cause}"));
        let provider = self.provider;
        // Name resolution, connecting and TLS come before the first byte of the request.
        if error.is_connect() || error.is_builder() {
            NoReply::NotSent(format!("{provider} cannot be reached{cause}"))
        } else if error.is_timeout() {
            NoReply::MaybeSent(format!("{provider} did not answer in time"))
        } else {
            NoReply::MaybeSent(format!("the connection to {provider} broke off{cause}"))
        }
    }
}

/// Reads `Retry-After`: seconds, or an HTTP date (RFC 9110, section 10.2.3).
fn read_retry_after(text: &str, now: jiff::Timestamp) -> Option<Duration> {
    let text = text.trim();
    let delay = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => {
            let date =
                rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_zoned(text).ok()?.timestamp();
            Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO)
        }
    };
    Some(delay.min(LONGEST_RETRY_AFTER))
}

/// Tells what an unsuccessful answer to a create means. `is_own` says that the body has the provider's own error form:
/// then its 500 and 503 are its word that it did not take the job; anybody's else say nothing about it.
pub fn refused_create(provider: ProviderName, reply: &Reply, is_own: bool) -> Failure {
    let reason = describe(provider, reply);
    let retry_after = reply.retry_after;
    match reply.status.as_u16() {
        429 => Failure::RateLimited { reason, retry_after },
        401..=403 => closed(provider, reply),
        408 => Failure::Unknown { reason },
        400..=499 => Failure::Rejected { reason },
        500 | 503 if is_own => Failure::Transient { reason, retry_after },
        _ => Failure::Unknown { reason },
    }
}

/// Tells what an unsuccessful answer to a look means.
pub fn refused_look(provider: ProviderName, reply: &Reply) -> Failure {
    let reason = describe(provider, reply);
    let retry_after = reply.retry_after;
    match reply.status.as_u16() {
        429 => Failure::RateLimited { reason, retry_after },
        401..=403 => closed(provider, reply),
        404 | 408 => Failure::Transient { reason, retry_after },
        400..=499 => Failure::Rejected { reason },
        _ => Failure::Transient { reason, retry_after },
    }
}

fn closed(provider: ProviderName, reply: &Reply) -> Failure {
    let reason = describe(provider, reply);
    let remedy = if reply.status == StatusCode::UNAUTHORIZED {
        format!("check the key in {}", provider.key_variable())
    } else {
        format!("check the balance at {provider}, and what the key in {} may do", provider.key_variable())
    };
    Failure::Closed { reason: format!("{reason}; {remedy}, then run again") }
}

/// `eachlabs answered 429: too many requests`.
pub fn describe(provider: ProviderName, reply: &Reply) -> String {
    let status = reply.status.as_u16();
    let said = reply.json.as_ref().and_then(message);
    let said = said.or_else(|| reply.status.canonical_reason().map(str::to_lowercase)).unwrap_or_default();
    format!("{provider} answered {status}: {said}")
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
        let seconds = |text| read_retry_after(text, now).map(|delay| delay.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds("Thu, 20 Aug 2026 10:00:30 GMT"), Some(30));
        assert_eq!(seconds("Thu, 20 Aug 2026 09:00:00 GMT"), Some(0));
        assert_eq!(seconds("86400"), Some(3600));
        assert_eq!(seconds("soon"), None);
        assert_eq!(seconds("-5"), None);
    }

    #[test]
    fn only_a_providers_own_word_makes_a_failed_create_known() {
        let reply = |status| Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            json: None,
            retry_after: None,
        };
        let kind = |status, is_own| match refused_create(ProviderName::Fal, &reply(status), is_own) {
            Failure::Transient { .. } => "transient",
            Failure::RateLimited { .. } => "rate limited",
            Failure::Closed { .. } => "closed",
            Failure::Rejected { .. } => "rejected",
            Failure::Unknown { .. } => "unknown",
        };
        for (status, own, anybodys) in [
            (400, "rejected", "rejected"),
            (401, "closed", "closed"),
            (402, "closed", "closed"),
            (403, "closed", "closed"),
            (404, "rejected", "rejected"),
            (408, "unknown", "unknown"),
            (422, "rejected", "rejected"),
            (429, "rate limited", "rate limited"),
            (500, "transient", "unknown"),
            (502, "unknown", "unknown"),
            (503, "transient", "unknown"),
            (504, "unknown", "unknown"),
            (524, "unknown", "unknown"),
            (302, "unknown", "unknown"),
        ] {
            assert_eq!((kind(status, true), kind(status, false)), (own, anybodys), "{status}");
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
}
