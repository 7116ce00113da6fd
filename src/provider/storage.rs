//! Gives files to a provider's storage: asks for a place, and puts the file there. Neither costs, so both may be repeated.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use url::Url;

use crate::domain::Failure;
use crate::domain::public_address::is_public_host;
use crate::image::ImageFile;

use super::answer::text;
use super::http::{ApiClient, SLOWEST_BYTES_PER_SECOND, is_loopback};
use super::refusal::{describe, refused_look};

/// A file that a provider has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The link under which the provider finds it.
    pub link: String,
    /// How long it is kept there; `None` is for good.
    pub kept: Option<Duration>,
}

/// How an API words the place it gives for a file.
pub(super) struct Words {
    /// Where the file is to be put.
    pub(super) place: &'static str,
    /// Where it is found then.
    pub(super) link: &'static str,
    /// What headers to put it with, if the API says.
    pub(super) headers: &'static str,
    /// How long it is kept; `None` is for good.
    pub(super) kept: Option<Duration>,
}

/// How long a place takes to answer, whatever it is given.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });

/// Uploads a file: `question` and `url` ask for the place, as `words` has it.
pub(super) async fn upload(
    client: &ApiClient,
    url: Url,
    question: &Value,
    words: &Words,
    file: &ImageFile,
) -> Result<Upload, Failure> {
    let may_be_local = is_loopback(&url);
    let reply = client.ask(url, question).await?;
    let answer = reply.json.as_ref().filter(|_| reply.status.is_success());
    let found = answer.and_then(|answer| {
        let place = Url::parse(&text(answer, &[words.place])?).ok()?;
        Some((place, text(answer, &[words.link])?, answer.get(words.headers)))
    });
    let Some((place, link, headers)) = found else {
        // Of a prediction it says "not yet"; here, that there is no storage.
        if reply.status == StatusCode::NOT_FOUND {
            return Err(Failure::Rejected { reason: describe(client.provider(), &reply) });
        }
        if reply.status.is_success() {
            let reason =
                format!("{} answered with something else than a place for a file", client.provider());
            return Err(Failure::Unknown { reason });
        }
        return Err(refused_look(client.provider(), &reply));
    };
    let is_local = may_be_local && place.scheme() == "http" && is_loopback(&place);
    let is_public = place.scheme() == "https" && place.host().is_some_and(is_public_host);
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
    let patience = PATIENCE + Duration::from_secs(file.bytes.len() as u64 / SLOWEST_BYTES_PER_SECOND);
    let reply = client.put(place, all, file.bytes.clone(), patience).await?;
    if !reply.status.is_success() {
        let reason = format!("the storage of {}", describe(client.provider(), &reply));
        return Err(match reply.status.as_u16() {
            // A place is given for minutes: the next try has another.
            403 | 404 | 408 | 429 | 500.. => Failure::Transient { reason, retry_after: reply.retry_after },
            _ => Failure::Rejected { reason },
        });
    }
    Ok(Upload { link, kept: words.kept })
}

fn read_headers(headers: &Value) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let headers = headers.as_object().into_iter().flatten();
    headers.filter_map(|(name, value)| Some((name.parse().ok()?, value.as_str()?.parse().ok()?)))
}
