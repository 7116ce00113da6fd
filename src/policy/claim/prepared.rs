//! A request as it will be sent and stored, with its price.

use sha2::{Digest, Sha256};

use crate::domain::{Attempt, model};

/// A request as it will be sent and stored, with its price.
#[derive(Debug)]
pub struct PreparedRequest {
    /// The route's model name, request and price.
    pub quote: model::RouteQuote,
    /// The request as JSON text.
    pub request_text: String,
    /// The digest of `request_text`; see [`request_digest`].
    pub digest: i64,
    /// Why the step must reject the job instead of sending the request; `None` to send it.
    pub rejection: Option<String>,
}

impl From<model::RouteQuote> for PreparedRequest {
    fn from(quote: model::RouteQuote) -> Self {
        let request_text = quote.request.to_string();
        let digest = request_digest(&request_text);
        Self {
            quote,
            request_text,
            digest,
            rejection: None,
        }
    }
}

/// Returns the [`request_digest`] of an attempt.
pub fn attempt_digest(attempt: &Attempt) -> i64 {
    request_digest(&attempt.request.to_string())
}

/// Returns the first 8 bytes of the SHA-256 of a request, as a big-endian integer.
pub fn request_digest(request: &str) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(Sha256::digest(request));
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}
