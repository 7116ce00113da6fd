//! The state of a queue at one moment, with everything that the status display shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::clock::Clock;
use crate::domain::{Money, ProviderName};
use crate::queue::{BatchStatus, JobRecord, LiveSetting, Queue, Result, SettingChange, Status};

/// Maximum number of finished jobs to list.
const MAX_LATEST: usize = 5;

/// Reads snapshots of a queue.
#[derive(Clone)]
pub(in crate::cli) struct SnapshotReader {
    pub(in crate::cli) queue: Arc<dyn Queue>,
    pub(in crate::cli) clock: Arc<dyn Clock>,
    /// The only batch to include; `None` includes all.
    pub(in crate::cli) batch: Option<String>,
    /// The budget given to this process's own run; `None` if there is none, or no run.
    pub(in crate::cli) budget: Option<Money>,
    /// Configured maximum number of predictions in flight, by provider.
    pub(in crate::cli) limits: BTreeMap<ProviderName, u32>,
}

/// The state of a queue at one moment.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Snapshot {
    pub(in crate::cli) now: Timestamp,
    /// The time zone in which times are shown.
    pub(super) zone: TimeZone,
    pub(in crate::cli) status: Status,
    /// The jobs that finished last, newest first.
    pub(super) latest: Vec<JobRecord>,
    /// Settings that an operator changed for the active runs.
    pub(super) live_settings: Vec<SettingChange>,
    /// Budget over all batches in the snapshot: a run's own, or what an operator set instead.
    pub(super) budget: Option<Money>,
    /// Maximum number of predictions in flight, by provider.
    pub(in crate::cli) limits: BTreeMap<ProviderName, u32>,
}

impl SnapshotReader {
    /// Reads the current state of the queue.
    pub(in crate::cli) async fn read(&self) -> Result<Snapshot> {
        let status = self.queue.status(self.batch.clone()).await?;
        let latest = self.queue.latest(self.batch.clone(), MAX_LATEST).await?;
        let live_settings = self.queue.live_settings().await?;
        let snapshot = Snapshot {
            now: self.clock.now(),
            zone: TimeZone::system(),
            status,
            latest,
            live_settings,
            budget: self.budget,
            limits: self.limits.clone(),
        };
        Ok(snapshot.with_live_settings())
    }
}

impl Snapshot {
    /// Replaces configured limits and the budget with those that an operator set.
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

    /// Returns the estimated seconds until a batch's remaining jobs finish; `None` while the runs
    /// are paused, because a pause has no known end.
    pub(in crate::cli) fn eta_s(&self, batch: &BatchStatus) -> Option<u64> {
        if self.active_pause().is_some() {
            None
        } else {
            self.status.eta_s(batch, self.now)
        }
    }

    /// Returns the change that paused the runs, if they are paused.
    pub(super) fn active_pause(&self) -> Option<&SettingChange> {
        self.live_settings
            .iter()
            .find(|change| change.setting == LiveSetting::Paused(true))
    }

    /// Returns the run's own budget, or else the sum of all batch budgets if every batch has one.
    pub(super) fn effective_budget(&self) -> Option<Money> {
        // Without batches the sum would be a budget of zero.
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
