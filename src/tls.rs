//! Chooses the cryptography under HTTPS.

/// Installs *ring* as the process's TLS provider. Every HTTP client is made after this was called.
pub fn install() {
    // Whoever was first has installed the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
