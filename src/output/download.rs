//! Downloads clips from the URLs that providers return: without the key, and from public addresses
//! only.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use url::Url;

use crate::failpoint::fail_point;
use crate::link_client::{LinkClient, LinkError, ProxiedLinks};

use super::{ClipSource, ClipStream, DownloadError, MAX_CLIP_BYTES};

/// How long a download may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownloadTimeouts {
    /// Maximum time to establish a connection, including name resolution and TLS.
    pub connect: Duration,
    /// Maximum time without a byte. A download may be slow, but must not stall.
    pub stall: Duration,
    /// Maximum time for a whole download, because a server that sends it byte by byte would keep a
    /// step from ending.
    pub total: Duration,
}

impl Default for DownloadTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            total: Duration::from_secs(3600),
        }
    }
}

/// Statuses of a host that asks to come back later.
const BUSY: [StatusCode; 2] = [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT];

/// Maximum delay that a host may ask for: a paid clip must not wait for a day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// An HTTP client that downloads clips.
#[derive(Clone)]
pub struct Downloader {
    links: LinkClient,
}

impl Downloader {
    /// Builds a client. Fails if TLS cannot be set up.
    pub fn new(timeouts: DownloadTimeouts, proxied: ProxiedLinks) -> Result<Self, reqwest::Error> {
        let links = LinkClient::new(proxied, |builder| {
            builder
                .connect_timeout(timeouts.connect)
                .read_timeout(timeouts.stall)
                .timeout(timeouts.total)
        })?;
        Ok(Self { links })
    }
}

#[async_trait]
impl ClipSource for Downloader {
    async fn get(&self, url: &str, allow_loopback: bool) -> Result<ClipStream, DownloadError> {
        let url =
            Url::parse(url).map_err(|_| DownloadError::UrlNotAllowed("is not valid".into()))?;
        let response = self.links.get(url, allow_loopback).await?;
        let status = response.status();
        match status {
            StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::GONE
            | StatusCode::UNAUTHORIZED => {
                return Err(DownloadError::Expired(status.as_u16()));
            }
            status if status.is_server_error() || BUSY.contains(&status) => {
                return Err(DownloadError::Unavailable {
                    reason: format!("the clip's URL returned {status}"),
                    retry_after: read_retry_after(response.headers()),
                });
            }
            status if !status.is_success() => {
                return Err(DownloadError::Transient(format!(
                    "the clip's URL returned {status}"
                )));
            }
            _ => {}
        }
        fail_point!("download started");
        let length = response.content_length();
        if length.is_some_and(|length| length > MAX_CLIP_BYTES) {
            return Err(DownloadError::TooLarge);
        }
        let mut total = 0;
        let bytes = response.bytes_stream().map(move |chunk| {
            let chunk = chunk.map_err(|error| DownloadError::Interrupted(describe(&error)))?;
            total += chunk.len() as u64;
            if total > MAX_CLIP_BYTES {
                Err(DownloadError::TooLarge)
            } else {
                Ok(chunk)
            }
        });
        // Ends the stream after its first error.
        let bytes = bytes.scan(false, |has_failed, chunk| {
            let next = if *has_failed { None } else { Some(chunk) };
            *has_failed = next.as_ref().is_some_and(Result::is_err);
            std::future::ready(next)
        });
        Ok(ClipStream {
            bytes: Box::pin(bytes),
            length,
        })
    }
}

impl From<LinkError> for DownloadError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::NotAllowed(reason) => Self::UrlNotAllowed(reason),
            LinkError::NotFollowed(reason) => Self::Transient(format!("the clip's URL {reason}")),
            LinkError::Http(error) => Self::Unavailable {
                reason: describe(&error),
                retry_after: None,
            },
        }
    }
}

/// Formats an error of the HTTP client, without the URL.
fn describe(error: &reqwest::Error) -> String {
    let summary = if error.is_timeout() {
        "the download stalled or took too long"
    } else if error.is_connect() {
        "the clip's host cannot be reached"
    } else {
        "the download was interrupted"
    };
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let cause = causes
        .last()
        .map_or(String::new(), |cause| format!(": {cause}"));
    format!("{summary}{cause}")
}

/// Returns the delay that a host asks for, in seconds; dates are ignored.
fn read_retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::domain::public_address::check_link;

    fn is_allowed(url: &str, allow_loopback: bool) -> bool {
        check_link(&Url::parse(url).unwrap(), allow_loopback).is_ok()
    }

    /// Starts a server that announces a megabyte and sends one byte per `pause`; returns the URL of
    /// the clip.
    async fn spawn_slow_server(pause: Duration) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/a.mp4", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 1024]).await;
            let mut next: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n";
            while socket.write_all(next).await.is_ok() {
                tokio::time::sleep(pause).await;
                next = b".";
            }
        });
        url
    }

    #[tokio::test]
    async fn a_download_that_stalls_or_arrives_byte_by_byte_times_out() {
        let timeouts = DownloadTimeouts {
            stall: Duration::from_secs(1),
            total: Duration::from_secs(2),
            ..DownloadTimeouts::default()
        };
        for pause in [Duration::from_millis(100), Duration::MAX] {
            let url = spawn_slow_server(pause).await;
            let clip = Downloader::new(timeouts, ProxiedLinks::default())
                .unwrap()
                .get(&url, true)
                .await
                .unwrap();
            let last = clip.bytes.collect::<Vec<_>>().await.pop().unwrap();
            let message = last.unwrap_err().to_string();
            assert!(
                message.starts_with("the download stalled or took too long"),
                "{message}"
            );
        }
    }

    #[test]
    fn only_public_https_urls_are_allowed() {
        for url in [
            "https://cdn.example.com/a.mp4?sig=1",
            "https://93.184.216.34/a.mp4",
        ] {
            assert!(is_allowed(url, false), "{url}");
        }
        for url in [
            "http://cdn.example.com/a.mp4",
            "https://127.0.0.1/a.mp4",
            "https://localhost/a.mp4",
            "https://10.0.0.8/a.mp4",
            "https://169.254.169.254/latest/meta-data",
            "https://[fe80::1]/a.mp4",
            "file:///etc/passwd",
        ] {
            assert!(!is_allowed(url, false), "{url}");
        }
    }

    #[test]
    fn a_provider_on_this_machine_may_return_urls_on_this_machine_but_not_in_its_network() {
        assert!(is_allowed("http://127.0.0.1:8080/a.mp4", true));
        assert!(is_allowed("http://localhost:8080/a.mp4", true));
        assert!(!is_allowed("http://10.0.0.8/a.mp4", true));
        assert!(!is_allowed("http://cdn.example.com/a.mp4", true));
    }
}
