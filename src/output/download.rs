//! Fetches clips from wherever a provider put them: without its key, from public addresses only.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, StatusCode, redirect};
use url::Url;

use crate::domain::public_address::{is_loopback_host, is_public, is_public_host};
use crate::failpoint::fail_point;
use crate::tls;

use super::{ByteStream, ClipSource};

/// A clip of ten seconds is a few megabytes; what is longer than this is not one.
const LARGEST: u64 = 2 << 30;

/// A download may take long, but not stand still for so long.
const STALL: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });

/// Nor may it go on for ever, byte by byte: a worker waits for it.
const LONGEST: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 3600 });

const CONNECT: Duration = Duration::from_secs(10);
const MOST_REDIRECTS: usize = 5;

/// Fetches clips.
#[derive(Clone, Debug)]
pub struct Downloader {
    public: Client,
    loopback: Client,
}

/// A clip on its way.
pub struct ClipStream {
    /// Its bytes.
    pub bytes: ByteStream,
    /// Its length, where the sender announced one.
    pub length: Option<u64>,
}

/// Why a clip could not be fetched. Messages never hold the link: it may be signed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DownloadError {
    /// The link does not work any more; ask the prediction for a fresh one.
    #[error("the link answered {0}")]
    Expired(u16),
    /// It will pass.
    #[error("{0}")]
    Transient(String),
    /// The link leads where no clip may come from.
    #[error("the link leads to {0}; only public https addresses are allowed")]
    Forbidden(String),
    /// The file is longer than any clip.
    #[error("the file is larger than {} MiB", LARGEST >> 20)]
    TooLarge,
}

impl Downloader {
    /// Makes a fetcher.
    pub fn new() -> Result<Self, reqwest::Error> {
        let builder = |only_public: bool| {
            tls::client_builder(tls::ANY_HTTP)
                .connect_timeout(CONNECT)
                .read_timeout(STALL)
                .timeout(LONGEST)
                .user_agent(concat!("overnight/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::custom(move |attempt| {
                    if attempt.previous().len() > MOST_REDIRECTS {
                        return attempt.error("too many redirects");
                    }
                    match check_link(attempt.url(), only_public) {
                        Ok(()) => attempt.follow(),
                        Err(error) => attempt.error(error),
                    }
                }))
        };
        Ok(Self {
            public: builder(true).dns_resolver(Arc::new(PublicOnly)).build()?,
            loopback: builder(false).no_proxy().build()?,
        })
    }
}

#[async_trait]
impl ClipSource for Downloader {
    async fn get(&self, link: &str, may_be_local: bool) -> Result<ClipStream, DownloadError> {
        let link = Url::parse(link)
            .map_err(|_| DownloadError::Forbidden("something that is not a link".into()))?;
        check_link(&link, !may_be_local)?;
        let client = if may_be_local {
            &self.loopback
        } else {
            &self.public
        };
        let response = client.get(link).send().await.map_err(transient)?;
        let status = response.status();
        match status {
            StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::GONE
            | StatusCode::UNAUTHORIZED => {
                return Err(DownloadError::Expired(status.as_u16()));
            }
            status if !status.is_success() => {
                return Err(DownloadError::Transient(format!(
                    "the link answered {status}"
                )));
            }
            _ => {}
        }
        fail_point!("download started");
        let length = response.content_length();
        if length.is_some_and(|length| length > LARGEST) {
            return Err(DownloadError::TooLarge);
        }
        let mut total = 0;
        let bytes = response.bytes_stream().map(move |chunk| {
            let chunk = chunk.map_err(transient)?;
            total += chunk.len() as u64;
            if total > LARGEST {
                Err(DownloadError::TooLarge)
            } else {
                Ok(chunk)
            }
        });
        // A stream that failed once is over.
        let bytes = bytes.scan(false, |failed, chunk| {
            let next = if *failed { None } else { Some(chunk) };
            *failed = next.as_ref().is_some_and(Result::is_err);
            std::future::ready(next)
        });
        Ok(ClipStream {
            bytes: Box::pin(bytes),
            length,
        })
    }
}

fn check_link(link: &Url, only_public: bool) -> Result<(), DownloadError> {
    let Some(host) = link.host() else {
        return Err(DownloadError::Forbidden("no host".into()));
    };
    match link.scheme() {
        "https" | "http" if !only_public && is_loopback_host(host.clone()) => Ok(()),
        "https" if !is_public_host(host) => {
            Err(DownloadError::Forbidden("a private address".into()))
        }
        "https" => Ok(()),
        scheme => Err(DownloadError::Forbidden(format!(
            "an address with {scheme}:"
        ))),
    }
}

/// Describes a failure without the link in it.
fn transient(error: reqwest::Error) -> DownloadError {
    let kind = if error.is_timeout() {
        "the download stood still, or took too long"
    } else if error.is_connect() {
        "the link's host cannot be reached"
    } else if error.is_redirect() {
        "the link redirects where no clip may come from"
    } else {
        "the download broke off"
    };
    let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    let cause = causes
        .last()
        .map_or(String::new(), |cause| format!(": {cause}"));
    DownloadError::Transient(format!("{kind}{cause}"))
}

/// Resolves names to public addresses only, so that a name cannot lead into the private network.
#[derive(Debug)]
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err("the link's host has no public address".into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn allowed(link: &str, only_public: bool) -> bool {
        check_link(&Url::parse(link).unwrap(), only_public).is_ok()
    }

    /// A server that announces a megabyte and sends a byte of it now and then.
    async fn dripping(pause: Duration) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = format!("http://{}/a.mp4", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 1024]).await;
            let mut drip: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n";
            while socket.write_all(drip).await.is_ok() {
                tokio::time::sleep(pause).await;
                drip = b".";
            }
        });
        link
    }

    #[tokio::test]
    async fn a_download_that_stands_still_or_drips_comes_to_an_end() {
        for pause in [Duration::from_millis(100), Duration::from_secs(10)] {
            let began = Instant::now();
            let fetch = Downloader::new()
                .unwrap()
                .get(&dripping(pause).await, true)
                .await
                .unwrap();
            let last = fetch.bytes.collect::<Vec<_>>().await.pop().unwrap();
            let told = last.unwrap_err().to_string();
            assert!(
                told.starts_with("the download stood still, or took too long"),
                "{told}"
            );
            assert!(began.elapsed() < 2 * LONGEST, "{:?}", began.elapsed());
        }
    }

    #[test]
    fn links_lead_to_public_https_addresses_or_nowhere() {
        for link in [
            "https://cdn.example.com/a.mp4?sig=1",
            "https://93.184.216.34/a.mp4",
        ] {
            assert!(allowed(link, true), "{link}");
        }
        for link in [
            "http://cdn.example.com/a.mp4",
            "https://127.0.0.1/a.mp4",
            "https://localhost/a.mp4",
            "https://10.0.0.8/a.mp4",
            "https://169.254.169.254/latest/meta-data",
            "https://[fe80::1]/a.mp4",
            "file:///etc/passwd",
        ] {
            assert!(!allowed(link, true), "{link}");
        }
    }

    #[test]
    fn a_provider_on_this_machine_may_link_to_this_machine_but_not_to_its_network() {
        assert!(allowed("http://127.0.0.1:8080/a.mp4", false));
        assert!(allowed("http://localhost:8080/a.mp4", false));
        assert!(!allowed("http://10.0.0.8/a.mp4", false));
        assert!(!allowed("http://cdn.example.com/a.mp4", false));
    }
}
