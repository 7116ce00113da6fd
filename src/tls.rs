//! What all HTTPS has in common: its cryptography, and whom it trusts.

use std::sync::{Arc, LazyLock};

use reqwest::{Client, ClientBuilder};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt;

/// Read once: the machine's root certificates take longer to read than all else at the start, and every client would
/// read them again.
static TRUST: LazyLock<Result<ClientConfig, rustls::Error>> = LazyLock::new(|| {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(builder
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth())
});

/// Begins an HTTP client that offers these protocols over TLS.
pub fn client_builder(protocols: &[&str]) -> ClientBuilder {
    match &*TRUST {
        Ok(trust) => {
            let mut config = trust.clone();
            config.alpn_protocols = protocols
                .iter()
                .map(|name| name.as_bytes().to_vec())
                .collect();
            Client::builder().tls_backend_preconfigured(config)
        }
        // The client reads the certificates itself, fails likewise, and tells why when it is built.
        Err(_) => {
            // Whoever was first has installed the same.
            let _ = ring::default_provider().install_default();
            Client::builder()
        }
    }
}

/// HTTP/2 where the server speaks it.
pub const ANY_HTTP: &[&str] = &["h2", "http/1.1"];

/// HTTP/1.1 only.
pub const HTTP_1: &[&str] = &["http/1.1"];
