//! Uploads to a provider's storage: request an upload URL, then put the file there. Both are free
//! and may be repeated.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    TRANSFER_ENCODING,
};
use serde_json::Value;
use url::Url;

use crate::domain::{Failure, ProviderName};
use crate::image::ImageFile;

use super::classify::{classify_poll, describe};
use super::http::{ApiClient, ApiResponse};
use super::json::get_text;

/// Maximum number of headers that are sent with a file. Storages need a handful.
const MAX_HEADERS: usize = 50;

/// Headers that only the HTTP client sets.
const OWN_HEADERS: [HeaderName; 4] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION];

/// An image in a provider's storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedImage {
    /// The URL under which the provider reads the image.
    pub public_url: String,
    /// How long the provider keeps the image; `None` if it does not expire.
    pub retention: Option<Duration>,
}

/// The keys under which an API's response to an upload request holds the upload URL and the rest.
pub(super) struct PresignFields {
    /// Key of the URL to which the file is to be uploaded.
    pub(super) upload_url: &'static str,
    /// Key of the URL under which the file can be read afterwards.
    pub(super) public_url: &'static str,
    /// Key of the headers to send with the file. It may be missing.
    pub(super) headers: &'static str,
    /// How long the API keeps a file; `None` if it does not expire. Not read from the response.
    pub(super) retention: Option<Duration>,
}

/// Uploads a file. Posts `body` to `url` to request an upload URL, reads it from the response by
/// `fields`, and puts the file there without the key.
pub(super) async fn upload(
    client: &ApiClient,
    url: Url,
    body: &Value,
    fields: &PresignFields,
    file: &ImageFile,
) -> Result<UploadedImage, Failure> {
    let provider = client.provider();
    let response = client.post_idempotent(url, body).await?;
    let presigned = parse_presigned(provider, &response, fields)?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    headers.extend(presigned.headers);
    let response = client
        .put_presigned(&presigned.upload_url, headers, file.bytes.clone())
        .await?;
    if !response.status.is_success() {
        let reason = format!("the storage of {}", describe(provider, &response));
        return Err(match response.status.as_u16() {
            // An upload URL is valid for minutes; the next try requests another one.
            403 | 404 | 408 | 429 | 500.. => Failure::Transient {
                reason,
                retry_after: response.retry_after,
            },
            _ => Failure::Rejected { reason },
        });
    }
    Ok(UploadedImage {
        public_url: presigned.public_url,
        retention: fields.retention,
    })
}

/// Where and how to upload a file.
#[derive(Clone, Debug)]
pub struct Presigned {
    /// The URL to which it is uploaded.
    pub upload_url: Url,
    /// The URL under which it can be read afterwards.
    pub public_url: String,
    /// The headers to send with it.
    pub headers: HeaderMap,
}

/// Parses a response to an upload request, of any status.
pub(super) fn parse_presigned(
    provider: ProviderName,
    response: &ApiResponse,
    fields: &PresignFields,
) -> Result<Presigned, Failure> {
    let presigned = response.success().and_then(|body| {
        let upload_url = Url::parse(&get_text(body, &[fields.upload_url])?).ok()?;
        let public_url = get_text(body, &[fields.public_url])?;
        Some((upload_url, public_url, body.get(fields.headers)))
    });
    let Some((upload_url, public_url, required_headers)) = presigned else {
        // For a prediction a 404 may pass; here it means that the API has no storage.
        if response.status == StatusCode::NOT_FOUND {
            return Err(Failure::Rejected {
                reason: describe(provider, response),
            });
        }
        if response.status.is_success() {
            let reason = format!("{provider} returned a body that has no upload URL");
            return Err(Failure::Unknown { reason });
        }
        return Err(classify_poll(provider, response));
    };
    let Some(headers) = parse_headers(required_headers) else {
        let reason = format!("{provider} asks for more than {MAX_HEADERS} headers with an upload");
        return Err(Failure::Unknown { reason });
    };
    Ok(Presigned {
        upload_url,
        public_url,
        headers,
    })
}

/// Parses an object of headers; entries that are no valid header, and those that belong to the connection,
/// are left out. `None` if there are more of them than any storage needs.
fn parse_headers(headers: Option<&Value>) -> Option<HeaderMap> {
    let headers = headers.and_then(Value::as_object);
    let headers = headers.into_iter().flatten();
    let mut parsed = HeaderMap::new();
    for (count, (name, value)) in headers.enumerate() {
        if count >= MAX_HEADERS {
            return None;
        }
        let header = || -> Option<(HeaderName, HeaderValue)> {
            Some((name.parse().ok()?, value.as_str()?.parse().ok()?))
        };
        if let Some((name, value)) = header()
            && !OWN_HEADERS.contains(&name)
        {
            parsed.insert(name, value);
        }
    }
    Some(parsed)
}
