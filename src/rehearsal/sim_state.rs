//! State shared by the simulated parts: the providers' world, the virtual time, and statistics for
//! the report.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use overnight_simulator::{Api, Limits, SimulatorOptions, World};

use crate::clock::Clock;
use crate::domain::ProviderName;

use super::clock::VirtualClock;
use super::{Scenario, SimulatedHost};

/// State shared by the simulated parts of one run.
#[derive(Debug)]
pub(super) struct SimState {
    pub(super) scenario: Arc<Scenario>,
    pub(super) clock: VirtualClock,
    world: Mutex<World>,
    stats: Mutex<Stats>,
}

/// Statistics that neither the queue nor the simulator's ledger keeps.
#[derive(Clone, Debug, Default)]
pub(super) struct Stats {
    /// Number of saved clips.
    pub(super) clips: u64,
    /// When the last clip was saved, measured from the start of the run.
    pub(super) last_saved: Duration,
    /// By host, in the scenario's order.
    pub(super) hosts: Vec<HostStats>,
}

/// Statistics of one host.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HostStats {
    /// Number of submissions that it refused because of a limit.
    pub(super) refused: u64,
    /// Total time from the end of a prediction to the poll that noticed it.
    pub(super) detection_lag: Duration,
}

impl SimState {
    /// Creates the state of a run that starts now. Must be called in a paused Tokio runtime.
    pub(super) fn new(scenario: Arc<Scenario>, seed: u64) -> Self {
        let mut options = SimulatorOptions {
            seed,
            ..SimulatorOptions::default()
        };
        for SimulatedHost {
            limits, at_once, ..
        } in &scenario.hosts
        {
            *options.limits_mut(api(limits.provider)) = Limits {
                creates_per_minute: limits.creates_per_minute,
                at_once: *at_once,
            };
        }
        let stats = Stats {
            hosts: vec![HostStats::default(); scenario.hosts.len()],
            ..Stats::default()
        };
        let clock = VirtualClock::new(scenario.starts_at);
        Self {
            scenario,
            clock,
            world: Mutex::new(World::new(options)),
            stats: Mutex::new(stats),
        }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the current time as the world counts it, in milliseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    /// Returns the time from the start of the run to `at`, in milliseconds since 1970; zero if `at`
    /// is earlier.
    pub(super) fn since_start(&self, at: i64) -> Duration {
        duration_from_millis(at - self.scenario.starts_at.as_millisecond())
    }
}

/// Returns the simulator's name of a provider.
pub(super) fn api(provider: ProviderName) -> Api {
    match provider {
        ProviderName::Eachlabs => Api::Eachlabs,
        ProviderName::Aimlapi => Api::Aimlapi,
        ProviderName::Fal => Api::Fal,
    }
}

/// Converts milliseconds to a duration; a negative number becomes zero.
pub(super) fn duration_from_millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
