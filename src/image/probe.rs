//! Whether a link leads to a picture: asks for its first bytes, from this machine.

use std::io::Cursor;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::StatusCode;
use url::Url;

use crate::link_client::{LinkClient, LinkError, ProxiedLinks};

use super::kinds::media_type;
use super::{MAX_IMAGE_BYTES, PictureFacts};

/// Maximum number of bytes that are read of a picture: its size is in front of its pixels, but after a
/// preview that some cameras add.
const MAX_PROBED_BYTES: usize = 256 << 10;

/// Maximum time for a link.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Asks for the first bytes of pictures.
pub struct PictureProbe {
    links: LinkClient,
}

/// Why a link does not lead to a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeError {
    /// What is wrong. It continues "the link …".
    pub reason: String,
    /// Whether it may be otherwise later, or for a provider: the host did not respond.
    pub is_transient: bool,
}

impl ProbeError {
    fn permanent(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_transient: false,
        }
    }

    fn transient(reason: impl Into<String>) -> Self {
        Self {
            is_transient: true,
            ..Self::permanent(reason)
        }
    }
}

impl PictureProbe {
    /// Creates a client.
    ///
    /// # Errors
    /// Fails if TLS cannot be set up.
    pub fn new(proxied: ProxiedLinks) -> Result<Self, reqwest::Error> {
        let links = LinkClient::new(proxied, |builder| builder.timeout(TIMEOUT))?;
        Ok(Self { links })
    }

    /// Asks for the first bytes of a picture; returns what it is like, if they show it.
    ///
    /// With `allow_loopback`, the link may be on this machine.
    ///
    /// # Errors
    /// Returns why the link does not lead to a picture that providers take.
    pub async fn probe(
        &self,
        link: &str,
        allow_loopback: bool,
    ) -> Result<Option<PictureFacts>, ProbeError> {
        let url = Url::parse(link).map_err(|_| ProbeError::permanent("is not valid"))?;
        if url.scheme() == "http" && !allow_loopback {
            return Err(ProbeError::transient(
                "is not https, so that it was not asked",
            ));
        }
        let response = match self.links.get(url, allow_loopback).await {
            Ok(response) => response,
            Err(LinkError::NotAllowed(reason)) => return Err(ProbeError::permanent(reason)),
            Err(LinkError::NotFollowed(reason)) => return Err(ProbeError::transient(reason)),
            Err(LinkError::Http(_)) => return Err(ProbeError::transient("did not respond")),
        };
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(ProbeError::transient(format!("returned {status}")));
        }
        if !status.is_success() {
            return Err(ProbeError::permanent(format!("returned {status}")));
        }
        if response
            .content_length()
            .is_some_and(|length| length > MAX_IMAGE_BYTES)
        {
            let max_mb = MAX_IMAGE_BYTES / 1_000_000;
            return Err(ProbeError::permanent(format!(
                "leads to a file of more than {max_mb} MB"
            )));
        }
        let mut bytes = Vec::new();
        let mut chunks = response.bytes_stream();
        while bytes.len() < MAX_PROBED_BYTES
            && let Some(chunk) = chunks.next().await
        {
            let chunk = chunk.map_err(|_| ProbeError::transient("was interrupted"))?;
            bytes.extend_from_slice(&chunk);
        }
        let header = &bytes[..bytes.len().min(super::HEADER_BYTES)];
        let kind = media_type(header)
            .map_err(|what| ProbeError::permanent(format!("leads to a file that {what}")))?;
        Ok(PictureFacts::read(Cursor::new(bytes), kind).ok())
    }
}

#[cfg(test)]
mod tests {
    use ::image::{ImageFormat, RgbImage};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Serves one response to each request; returns the address.
    async fn serve(response: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/cup.jpg", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let _ = socket.read(&mut [0; 1024]).await;
                let _ = socket.write_all(&response).await;
            }
        });
        url
    }

    fn response(status: &str, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        [head.as_bytes(), content].concat()
    }

    async fn probe(response: Vec<u8>) -> Result<Option<PictureFacts>, ProbeError> {
        let probe = PictureProbe::new(ProxiedLinks::default()).unwrap();
        probe.probe(&serve(response).await, true).await
    }

    #[tokio::test]
    async fn a_link_is_judged_by_its_first_bytes() {
        let mut picture = Cursor::new(Vec::new());
        RgbImage::new(30, 20)
            .write_to(&mut picture, ImageFormat::Jpeg)
            .unwrap();
        let found = probe(response("200 OK", &picture.into_inner())).await;
        let facts = found.unwrap().unwrap();
        assert_eq!((facts.width, facts.height), (30, 20));
        for (response, reason, is_transient) in [
            (
                response("404 Not Found", b""),
                "returned 404 Not Found",
                false,
            ),
            (
                response("503 Busy", b""),
                "returned 503 Service Unavailable",
                true,
            ),
            (
                response("200 OK", b"<html>log in</html>"),
                "leads to a file that is not a JPEG, PNG or WebP image but a web page; download the \
                 picture that it shows",
                false,
            ),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 11000000\r\n\r\n".to_vec(),
                "leads to a file of more than 10 MB",
                false,
            ),
        ] {
            let reason = reason.to_owned();
            let error = ProbeError {
                reason,
                is_transient,
            };
            assert_eq!(probe(response).await, Err(error));
        }
    }

    #[tokio::test]
    async fn no_address_of_the_own_network_is_asked() {
        let url = serve(response("200 OK", b"")).await;
        let probe = PictureProbe::new(ProxiedLinks::default()).unwrap();
        let url = url.replace("http://", "https://");
        let error = probe.probe(&url, false).await.unwrap_err();
        assert!(!error.is_transient, "{error:?}");
    }
}
