//! The composition root: config, logs, catalog, and the concrete queue, providers and output.

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
use super::shell::SuggestedCommand;

/// Starts logging to standard error.
pub(super) fn start_logs(cli: &Cli) {
    let level = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => "error",
        (false, 0) => "overnight=warn,error",
        (false, 1) => "overnight=info,warn",
        (false, _) => "overnight=debug,info",
    };
    let filter = EnvFilter::try_from_env("OVERNIGHT_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let color = render::use_color(cli.global.color, std::io::stderr().is_terminal());
    let logs = tracing_subscriber::fmt::layer()
        .with_writer(|| live_region::LogWriter)
        .with_ansi(color);
    let logs = match cli.global.log_format {
        LogFormat::Text => logs.with_target(false).boxed(),
        LogFormat::Json => logs.json().boxed(),
    };
    tracing_subscriber::registry()
        .with(logs.with_filter(filter.and(filter_fn(may_be_logged))))
        .init();
}

/// Reports whether a log event may be written, whatever `OVERNIGHT_LOG` asks for.
///
/// Libraries may log request URLs, frames and headers below `INFO`, and any update may change what
/// they log. That no key, prompt or signed link reaches the logs must not depend on them.
fn may_be_logged(log: &Metadata<'_>) -> bool {
    *log.level() <= Level::INFO || log.target().starts_with(env!("CARGO_PKG_NAME"))
}

/// Everything a command needs: the resolved config and catalog, and the adapters built from them.
pub(super) struct Setup {
    pub(super) config: Config,
    pub(super) catalog: Arc<Catalog>,
    pub(super) clock: Arc<dyn Clock>,
    /// The environment variables for keys and URLs. The demo has those of its simulator instead.
    environment: BTreeMap<String, String>,
    /// The flags of the command line, which suggested commands repeat.
    global: Global,
}

impl Setup {
    /// Reads the config and the catalog. Flags override the environment, which overrides the
    /// config.
    pub(super) fn load(global: &Global) -> anyhow::Result<Self> {
        // A variable that is not UTF-8 counts as not set, and is reported so by its name.
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::with_environment(global, environment.collect())
    }

    /// Reads the config and the catalog with these environment variables.
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
            global: global.clone(),
        })
    }

    /// Suggests `overnight <command>`, with the same queue and config as this command.
    pub(super) fn suggest(&self, command: &str) -> SuggestedCommand {
        SuggestedCommand::new(&self.global, command)
    }

    /// Opens the existing queue.
    pub(super) fn queue(&self) -> anyhow::Result<Arc<dyn Queue>> {
        Ok(Arc::new(SqliteQueue::open(
            &self.config.queue,
            Arc::clone(&self.clock),
        )?))
    }

    /// Opens the existing queue read-only, without migrating an older version.
    pub(super) fn queue_read_only(&self) -> anyhow::Result<Arc<dyn Queue>> {
        Ok(Arc::new(SqliteQueue::open_read_only(
            &self.config.queue,
            Arc::clone(&self.clock),
        )?))
    }

    /// Opens the queue, or creates it.
    pub(super) fn queue_or_new(&self) -> anyhow::Result<Arc<dyn Queue>> {
        self.queue_at(&self.config.queue)
    }

    /// Creates an empty queue to check a manifest against, which disappears when it is closed.
    /// SQLite takes an empty path for a temporary file.
    pub(super) fn empty_queue(&self) -> anyhow::Result<Arc<dyn Queue>> {
        self.queue_at(Path::new(""))
    }

    /// Opens the queue at a path, whatever is configured, or creates it.
    pub(super) fn queue_at(&self, path: &Path) -> anyhow::Result<Arc<dyn Queue>> {
        Ok(Arc::new(SqliteQueue::open_or_create(
            path,
            Arc::clone(&self.clock),
        )?))
    }

    /// Opens the queue at a path for one rehearsal: no other process may use it, and it does not
    /// survive a crash.
    pub(super) fn rehearsal_queue(
        path: &Path,
        clock: Arc<dyn Clock>,
    ) -> crate::queue::Result<Arc<dyn Queue>> {
        Ok(Arc::new(SqliteQueue::for_rehearsal(path, clock)?))
    }

    /// Reports whether a provider's key is set.
    pub(super) fn has_key(&self, provider: ProviderName) -> bool {
        self.environment
            .get(provider.key_variable())
            .is_some_and(|text| !text.is_empty())
    }

    /// Returns the providers whose keys are set.
    pub(super) fn providers(&self) -> anyhow::Result<BTreeMap<ProviderName, Arc<dyn Provider>>> {
        let entry = |name| Ok(self.provider(name)?.map(|provider| (name, provider)));
        ProviderName::ALL
            .into_iter()
            .filter_map(|name| entry(name).transpose())
            .collect()
    }

    /// Returns a provider, or `None` if its key is not set.
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
        let base_url = self.config.base_url(name);
        let clock = Arc::clone(&self.clock);
        Ok(Some(match name {
            ProviderName::Eachlabs => {
                let auth = match self.config.eachlabs_auth() {
                    EachlabsAuth::XApiKey => Auth::XApiKey,
                    EachlabsAuth::Bearer => Auth::Bearer,
                };
                Arc::new(Eachlabs::new(base_url, &key, auth, clock)?)
            }
            ProviderName::Aimlapi => Arc::new(Aimlapi::new(base_url, &key, clock)?),
            ProviderName::Fal => Arc::new(Fal::new(
                base_url,
                self.config.fal_api_url(),
                self.config.fal_storage_url(),
                &key,
                clock,
            )?),
        }))
    }

    /// Returns the configured limits of a provider.
    pub(super) fn limits(&self, provider: ProviderName) -> ProviderLimits {
        ProviderLimits {
            provider,
            in_flight: self.config.in_flight(provider),
            creates_per_minute: self.config.creates_per_minute(provider),
            has_storage: self.config.has_storage(provider),
        }
    }

    /// Returns a reader of what `status` and the screen of a run show.
    pub(super) fn snapshot_reader(
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

    /// Returns the store that clips are saved to.
    pub(super) fn output(&self) -> Arc<dyn OutputStore> {
        Arc::new(LocalStore)
    }

    /// Returns what a pool's steps need, with an observer that ignores events.
    pub(super) async fn step_context(
        &self,
        queue: Arc<dyn Queue>,
        providers: BTreeMap<ProviderName, Arc<dyn Provider>>,
    ) -> anyhow::Result<StepContext> {
        let processing_times = self.processing_times();
        self.add_measured_times(&processing_times, queue.as_ref())
            .await?;
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

    /// Returns the configured times of polls, predictions and histories, without measurements.
    pub(super) fn processing_times(&self) -> ProcessingTimes {
        let mut processing_times = ProcessingTimes::default();
        processing_times.poll_min = std::time::Duration::from_secs_f64(self.config.pace.poll_min_s);
        processing_times.typical = self.config.durations(|settings| settings.typical_s);
        processing_times.history_delay = self.config.durations(|settings| settings.history_delay_s);
        processing_times
    }

    /// Adds the processing times that a queue has measured.
    pub(super) async fn add_measured_times(
        &self,
        processing_times: &ProcessingTimes,
        queue: &dyn Queue,
    ) -> anyhow::Result<()> {
        for route in self.catalog.models.iter().flat_map(|model| &model.routes) {
            // Clips of several lengths share a route, and each length keeps its own samples.
            let times = queue
                .processing_times(route.provider, route.wire_model.clone(), 4 * MAX_SAMPLES)
                .await?;
            for (clip_s, took) in times.into_iter().rev() {
                processing_times.learn(
                    RouteKey {
                        provider: route.provider,
                        wire_model: route.wire_model.clone(),
                        clip_s,
                    },
                    took,
                );
            }
        }
        Ok(())
    }
}
