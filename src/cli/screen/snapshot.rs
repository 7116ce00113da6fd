//! The state of a queue at one moment, with everything that the status display shows.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::clock::Clock;
use crate::domain::Money;
use crate::queue::{BatchStatus, JobRecord, Queue, Result, Status};
use crate::worker::LiveSettings;

/// Maximum number of finished jobs to list.
const MAX_LATEST: usize = 5;

/// Reads snapshots of a queue.
#[derive(Clone)]
pub(in crate::cli) struct SnapshotReader {
    pub(in crate::cli) queue: Arc<dyn Queue>,
    pub(in crate::cli) clock: Arc<dyn Clock>,
    /// The only batch to include; `None` includes all.
    pub(in crate::cli) batch: Option<String>,
    /// The configured settings. The budget is that of this process's own run, if it has one.
    pub(in crate::cli) settings: LiveSettings,
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
    /// The settings in force: as configured, or what an operator set instead.
    pub(in crate::cli) settings: LiveSettings,
}

impl SnapshotReader {
    /// Reads the current state of the queue.
    pub(in crate::cli) async fn read(&self) -> Result<Snapshot> {
        let status = self.queue.status(self.batch.clone()).await?;
        let latest = self.queue.latest(self.batch.clone(), MAX_LATEST).await?;
        let mut settings = self.settings.clone();
        settings.apply(self.queue.live_settings().await?);
        Ok(Snapshot {
            now: self.clock.now(),
            zone: TimeZone::system(),
            status,
            latest,
            settings,
        })
    }
}

impl Snapshot {
    /// Returns the estimated seconds until a batch's remaining jobs finish; `None` while the runs
    /// are paused, because a pause has no known end.
    pub(in crate::cli) fn eta_s(&self, batch: &BatchStatus) -> Option<u64> {
        if self.settings.paused {
            None
        } else {
            self.status.eta_s(batch, self.now)
        }
    }

    /// Returns the run's own budget, or else the sum of all batch budgets if every batch has one.
    pub(super) fn effective_budget(&self) -> Option<Money> {
        // Without batches the sum would be a budget of zero.
        let batches = Some(&self.status.batches).filter(|batches| !batches.is_empty());
        self.settings
            .budget
            .or_else(|| batches?.iter().map(|batch| batch.budget).sum())
    }

    pub(super) fn spent(&self) -> Money {
        self.status.batches.iter().map(|batch| batch.spent).sum()
    }

    pub(super) fn reserved(&self) -> Money {
        self.status.batches.iter().map(|batch| batch.reserved).sum()
    }
}
