//! When to look: by the catalogue's typical times, replaced by the config's, and by what this queue has measured.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::{Catalog, PollPlan, ProviderName};

/// How many measured predictions the plan of a route is made from.
pub const MAX_SAMPLES: usize = 100;

/// Which predictions take alike: those of one model at one provider, of clips of one length.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteKey {
    /// Who makes them.
    pub provider: ProviderName,
    /// The provider's name for the model.
    pub wire_model: String,
    /// Length of the clip in seconds, where the model knows it.
    pub clip_s: Option<u32>,
}

/// The times a provider's predictions and history take.
#[derive(Debug, Default)]
pub struct ProcessingTimes {
    /// Shortest time between two looks at one prediction.
    pub poll_min: Duration,
    /// Typical times from the config, by provider; they replace the catalogue's.
    pub typical: BTreeMap<ProviderName, Duration>,
    /// How long after a create its absence from the history proves something, by provider.
    pub history_delay: BTreeMap<ProviderName, Duration>,
    /// What this queue has measured.
    measured: Mutex<HashMap<RouteKey, Measured>>,
}

/// The times of one kind of predictions, and the plan that was made from them.
#[derive(Clone, Debug, Default)]
struct Measured {
    /// Newest first.
    times: Vec<Duration>,
    /// Times that came since the plan was made.
    new_samples: usize,
    plan: Option<Arc<PollPlan>>,
}

/// Where neither config nor catalogue says how long a route takes.
const DEFAULT_PROCESSING: Duration = Duration::from_secs(120);

/// Where the config does not say how long a create may take to show in the history.
const DEFAULT_HISTORY_DELAY: Duration = Duration::from_secs(60);

impl ProcessingTimes {
    /// Tells when to look at predictions of a kind.
    pub fn plan(&self, catalog: &Catalog, kind: &RouteKey) -> Arc<PollPlan> {
        let mut measured = self.measured();
        let Measured {
            times,
            new_samples,
            plan,
        } = measured.entry(kind.clone()).or_default();
        // Made anew when a tenth of what it was made from is new: it takes a thousand times as long as a look in it.
        if *new_samples * 10 > times.len() {
            *plan = None;
        }
        let plan = plan.get_or_insert_with(|| {
            *new_samples = 0;
            Arc::new(PollPlan::new(
                self.prior(catalog, kind),
                times,
                self.poll_min,
            ))
        });
        Arc::clone(plan)
    }

    /// Tells how long predictions of a kind are said to take: by the config, else by the catalogue.
    pub fn prior(&self, catalog: &Catalog, kind: &RouteKey) -> Duration {
        let configured = self.typical.get(&kind.provider).copied();
        configured
            .or_else(|| {
                catalog
                    .route(kind.provider, &kind.wire_model)
                    .map(|route| route.typical)
            })
            .unwrap_or(DEFAULT_PROCESSING)
    }

    /// Tells how long the latest predictions of a kind took, newest first.
    pub fn measured_times(&self, kind: &RouteKey) -> Vec<Duration> {
        self.measured()
            .get(kind)
            .map_or_else(Vec::new, |measured| measured.times.clone())
    }

    /// Tells how long after a create its absence from the history proves something.
    pub fn history_delay(&self, provider: ProviderName) -> Duration {
        self.history_delay
            .get(&provider)
            .copied()
            .unwrap_or(DEFAULT_HISTORY_DELAY)
    }

    /// Tells whether any prediction of a route was measured.
    pub fn has_measured(&self, provider: ProviderName, wire_model: &str) -> bool {
        let is_of_route =
            |kind: &RouteKey| kind.provider == provider && kind.wire_model == wire_model;
        self.measured()
            .iter()
            .any(|(kind, measured)| is_of_route(kind) && !measured.times.is_empty())
    }

    /// Learns how long a prediction took.
    pub fn learn(&self, kind: RouteKey, took: Duration) {
        let mut measured = self.measured();
        let Measured {
            times, new_samples, ..
        } = measured.entry(kind).or_default();
        times.insert(0, took);
        times.truncate(MAX_SAMPLES);
        *new_samples += 1;
    }

    fn measured(&self) -> MutexGuard<'_, HashMap<RouteKey, Measured>> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for ProcessingTimes {
    /// Knows what this one knows now; what either learns later, the other does not.
    fn clone(&self) -> Self {
        Self {
            poll_min: self.poll_min,
            typical: self.typical.clone(),
            history_delay: self.history_delay.clone(),
            measured: Mutex::new(self.measured().clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn kind(clip_s: u32) -> RouteKey {
        RouteKey {
            provider: ProviderName::Fal,
            wire_model: "m".into(),
            clip_s: Some(clip_s),
        }
    }

    #[test]
    fn what_was_measured_replaces_what_was_configured_for_clips_of_that_length() {
        let processing_times = ProcessingTimes {
            typical: [(ProviderName::Fal, 270 * SECOND)].into(),
            ..ProcessingTimes::default()
        };
        let typical = |clip_s| {
            processing_times
                .plan(&Catalog::default(), &kind(clip_s))
                .typical
                .as_secs()
        };
        assert!((250..290).contains(&typical(5)));
        for took in 40..60 {
            processing_times.learn(kind(5), took * SECOND);
        }
        assert!((45..55).contains(&typical(5)), "{}", typical(5));
        assert!((250..290).contains(&typical(10)));
    }

    #[test]
    fn a_plan_is_kept_until_enough_is_new() {
        let processing_times = ProcessingTimes::default();
        for _ in 0..100 {
            processing_times.learn(kind(5), 50 * SECOND);
        }
        let plan = processing_times.plan(&Catalog::default(), &kind(5));
        processing_times.learn(kind(5), 60 * SECOND);
        assert!(Arc::ptr_eq(
            &plan,
            &processing_times.plan(&Catalog::default(), &kind(5))
        ));
        for _ in 0..10 {
            processing_times.learn(kind(5), 60 * SECOND);
        }
        assert!(!Arc::ptr_eq(
            &plan,
            &processing_times.plan(&Catalog::default(), &kind(5))
        ));
    }
}
