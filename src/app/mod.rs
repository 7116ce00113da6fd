//! The composition root: the only place of the product that names concrete adapters. It assembles
//! queues, providers and pools from the config and the environment.

mod queues;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::catalog;
use crate::clock::{AdjustedClock, Clock};
use crate::config::{Config, EachlabsAuth};
use crate::domain::{Catalog, Model, ProviderName, QueueAddress};
use crate::image::{LocalImages, PictureProbe};
use crate::link_client::ProxiedLinks;
use crate::output::{
    ClipStorage, DownloadTimeouts, Downloader, LocalStore, ObjectStorage, OutputStore,
};
use crate::provider::aimlapi::Aimlapi;
use crate::provider::eachlabs::Eachlabs;
use crate::provider::fal::Fal;
use crate::provider::http::{Auth, SetupError};
use crate::provider::timeouts::Timeouts;
use crate::provider::{ApiKey, InvalidKey, Provider};
use crate::queue::{ProviderLimits, Queue, QueueError};
use crate::rehearsal::{Latency, Scenario, SimulatedHost};
use crate::worker::{FilePorts, ProcessingTimes, StepContext};

pub use queues::{back_up, queue_at, simulate_copy, temporary_queue};

/// Why a part of the program cannot be assembled.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The config, an environment variable or a model file is wrong. The message names it.
    #[error("{0}")]
    Config(String),
    /// An environment variable does not hold an API key.
    #[error("{variable} {invalid}")]
    Key {
        /// The variable's name.
        variable: &'static str,
        /// What is wrong with its value, which is not shown.
        invalid: InvalidKey,
    },
    /// The client of a provider cannot be built.
    #[error(transparent)]
    Provider(#[from] SetupError),
    /// The client for downloads and links cannot be built.
    #[error("cannot set up downloads")]
    Downloads(#[source] reqwest::Error),
    /// The queue cannot be read.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// The resolved config and catalogue, and the adapters built from them.
pub struct App {
    /// The config, overridden by the environment.
    pub config: Config,
    /// The built-in models and those of the config.
    pub catalog: Arc<Catalog>,
    /// This machine's clock, set to that of the queue's server if it has one.
    pub clock: Arc<dyn Clock>,
    /// The same.
    adjusted_clock: Arc<AdjustedClock>,
    /// The environment variables for keys, URLs and object storage.
    environment: BTreeMap<String, String>,
}

impl App {
    /// Reads the config and the catalogue. `queue` overrides the environment, which overrides the
    /// config.
    ///
    /// # Errors
    /// Returns [`AppError::Config`] if one of them is wrong.
    pub fn load(
        config: Option<&Path>,
        queue: Option<&QueueAddress>,
        environment: BTreeMap<String, String>,
    ) -> Result<Self, AppError> {
        let config = Config::load(config, |name| environment.get(name).cloned());
        let mut config = config.map_err(AppError::Config)?;
        if let Some(queue) = queue {
            config.queue = queue.clone();
        }
        if let QueueAddress::File(path) = &config.queue
            && path.is_symlink()
            && let Ok(path) = path.canonicalize()
        {
            // What lies beside the queue has to be found by whatever name it is opened.
            config.queue = path.into();
        }
        let catalog = catalog::load(&config.catalog).map_err(AppError::Config)?;
        let clock = Arc::new(AdjustedClock::default());
        Ok(Self {
            config,
            catalog: Arc::new(catalog),
            clock: Arc::clone(&clock) as _,
            adjusted_clock: clock,
            environment,
        })
    }

    /// Reports whether a provider's key is set.
    pub fn has_key(&self, provider: ProviderName) -> bool {
        self.key(provider).is_some()
    }

    fn key(&self, provider: ProviderName) -> Option<&str> {
        let key = self.environment.get(provider.key_variable())?;
        Some(key.as_str()).filter(|key| !key.is_empty())
    }

    /// Returns a mark of a provider's key that does not reveal it; `None` if no valid one is set.
    pub fn key_mark(&self, provider: ProviderName, salt: &str) -> Option<String> {
        let key = ApiKey::new(self.key(provider)?).ok()?;
        Some(key.mark(salt))
    }

    /// Returns the providers whose keys are set.
    ///
    /// # Errors
    /// As [`Self::provider`].
    pub fn providers(&self) -> Result<BTreeMap<ProviderName, Arc<dyn Provider>>, AppError> {
        let entry = |name| Ok(self.provider(name)?.map(|provider| (name, provider)));
        ProviderName::ALL
            .into_iter()
            .filter_map(|name| entry(name).transpose())
            .collect()
    }

    /// Returns a provider, or `None` if its key is not set.
    ///
    /// # Errors
    /// Returns an error if the key is invalid, or if TLS cannot be set up.
    pub fn provider(&self, name: ProviderName) -> Result<Option<Arc<dyn Provider>>, AppError> {
        let Some(key) = self.key(name) else {
            return Ok(None);
        };
        let key = ApiKey::new(key).map_err(|invalid| AppError::Key {
            variable: name.key_variable(),
            invalid,
        })?;
        let base_url = self.config.base_url(name);
        let clock = Arc::clone(&self.clock);
        let timeouts = Timeouts::default();
        let proxied = self.config.proxied_links;
        Ok(Some(match name {
            ProviderName::Eachlabs => {
                let auth = match self.config.eachlabs_auth() {
                    EachlabsAuth::XApiKey => Auth::XApiKey,
                    EachlabsAuth::Bearer => Auth::Bearer,
                };
                Arc::new(Eachlabs::new(
                    base_url, &key, auth, clock, timeouts, proxied,
                )?)
            }
            ProviderName::Aimlapi => Arc::new(Aimlapi::new(base_url, &key, clock, timeouts)?),
            ProviderName::Fal => Arc::new(Fal::new(
                base_url,
                self.config.fal_api_url(),
                self.config.fal_storage_url(),
                &key,
                clock,
                timeouts,
                proxied,
            )?),
        }))
    }

    /// Returns by how much the clock of the queue is ahead of this machine's.
    pub fn clock_skew(&self) -> SignedDuration {
        self.adjusted_clock.ahead()
    }

    /// Returns the configured limits of a provider.
    pub fn limits(&self, provider: ProviderName) -> ProviderLimits {
        ProviderLimits {
            provider,
            in_flight: self.config.in_flight(provider),
            creates_per_minute: self.config.creates_per_minute(provider),
            history_delay: self.processing_times().history_delay(provider),
            has_storage: self.config.has_storage(provider),
        }
    }

    /// Returns the store that clips are saved to.
    pub fn output(&self) -> Arc<dyn OutputStore> {
        clip_storage(&self.environment)
    }

    /// Returns the configured times of polls, predictions and histories, without measurements.
    pub fn processing_times(&self) -> ProcessingTimes {
        let mut processing_times = ProcessingTimes::default();
        processing_times.poll_min = Duration::from_secs_f64(self.config.pace.poll_min_s);
        processing_times.typical = self.config.durations(|settings| settings.typical_s);
        processing_times.history_delay = self.config.durations(|settings| settings.history_delay_s);
        processing_times
    }

    /// Returns those of the providers that a run would use, which are those whose key is set. If no
    /// key is set, returns all: plans are often made before keys are.
    pub fn usable_providers(&self, providers: &[ProviderName]) -> Vec<ProviderName> {
        let mut usable = providers.to_vec();
        usable.retain(|provider| self.has_key(*provider));
        if usable.is_empty() {
            providers.to_vec()
        } else {
            usable
        }
    }

    /// Returns the scenario of a rehearsal that starts at `starts_at`, with the times that the
    /// queue has measured, if it exists.
    ///
    /// # Errors
    /// Returns the error of the queue.
    pub async fn scenario(
        &self,
        model: &Model,
        providers: &[ProviderName],
        starts_at: Timestamp,
        workers: usize,
    ) -> Result<Scenario, AppError> {
        let processing_times = self.processing_times();
        if self.has_queue()? {
            processing_times
                .learn_from(self.queue()?.as_ref(), &self.catalog)
                .await?;
        }
        let hosts = providers
            .iter()
            .map(|provider| SimulatedHost::new(self.limits(*provider), model, &processing_times));
        Ok(Scenario {
            starts_at,
            catalog: Arc::clone(&self.catalog),
            hosts: hosts.collect(),
            policy: self.config.retry_policy(),
            processing_times,
            times: None,
            latency: Latency::default(),
            workers,
            budget: None,
        })
    }

    /// Returns what a pool's steps need, with the times that the queue has measured and an observer
    /// that ignores events.
    ///
    /// # Errors
    /// Returns an error if the queue cannot be read, or if TLS cannot be set up.
    pub async fn step_context(
        &self,
        queue: Arc<dyn Queue>,
        providers: BTreeMap<ProviderName, Arc<dyn Provider>>,
    ) -> Result<StepContext, AppError> {
        let processing_times = self.processing_times();
        processing_times
            .learn_from(queue.as_ref(), &self.catalog)
            .await?;
        let catalog = Arc::clone(&self.catalog);
        let clock = Arc::clone(&self.clock);
        let files = file_ports(self.config.proxied_links, &self.environment)?;
        Ok(StepContext {
            policy: self.config.retry_policy(),
            processing_times,
            ..StepContext::new(queue, providers, files, catalog, clock)
        })
    }
}

impl App {
    /// Returns the client that asks whether links lead to pictures.
    ///
    /// # Errors
    /// Returns [`AppError::Downloads`] if TLS cannot be set up.
    pub fn picture_probe(&self) -> Result<PictureProbe, AppError> {
        PictureProbe::new(self.config.proxied_links).map_err(AppError::Downloads)
    }
}

/// Returns the ports that save clips to local folders and object storage, download them over HTTP, and read local
/// images.
///
/// # Errors
/// Returns [`AppError::Downloads`] if TLS cannot be set up.
pub fn file_ports(
    proxied: ProxiedLinks,
    environment: &BTreeMap<String, String>,
) -> Result<FilePorts, AppError> {
    let downloader = Downloader::new(DownloadTimeouts::default(), proxied);
    Ok(FilePorts {
        output: clip_storage(environment),
        clips: Arc::new(downloader.map_err(AppError::Downloads)?),
        images: Arc::new(LocalImages),
    })
}

fn clip_storage(environment: &BTreeMap<String, String>) -> Arc<dyn OutputStore> {
    let disk = Arc::<LocalStore>::default();
    let objects = Arc::new(ObjectStorage::new(environment));
    Arc::new(ClipStorage::new(disk, objects))
}
