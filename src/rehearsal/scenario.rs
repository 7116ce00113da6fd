//! What a night is made of.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::{Catalog, Money, ProviderName, RetryPolicy};
use crate::queue::ProviderLimits;
use crate::worker::ProcessingTimes;
use crate::worker::processing_times::RouteKey;

use super::TimeDistribution;

/// How many more than it runs at once are in flight at a provider that lets the rest wait, so that the next one is there
/// when one ends. The default limits are made so: a new account of fal.ai runs 2, and 4 are in flight.
const WAITING: u32 = 2;

/// What a night is made of, but for the jobs: those are in the queue it is played on.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// When it begins; no earlier than its jobs were queued.
    pub begins_at: Timestamp,
    /// The models: prices, spellings, typical times.
    pub catalog: Arc<Catalog>,
    /// The providers that take part.
    pub hosts: Vec<SimulatedHost>,
    /// How often and how long to try.
    pub policy: RetryPolicy,
    /// When to look, and what is known of how long predictions take.
    pub processing_times: ProcessingTimes,
    /// How long predictions take; `None` takes what the pace has measured, else what is said.
    pub times: Option<TimeDistribution>,
    /// How long the calls take.
    pub latency: Latency,
    /// Steps at once.
    pub workers: usize,
    /// What all jobs together may cost, on top of the budgets of their batches.
    pub budget: Option<Money>,
}

/// A provider that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimulatedHost {
    /// What the worker keeps to.
    pub limits: ProviderLimits,
    /// How many predictions the provider works on at once: of what exceeds it fal.ai lets wait, the others refuse.
    pub at_once: u32,
}

/// How long calls take, there and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// A create.
    pub create: Duration,
    /// A look.
    pub look: Duration,
    /// A download.
    pub download: Duration,
}

impl Default for Latency {
    /// Across an ocean a call over a connection that stands is there and back in about a tenth of a second. A create also
    /// writes on the other side, and a clip is a few megabytes.
    fn default() -> Self {
        Self {
            create: Duration::from_millis(200),
            look: Duration::from_millis(100),
            download: Duration::from_secs(2),
        }
    }
}

impl SimulatedHost {
    /// Guesses how many a provider works on at once. each::labs and AI/ML API refuse what exceeds that, so the limit says
    /// it. At fal.ai some of what is in flight waits; but a time that was measured there is one from create to end, wait
    /// included, so where such times are drawn nothing must wait once more.
    pub fn of(limits: ProviderLimits, is_measured: bool) -> Self {
        let waiting = if limits.provider == ProviderName::Fal && !is_measured {
            WAITING
        } else {
            0
        };
        Self {
            limits,
            at_once: limits.in_flight.saturating_sub(waiting).max(1),
        }
    }
}

impl Scenario {
    /// Tells how long predictions of a kind take.
    pub fn times(&self, kind: &RouteKey) -> TimeDistribution {
        if let Some(times) = &self.times {
            return times.clone();
        }
        let any_length = RouteKey {
            clip_s: None,
            ..kind.clone()
        };
        // Rows that leave the length out are measured without one.
        let measured = [kind, &any_length].map(|kind| self.processing_times.measured_times(kind));
        let known = measured.into_iter().find(|times| !times.is_empty());
        TimeDistribution::Known(
            known.unwrap_or_else(|| vec![self.processing_times.prior(&self.catalog, kind)]),
        )
    }
}
