//! How long predictions take: as configured, as the catalogue says, and as this queue has measured.
//! Used to schedule polls.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::{Catalog, PollPlan, ProviderName};
use crate::queue::{self, Queue};

/// Maximum number of measured predictions that a poll plan is made from.
pub const MAX_SAMPLES: usize = 100;

/// Number of predictions to read of each route. Clips of several lengths share a route, and each
/// length keeps its own samples.
const MAX_ROUTE_SAMPLES: usize = 4 * MAX_SAMPLES;

/// A group of predictions that take about equally long: one route, with clips of one length.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteKey {
    /// The provider.
    pub provider: ProviderName,
    /// The provider's own id of the model.
    pub wire_model: String,
    /// Length of the clip in seconds; `None` if the job's input leaves it to the provider.
    pub clip_s: Option<u32>,
}

/// Processing times by route and clip length, and the waits that come from the config.
#[derive(Debug, Default)]
pub struct ProcessingTimes {
    /// Minimum time between two polls of one prediction.
    pub poll_min: Duration,
    /// Expected processing times from the config, by provider. They replace those of the
    /// catalogue.
    pub typical: BTreeMap<ProviderName, Duration>,
    /// How long after the end of a submit call its absence from the provider's history is proof, by
    /// provider.
    pub history_delay: BTreeMap<ProviderName, Duration>,
    /// What this queue has measured.
    measured: Mutex<HashMap<RouteKey, Measured>>,
}

/// The measured times of one route, and the plan made from them.
#[derive(Clone, Debug, Default)]
struct Measured {
    /// The latest times, newest first; at most [`MAX_SAMPLES`].
    times: Vec<Duration>,
    /// Number of times added since the plan was made.
    new_samples: usize,
    plan: Option<Arc<PollPlan>>,
}

/// Processing time of a route for which neither the config nor the catalogue has one.
const DEFAULT_PROCESSING: Duration = Duration::from_secs(120);

/// How long after the end of a submit call a provider may still accept the request, and its history
/// may list it, unless the config says otherwise. Not measured: a quarter of an hour is longer than
/// any gateway keeps a request, and a run overnight can wait for it.
const DEFAULT_HISTORY_DELAY: Duration = Duration::from_secs(15 * 60);

impl ProcessingTimes {
    /// Returns the plan that says when to poll predictions of a route.
    pub fn plan(&self, catalog: &Catalog, route: &RouteKey) -> Arc<PollPlan> {
        let mut measured = self.measured();
        let Measured {
            times,
            new_samples,
            plan,
        } = measured.entry(route.clone()).or_default();
        // Making a plan takes a thousand times as long as using it, so it is reused until a tenth
        // of its samples is new.
        if *new_samples * 10 > times.len() {
            *plan = None;
        }
        let plan = plan.get_or_insert_with(|| {
            *new_samples = 0;
            Arc::new(PollPlan::new(
                self.prior(catalog, route),
                times,
                self.poll_min,
            ))
        });
        Arc::clone(plan)
    }

    /// Returns how long predictions of a route are expected to take before anything is measured:
    /// the config's time, else the catalogue's, else two minutes.
    pub fn prior(&self, catalog: &Catalog, route: &RouteKey) -> Duration {
        let configured = self.typical.get(&route.provider).copied();
        let from_catalog = || {
            let route = catalog.route(route.provider, &route.wire_model);
            route.map(|route| route.typical)
        };
        configured
            .or_else(from_catalog)
            .unwrap_or(DEFAULT_PROCESSING)
    }

    /// Returns how long the latest predictions of a route took, newest first; at most
    /// [`MAX_SAMPLES`].
    pub fn measured_times(&self, route: &RouteKey) -> Vec<Duration> {
        let measured = self.measured();
        measured
            .get(route)
            .map_or_else(Vec::new, |measured| measured.times.clone())
    }

    /// Returns how long after the end of a submit call its absence from the provider's history is
    /// proof: as configured, else 15 minutes.
    pub fn history_delay(&self, provider: ProviderName) -> Duration {
        self.history_delay
            .get(&provider)
            .copied()
            .unwrap_or(DEFAULT_HISTORY_DELAY)
    }

    /// Returns whether any prediction of a provider's model has been measured, whatever the length
    /// of its clip.
    pub fn has_measured(&self, provider: ProviderName, wire_model: &str) -> bool {
        self.measured().iter().any(|(route, measured)| {
            route.provider == provider
                && route.wire_model == wire_model
                && !measured.times.is_empty()
        })
    }

    /// Adds the processing times that a queue has measured on the routes of the catalogue.
    ///
    /// # Errors
    /// Returns the error of the queue.
    pub async fn learn_from(&self, queue: &dyn Queue, catalog: &Catalog) -> queue::Result<()> {
        for route in catalog.models.iter().flat_map(|model| &model.routes) {
            let times = queue
                .processing_times(route.provider, route.wire_model.clone(), MAX_ROUTE_SAMPLES)
                .await?;
            for (clip_s, processing) in times.into_iter().rev() {
                let key = RouteKey {
                    provider: route.provider,
                    wire_model: route.wire_model.clone(),
                    clip_s,
                };
                self.learn(key, processing);
            }
        }
        Ok(())
    }

    /// Adds a measured processing time.
    pub fn learn(&self, route: RouteKey, processing: Duration) {
        let mut measured = self.measured();
        let Measured {
            times, new_samples, ..
        } = measured.entry(route).or_default();
        times.insert(0, processing);
        times.truncate(MAX_SAMPLES);
        *new_samples += 1;
    }

    fn measured(&self) -> MutexGuard<'_, HashMap<RouteKey, Measured>> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for ProcessingTimes {
    /// Returns an independent copy: what either of them learns later, the other does not.
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

    fn route(clip_s: u32) -> RouteKey {
        RouteKey {
            provider: ProviderName::Fal,
            wire_model: "m".into(),
            clip_s: Some(clip_s),
        }
    }

    #[test]
    fn measured_times_replace_configured_ones_for_clips_of_the_same_length() {
        let processing_times = ProcessingTimes {
            typical: [(ProviderName::Fal, 270 * SECOND)].into(),
            ..ProcessingTimes::default()
        };
        let typical = |clip_s| {
            processing_times
                .plan(&Catalog::default(), &route(clip_s))
                .median
                .as_secs()
        };
        assert!((250..290).contains(&typical(5)));
        for seconds in 40..60 {
            processing_times.learn(route(5), seconds * SECOND);
        }
        assert!((45..55).contains(&typical(5)), "{}", typical(5));
        assert!((250..290).contains(&typical(10)));
    }

    #[test]
    fn a_plan_is_reused_until_a_tenth_of_its_samples_is_new() {
        let processing_times = ProcessingTimes::default();
        for _ in 0..100 {
            processing_times.learn(route(5), 50 * SECOND);
        }
        let plan = processing_times.plan(&Catalog::default(), &route(5));
        processing_times.learn(route(5), 60 * SECOND);
        assert!(Arc::ptr_eq(
            &plan,
            &processing_times.plan(&Catalog::default(), &route(5))
        ));
        for _ in 0..10 {
            processing_times.learn(route(5), 60 * SECOND);
        }
        assert!(!Arc::ptr_eq(
            &plan,
            &processing_times.plan(&Catalog::default(), &route(5))
        ));
    }
}
