//! What everything that is played shares: the providers' world, the time, and notes of what happened.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::simulator::world::World;
use crate::simulator::{Limits, SimulatorOptions};

use super::clock::VirtualClock;
use super::provider::api;
use super::{Scenario, SimulatedHost};

/// What everything that is played shares.
#[derive(Debug)]
pub(super) struct SimState {
    pub(super) scenario: Arc<Scenario>,
    pub(super) clock: VirtualClock,
    world: Mutex<World>,
    notes: Mutex<Notes>,
}

/// What only whoever plays it knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// Clips that were saved.
    pub(super) clips: u64,
    /// When the last one was, from the beginning.
    pub(super) last_saved: Duration,
    /// For each host, in order: creates it refused, and how long its ended predictions waited to be seen, all together.
    pub(super) hosts: Vec<(u64, Duration)>,
}

impl SimState {
    /// Sets a stage, whose time begins now.
    pub(super) fn set(scenario: Arc<Scenario>, seed: u64) -> Self {
        let mut options = SimulatorOptions {
            seed,
            ..SimulatorOptions::default()
        };
        for SimulatedHost { limits, at_once } in &scenario.hosts {
            let limits_there = Limits {
                creates_per_minute: limits.creates_per_minute,
                at_once: *at_once,
            };
            *options.limits_mut(api(limits.provider)) = limits_there;
        }
        let notes = Notes {
            hosts: vec![Default::default(); scenario.hosts.len()],
            ..Notes::default()
        };
        let clock = VirtualClock::showing(scenario.begins_at);
        Self {
            scenario,
            clock,
            world: Mutex::new(World::new(options)),
            notes: Mutex::new(notes),
        }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now, as the world counts: in milliseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    /// How long after the beginning a time of the world is.
    pub(super) fn since_beginning(&self, at: i64) -> Duration {
        millis(at - self.scenario.begins_at.as_millisecond())
    }
}

/// A span of the world's time; none where it is negative.
pub(super) fn millis(span: i64) -> Duration {
    Duration::from_millis(u64::try_from(span).unwrap_or(0))
}
