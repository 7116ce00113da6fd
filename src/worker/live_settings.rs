//! What a person changes of a pool while it works.

use crate::domain::Money;
use crate::queue::{LiveSetting, ProviderLimits, SettingChange};

use super::PoolOptions;

/// What holds now: what the pool was started with, and over it what a person has changed since.
#[derive(Clone, Debug)]
pub(super) struct LiveSettings {
    pub(super) paused: bool,
    pub(super) workers: usize,
    pub(super) budget: Option<Money>,
    pub(super) limits: Vec<ProviderLimits>,
    applied: Vec<SettingChange>,
}

/// A change, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) what: String,
    pub(super) by: String,
}

impl LiveSettings {
    pub(super) fn new(options: &PoolOptions) -> Self {
        let PoolOptions {
            workers,
            budget,
            limits,
            ..
        } = options;
        let (workers, budget, limits) = (*workers, *budget, limits.clone());
        Self {
            paused: false,
            workers,
            budget,
            limits,
            applied: Vec::new(),
        }
    }

    /// Takes over what is new, and tells what it changed.
    pub(super) fn apply(&mut self, controls: Vec<SettingChange>) -> Vec<Change> {
        let is_new = |control: &&SettingChange| !self.applied.contains(control);
        let new: Vec<SettingChange> = controls.iter().filter(is_new).cloned().collect();
        self.applied = controls;
        new.into_iter()
            .filter_map(|control| self.take(control))
            .collect()
    }

    fn take(&mut self, control: SettingChange) -> Option<Change> {
        let SettingChange {
            setting,
            previous,
            set_by,
            ..
        } = control;
        let before = match &setting {
            LiveSetting::Paused(paused) => {
                LiveSetting::Paused(std::mem::replace(&mut self.paused, *paused))
            }
            LiveSetting::Workers(workers) => {
                LiveSetting::Workers(std::mem::replace(&mut self.workers, *workers))
            }
            LiveSetting::Budget(budget) => {
                LiveSetting::Budget(std::mem::replace(&mut self.budget, *budget))
            }
            LiveSetting::InFlight(provider, limit) => {
                // A pool that was given no slots shall create nothing, whoever else may.
                let is_meant =
                    |of: &&mut ProviderLimits| of.provider == *provider && of.in_flight > 0;
                let of = self.limits.iter_mut().find(is_meant)?;
                LiveSetting::InFlight(*provider, std::mem::replace(&mut of.in_flight, *limit))
            }
            // Holds at once in every process; it is told, and that is all.
            LiveSetting::BatchBudget(batch, _) => {
                previous.unwrap_or(LiveSetting::BatchBudget(batch.clone(), None))
            }
        };
        let what = match &setting {
            _ if before == setting => return None,
            LiveSetting::Paused(_) => setting.to_string(),
            _ => format!(
                "{}: {} → {}",
                setting.label(),
                before.display_value(),
                setting.display_value()
            ),
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

    fn set(second: i64, setting: LiveSetting) -> SettingChange {
        let set_at = Timestamp::from_second(second).unwrap();
        SettingChange {
            setting,
            previous: None,
            set_by: "anna".into(),
            set_at,
        }
    }

    fn live_settings(in_flight: u32) -> LiveSettings {
        let provider = ProviderName::Fal;
        LiveSettings::new(&PoolOptions {
            workers: 16,
            batch: None,
            budget: None,
            canary: None,
            watch: false,
            maintenance_interval: Duration::from_secs(1),
            limits: vec![ProviderLimits {
                provider,
                in_flight,
                creates_per_minute: 60,
                has_storage: false,
            }],
        })
    }

    fn told(changes: Vec<Change>) -> Vec<String> {
        changes.into_iter().map(|change| change.what).collect()
    }

    #[test]
    fn each_change_holds_and_is_told_once() {
        let mut live_settings = live_settings(4);
        let workers = set(1, LiveSetting::Workers(8));
        let limit = set(1, LiveSetting::InFlight(ProviderName::Fal, 9));
        let changes = told(live_settings.apply(vec![limit.clone(), workers.clone()]));
        assert_eq!(changes, ["fal in flight: 4 → 9", "workers: 16 → 8"]);
        assert_eq!(
            (live_settings.workers, live_settings.limits[0].in_flight),
            (8, 9)
        );
        assert_eq!(
            told(live_settings.apply(vec![limit.clone(), workers])),
            [""; 0]
        );
        let again = set(2, LiveSetting::Workers(8));
        assert_eq!(
            told(live_settings.apply(vec![limit.clone(), again.clone()])),
            [""; 0]
        );
        let budget = set(3, LiveSetting::Budget(Some(Money::from_micros(1_500_000))));
        assert_eq!(
            told(live_settings.apply(vec![budget, limit, again])),
            ["budget: none → $1.50"]
        );
    }

    #[test]
    fn a_pause_is_told_and_its_end() {
        let mut live_settings = live_settings(4);
        assert_eq!(
            told(live_settings.apply(vec![set(1, LiveSetting::Paused(false))])),
            [""; 0]
        );
        assert_eq!(
            told(live_settings.apply(vec![set(2, LiveSetting::Paused(true))])),
            ["paused"]
        );
        assert!(live_settings.paused);
        assert_eq!(
            told(live_settings.apply(vec![set(3, LiveSetting::Paused(false))])),
            ["resumed"]
        );
        assert!(!live_settings.paused);
    }

    #[test]
    fn a_pool_without_slots_is_given_none() {
        let mut live_settings = live_settings(0);
        assert_eq!(
            told(live_settings.apply(vec![set(1, LiveSetting::InFlight(ProviderName::Fal, 9))])),
            [""; 0]
        );
        assert_eq!(live_settings.limits[0].in_flight, 0);
    }
}
