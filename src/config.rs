//! What the user has set: flags over environment over file over defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::domain::{Backoff, ProviderName, RetryPolicy};
use crate::toml_file;

/// The file that is read when it is there.
pub const DEFAULT_FILE: &str = "overnight.toml";

/// Everything that can be set, as `overnight.toml` spells it. Every key is optional; unknown keys are errors.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The queue file.
    pub queue: PathBuf,
    /// Folder of the batches' folders: a clip lands in `{out}/{batch}/{id}.mp4`.
    pub out: PathBuf,
    /// Steps at once.
    pub workers: usize,
    /// Model files of the user's own.
    pub catalog: Vec<PathBuf>,
    /// When to look, and when to try again.
    pub pace: PaceConfig,
    /// Each provider's addresses and limits.
    pub provider: BTreeMap<ProviderName, ProviderConfig>,
}

/// When to look, and when to try again.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaceConfig {
    /// Shortest time between two looks at one prediction, in seconds.
    pub poll_min_s: f64,
    /// First backoff in seconds; doubles, full jitter.
    pub retry_base_s: f64,
    /// Longest backoff, in seconds.
    pub retry_cap_s: f64,
}

/// One provider's addresses and limits.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderConfig {
    /// Where its API is; for fal the queue API.
    pub base_url: Option<Url>,
    /// Where fal's platform API (history, billing) is.
    pub api_url: Option<Url>,
    /// Where fal's storage is, to which photos on disk are uploaded.
    pub storage_url: Option<Url>,
    /// The most attempts submitting, in doubt or running at once.
    pub in_flight: Option<u32>,
    /// The most creates in any 60 seconds.
    pub creates_per_minute: Option<u32>,
    /// How long its predictions usually take in seconds; replaces the catalogue's figure.
    pub typical_s: Option<f64>,
    /// How long after a create its absence from the history proves something, in seconds.
    pub history_delay_s: Option<f64>,
    /// How each::labs is sent its key: its model pages name one way, its API reference since July 2026 the other.
    pub auth: Option<EachlabsAuth>,
}

/// How each::labs is sent its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum EachlabsAuth {
    /// In `X-API-Key`.
    #[serde(rename = "x-api-key")]
    XApiKey,
    /// In `Authorization`, behind `Bearer`.
    #[serde(rename = "bearer")]
    Bearer,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            queue: "overnight.db".into(),
            out: "renders".into(),
            workers: 16,
            catalog: Vec::new(),
            pace: PaceConfig::default(),
            provider: BTreeMap::new(),
        }
    }
}

impl Default for PaceConfig {
    fn default() -> Self {
        Self {
            poll_min_s: 2.0,
            retry_base_s: 1.0,
            retry_cap_s: 60.0,
        }
    }
}

/// Paid submissions of one job, at most.
const ATTEMPTS: u32 = 3;

/// Failed downloads of one clip in a row before it is left to a person.
const DOWNLOADS: u32 = 8;

const FAL_QUEUE: &str = "https://queue.fal.run";

impl Config {
    /// Reads the named file, else `overnight.toml` if it is there, and lays the environment over it.
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

    /// Reads a file's content.
    pub fn read(name: &str, text: &str) -> Result<Self, String> {
        let config: Self = toml_file::read(name, text)?;
        config
            .check()
            .map_err(|problem| format!("{name}: {problem}"))?;
        Ok(config)
    }

    fn merge_env(&mut self, environment: impl Fn(&str) -> Option<String>) -> Result<(), String> {
        let url = |variable: &str| -> Result<Option<Url>, String> {
            let Some(text) = environment(variable).filter(|text| !text.is_empty()) else {
                return Ok(None);
            };
            // Not shown: where two variables are mixed up it is a key.
            text.parse()
                .map(Some)
                .map_err(|error| format!("{variable} is not an address: {error}"))
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

    fn check(&self) -> Result<(), String> {
        if self.workers == 0 {
            return Err("workers: must be at least 1".into());
        }
        let seconds = |key: &str, value: f64| {
            if value.is_finite() && (0.0..=31_536_000.0).contains(&value) {
                Ok(())
            } else {
                Err(format!("{key}: must be a number of seconds, 0 or more"))
            }
        };
        seconds("pace.poll_min_s", self.pace.poll_min_s)?;
        seconds("pace.retry_base_s", self.pace.retry_base_s)?;
        seconds("pace.retry_cap_s", self.pace.retry_cap_s)?;
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
                    "provider.{provider}.auth: only each::labs takes its key in two ways"
                ));
            }
            for (key, address) in [
                ("api_url", &settings.api_url),
                ("storage_url", &settings.storage_url),
            ] {
                if address.is_some() && *provider != ProviderName::Fal {
                    return Err(format!(
                        "provider.{provider}.{key}: only fal has more than one address"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Tells a provider's address: what is set, else the public one.
    pub fn base_url(&self, provider: ProviderName) -> Url {
        let public = match provider {
            ProviderName::Eachlabs => "https://api.eachlabs.ai/v1",
            ProviderName::Aimlapi => "https://api.aimlapi.com",
            ProviderName::Fal => FAL_QUEUE,
        };
        self.setting(provider, |settings| settings.base_url.clone())
            .unwrap_or_else(|| fixed(public))
    }

    /// Tells the address of fal's platform API.
    pub fn fal_api_url(&self) -> Url {
        self.setting(ProviderName::Fal, |settings| settings.api_url.clone())
            .unwrap_or_else(|| fixed("https://api.fal.ai/v1"))
    }

    /// Tells the address of fal's storage. Another queue than the public one has the storage that is set for it, or none:
    /// the key must not go to fal because of a photo when everything else goes elsewhere.
    pub fn fal_storage_url(&self) -> Option<Url> {
        let set = self.setting(ProviderName::Fal, |settings| settings.storage_url.clone());
        let is_public = self.base_url(ProviderName::Fal) == fixed(FAL_QUEUE);
        set.or_else(|| is_public.then(|| fixed("https://rest.fal.ai")))
    }

    /// Tells whether photos on disk can be uploaded to a provider; AI/ML API documents no way to.
    pub fn has_storage(&self, provider: ProviderName) -> bool {
        match provider {
            ProviderName::Eachlabs => true,
            ProviderName::Aimlapi => false,
            ProviderName::Fal => self.fal_storage_url().is_some(),
        }
    }

    /// Tells how each::labs is sent its key.
    pub fn eachlabs_auth(&self) -> EachlabsAuth {
        self.setting(ProviderName::Eachlabs, |settings| settings.auth)
            .unwrap_or(EachlabsAuth::XApiKey)
    }

    /// Tells the most attempts in flight at a provider. each::labs documents 10; a new fal account runs 2 at once and
    /// queues the rest, so 4 keep its slots full; AI/ML API publishes no figure.
    pub fn in_flight(&self, provider: ProviderName) -> u32 {
        let usual = if provider == ProviderName::Eachlabs {
            10
        } else {
            4
        };
        self.setting(provider, |settings| settings.in_flight)
            .unwrap_or(usual)
    }

    /// Tells the most creates a minute at a provider. each::labs documents 100; the others publish no figure.
    pub fn creates_per_minute(&self, provider: ProviderName) -> u32 {
        let usual = if provider == ProviderName::Eachlabs {
            100
        } else {
            60
        };
        self.setting(provider, |settings| settings.creates_per_minute)
            .unwrap_or(usual)
    }

    /// Tells how a set of seconds per provider is configured.
    pub fn durations(
        &self,
        pick: impl Fn(&ProviderConfig) -> Option<f64>,
    ) -> BTreeMap<ProviderName, Duration> {
        let set = self
            .provider
            .iter()
            .filter_map(|(provider, settings)| Some((*provider, pick(settings)?)));
        set.map(|(provider, seconds)| (provider, Duration::from_secs_f64(seconds)))
            .collect()
    }

    /// Tells how often and how long to try.
    pub fn retry_policy(&self) -> RetryPolicy {
        let backoff = Backoff {
            base: Duration::from_secs_f64(self.pace.retry_base_s),
            cap: Duration::from_secs_f64(self.pace.retry_cap_s.max(self.pace.retry_base_s)),
        };
        RetryPolicy {
            backoff,
            attempts: ATTEMPTS,
            downloads: DOWNLOADS,
        }
    }

    fn setting<T>(
        &self,
        provider: ProviderName,
        pick: impl Fn(&ProviderConfig) -> Option<T>,
    ) -> Option<T> {
        self.provider.get(&provider).and_then(pick)
    }
}

fn fixed(address: &'static str) -> Url {
    #[expect(
        clippy::expect_used,
        reason = "the addresses are constants, and a test reads each"
    )]
    Url::parse(address).expect("a constant address")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str = r#"
        queue = "overnight.db"
        out = "renders"
        workers = 16
        catalog = ["my-models.toml"]
        [pace]
        poll_min_s = 2
        retry_base_s = 1
        retry_cap_s = 60
        [provider.eachlabs]
        base_url = "https://api.eachlabs.ai/v1"
        in_flight = 10
        creates_per_minute = 100
        typical_s = 270
        history_delay_s = 60
    "#;

    #[test]
    fn every_documented_key_is_read() {
        let config = Config::read("overnight.toml", DOCUMENTED).unwrap();
        assert_eq!(config.in_flight(ProviderName::Eachlabs), 10);
        assert_eq!(
            config.durations(|p| p.typical_s)[&ProviderName::Eachlabs],
            Duration::from_secs(270)
        );
    }

    #[test]
    fn an_unknown_key_is_told_with_its_place_and_the_nearest_name() {
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
    fn values_that_make_no_sense_are_refused() {
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
    fn the_environment_lies_over_the_file() {
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
        assert_eq!(config.queue, PathBuf::from("other.db"));
        for provider in ProviderName::ALL {
            config.base_url(provider);
        }
        assert_eq!(config.fal_api_url().as_str(), "https://api.fal.ai/v1");
    }

    #[test]
    fn photos_go_to_the_storage_that_belongs_to_the_queue_or_to_none() {
        let storage = |text: &str| {
            let config = Config::read("overnight.toml", text).unwrap();
            config.fal_storage_url().map(String::from)
        };
        assert_eq!(storage("").as_deref(), Some("https://rest.fal.ai/"));
        assert_eq!(
            storage("[provider.fal]\nbase_url = \"http://127.0.0.1:9\""),
            None
        );
        let both = "[provider.fal]\nbase_url = \"http://127.0.0.1:9\"\nstorage_url = \"http://127.0.0.1:8\"";
        assert_eq!(storage(both).as_deref(), Some("http://127.0.0.1:8/"));
    }
}
