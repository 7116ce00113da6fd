//! TLS configuration shared by all clients: the cryptography and the trusted root
//! certificates.

use std::sync::{Arc, LazyLock};

use reqwest::{Client, ClientBuilder};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt;

/// The TLS configuration, built once. Reading the system's root certificates takes longer than the
/// rest of the start-up, and every client would otherwise read them again.
static TLS_CONFIG: LazyLock<Result<ClientConfig, rustls::Error>> = LazyLock::new(|| {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(builder
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth())
});

/// Returns the configuration, for what is no HTTP.
///
/// # Errors
/// Returns why there is none.
pub(crate) fn client_config() -> Result<ClientConfig, String> {
    TLS_CONFIG.clone().map_err(|error| error.to_string())
}

/// Returns a builder for an HTTP client that offers the given protocols over TLS (ALPN), such as
/// [`ANY_HTTP`].
pub(crate) fn client_builder(protocols: &[&str]) -> ClientBuilder {
    match &*TLS_CONFIG {
        Ok(config) => {
            let mut config = config.clone();
            config.alpn_protocols = protocols
                .iter()
                .map(|protocol| protocol.as_bytes().to_vec())
                .collect();
            Client::builder().tls_backend_preconfigured(config)
        }
        // The client then reads the certificates itself; it fails in the same way, and its builder
        // reports why.
        Err(_) => {
            // An error means that the same provider is installed already.
            let _ = ring::default_provider().install_default();
            Client::builder()
        }
    }
}

/// HTTP/2 if the server supports it, else HTTP/1.1.
pub(crate) const ANY_HTTP: &[&str] = &["h2", "http/1.1"];

/// HTTP/1.1 only, even if the server supports HTTP/2.
pub(crate) const HTTP_1: &[&str] = &["http/1.1"];
