//! What most commands need: the program as configured, and the command line's global flags.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::app::{App, AppError};
use crate::domain::{Money, ProviderName};
use crate::queue::Queue;
use crate::worker::LiveSettings;

use super::args::Global;
use super::screen::SnapshotReader;
use super::shell::SuggestedCommand;

/// The program as configured by files, the environment and global flags.
pub(super) struct Setup {
    pub(super) app: App,
    /// The flags of the command line, which suggested commands repeat.
    global: Global,
}

impl Setup {
    /// Reads the config and the catalog. Flags override the environment, which overrides the
    /// config.
    pub(super) fn load(global: &Global) -> Result<Self, AppError> {
        // A variable that is not UTF-8 counts as not set, and is reported so by its name.
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::with_environment(global, environment.collect())
    }

    /// Reads the config and the catalog with these environment variables. The demo has those of its
    /// simulator.
    pub(super) fn with_environment(
        global: &Global,
        environment: BTreeMap<String, String>,
    ) -> Result<Self, AppError> {
        let app = App::load(global.config.as_deref(), global.queue.as_ref(), environment)?;
        Ok(Self {
            app,
            global: global.clone(),
        })
    }

    /// Suggests `overnight <command>`, with the same queue and config as this command.
    pub(super) fn suggest(&self, command: &str) -> SuggestedCommand {
        SuggestedCommand::new(&self.global, command)
    }

    /// Returns a reader of what `status` and the screen of a run show.
    pub(super) fn snapshot_reader(
        &self,
        queue: Arc<dyn Queue>,
        batch: Option<String>,
        budget: Option<Money>,
    ) -> SnapshotReader {
        let limits = ProviderName::ALL.map(|provider| self.app.limits(provider));
        SnapshotReader {
            queue,
            clock: Arc::clone(&self.app.clock),
            batch,
            settings: LiveSettings::new(self.app.config.workers, budget, limits.into()),
        }
    }
}
