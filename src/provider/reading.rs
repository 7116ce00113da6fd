//! What an answer is taken for, without the call it came from: fuzzing goes in here, and nothing else.

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::{Failure, ProviderName};

use super::http::Reply;
use super::{Acceptance, ApiKey, Look, aimlapi, eachlabs, fal};

/// Makes an answer of its parts; headers that could not come over the wire are left out.
pub fn reply<'a>(
    status: u16,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    body: &[u8],
    key: &ApiKey,
    now: Timestamp,
) -> Option<Reply> {
    let header = |(name, value): (&str, &str)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    };
    let headers: HeaderMap = headers.into_iter().filter_map(header).collect();
    Some(Reply::read(StatusCode::from_u16(status).ok()?, headers, body, key, now))
}

/// Reads it as the answer to a create.
pub fn create(provider: ProviderName, reply: &Reply) -> Result<Acceptance, Failure> {
    match provider {
        ProviderName::Eachlabs => eachlabs::read_create(reply),
        ProviderName::Aimlapi => aimlapi::read_create(reply),
        ProviderName::Fal => fal::read_create(reply),
    }
}

/// Reads it as the answer to a look at a prediction that has ended; fal's is the result, behind this status.
pub fn look(
    provider: ProviderName,
    reply: &Reply,
    status: &serde_json::Value,
    key: &ApiKey,
) -> Result<Look, Failure> {
    match provider {
        ProviderName::Eachlabs => eachlabs::read_look(reply),
        ProviderName::Aimlapi => aimlapi::read_look(reply),
        ProviderName::Fal => fal::read_result(reply, status, key),
    }
}
