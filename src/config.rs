//! The configuration: defaults, overridden by the file, overridden by environment variables. Flags,
//! which override all of them, are applied by the commands.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use url::Url;

use crate::domain::{Backoff, DatabaseUrl, Location, ProviderName, QueueAddress, RetryPolicy};
use crate::link_client::ProxiedLinks;
use crate::toml_file;

/// The configuration file that is read if it exists and no other is named.
pub const DEFAULT_FILE: &str = "overnight.toml";

/// The content of `overnight.toml`. Every key is optional; an unknown key is an error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the queue is.
    pub queue: QueueAddress,
    /// The server's own address, if `queue` is that of a connection pooler. Only for a queue in a database.
    #[serde(deserialize_with = "not_empty")]
    pub queue_session: Option<DatabaseUrl>,
    /// How long a run waits for the server of its queue to come back.
    pub queue_patience: SignedDuration,
    /// Whether runs may use a server that may forget what it has committed.
    pub accept_loss: bool,
    /// Output folder, or `s3://bucket/folder`: clips are saved as `{out}/{batch}/{id}.mp4`, or under the ending of
    /// their kind.
    pub out: Location,
    /// Where everybody can read what is in `out`, if that is in object storage: reports link there.
    #[serde(deserialize_with = "not_empty")]
    pub out_public: Option<PublicUrl>,
    /// Maximum number of concurrent steps, at least 1.
    pub workers: usize,
    /// What is done with the links of clips and uploads if a proxy is configured.
    pub proxied_links: ProxiedLinks,
    /// The user's own model files, which extend the built-in catalogue.
    pub catalog: Vec<PathBuf>,
    /// Poll intervals and retry delays.
    pub pace: PaceConfig,
    /// Addresses, limits and times of each provider.
    pub provider: BTreeMap<ProviderName, ProviderConfig>,
}

/// Poll intervals and retry delays: the section `[pace]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaceConfig {
    /// Minimum interval between two polls of one prediction, in seconds.
    pub poll_min_s: f64,
    /// First backoff, in seconds. It doubles with each failure and has full jitter.
    pub retry_base_s: f64,
    /// Maximum backoff, in seconds.
    pub retry_cap_s: f64,
    /// How long nothing is submitted to a provider after two rate limits in a row without a delay,
    /// in seconds.
    pub silence_s: f64,
    /// Time between two tries of a model that a provider has locked, in seconds.
    pub locked_s: f64,
}

/// Addresses, limits and times of one provider: a section `[provider.…]`. `None` selects the
/// default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderConfig {
    /// Base URL of the API; for fal, of the queue API.
    pub base_url: Option<Url>,
    /// Base URL of fal's platform API (history, billing). Only for fal.
    pub api_url: Option<Url>,
    /// Base URL of fal's storage, to which local images are uploaded. Only for fal.
    pub storage_url: Option<Url>,
    /// Maximum number of attempts in flight (submitting, in doubt or running).
    pub in_flight: Option<u32>,
    /// Maximum number of submissions in any 60 seconds.
    pub creates_per_minute: Option<u32>,
    /// Typical processing time of a prediction, in seconds. Replaces the catalogue's.
    pub typical_s: Option<f64>,
    /// Time after the end of a submit call before which its absence from the history proves nothing,
    /// in seconds.
    pub history_delay_s: Option<f64>,
    /// Header in which the API key is sent. Only for each::labs, whose model pages document one and
    /// whose API reference, since July 2026, the other.
    pub auth: Option<EachlabsAuth>,
}

/// The header in which each::labs receives its API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum EachlabsAuth {
    /// `X-API-Key: KEY`.
    #[serde(rename = "x-api-key")]
    XApiKey,
    /// `Authorization: Bearer KEY`.
    #[serde(rename = "bearer")]
    Bearer,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            queue: PathBuf::from("overnight.db").into(),
            queue_session: None,
            queue_patience: SignedDuration::from_mins(10),
            accept_loss: false,
            out: "renders".into(),
            out_public: None,
            workers: 16,
            proxied_links: ProxiedLinks::default(),
            catalog: Vec::new(),
            pace: PaceConfig::default(),
            provider: BTreeMap::new(),
        }
    }
}

impl Default for PaceConfig {
    fn default() -> Self {
        let policy = RetryPolicy::default();
        let backoff = policy.backoff;
        Self {
            poll_min_s: 2.0,
            retry_base_s: backoff.base.as_secs_f64(),
            retry_cap_s: backoff.cap.as_secs_f64(),
            silence_s: policy.silence.as_secs_f64(),
            locked_s: policy.locked_route.as_secs_f64(),
        }
    }
}

/// Longest time that a run may wait for the server of its queue.
const MAX_PATIENCE: SignedDuration = SignedDuration::from_hours(24);

/// Maximum value of a setting in seconds: one year.
const MAX_SECONDS: f64 = 31_536_000.0;

/// Public address of fal's queue API.
const FAL_QUEUE_URL: &str = "https://queue.fal.run";

impl Config {
    /// Loads the configuration from `file`, or from [`DEFAULT_FILE`] if that exists, and overrides
    /// it with the environment variables that `environment` returns.
    ///
    /// # Errors
    ///
    /// Returns a message that names the file or the variable.
    pub fn load(
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        let mut config = match std::fs::read_to_string(path) {
            Ok(text) => Self::read(&path.display().to_string(), &text)?,
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Self::default()
            }
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        config.merge_env(environment)?;
        Ok(config)
    }

    /// Parses and validates `text`, the content of the file `name`.
    ///
    /// # Errors
    ///
    /// Returns a message that names the file, and the position or the key.
    pub fn read(name: &str, text: &str) -> Result<Self, String> {
        let config: Self = toml_file::read(name, text)?;
        config
            .validate()
            .map_err(|problem| format!("{name}: {problem}"))?;
        Ok(config)
    }

    /// Overrides addresses, and where the queue is, with environment variables. Empty ones are ignored.
    fn merge_env(&mut self, environment: impl Fn(&str) -> Option<String>) -> Result<(), String> {
        let url = |variable: &str| -> Result<Option<Url>, String> {
            let Some(text) = environment(variable).filter(|text| !text.is_empty()) else {
                return Ok(None);
            };
            // The value is not shown: if the user mixed up two variables, it is an API key.
            text.parse()
                .map(Some)
                .map_err(|error| format!("{variable} is not a URL: {error}"))
        };
        for provider in ProviderName::ALL {
            let settings = self.provider.entry(provider).or_default();
            let variable = match provider {
                ProviderName::Eachlabs => "OVERNIGHT_EACHLABS_URL",
                ProviderName::Aimlapi => "OVERNIGHT_AIMLAPI_URL",
                ProviderName::Fal => "OVERNIGHT_FAL_QUEUE_URL",
            };
            settings.base_url = url(variable)?.or(settings.base_url.take());
        }
        let fal = self.provider.entry(ProviderName::Fal).or_default();
        fal.api_url = url("OVERNIGHT_FAL_API_URL")?.or(fal.api_url.take());
        fal.storage_url = url("OVERNIGHT_FAL_STORAGE_URL")?.or(fal.storage_url.take());
        if let Some(queue) = environment("OVERNIGHT_QUEUE").filter(|path| !path.is_empty()) {
            self.queue = queue.into();
        }
        Ok(())
    }

    fn validate(&self) -> Result<(), String> {
        if self.workers == 0 {
            return Err("workers: must be at least 1".into());
        }
        if self.queue_patience.is_negative() || self.queue_patience > MAX_PATIENCE {
            return Err("queue_patience: must be from 0s to 24h".into());
        }
        let seconds = |key: &str, value: f64| {
            if (0.0..=MAX_SECONDS).contains(&value) {
                Ok(())
            } else {
                Err(format!(
                    "{key}: must be a number of seconds from 0 to {MAX_SECONDS}"
                ))
            }
        };
        seconds("pace.poll_min_s", self.pace.poll_min_s)?;
        seconds("pace.retry_base_s", self.pace.retry_base_s)?;
        seconds("pace.retry_cap_s", self.pace.retry_cap_s)?;
        seconds("pace.silence_s", self.pace.silence_s)?;
        seconds("pace.locked_s", self.pace.locked_s)?;
        for (provider, settings) in &self.provider {
            seconds(
                &format!("provider.{provider}.typical_s"),
                settings.typical_s.unwrap_or(0.0),
            )?;
            seconds(
                &format!("provider.{provider}.history_delay_s"),
                settings.history_delay_s.unwrap_or(0.0),
            )?;
            for (key, limit) in [
                ("in_flight", settings.in_flight),
                ("creates_per_minute", settings.creates_per_minute),
            ] {
                if limit == Some(0) {
                    return Err(format!("provider.{provider}.{key}: must be at least 1"));
                }
            }
            if settings.auth.is_some() && *provider != ProviderName::Eachlabs {
                return Err(format!(
                    "provider.{provider}.auth: this setting is only for eachlabs"
                ));
            }
            for (key, address) in [
                ("api_url", &settings.api_url),
                ("storage_url", &settings.storage_url),
            ] {
                if address.is_some() && *provider != ProviderName::Fal {
                    return Err(format!(
                        "provider.{provider}.{key}: this setting is only for fal"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Returns the base URL of a provider's API: the configured one, else the public one.
    pub fn base_url(&self, provider: ProviderName) -> Url {
        let public_url = match provider {
            ProviderName::Eachlabs => "https://api.eachlabs.ai/v1",
            ProviderName::Aimlapi => "https://api.aimlapi.com",
            ProviderName::Fal => FAL_QUEUE_URL,
        };
        self.setting(provider, |settings| settings.base_url.clone())
            .unwrap_or_else(|| built_in_url(public_url))
    }

    /// Returns the base URL of fal's platform API.
    pub fn fal_api_url(&self) -> Url {
        self.setting(ProviderName::Fal, |settings| settings.api_url.clone())
            .unwrap_or_else(|| built_in_url("https://api.fal.ai/v1"))
    }

    /// Returns the base URL of fal's storage, or `None` if local images cannot be uploaded.
    ///
    /// If another queue than the public one is configured, the storage must be configured as well:
    /// the API key must not be sent to fal for an upload when all other calls go elsewhere.
    pub fn fal_storage_url(&self) -> Option<Url> {
        let configured = self.setting(ProviderName::Fal, |settings| settings.storage_url.clone());
        let is_public = self.base_url(ProviderName::Fal) == built_in_url(FAL_QUEUE_URL);
        configured.or_else(|| is_public.then(|| built_in_url("https://rest.fal.ai")))
    }

    /// Returns whether local images can be uploaded to a provider. AI/ML API documents no upload.
    pub fn has_storage(&self, provider: ProviderName) -> bool {
        match provider {
            ProviderName::Eachlabs => true,
            ProviderName::Aimlapi => false,
            ProviderName::Fal => self.fal_storage_url().is_some(),
        }
    }

    /// Returns the header in which each::labs receives its API key.
    pub fn eachlabs_auth(&self) -> EachlabsAuth {
        self.setting(ProviderName::Eachlabs, |settings| settings.auth)
            .unwrap_or(EachlabsAuth::XApiKey)
    }

    /// Returns the maximum number of attempts in flight at a provider.
    ///
    /// The default is 10 for each::labs, which documents that limit, and 4 for the others. A new
    /// fal account runs 2 predictions concurrently and queues the rest, so 4 keep its slots
    /// occupied. AI/ML API publishes no limit.
    pub fn in_flight(&self, provider: ProviderName) -> u32 {
        let default = if provider == ProviderName::Eachlabs {
            10
        } else {
            4
        };
        self.setting(provider, |settings| settings.in_flight)
            .unwrap_or(default)
    }

    /// Returns the maximum number of submissions per minute to a provider.
    ///
    /// The default is 100 for each::labs, which documents that limit, and 60 for the others, which
    /// publish none.
    pub fn creates_per_minute(&self, provider: ProviderName) -> u32 {
        let default = if provider == ProviderName::Eachlabs {
            100
        } else {
            60
        };
        self.setting(provider, |settings| settings.creates_per_minute)
            .unwrap_or(default)
    }

    /// Returns a setting in seconds as a duration, for each provider for which it is configured.
    pub fn durations(
        &self,
        pick: impl Fn(&ProviderConfig) -> Option<f64>,
    ) -> BTreeMap<ProviderName, Duration> {
        self.provider
            .iter()
            .filter_map(|(provider, settings)| {
                Some((*provider, Duration::from_secs_f64(pick(settings)?)))
            })
            .collect()
    }

    /// Returns the retry policy. A maximum backoff below the first one is raised to it.
    pub fn retry_policy(&self) -> RetryPolicy {
        let backoff = Backoff {
            base: Duration::from_secs_f64(self.pace.retry_base_s),
            cap: Duration::from_secs_f64(self.pace.retry_cap_s.max(self.pace.retry_base_s)),
        };
        RetryPolicy {
            backoff,
            silence: Duration::from_secs_f64(self.pace.silence_s),
            locked_route: Duration::from_secs_f64(self.pace.locked_s),
            ..RetryPolicy::default()
        }
    }

    /// Returns a provider's setting, or `None` if it is not configured.
    fn setting<T>(
        &self,
        provider: ProviderName,
        pick: impl Fn(&ProviderConfig) -> Option<T>,
    ) -> Option<T> {
        self.provider.get(&provider).and_then(pick)
    }
}

/// Reads a URL; an empty one is none.
fn not_empty<'de, D: Deserializer<'de>, T: TryFrom<String>>(
    deserializer: D,
) -> Result<Option<T>, D::Error>
where
    T::Error: Display,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.try_into().map(Some).map_err(D::Error::custom)
}

/// An address that everybody can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(pub Url);

impl TryFrom<String> for PublicUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let url = Url::parse(&text).map_err(|error| format!("`{text}` is no URL: {error}"))?;
        match url.scheme() {
            "https" | "http" => Ok(Self(url)),
            scheme => Err(format!("`{text}` has the scheme `{scheme}`; use https")),
        }
    }
}

/// Parses one of the built-in addresses.
fn built_in_url(address: &'static str) -> Url {
    #[expect(
        clippy::expect_used,
        reason = "the addresses are constants, and a test parses each of them"
    )]
    Url::parse(address).expect("built-in addresses are valid URLs")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str = r#"
        queue = "overnight.db"
        queue_session = "postgres://db/overnight"
        queue_patience = "10m"
        accept_loss = true
        out = "renders"
        out_public = "https://cdn.example.com/renders"
        workers = 16
        proxied_links = "checked"
        catalog = ["my-models.toml"]
        [pace]
        poll_min_s = 2
        retry_base_s = 1
        retry_cap_s = 60
        silence_s = 120
        locked_s = 3600
        [provider.eachlabs]
        base_url = "https://api.eachlabs.ai/v1"
        in_flight = 10
        creates_per_minute = 100
        typical_s = 270
        history_delay_s = 900
    "#;

    #[test]
    fn every_documented_key_is_accepted() {
        let config = Config::read("overnight.toml", DOCUMENTED).unwrap();
        assert_eq!(config.in_flight(ProviderName::Eachlabs), 10);
        assert_eq!(
            config.durations(|settings| settings.typical_s)[&ProviderName::Eachlabs],
            Duration::from_secs(270)
        );
    }

    #[test]
    fn an_error_about_an_unknown_key_names_its_position_and_the_most_similar_key() {
        let error =
            Config::read("overnight.toml", "workers = 4\n[pace]\npol_min_s = 1\n").unwrap_err();
        assert_eq!(
            error,
            "overnight.toml:3:1: unknown key `pol_min_s`, did you mean `poll_min_s`?"
        );
        let error =
            Config::read("overnight.toml", "[provider.eachlab]\nin_flight = 4").unwrap_err();
        assert_eq!(
            error,
            "overnight.toml:1:11: unknown name `eachlab`, did you mean `eachlabs`?"
        );
        let error = Config::read("overnight.toml", "wrokers = 4").unwrap_err();
        assert_eq!(
            error,
            "overnight.toml:1:1: unknown key `wrokers`, did you mean `workers`?"
        );
    }

    #[test]
    fn invalid_values_are_refused() {
        for text in [
            "workers = 0",
            "workers = \"many\"",
            "[pace]\npoll_min_s = -1",
            "[provider.fal]\nin_flight = 0",
            "[provider.eachlabs]\nbase_url = \"not an address\"",
            "[provider.eachlabs]\napi_url = \"https://example.com\"",
            "[provider.replicate]\nin_flight = 1",
            "[provider.fal]\nauth = \"bearer\"",
            "[provider.eachlabs]\nauth = \"basic\"",
        ] {
            assert!(Config::read("overnight.toml", text).is_err(), "{text}");
        }
    }

    #[test]
    fn environment_variables_override_the_file() {
        let mut config = Config::read("overnight.toml", DOCUMENTED).unwrap();
        let environment = |name: &str| match name {
            "OVERNIGHT_EACHLABS_URL" => Some("http://127.0.0.1:9/v1".to_owned()),
            "OVERNIGHT_QUEUE" => Some("other.db".to_owned()),
            _ => None,
        };
        config.merge_env(environment).unwrap();
        assert_eq!(
            config.base_url(ProviderName::Eachlabs).as_str(),
            "http://127.0.0.1:9/v1"
        );
        assert_eq!(config.queue.to_string(), "other.db");
        for provider in ProviderName::ALL {
            config.base_url(provider);
        }
        assert_eq!(config.fal_api_url().as_str(), "https://api.fal.ai/v1");
    }

    #[test]
    fn images_are_uploaded_only_to_the_storage_that_belongs_to_the_queue() {
        let storage = |text: &str| {
            let config = Config::read("overnight.toml", text).unwrap();
            config.fal_storage_url().map(String::from)
        };
        assert_eq!(storage("").as_deref(), Some("https://rest.fal.ai/"));
        assert_eq!(
            storage("[provider.fal]\nbase_url = \"http://127.0.0.1:9\""),
            None
        );
        let both = r#"
            [provider.fal]
            base_url = "http://127.0.0.1:9"
            storage_url = "http://127.0.0.1:8"
        "#;
        assert_eq!(storage(both).as_deref(), Some("http://127.0.0.1:8/"));
    }
}
