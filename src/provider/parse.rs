//! Parsing of responses without the request that they belong to. The entry point for fuzzing, and
//! for nothing else.

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::{Failure, ProviderName};

use super::history::HistoryEntry;
use super::history_pages::read_entries;
use super::http::ApiResponse;
use super::storage::{Presigned, parse_presigned};
use super::{Acceptance, ApiKey, PollResult, aimlapi, eachlabs, fal};

/// Builds a response from its parts. Returns `None` if the status is invalid; invalid headers,
/// which could not be received, are left out.
pub fn build_response<'a>(
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
    Some(ApiResponse::from_parts(
        StatusCode::from_u16(status).ok()?,
        headers,
        body,
        key,
        now,
    ))
}

/// Parses a response to a submission, of any status, as the provider's adapter does. Its errors are
/// those of [`Provider::submit`](super::Provider::submit).
pub fn parse_submit(provider: ProviderName, response: &ApiResponse) -> Result<Acceptance, Failure> {
    match provider {
        ProviderName::Eachlabs => eachlabs::parse_submit(response),
        ProviderName::Aimlapi => aimlapi::parse_submit(response),
        ProviderName::Fal => fal::response::parse_submit(response),
    }
}

/// Parses a response to a poll, of any status, as the provider's adapter does. At fal, this is the
/// result of a completed request, and `status` is the body of the status response before it; the
/// others ignore `status`. A clip's URL on this machine is not accepted.
pub fn parse_poll(
    provider: ProviderName,
    response: &ApiResponse,
    status: &serde_json::Value,
    key: &ApiKey,
) -> Result<PollResult, Failure> {
    match provider {
        ProviderName::Eachlabs => eachlabs::parse_poll(response, false),
        ProviderName::Aimlapi => aimlapi::parse_poll(response, false),
        ProviderName::Fal => fal::response::parse_result(response, status, key, false),
    }
}

/// Parses a page of a history, of any status, as the provider's adapter does. Entries that are certainly of
/// another model are left out.
pub fn parse_history(
    provider: ProviderName,
    response: &ApiResponse,
    wire_model: &str,
) -> Result<Vec<HistoryEntry>, Failure> {
    let entries = |key| read_entries(provider, response, key);
    Ok(match provider {
        ProviderName::Eachlabs => entries("executions")?
            .iter()
            .map(|entry| match eachlabs::parse_listed(entry) {
                (Some(id), submitted_at) => HistoryEntry {
                    submitted_at,
                    ..eachlabs::parse_execution(id, response)
                },
                (None, submitted_at) => HistoryEntry::without_id(submitted_at),
            })
            .collect(),
        ProviderName::Aimlapi => entries("data")?
            .iter()
            .filter_map(|entry| aimlapi::parse_history_entry(entry, wire_model))
            .collect(),
        ProviderName::Fal => entries("items")?
            .iter()
            .map(fal::response::parse_history_entry)
            .collect(),
    })
}

/// Parses a response to an upload request, of any status, as the provider's adapter does; `None` for a
/// provider without a storage.
pub fn parse_upload(
    provider: ProviderName,
    response: &ApiResponse,
) -> Option<Result<Presigned, Failure>> {
    let fields = match provider {
        ProviderName::Eachlabs => &eachlabs::PRESIGN,
        ProviderName::Fal => &fal::PRESIGN,
        ProviderName::Aimlapi => return None,
    };
    Some(parse_presigned(provider, response, fields))
}
