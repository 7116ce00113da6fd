//! Puts the parts together: config, logs, catalogue, and the concrete queue, providers and output.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::catalog;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, EachlabsAuth};
use crate::domain::{Catalog, Money, ProviderName};
use crate::image::LocalImages;
use crate::output::{Downloader, LocalStore, OutputStore};
use crate::provider::aimlapi::Aimlapi;
use crate::provider::eachlabs::Eachlabs;
use crate::provider::fal::Fal;
use crate::provider::http::Auth;
use crate::provider::{ApiKey, Provider};
use crate::queue::sqlite::SqliteQueue;
use crate::queue::{ProviderLimits, Queue};
use crate::worker::processing_times::{MAX_SAMPLES, RouteKey};
use crate::worker::{ProcessingTimes, StepContext};

use super::args::{Cli, Global, LogFormat};
use super::exit::Usage;
use super::render;
use super::screen::{SnapshotReader, live_region};

/// Starts the logs, on standard error.
pub(super) fn start_logs(cli: &Cli) {
    let level = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => "error",
        (false, 0) => "overnight=warn,error",
        (false, 1) => "overnight=info,warn",
        (false, _) => "overnight=debug,info",
    };
    let filter = EnvFilter::try_from_env("OVERNIGHT_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let color = render::is_colored(cli.global.color, std::io::stderr().is_terminal());
    let logs = tracing_subscriber::fmt::layer()
        .with_writer(|| live_region::Above)
        .with_ansi(color);
    let logs = match cli.global.log_format {
        LogFormat::Text => logs.with_target(false).boxed(),
        LogFormat::Json => logs.json().boxed(),
    };
    tracing_subscriber::registry()
        .with(logs.with_filter(filter.and(filter_fn(may_be_logged))))
        .init();
}

/// What the libraries below tell of each request (addresses, frames, headers) is theirs to choose, and changes with any
/// update. That no key, prompt or signed link is in the logs must not depend on it, whatever `OVERNIGHT_LOG` asks for.
fn may_be_logged(log: &Metadata<'_>) -> bool {
    *log.level() <= Level::INFO || log.target().starts_with(env!("CARGO_PKG_NAME"))
}

/// What every command begins with.
pub(super) struct Setup {
    pub(super) config: Config,
    pub(super) catalog: Arc<Catalog>,
    pub(super) clock: Arc<dyn Clock>,
    /// Where keys and addresses come from: the environment, or the simulator's own for the demo.
    environment: BTreeMap<String, String>,
}

impl Setup {
    /// Reads the config and the catalogue; flags lie over both.
    pub(super) fn of(global: &Global) -> anyhow::Result<Self> {
        // Values that are not text are left out, and then missed by name.
        let own = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::with_environment(global, own.collect())
    }

    /// The same with another environment.
    pub(super) fn with_environment(
        global: &Global,
        environment: BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        let config = Config::load(global.config.as_deref(), |name| {
            environment.get(name).cloned()
        });
        let mut config = config.map_err(Usage)?;
        if let Some(queue) = &global.queue {
            config.queue.clone_from(queue);
        }
        let catalog = catalog::load(&config.catalog).map_err(Usage)?;
        Ok(Self {
            config,
            catalog: Arc::new(catalog),
            clock: Arc::new(SystemClock),
            environment,
        })
    }

    /// Opens the queue that is there.
    pub(super) fn queue(&self) -> anyhow::Result<Arc<dyn Queue>> {
        Ok(Arc::new(SqliteQueue::open(&self.config.queue)?))
    }

    /// Opens the queue that is there to look at: of an older version it stays.
    pub(super) fn queue_to_look_at(&self) -> anyhow::Result<Arc<dyn Queue>> {
        Ok(Arc::new(SqliteQueue::open_read_only(&self.config.queue)?))
    }

    /// Opens the queue, or makes it.
    pub(super) fn queue_or_new(&self) -> anyhow::Result<Arc<dyn Queue>> {
        self.queue_at(&self.config.queue)
    }

    /// A queue that is gone with its last use, to check a manifest against: SQLite's name for a temporary file.
    pub(super) fn empty_queue(&self) -> anyhow::Result<Arc<dyn Queue>> {
        self.queue_at(Path::new(""))
    }

    /// Opens the queue at a path, whatever is configured, or makes it.
    pub(super) fn queue_at(&self, path: &Path) -> anyhow::Result<Arc<dyn Queue>> {
        Ok(Arc::new(SqliteQueue::open_or_create(path)?))
    }

    /// Opens the queue at a path for a rehearsal alone: nobody else may use it, and it survives no crash.
    pub(super) fn rehearsal_queue(&self, path: &Path) -> anyhow::Result<Arc<dyn Queue>> {
        Ok(Arc::new(SqliteQueue::for_rehearsal(path)?))
    }

    /// Tells whether a provider's key is set.
    pub(super) fn has_key(&self, provider: ProviderName) -> bool {
        self.environment
            .get(provider.key_variable())
            .is_some_and(|text| !text.is_empty())
    }

    /// The providers whose keys are set.
    pub(super) fn providers(&self) -> anyhow::Result<BTreeMap<ProviderName, Arc<dyn Provider>>> {
        let of = |name| Ok(self.provider(name)?.map(|provider| (name, provider)));
        ProviderName::ALL
            .into_iter()
            .filter_map(|name| of(name).transpose())
            .collect()
    }

    /// A provider, if its key is set.
    pub(super) fn provider(&self, name: ProviderName) -> anyhow::Result<Option<Arc<dyn Provider>>> {
        let variable = name.key_variable();
        let Some(text) = self
            .environment
            .get(variable)
            .filter(|text| !text.is_empty())
        else {
            return Ok(None);
        };
        let key = ApiKey::new(text).map_err(|error| Usage(format!("{variable} {error}")))?;
        let (base, clock) = (self.config.base_url(name), Arc::clone(&self.clock));
        Ok(Some(match name {
            ProviderName::Eachlabs => {
                let auth = match self.config.eachlabs_auth() {
                    EachlabsAuth::XApiKey => Auth::XApiKey,
                    EachlabsAuth::Bearer => Auth::Bearer,
                };
                Arc::new(Eachlabs::new(base, &key, auth, clock)?)
            }
            ProviderName::Aimlapi => Arc::new(Aimlapi::new(base, &key, clock)?),
            ProviderName::Fal => Arc::new(Fal::new(
                base,
                self.config.fal_api_url(),
                self.config.fal_storage_url(),
                &key,
                clock,
            )?),
        }))
    }

    /// The limits of a provider.
    pub(super) fn limits(&self, provider: ProviderName) -> ProviderLimits {
        ProviderLimits {
            provider,
            in_flight: self.config.in_flight(provider),
            creates_per_minute: self.config.creates_per_minute(provider),
            has_storage: self.config.has_storage(provider),
        }
    }

    /// Looks at a queue, for whoever watches.
    pub(super) fn reader(
        &self,
        queue: Arc<dyn Queue>,
        batch: Option<String>,
        budget: Option<Money>,
    ) -> SnapshotReader {
        let limits = ProviderName::ALL
            .into_iter()
            .map(|name| (name, self.config.in_flight(name)));
        SnapshotReader {
            queue,
            clock: Arc::clone(&self.clock),
            batch,
            budget,
            limits: limits.collect(),
        }
    }

    /// Where clips are kept.
    pub(super) fn output(&self) -> Arc<dyn OutputStore> {
        Arc::new(LocalStore)
    }

    /// What a pool works with; nobody watches it yet.
    pub(super) async fn context(
        &self,
        queue: Arc<dyn Queue>,
        providers: BTreeMap<ProviderName, Arc<dyn Provider>>,
    ) -> anyhow::Result<StepContext> {
        let processing_times = self.processing_times();
        self.learn(&processing_times, queue.as_ref()).await?;
        Ok(StepContext {
            queue,
            providers,
            output: self.output(),
            clips: Arc::new(Downloader::new().context("cannot set up downloads")?),
            images: Arc::new(LocalImages),
            catalog: Arc::clone(&self.catalog),
            clock: Arc::clone(&self.clock),
            policy: self.config.retry_policy(),
            processing_times,
            observer: Arc::new(|_| ()),
        })
    }

    /// When to look, as it is configured.
    pub(super) fn processing_times(&self) -> ProcessingTimes {
        let mut processing_times = ProcessingTimes::default();
        processing_times.poll_min = std::time::Duration::from_secs_f64(self.config.pace.poll_min_s);
        processing_times.typical = self.config.durations(|settings| settings.typical_s);
        processing_times.history_delay = self.config.durations(|settings| settings.history_delay_s);
        processing_times
    }

    /// Lets a pace learn what a queue has measured.
    pub(super) async fn learn(
        &self,
        processing_times: &ProcessingTimes,
        queue: &dyn Queue,
    ) -> anyhow::Result<()> {
        for route in self.catalog.models.iter().flat_map(|model| &model.routes) {
            let (provider, wire_model) = (route.provider, route.wire_model.clone());
            let times = queue
                .processing_times(provider, wire_model.clone(), 4 * MAX_SAMPLES)
                .await?;
            for (clip_s, took) in times.into_iter().rev() {
                processing_times.learn(
                    RouteKey {
                        provider,
                        wire_model: wire_model.clone(),
                        clip_s,
                    },
                    took,
                );
            }
        }
        Ok(())
    }
}
