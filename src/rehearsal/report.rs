//! The results of one simulated run.

use std::time::Duration;

use crate::domain::{JobState, Money, ProviderName};
use crate::queue::{Backlog, BudgetLimit, Status};

use super::sim_state::{SimState, api, duration_from_millis};
use super::{SimulatedHost, ideal_makespan};

/// The results of one simulated run.
#[derive(Clone, Debug, PartialEq)]
pub struct RehearsalReport {
    /// Number of rows.
    pub rows: u64,
    /// Number of saved clips.
    pub clips: u64,
    /// Number of rows that failed.
    pub failed: u64,
    /// Number of rows that were unfinished when the run ended.
    pub waiting: u64,
    /// Total cost of all batches.
    pub cost: Money,
    /// Time from the start of the run until the last clip was saved.
    pub makespan: Duration,
    /// The largest ideal makespan of the providers: see [`ProviderReport::ideal`].
    pub ideal: Duration,
    /// The results by provider, in the order of the scenario's hosts.
    pub providers: Vec<ProviderReport>,
    /// Why the run stopped with rows left; `None` if it finished all of them.
    pub stop: Option<StopReason>,
}

/// Why a simulated run stopped with rows left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It reached a budget.
    Budget(BudgetLimit),
    /// None of the scenario's providers may run the rows that are left.
    NoProvider,
}

/// The results at one provider.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderReport {
    /// The provider's name.
    pub provider: ProviderName,
    /// Maximum number of predictions that it processes concurrently.
    pub at_once: u32,
    /// Number of clips that it made.
    pub clips: u64,
    /// Number of polls of its predictions.
    pub polls: u64,
    /// Number of submissions that it refused because of its concurrency or rate limit.
    pub refused: u64,
    /// Total processing time of its predictions.
    pub worked: Duration,
    /// Total time from the end of a prediction to the poll that noticed it.
    pub detection_lag: Duration,
    /// Time from the start of the run until its last prediction ended.
    pub makespan: Duration,
    /// Makespan of the same predictions if each started the instant a slot was free: see
    /// [`ideal`](super::ideal_makespan()).
    pub ideal: Duration,
}

impl RehearsalReport {
    /// Summarizes a run that has ended. `backlog` and `status` are those of its queue.
    pub(super) fn new(state: &SimState, backlog: &Backlog, status: &Status) -> Self {
        let hosts = state.scenario.hosts.iter().enumerate();
        let providers: Vec<_> = hosts
            .map(|(index, host)| ProviderReport::new(state, index, host))
            .collect();
        let waiting = backlog.queued + backlog.in_progress + backlog.held;
        let exceeded_budget = backlog
            .exceeded_budgets
            .first()
            .cloned()
            .map(StopReason::Budget);
        let stats = state.stats().clone();
        Self {
            rows: status.batches.iter().map(|batch| batch.total_jobs()).sum(),
            clips: stats.clips,
            failed: status.count(JobState::Failed),
            waiting,
            cost: status.batches.iter().map(|batch| batch.spent).sum(),
            makespan: stats.last_saved,
            ideal: providers
                .iter()
                .map(|provider| provider.ideal)
                .max()
                .unwrap_or_default(),
            providers,
            stop: exceeded_budget.or((waiting > 0).then_some(StopReason::NoProvider)),
        }
    }
}

impl ProviderReport {
    /// Summarizes the host at `index` of the scenario.
    fn new(state: &SimState, index: usize, host: &SimulatedHost) -> Self {
        let stats = state.stats().hosts[index];
        let api = api(host.limits.provider);
        let world = state.world();
        let ledger = world.ledger();
        let predictions = || {
            world
                .predictions()
                .iter()
                .filter(|prediction| prediction.api == api)
        };
        let times: Vec<Duration> = predictions()
            .map(|prediction| duration_from_millis(prediction.ends_at - prediction.starts_at))
            .collect();
        let entries = ledger.entries.iter().filter(|entry| entry.api == api);
        Self {
            provider: host.limits.provider,
            at_once: host.at_once,
            clips: times.len() as u64,
            polls: entries.map(|entry| u64::from(entry.polls)).sum(),
            refused: stats.refused,
            worked: times.iter().sum(),
            detection_lag: stats.detection_lag,
            makespan: predictions()
                .map(|prediction| state.since_start(prediction.ends_at))
                .max()
                .unwrap_or_default(),
            ideal: ideal_makespan(&times, host.at_once, host.limits.creates_per_minute),
        }
    }

    /// Returns the utilization of its slots, from 0 to 1, until its last prediction ended.
    pub fn utilization(&self) -> f64 {
        self.worked.as_secs_f64()
            / (f64::from(self.at_once) * self.makespan.as_secs_f64()).max(f64::MIN_POSITIVE)
    }

    /// Returns the mean processing time of its predictions; `None` if there was none.
    pub fn mean_processing(&self) -> Option<Duration> {
        (self.clips > 0).then(|| self.worked.div_f64(self.clips as f64))
    }

    /// Returns the mean number of polls of a prediction; 0 if there was none.
    pub fn polls_per_clip(&self) -> f64 {
        self.polls as f64 / (self.clips as f64).max(1.0)
    }
}
