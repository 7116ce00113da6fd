//! Settings that can be changed while runs are in progress.

use std::fmt;

use jiff::Timestamp;

use crate::domain::{Money, ProviderName};

/// A setting and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveSetting {
    /// Whether submissions are paused. Clips in progress are polled and downloaded regardless.
    Paused(bool),
    /// The number of concurrent steps of each run, at least 1.
    Workers(usize),
    /// The maximum number of open attempts (submitting, in doubt or accepted) at a provider at one
    /// time, over all runs together; at least 1.
    InFlight(ProviderName, u32),
    /// The budget of each run, over all that its batches have ever spent or reserved; `None` means
    /// no limit.
    Budget(Option<Money>),
    /// The budget of the named batch; `None` means no limit.
    BatchBudget(String, Option<Money>),
}

/// A change of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// The setting with its current value.
    pub setting: LiveSetting,
    /// The setting with its previous value; `None` if each run used the value it was started with.
    pub previous: Option<LiveSetting>,
    /// Who changed it, for messages.
    pub set_by: String,
    /// When it was changed.
    pub set_at: Timestamp,
}

/// The stored value of a budget without a limit.
const NO_BUDGET: &str = "none";

impl LiveSetting {
    /// Returns the name under which the setting is stored. [`LiveSetting::parse`] reads it.
    pub fn name(&self) -> String {
        match self {
            Self::Paused(_) => "paused".into(),
            Self::Workers(_) => "workers".into(),
            Self::InFlight(provider, _) => format!("in_flight.{provider}"),
            Self::Budget(_) => "budget".into(),
            Self::BatchBudget(batch, _) => format!("budget.{batch}"),
        }
    }

    /// Returns the value as it is stored. [`LiveSetting::parse`] reads it.
    pub fn value(&self) -> String {
        match self {
            Self::Paused(paused) => if *paused { "yes" } else { "no" }.into(),
            Self::Workers(workers) => workers.to_string(),
            Self::InFlight(_, limit) => limit.to_string(),
            Self::Budget(budget) | Self::BatchBudget(_, budget) => {
                budget.map_or(NO_BUDGET.into(), |budget| budget.to_string())
            }
        }
    }

    /// Parses a stored name and value.
    ///
    /// # Errors
    ///
    /// A message that names the setting or value that is not known.
    pub fn parse(name: &str, value: &str) -> Result<Self, String> {
        let invalid = || format!("`{value}` is not a valid value of setting `{name}`");
        let budget = || {
            if value == NO_BUDGET {
                Ok(None)
            } else {
                value.parse().map(Some).map_err(|_| invalid())
            }
        };
        let positive = || {
            value
                .parse()
                .ok()
                .filter(|number| *number > 0)
                .ok_or_else(invalid)
        };
        Ok(match name.split_once('.').unwrap_or((name, "")) {
            ("paused", "") => Self::Paused(value == "yes"),
            ("workers", "") => Self::Workers(positive()? as usize),
            ("in_flight", provider) => Self::InFlight(provider.parse()?, positive()?),
            ("budget", "") => Self::Budget(budget()?),
            ("budget", batch) => Self::BatchBudget(batch.to_owned(), budget()?),
            _ => return Err(format!("unknown setting `{name}`")),
        })
    }

    /// Returns whether the setting belongs to the active runs, so that it has no meaning without
    /// one.
    pub fn is_run_setting(&self) -> bool {
        !matches!(self, Self::BatchBudget(..))
    }

    /// Returns the setting's name for display: `fal in flight`, `budget of spring`.
    pub fn label(&self) -> String {
        match self {
            Self::Paused(_) => "paused".into(),
            Self::Workers(_) => "workers".into(),
            Self::InFlight(provider, _) => format!("{provider} in flight"),
            Self::Budget(_) => "budget".into(),
            Self::BatchBudget(batch, _) => format!("budget of {batch}"),
        }
    }

    /// Returns the value for display; a budget has a dollar sign.
    pub fn display_value(&self) -> String {
        match self {
            Self::Budget(Some(budget)) | Self::BatchBudget(_, Some(budget)) => {
                format!("${budget:#}")
            }
            _ => self.value(),
        }
    }
}

impl fmt::Display for LiveSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused(true) => f.write_str("paused"),
            Self::Paused(false) => f.write_str("resumed"),
            _ => write!(f, "{} {}", self.label(), self.display_value()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_parses_from_its_stored_name_and_value() {
        let budget = Some(Money::from_micros(12_340_000));
        for setting in [
            LiveSetting::Paused(true),
            LiveSetting::Paused(false),
            LiveSetting::Workers(8),
            LiveSetting::InFlight(ProviderName::Fal, 3),
            LiveSetting::Budget(None),
            LiveSetting::Budget(budget),
            LiveSetting::BatchBudget("of.spring".into(), budget),
        ] {
            assert_eq!(
                LiveSetting::parse(&setting.name(), &setting.value()),
                Ok(setting)
            );
        }
        for (name, value) in [
            ("workers", "0"),
            ("workers", "x"),
            ("in_flight.none", "1"),
            ("speed", "1"),
        ] {
            LiveSetting::parse(name, value).unwrap_err();
        }
    }
}
