//! Connections to buckets.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::client::{HttpClient, HttpConnector};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use url::Url;

use crate::domain::public_address::is_loopback_host;
use crate::tls;

/// How long a request is tried again that the storage answers with an error of its own, or not at all. After that
/// the clip waits, and its worker does not.
const MAX_RETRY: Duration = Duration::from_secs(5);

/// Maximum time to establish a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum time without a byte of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// The start of the variables that say where the storage is, and with which credentials.
const VARIABLES: &str = "AWS_";

/// A bucket, which may not exist.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) client: AmazonS3,
    /// Whether it means the conditions of a request, once that was tried.
    pub(super) has_conditions: OnceLock<bool>,
}

/// Opens buckets, each once.
#[derive(Default)]
pub(super) struct Buckets {
    /// The environment variables that matter. They hold secrets.
    environment: BTreeMap<String, String>,
    open: Mutex<HashMap<String, Arc<Bucket>>>,
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets").finish_non_exhaustive()
    }
}

impl Buckets {
    pub(super) fn new(environment: &BTreeMap<String, String>) -> Self {
        let environment = environment.clone().into_iter();
        Self {
            environment: environment
                .filter(|(name, _)| name.starts_with(VARIABLES))
                .collect(),
            open: Mutex::default(),
        }
    }

    /// Returns a bucket.
    ///
    /// # Errors
    /// Says what is wrong with the environment.
    pub(super) fn open(&self, name: &str) -> Result<Arc<Bucket>, String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = open.get(name) {
            return Ok(Arc::clone(bucket));
        }
        let bucket = Arc::new(Bucket {
            client: self.connect(name)?,
            has_conditions: OnceLock::new(),
        });
        open.insert(name.to_owned(), Arc::clone(&bucket));
        Ok(bucket)
    }

    fn connect(&self, name: &str) -> Result<AmazonS3, String> {
        let mut builder = AmazonS3Builder::new();
        for (variable, value) in &self.environment {
            // Others are those of other programs.
            if let Ok(key) = variable.to_ascii_lowercase().parse() {
                builder = builder.with_config(key, value);
            }
        }
        for key in [AmazonS3ConfigKey::Endpoint, AmazonS3ConfigKey::S3Endpoint] {
            if let Some(endpoint) = builder.get_config_value(&key) {
                check_endpoint(&endpoint)?;
            }
        }
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: usize::MAX,
            retry_timeout: MAX_RETRY,
        };
        let builder = builder
            .with_bucket_name(name)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_retry(retry)
            .with_http_connector(Connector);
        // What it says of a wrong variable names it, not its value.
        builder.build().map_err(|error| error.to_string())
    }
}

/// Checks that an endpoint is asked through TLS, or is on this machine.
fn check_endpoint(endpoint: &str) -> Result<(), String> {
    let url = Url::parse(endpoint)
        .map_err(|error| format!("the storage's endpoint is wrong: {error}"))?;
    let is_local = url.host().is_some_and(is_loopback_host);
    if url.scheme() == "https" || is_local {
        return Ok(());
    }
    Err("the storage's endpoint must be https, unless it is on this machine".into())
}

/// Makes HTTP clients with the certificates that all others of this program trust.
#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = tls::client_builder(tls::HTTP_1)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build();
        let client = client.map_err(|error| object_store::Error::Generic {
            store: "S3",
            source: error.into(),
        })?;
        Ok(HttpClient::new(client))
    }
}
