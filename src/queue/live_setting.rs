//! What a person changes of the runs that are going on.

use std::fmt;

use jiff::Timestamp;

use crate::domain::{Money, ProviderName};

/// One thing that can be changed, and what it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveSetting {
    /// Whether no clip is begun; those that are under way are looked at and fetched all the same.
    Paused(bool),
    /// Steps at once, in each run.
    Workers(usize),
    /// The most attempts at a provider submitting, in doubt or running at once, over all runs.
    InFlight(ProviderName, u32),
    /// Each run's own budget.
    Budget(Option<Money>),
    /// The budget of a batch.
    BatchBudget(String, Option<Money>),
}

/// What was changed, by whom, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// What it is now.
    pub setting: LiveSetting,
    /// What it was before, where the queue knows.
    pub previous: Option<LiveSetting>,
    /// Who changed it.
    pub set_by: String,
    /// When.
    pub set_at: Timestamp,
}

/// No budget.
const NONE: &str = "none";

impl LiveSetting {
    /// The name it is kept under.
    pub fn name(&self) -> String {
        match self {
            Self::Paused(_) => "paused".into(),
            Self::Workers(_) => "workers".into(),
            Self::InFlight(provider, _) => format!("in_flight.{provider}"),
            Self::Budget(_) => "budget".into(),
            Self::BatchBudget(batch, _) => format!("budget.{batch}"),
        }
    }

    /// The text its value is kept as.
    pub fn value(&self) -> String {
        match self {
            Self::Paused(paused) => if *paused { "yes" } else { "no" }.into(),
            Self::Workers(workers) => workers.to_string(),
            Self::InFlight(_, limit) => limit.to_string(),
            Self::Budget(budget) | Self::BatchBudget(_, budget) => {
                budget.map_or(NONE.into(), |budget| budget.to_string())
            }
        }
    }

    /// Reads it as it is kept.
    pub fn parse(name: &str, value: &str) -> Result<Self, String> {
        let wrong = || format!("`{value}` is no value of `{name}`");
        let budget = || {
            if value == NONE {
                Ok(None)
            } else {
                value.parse().map(Some).map_err(|_| wrong())
            }
        };
        let positive = || {
            value
                .parse()
                .ok()
                .filter(|number| *number > 0)
                .ok_or_else(wrong)
        };
        Ok(match name.split_once('.').unwrap_or((name, "")) {
            ("paused", "") => Self::Paused(value == "yes"),
            ("workers", "") => Self::Workers(positive()? as usize),
            ("in_flight", provider) => Self::InFlight(provider.parse()?, positive()?),
            ("budget", "") => Self::Budget(budget()?),
            ("budget", batch) => Self::BatchBudget(batch.to_owned(), budget()?),
            _ => return Err(format!("nothing is called `{name}`")),
        })
    }

    /// Tells whether it is something of the runs that are going on, and means nothing without one.
    pub fn is_run_setting(&self) -> bool {
        !matches!(self, Self::BatchBudget(..))
    }

    /// What it is a value of, for a person.
    pub fn label(&self) -> String {
        match self {
            Self::Paused(_) => "paused".into(),
            Self::Workers(_) => "workers".into(),
            Self::InFlight(provider, _) => format!("{provider} in flight"),
            Self::Budget(_) => "budget".into(),
            Self::BatchBudget(batch, _) => format!("budget of {batch}"),
        }
    }

    /// Its value, for a person.
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
    fn every_setting_is_read_as_it_was_kept() {
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
