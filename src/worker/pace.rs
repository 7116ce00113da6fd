//! When to look: the catalogue's typical times, replaced by the config's, then by what this queue has measured.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::{Catalog, PollPlan, ProviderName};

/// How many measured predictions a route's typical time is taken from.
pub const MEASURED: usize = 20;

/// The times a provider's predictions and history take.
#[derive(Debug, Default)]
pub struct Pace {
    /// Shortest time between two looks at one prediction.
    pub poll_min: Duration,
    /// Typical times from the config, by provider; they replace the catalogue's.
    pub typical: BTreeMap<ProviderName, Duration>,
    /// How long after a create its absence from the history proves something, by provider.
    pub history_delay: BTreeMap<ProviderName, Duration>,
    /// Times measured by this queue, by route, oldest first.
    measured: Mutex<HashMap<(ProviderName, String), Vec<Duration>>>,
}

/// Where neither config nor catalogue says how long a route takes.
const USUAL: Duration = Duration::from_secs(120);

/// Where the config does not say how long a create may take to show in the history.
const HISTORY_DELAY: Duration = Duration::from_secs(60);

impl Pace {
    /// Tells when to look at predictions of a route.
    pub fn plan(&self, catalog: &Catalog, provider: ProviderName, wire_model: &str) -> PollPlan {
        let known = || {
            let configured = self.typical.get(&provider).copied();
            configured
                .or_else(|| catalog.route(provider, wire_model).map(|route| route.typical))
                .unwrap_or(USUAL)
        };
        let typical = self.median(provider, wire_model).unwrap_or_else(known);
        PollPlan { typical, shortest: self.poll_min }
    }

    /// Tells how long after a create its absence from the history proves something.
    pub fn history_delay(&self, provider: ProviderName) -> Duration {
        self.history_delay.get(&provider).copied().unwrap_or(HISTORY_DELAY)
    }

    /// Learns how long a prediction took.
    pub fn learn(&self, provider: ProviderName, wire_model: &str, took: Duration) {
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let times = measured.entry((provider, wire_model.to_owned())).or_default();
        times.push(took);
        if times.len() > MEASURED {
            times.remove(0);
        }
    }

    /// The median of what was measured, once there are enough to mean something.
    fn median(&self, provider: ProviderName, wire_model: &str) -> Option<Duration> {
        let measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let mut times = measured.get(&(provider, wire_model.to_owned()))?.clone();
        times.sort_unstable();
        (times.len() >= 3).then(|| times[times.len() / 2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_replaces_what_was_configured() {
        let provider = ProviderName::Fal;
        let pace = Pace { typical: [(provider, Duration::from_secs(270))].into(), ..Pace::default() };
        let typical = |pace: &Pace| pace.plan(&Catalog::default(), provider, "m").typical.as_secs();
        pace.learn(provider, "m", Duration::from_secs(10));
        pace.learn(provider, "m", Duration::from_secs(11));
        assert_eq!(typical(&pace), 270);
        pace.learn(provider, "m", Duration::from_secs(90));
        assert_eq!(typical(&pace), 11);
        assert_eq!(pace.plan(&Catalog::default(), ProviderName::Aimlapi, "m").typical, USUAL);
    }
}
