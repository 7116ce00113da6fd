//! The settings of a running pool that the user can change with `overnight ctl`.

use std::mem;

use crate::domain::Money;
use crate::queue::{LiveSetting, ProviderLimits, SettingChange};

use super::PoolOptions;

/// The settings in force: those the pool was started with, overridden by what the user has changed
/// since.
#[derive(Clone, Debug)]
pub(super) struct LiveSettings {
    /// Whether submissions are paused.
    pub(super) paused: bool,
    pub(super) workers: usize,
    pub(super) budget: Option<Money>,
    pub(super) limits: Vec<ProviderLimits>,
    /// The changes that were in the queue at the last call of [`Self::apply`].
    applied: Vec<SettingChange>,
}

/// A change that was applied, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AppliedChange {
    /// The setting with its old and its new value.
    pub(super) description: String,
    pub(super) set_by: String,
}

impl LiveSettings {
    /// Starts with the pool's own options.
    pub(super) fn new(options: &PoolOptions) -> Self {
        Self {
            paused: false,
            workers: options.workers,
            budget: options.budget,
            limits: options.limits.clone(),
            applied: Vec::new(),
        }
    }

    /// Applies the changes that are new since the last call, and returns those that made a
    /// difference.
    pub(super) fn apply(&mut self, changes: Vec<SettingChange>) -> Vec<AppliedChange> {
        let new: Vec<SettingChange> = changes
            .iter()
            .filter(|change| !self.applied.contains(change))
            .cloned()
            .collect();
        self.applied = changes;
        new.into_iter()
            .filter_map(|change| self.apply_one(change))
            .collect()
    }

    fn apply_one(&mut self, change: SettingChange) -> Option<AppliedChange> {
        let setting = change.setting;
        let old = match &setting {
            LiveSetting::Paused(paused) => {
                LiveSetting::Paused(mem::replace(&mut self.paused, *paused))
            }
            LiveSetting::Workers(workers) => {
                LiveSetting::Workers(mem::replace(&mut self.workers, *workers))
            }
            LiveSetting::Budget(budget) => {
                LiveSetting::Budget(mem::replace(&mut self.budget, *budget))
            }
            LiveSetting::InFlight(provider, limit) => {
                // A pool that was started without slots at a provider must never submit there.
                let limits = self
                    .limits
                    .iter_mut()
                    .find(|limits| limits.provider == *provider && limits.in_flight > 0)?;
                LiveSetting::InFlight(*provider, mem::replace(&mut limits.in_flight, *limit))
            }
            // The queue itself enforces it in every process; here it is only logged.
            LiveSetting::BatchBudget(batch, _) => change
                .previous
                .unwrap_or(LiveSetting::BatchBudget(batch.clone(), None)),
        };
        let description = match &setting {
            _ if old == setting => return None,
            LiveSetting::Paused(_) => setting.to_string(),
            _ => format!(
                "{}: {} → {}",
                setting.label(),
                old.display_value(),
                setting.display_value()
            ),
        };
        Some(AppliedChange {
            description,
            set_by: change.set_by,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::domain::ProviderName;

    fn change(second: i64, setting: LiveSetting) -> SettingChange {
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

    fn descriptions(changes: Vec<AppliedChange>) -> Vec<String> {
        changes
            .into_iter()
            .map(|change| change.description)
            .collect()
    }

    #[test]
    fn each_change_is_applied_and_reported_once() {
        let mut live_settings = live_settings(4);
        let workers = change(1, LiveSetting::Workers(8));
        let limit = change(1, LiveSetting::InFlight(ProviderName::Fal, 9));
        let changes = descriptions(live_settings.apply(vec![limit.clone(), workers.clone()]));
        assert_eq!(changes, ["fal in flight: 4 → 9", "workers: 16 → 8"]);
        assert_eq!(
            (live_settings.workers, live_settings.limits[0].in_flight),
            (8, 9)
        );
        assert_eq!(
            descriptions(live_settings.apply(vec![limit.clone(), workers])),
            [""; 0]
        );
        let again = change(2, LiveSetting::Workers(8));
        assert_eq!(
            descriptions(live_settings.apply(vec![limit.clone(), again.clone()])),
            [""; 0]
        );
        let budget = change(3, LiveSetting::Budget(Some(Money::from_micros(1_500_000))));
        assert_eq!(
            descriptions(live_settings.apply(vec![budget, limit, again])),
            ["budget: none → $1.50"]
        );
    }

    #[test]
    fn a_pause_and_its_end_are_reported() {
        let mut live_settings = live_settings(4);
        assert_eq!(
            descriptions(live_settings.apply(vec![change(1, LiveSetting::Paused(false))])),
            [""; 0]
        );
        assert_eq!(
            descriptions(live_settings.apply(vec![change(2, LiveSetting::Paused(true))])),
            ["paused"]
        );
        assert!(live_settings.paused);
        assert_eq!(
            descriptions(live_settings.apply(vec![change(3, LiveSetting::Paused(false))])),
            ["resumed"]
        );
        assert!(!live_settings.paused);
    }

    #[test]
    fn a_pool_without_slots_at_a_provider_gets_none() {
        let mut live_settings = live_settings(0);
        assert_eq!(
            descriptions(
                live_settings.apply(vec![change(1, LiveSetting::InFlight(ProviderName::Fal, 9))])
            ),
            [""; 0]
        );
        assert_eq!(live_settings.limits[0].in_flight, 0);
    }
}
