//! The settings of a running pool that the user can change with `overnight ctl`.

use std::mem;

use crate::domain::{Money, ProviderName};
use crate::queue::{LiveSetting, ProviderLimits, SettingChange};

/// The settings in force: those the pool was started with, overridden by what the user has changed
/// since. The pool follows them, and the status display shows them.
#[derive(Clone, Debug)]
pub struct LiveSettings {
    /// Whether submissions are paused.
    pub paused: bool,
    /// Maximum number of concurrent steps.
    pub workers: usize,
    /// Budget over all batches of the run; `None` means no limit.
    pub budget: Option<Money>,
    /// Limits of each provider.
    pub limits: Vec<ProviderLimits>,
    /// The changes that were in the queue at the last call of [`Self::apply`].
    applied: Vec<SettingChange>,
}

/// A change that was applied, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedChange {
    /// The setting with its old and its new value.
    pub description: String,
    /// Who changed it.
    pub set_by: String,
}

impl LiveSettings {
    /// Starts with what a pool was started with.
    pub fn new(workers: usize, budget: Option<Money>, limits: Vec<ProviderLimits>) -> Self {
        Self {
            paused: false,
            workers,
            budget,
            limits,
            applied: Vec::new(),
        }
    }

    /// Returns the changes of the last call of [`Self::apply`], oldest first.
    pub fn changes(&self) -> &[SettingChange] {
        &self.applied
    }

    /// Returns the change that paused the runs, if they are paused.
    pub fn pause(&self) -> Option<&SettingChange> {
        self.applied
            .iter()
            .find(|change| self.paused && matches!(change.setting, LiveSetting::Paused(_)))
    }

    /// Returns the maximum number of open attempts at a provider; `None` if it is not used.
    pub fn in_flight(&self, provider: ProviderName) -> Option<u32> {
        let limits = self.limits.iter();
        let mut limits = limits.filter(|limits| limits.provider == provider);
        Some(limits.next()?.in_flight)
    }

    /// Applies the changes that are new since the last call, and returns those that made a
    /// difference.
    pub fn apply(&mut self, changes: Vec<SettingChange>) -> Vec<AppliedChange> {
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
        let limits = ProviderLimits {
            provider,
            in_flight,
            creates_per_minute: 60,
            history_delay: Duration::from_secs(900),
            has_storage: false,
        };
        LiveSettings::new(16, None, vec![limits])
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
