//! What a person changes of a pool while it works.

use crate::domain::Money;
use crate::queue::{Control, ProviderLimits, Setting};

use super::PoolOptions;

/// What holds now: what the pool was started with, and over it what a person has changed since.
#[derive(Clone, Debug)]
pub(super) struct Steering {
    pub(super) paused: bool,
    pub(super) workers: usize,
    pub(super) budget: Option<Money>,
    pub(super) limits: Vec<ProviderLimits>,
    heeded: Vec<Control>,
}

/// A change, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) what: String,
    pub(super) by: String,
}

impl Steering {
    pub(super) fn begin(options: &PoolOptions) -> Self {
        let PoolOptions { workers, budget, limits, .. } = options;
        let (workers, budget, limits) = (*workers, *budget, limits.clone());
        Self { paused: false, workers, budget, limits, heeded: Vec::new() }
    }

    /// Takes over what is new, and tells what it changed.
    pub(super) fn heed(&mut self, controls: Vec<Control>) -> Vec<Change> {
        let is_new = |control: &&Control| !self.heeded.contains(control);
        let new: Vec<Control> = controls.iter().filter(is_new).cloned().collect();
        self.heeded = controls;
        new.into_iter().filter_map(|control| self.take(control)).collect()
    }

    fn take(&mut self, control: Control) -> Option<Change> {
        let Control { setting, was, set_by, .. } = control;
        let before = match &setting {
            Setting::Paused(paused) => Setting::Paused(std::mem::replace(&mut self.paused, *paused)),
            Setting::Workers(workers) => Setting::Workers(std::mem::replace(&mut self.workers, *workers)),
            Setting::Budget(budget) => Setting::Budget(std::mem::replace(&mut self.budget, *budget)),
            Setting::InFlight(provider, limit) => {
                // A pool that was given no slots shall create nothing, whoever else may.
                let is_meant = |of: &&mut ProviderLimits| of.provider == *provider && of.in_flight > 0;
                let of = self.limits.iter_mut().find(is_meant)?;
                Setting::InFlight(*provider, std::mem::replace(&mut of.in_flight, *limit))
            }
            // Holds at once in every process; it is told, and that is all.
            Setting::BatchBudget(batch, _) => was.unwrap_or(Setting::BatchBudget(batch.clone(), None)),
        };
        let what = match &setting {
            _ if before == setting => return None,
            Setting::Paused(_) => setting.to_string(),
            _ => format!("{}: {} → {}", setting.what(), before.shown(), setting.shown()),
        };
        Some(Change { what, by: set_by })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::domain::ProviderName;

    fn set(second: i64, setting: Setting) -> Control {
        let set_at = Timestamp::from_second(second).unwrap();
        Control { setting, was: None, set_by: "anna".into(), set_at }
    }

    fn steering(in_flight: u32) -> Steering {
        let provider = ProviderName::Fal;
        Steering::begin(&PoolOptions {
            workers: 16,
            batch: None,
            budget: None,
            first: None,
            watch: false,
            look_around: Duration::from_secs(1),
            limits: vec![ProviderLimits { provider, in_flight, creates_per_minute: 60, has_storage: false }],
        })
    }

    fn told(changes: Vec<Change>) -> Vec<String> {
        changes.into_iter().map(|change| change.what).collect()
    }

    #[test]
    fn each_change_holds_and_is_told_once() {
        let mut steering = steering(4);
        let workers = set(1, Setting::Workers(8));
        let limit = set(1, Setting::InFlight(ProviderName::Fal, 9));
        let changes = told(steering.heed(vec![limit.clone(), workers.clone()]));
        assert_eq!(changes, ["fal in flight: 4 → 9", "workers: 16 → 8"]);
        assert_eq!((steering.workers, steering.limits[0].in_flight), (8, 9));
        assert_eq!(told(steering.heed(vec![limit.clone(), workers])), [""; 0]);
        let again = set(2, Setting::Workers(8));
        assert_eq!(told(steering.heed(vec![limit.clone(), again.clone()])), [""; 0]);
        let budget = set(3, Setting::Budget(Some(Money::from_micros(1_500_000))));
        assert_eq!(told(steering.heed(vec![budget, limit, again])), ["budget: none → $1.50"]);
    }

    #[test]
    fn a_pause_is_told_and_its_end() {
        let mut steering = steering(4);
        assert_eq!(told(steering.heed(vec![set(1, Setting::Paused(false))])), [""; 0]);
        assert_eq!(told(steering.heed(vec![set(2, Setting::Paused(true))])), ["paused"]);
        assert!(steering.paused);
        assert_eq!(told(steering.heed(vec![set(3, Setting::Paused(false))])), ["resumed"]);
        assert!(!steering.paused);
    }

    #[test]
    fn a_pool_without_slots_is_given_none() {
        let mut steering = steering(0);
        assert_eq!(told(steering.heed(vec![set(1, Setting::InFlight(ProviderName::Fal, 9))])), [""; 0]);
        assert_eq!(steering.limits[0].in_flight, 0);
    }
}
