//! The parameters of a simulated run.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::{Catalog, Model, Money, ProviderName, RetryPolicy};
use crate::queue::ProviderLimits;
use crate::worker::ProcessingTimes;
use crate::worker::processing_times::RouteKey;

use super::TimeDistribution;

/// How many submissions, of those in flight, wait in the queue of a provider that queues what
/// exceeds its slots, so that the next one starts as soon as one ends. The default limits are
/// chosen accordingly: a new account of fal.ai runs 2 predictions at once, and 4 are in flight.
const QUEUED_AT_PROVIDER: u32 = 2;

/// The parameters of a simulated run, except its jobs, which are in the queue that is passed to
/// [`simulate`](super::simulate()).
#[derive(Clone, Debug)]
pub struct Scenario {
    /// When the run starts. Must not be earlier than the time at which its jobs were queued.
    pub starts_at: Timestamp,
    /// The models, with prices, wire spellings and typical processing times.
    pub catalog: Arc<Catalog>,
    /// The providers that take part.
    pub hosts: Vec<SimulatedHost>,
    /// Maximum number of attempts and downloads of a job, and the backoff between retries.
    pub policy: RetryPolicy,
    /// What the worker knows about processing times, from which it plans its polls.
    pub processing_times: ProcessingTimes,
    /// The real processing times; `None` takes those that `processing_times` has measured, else the
    /// configured ones.
    pub times: Option<TimeDistribution>,
    /// Duration of the calls.
    pub latency: Latency,
    /// Maximum number of concurrent steps.
    pub workers: usize,
    /// Budget for all jobs together, in addition to the budgets of their batches.
    pub budget: Option<Money>,
}

/// A provider that takes part in a simulated run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimulatedHost {
    /// The limits that the worker observes.
    pub limits: ProviderLimits,
    /// Number of predictions that the provider processes concurrently. fal.ai queues what exceeds
    /// it, the others refuse it.
    pub at_once: u32,
    /// Whether the processing times are measured rather than typical.
    pub is_measured: bool,
}

/// Round-trip times of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// A submission, or the upload of an image.
    pub create: Duration,
    /// A poll.
    pub look: Duration,
    /// The download of a clip.
    pub download: Duration,
}

impl Default for Latency {
    /// Returns estimates: an intercontinental round trip on an open connection takes about a tenth
    /// of a second, a submission also writes on the provider's side, and a clip is a few megabytes.
    fn default() -> Self {
        Self {
            create: Duration::from_millis(200),
            look: Duration::from_millis(100),
            download: Duration::from_secs(2),
        }
    }
}

impl SimulatedHost {
    /// Estimates how many predictions a provider processes concurrently.
    ///
    /// each::labs and AI/ML API refuse what exceeds their slots, so the in-flight limit is the
    /// number of slots. At fal.ai some submissions in flight wait in its queue. But a processing
    /// time that was measured at fal.ai includes that wait, so if times of the model are measured,
    /// none must be simulated on top.
    pub fn new(limits: ProviderLimits, model: &Model, times: &ProcessingTimes) -> Self {
        let is_measured = model
            .route(limits.provider)
            .is_some_and(|route| times.has_measured(limits.provider, &route.wire_model));
        let queued = if limits.provider == ProviderName::Fal && !is_measured {
            QUEUED_AT_PROVIDER
        } else {
            0
        };
        Self {
            limits,
            at_once: limits.in_flight.saturating_sub(queued).max(1),
            is_measured,
        }
    }
}

impl Scenario {
    /// Returns the distribution of the real processing times of a route.
    pub fn times(&self, route: &RouteKey) -> TimeDistribution {
        if let Some(times) = &self.times {
            return times.clone();
        }
        let any_clip_length = RouteKey {
            clip_s: None,
            ..route.clone()
        };
        // Rows that omit the duration are measured under a key without a clip length.
        let measured =
            [route, &any_clip_length].map(|route| self.processing_times.measured_times(route));
        let samples = measured.into_iter().find(|times| !times.is_empty());
        TimeDistribution::Samples(
            samples.unwrap_or_else(|| vec![self.processing_times.prior(&self.catalog, route)]),
        )
    }
}
