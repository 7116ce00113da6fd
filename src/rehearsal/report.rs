//! What a played night was like.

use std::time::Duration;

use crate::domain::{JobState, Money, ProviderName};
use crate::queue::{Backlog, BudgetLimit, Status};

use super::sim_state::{SimState, millis};
use super::{SimulatedHost, ideal, provider};

/// What a played night was like.
#[derive(Clone, Debug, PartialEq)]
pub struct RehearsalReport {
    /// Rows there were.
    pub rows: u64,
    /// Clips that were saved.
    pub clips: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows that nothing became of.
    pub waiting: u64,
    /// What it cost.
    pub cost: Money,
    /// From the beginning until the last clip was saved.
    pub makespan: Duration,
    /// The same predictions, each begun the instant a slot was free: the longest of the providers.
    pub ideal: Duration,
    /// How it went at each provider, in the night's order.
    pub providers: Vec<ProviderReport>,
    /// What stopped it, if something did.
    pub stop: Option<Stop>,
}

/// What stopped a night.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A budget.
    Budget(BudgetLimit),
    /// None of the providers that take part may run what is left.
    NoProvider,
}

/// How it went at a provider.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderReport {
    /// Which provider.
    pub provider: ProviderName,
    /// Predictions it worked on at once, at most.
    pub at_once: u32,
    /// Clips it made.
    pub clips: u64,
    /// Looks at its predictions.
    pub polls: u64,
    /// Creates it refused, for want of a slot or because too many came.
    pub refused: u64,
    /// How long its predictions were worked on, all together.
    pub worked: Duration,
    /// How long its ended predictions waited to be seen, all together.
    pub unseen: Duration,
    /// From the beginning until its last prediction ended.
    pub makespan: Duration,
    /// The same predictions, each begun the instant a slot was free.
    pub ideal: Duration,
}

impl RehearsalReport {
    /// Sums a night up.
    pub(super) fn of(state: &SimState, backlog: &Backlog, status: &Status) -> Self {
        let count = |state| {
            status
                .batches
                .iter()
                .map(|batch| batch.count(state))
                .sum::<u64>()
        };
        let hosts = state.scenario.hosts.iter().enumerate();
        let providers: Vec<_> = hosts
            .map(|(index, host)| ProviderReport::of(state, index, host))
            .collect();
        let waiting = backlog.queued + backlog.in_progress + backlog.held;
        let wall = backlog.exceeded_budgets.first().cloned().map(Stop::Budget);
        let notes = state.notes().clone();
        Self {
            rows: status.batches.iter().map(|batch| batch.total()).sum(),
            clips: notes.clips,
            failed: count(JobState::Failed),
            waiting,
            cost: status.batches.iter().map(|batch| batch.spent).sum(),
            makespan: notes.last_saved,
            ideal: providers
                .iter()
                .map(|provider| provider.ideal)
                .max()
                .unwrap_or_default(),
            providers,
            stop: wall.or((waiting > 0).then_some(Stop::NoProvider)),
        }
    }
}

impl ProviderReport {
    fn of(state: &SimState, index: usize, host: &SimulatedHost) -> Self {
        let (refused, unseen) = state.notes().hosts[index];
        let api = provider::api(host.limits.provider);
        let world = state.world();
        let ledger = world.ledger();
        let made = || {
            world
                .predictions()
                .iter()
                .filter(|prediction| prediction.api == api)
        };
        let times: Vec<Duration> = made()
            .map(|prediction| millis(prediction.ends_at - prediction.starts_at))
            .collect();
        let entries = ledger.entries.iter().filter(|entry| entry.api == api);
        Self {
            provider: host.limits.provider,
            at_once: host.at_once,
            clips: times.len() as u64,
            polls: entries.map(|entry| u64::from(entry.polls)).sum(),
            refused,
            worked: times.iter().sum(),
            unseen,
            makespan: made()
                .map(|made| state.since_beginning(made.ends_at))
                .max()
                .unwrap_or_default(),
            ideal: ideal(&times, host.at_once, host.limits.creates_per_minute),
        }
    }

    /// Tells which part of its slots' time the provider worked, until its last prediction ended.
    pub fn busy(&self) -> f64 {
        self.worked.as_secs_f64()
            / (f64::from(self.at_once) * self.makespan.as_secs_f64()).max(f64::MIN_POSITIVE)
    }

    /// Tells how often a prediction was looked at, on average.
    pub fn polls_per_clip(&self) -> f64 {
        self.polls as f64 / (self.clips as f64).max(1.0)
    }
}
