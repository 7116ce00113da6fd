//! How a queue stands at one moment, with all that the screen says of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::clock::Clock;
use crate::domain::{Money, ProviderName};
use crate::queue::{BatchStatus, JobRecord, LiveSetting, Queue, Result, SettingChange, Status};

/// The finished jobs that are shown.
const LATEST: usize = 5;

/// Looks at a queue for the screen.
#[derive(Clone)]
pub(in crate::cli) struct SnapshotReader {
    pub(in crate::cli) queue: Arc<dyn Queue>,
    pub(in crate::cli) clock: Arc<dyn Clock>,
    /// Only this batch.
    pub(in crate::cli) batch: Option<String>,
    /// The run's own budget, where the viewer knows it.
    pub(in crate::cli) budget: Option<Money>,
    /// How much each provider may have in flight, as it is configured.
    pub(in crate::cli) limits: BTreeMap<ProviderName, u32>,
}

/// How a queue stands.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Snapshot {
    pub(in crate::cli) now: Timestamp,
    pub(super) zone: TimeZone,
    pub(in crate::cli) status: Status,
    /// The jobs that ended last, newest first.
    pub(super) latest: Vec<JobRecord>,
    /// What a person changed of the runs that are going on.
    pub(super) live_settings: Vec<SettingChange>,
    /// The budget over all the batches in question.
    pub(super) budget: Option<Money>,
    pub(in crate::cli) limits: BTreeMap<ProviderName, u32>,
}

impl SnapshotReader {
    /// Looks.
    pub(in crate::cli) async fn read(&self) -> Result<Snapshot> {
        let status = self.queue.status(self.batch.clone()).await?;
        let latest = self.queue.latest(self.batch.clone(), LATEST).await?;
        let live_settings = self.queue.live_settings().await?;
        let (now, zone) = (self.clock.now(), TimeZone::system());
        let (budget, limits) = (self.budget, self.limits.clone());
        let snapshot = Snapshot {
            now,
            zone,
            status,
            latest,
            live_settings,
            budget,
            limits,
        };
        Ok(snapshot.with_live_settings())
    }
}

impl Snapshot {
    /// Puts what a person changed in the place of what was configured.
    pub(super) fn with_live_settings(mut self) -> Self {
        for change in &self.live_settings {
            match change.setting {
                LiveSetting::InFlight(provider, limit) => drop(self.limits.insert(provider, limit)),
                LiveSetting::Budget(budget) => self.budget = budget,
                LiveSetting::Paused(_) | LiveSetting::Workers(_) | LiveSetting::BatchBudget(..) => {
                }
            }
        }
        self
    }

    /// How many seconds a batch's open jobs will take; nobody knows how long a pause does.
    pub(in crate::cli) fn eta_s(&self, batch: &BatchStatus) -> Option<u64> {
        if self.pause().is_some() {
            None
        } else {
            self.status.eta_s(batch, self.now)
        }
    }

    /// Who paused the runs, if somebody did.
    pub(super) fn pause(&self) -> Option<&SettingChange> {
        self.live_settings
            .iter()
            .find(|change| change.setting == LiveSetting::Paused(true))
    }

    /// The budget that counts: the run's own, else what all batches together may cost, where each has one.
    pub(super) fn budget(&self) -> Option<Money> {
        // The sum over no batch would be a budget of nothing.
        let batches = Some(&self.status.batches).filter(|batches| !batches.is_empty());
        self.budget
            .or_else(|| batches?.iter().map(|batch| batch.budget).sum())
    }

    pub(super) fn spent(&self) -> Money {
        self.status.batches.iter().map(|batch| batch.spent).sum()
    }

    pub(super) fn reserved(&self) -> Money {
        self.status.batches.iter().map(|batch| batch.reserved).sum()
    }
}
