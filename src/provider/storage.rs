//! Gives files to a provider's storage: asks for a place, and puts the file there. Neither costs, so both may be repeated.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use url::Url;

use crate::domain::Failure;
use crate::domain::public_address::is_public_host;
use crate::image::ImageFile;

use super::classify::{classify_poll, describe};
use super::http::{ApiClient, MIN_BYTES_PER_SECOND, is_loopback};
use super::json::text;

/// A file that a provider has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedImage {
    /// The link under which the provider finds it.
    pub public_url: String,
    /// How long it is kept there; `None` is for good.
    pub retention: Option<Duration>,
}

/// How an API words the place it gives for a file.
pub(super) struct PresignFields {
    /// Where the file is to be put.
    pub(super) upload_url: &'static str,
    /// Where it is found then.
    pub(super) public_url: &'static str,
    /// What headers to put it with, if the API says.
    pub(super) headers: &'static str,
    /// How long it is kept; `None` is for good.
    pub(super) retention: Option<Duration>,
}

/// How long a place takes to answer, whatever it is given.
const PUT_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });

/// Uploads a file: `question` and `url` ask for the place, as `words` has it.
pub(super) async fn upload(
    client: &ApiClient,
    url: Url,
    question: &Value,
    words: &PresignFields,
    file: &ImageFile,
) -> Result<UploadedImage, Failure> {
    let may_be_local = is_loopback(&url);
    let reply = client.post_idempotent(url, question).await?;
    let answer = reply.json.as_ref().filter(|_| reply.status.is_success());
    let found = answer.and_then(|answer| {
        let upload_url = Url::parse(&text(answer, &[words.upload_url])?).ok()?;
        Some((
            upload_url,
            text(answer, &[words.public_url])?,
            answer.get(words.headers),
        ))
    });
    let Some((upload_url, public_url, headers)) = found else {
        // Of a prediction it says "not yet"; here, that there is no storage.
        if reply.status == StatusCode::NOT_FOUND {
            return Err(Failure::Rejected {
                reason: describe(client.provider(), &reply),
            });
        }
        if reply.status.is_success() {
            let reason = format!(
                "{} answered with something else than a place for a file",
                client.provider()
            );
            return Err(Failure::Unknown { reason });
        }
        return Err(classify_poll(client.provider(), &reply));
    };
    let is_local = may_be_local && upload_url.scheme() == "http" && is_loopback(&upload_url);
    let is_public = upload_url.scheme() == "https" && upload_url.host().is_some_and(is_public_host);
    if !is_public && !is_local {
        let reason = format!(
            "{} asked for an upload to a place that is not public, or not encrypted",
            client.provider()
        );
        return Err(Failure::Rejected { reason });
    }
    let mut all = HeaderMap::new();
    all.insert(CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    for (name, value) in headers.into_iter().flat_map(read_headers) {
        all.insert(name, value);
    }
    let patience =
        PUT_TIMEOUT + Duration::from_secs(file.bytes.len() as u64 / MIN_BYTES_PER_SECOND);
    let reply = client
        .put_presigned(upload_url, all, file.bytes.clone(), patience)
        .await?;
    if !reply.status.is_success() {
        let reason = format!("the storage of {}", describe(client.provider(), &reply));
        return Err(match reply.status.as_u16() {
            // A place is given for minutes: the next try has another.
            403 | 404 | 408 | 429 | 500.. => Failure::Transient {
                reason,
                retry_after: reply.retry_after,
            },
            _ => Failure::Rejected { reason },
        });
    }
    Ok(UploadedImage {
        public_url,
        retention: words.retention,
    })
}

fn read_headers(headers: &Value) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let headers = headers.as_object().into_iter().flatten();
    headers.filter_map(|(name, value)| Some((name.parse().ok()?, value.as_str()?.parse().ok()?)))
}
