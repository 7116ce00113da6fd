//! HTTP for the addresses that a provider names: clips, redirects and upload URLs.
//!
//! Such an address is not trusted, so that a response cannot make this machine read from its own network
//! or write to it. It must be public HTTPS, by its text and by what its name resolves to, on the connection
//! that is used. Only a provider that is itself on this machine may name addresses on this machine.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::LOCATION;
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode, redirect};
use serde::Deserialize;
use url::{Host, Url};

use crate::domain::public_address::{check_link, is_local_name, is_public};
use crate::{open_files, tls};

/// Maximum number of redirects that are followed.
const MAX_REDIRECTS: usize = 5;

/// What is done with the addresses that a provider names if a proxy is configured. The proxy resolves
/// their names itself, so that what is checked here may not be what it connects to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxiedLinks {
    /// A name must resolve here, and to public addresses only.
    #[default]
    Checked,
    /// No name is resolved here: the proxy is trusted not to lead inside.
    Unchecked,
    /// Nothing is requested through a proxy.
    Refused,
}

/// Why an address was not requested, or did not respond.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It will never be requested. The text continues "the URL …".
    #[error("the URL {0}")]
    NotAllowed(String),
    /// It cannot be requested now, or redirects in a way that is not followed.
    #[error("the URL {0}")]
    NotFollowed(String),
    /// The request failed.
    #[error(transparent)]
    Http(#[from] reqwest::Error),
}

/// A client for addresses that a provider names.
#[derive(Clone)]
pub struct LinkClient {
    /// For public addresses.
    public: Client,
    /// For a provider on this machine, which may name addresses on it.
    local: Client,
    /// For public addresses behind a proxy, whose own address is trusted.
    proxied: Client,
    proxies: Arc<Matcher>,
    rule: ProxiedLinks,
    /// Whether it was said that a proxy is used.
    has_said: Arc<AtomicBool>,
}

impl LinkClient {
    /// Builds a client; `configure` sets its timeouts. Fails if TLS cannot be set up.
    pub(crate) fn new(
        rule: ProxiedLinks,
        configure: impl Fn(ClientBuilder) -> ClientBuilder,
    ) -> Result<Self, reqwest::Error> {
        let builder = || {
            let builder = tls::client_builder(tls::ANY_HTTP)
                .pool_max_idle_per_host(open_files::max_idle_connections())
                .user_agent(concat!("overnight/", env!("CARGO_PKG_VERSION")))
                // Each redirect is an address that a stranger names: it is checked like the first.
                .redirect(redirect::Policy::none());
            configure(builder)
        };
        let resolver = |allow_local| Arc::new(PublicResolver { allow_local });
        Ok(Self {
            public: builder().no_proxy().dns_resolver(resolver(false)).build()?,
            local: builder().no_proxy().dns_resolver(resolver(true)).build()?,
            proxied: builder().build()?,
            proxies: Arc::new(Matcher::from_system()),
            rule,
            has_said: Arc::default(),
        })
    }

    /// Sends a GET request, and follows redirects to other addresses that are allowed.
    pub(crate) async fn get(&self, url: Url, allow_loopback: bool) -> Result<Response, LinkError> {
        let mut url = url;
        for redirects in 0..=MAX_REDIRECTS {
            let request = self.request(Method::GET, &url, allow_loopback).await;
            let request = request.map_err(|error| match error {
                LinkError::NotAllowed(reason) if redirects > 0 => {
                    LinkError::NotFollowed(format!("redirects to one that {reason}"))
                }
                error => error,
            });
            let response = request?.send().await?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let location = response.headers().get(LOCATION);
            let location = location.and_then(|location| location.to_str().ok());
            let next = location.and_then(|location| url.join(location).ok());
            url = next.ok_or_else(|| LinkError::NotFollowed("redirects to nowhere".into()))?;
        }
        Err(LinkError::NotFollowed("redirects too often".into()))
    }

    /// Starts a request to an address, whose redirects are not followed.
    pub(crate) async fn request(
        &self,
        method: Method,
        url: &Url,
        allow_loopback: bool,
    ) -> Result<RequestBuilder, LinkError> {
        check_link(url, allow_loopback).map_err(LinkError::NotAllowed)?;
        let client = if allow_loopback {
            &self.local
        } else if self.is_proxied(url) {
            self.check_proxied(url).await?;
            &self.proxied
        } else {
            &self.public
        };
        Ok(client.request(method, url.clone()))
    }

    fn is_proxied(&self, url: &Url) -> bool {
        let uri = url.as_str().parse();
        uri.is_ok_and(|uri| self.proxies.intercept(&uri).is_some())
    }

    async fn check_proxied(&self, url: &Url) -> Result<(), LinkError> {
        if !self.has_said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                links = ?self.rule,
                "a proxy is configured, which resolves the names of clips and uploads itself"
            );
        }
        match self.rule {
            ProxiedLinks::Unchecked => return Ok(()),
            ProxiedLinks::Refused => {
                let reason = "would go through a proxy, which `proxied_links` refuses";
                return Err(LinkError::NotAllowed(reason.into()));
            }
            ProxiedLinks::Checked => {}
        }
        let Some(Host::Domain(name)) = url.host() else {
            return Ok(());
        };
        let addresses = tokio::net::lookup_host((name, 0)).await;
        let addresses: Vec<SocketAddr> = addresses.into_iter().flatten().collect();
        if addresses.is_empty() {
            let reason = "goes through a proxy, and its name cannot be resolved here to check it; \
                          `proxied_links = \"unchecked\"` in the config trusts the proxy";
            return Err(LinkError::NotFollowed(reason.into()));
        }
        if addresses.iter().any(|address| !is_public(address.ip())) {
            return Err(LinkError::NotAllowed("leads to a private address".into()));
        }
        Ok(())
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// A resolver that returns public addresses only, so that a name cannot lead into the private network.
#[derive(Debug)]
struct PublicResolver {
    /// Whether the names of this machine resolve to it.
    allow_local: bool,
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let is_local = self.allow_local && is_local_name(name.as_str());
        let is_allowed = move |address: IpAddr| {
            if is_local {
                address.is_loopback()
            } else {
                is_public(address)
            }
        };
        async move {
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed = addresses.filter(|address| is_allowed(address.ip()));
            let allowed: Vec<SocketAddr> = allowed.collect();
            if allowed.is_empty() {
                return Err("the host has no public address".into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        }
        .boxed()
    }
}
