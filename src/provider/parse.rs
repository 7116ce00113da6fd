//! What an answer is taken for, without the call it came from: fuzzing goes in here, and nothing else.

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::{Failure, ProviderName};

use super::http::ApiResponse;
use super::{Acceptance, ApiKey, PollResult, aimlapi, eachlabs, fal};

/// Makes an answer of its parts; headers that could not come over the wire are left out.
pub fn reply<'a>(
    status: u16,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    body: &[u8],
    key: &ApiKey,
    now: Timestamp,
) -> Option<ApiResponse> {
    let header = |(name, value): (&str, &str)| {
        Some((
            HeaderName::try_from(name).ok()?,
            HeaderValue::try_from(value).ok()?,
        ))
    };
    let headers: HeaderMap = headers.into_iter().filter_map(header).collect();
    Some(ApiResponse::read(
        StatusCode::from_u16(status).ok()?,
        headers,
        body,
        key,
        now,
    ))
}

/// Reads it as the answer to a create.
pub fn submit(provider: ProviderName, reply: &ApiResponse) -> Result<Acceptance, Failure> {
    match provider {
        ProviderName::Eachlabs => eachlabs::read_submit(reply),
        ProviderName::Aimlapi => aimlapi::read_submit(reply),
        ProviderName::Fal => fal::read_submit(reply),
    }
}

/// Reads it as the answer to a look at a prediction that has ended; fal's is the result, behind this status.
pub fn poll(
    provider: ProviderName,
    reply: &ApiResponse,
    status: &serde_json::Value,
    key: &ApiKey,
) -> Result<PollResult, Failure> {
    match provider {
        ProviderName::Eachlabs => eachlabs::read_poll(reply),
        ProviderName::Aimlapi => aimlapi::read_poll(reply),
        ProviderName::Fal => fal::read_result(reply, status, key),
    }
}
