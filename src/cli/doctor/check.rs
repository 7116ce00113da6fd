//! One check and its result.

use std::fmt;

use serde::Serialize;

use crate::cli::error_text::explain;
use crate::cli::render;

/// Columns of a terminal that a message may take.
const MAX_MESSAGE_COLUMNS: usize = 400;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    name: String,
    level: Level,
    message: String,
    /// What to do. `None` if the check is ok.
    hint: Option<String>,
}

/// How serious a result is. Only a problem keeps a run from working.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// A run works, but the user should know.
    Warning,
    /// A run cannot do its work.
    Problem,
}

impl Check {
    /// Creates the result of a check that passed.
    pub(super) fn ok(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            level: Level::Ok,
            message: message.into(),
            hint: None,
        }
    }

    /// Creates a warning with what to do.
    pub(super) fn warning(
        name: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Warning,
            hint: Some(hint.into()),
            ..Self::ok(name, message)
        }
    }

    /// Creates a problem with what to do.
    pub(super) fn problem(
        name: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            level: Level::Problem,
            hint: Some(hint.into()),
            ..Self::ok(name, message)
        }
    }

    /// Creates a problem from an error. The error's own hint takes precedence over `default_hint`.
    pub(super) fn failed(
        name: impl Into<String>,
        error: impl Into<anyhow::Error>,
        default_hint: &str,
    ) -> Self {
        let (message, hint) = explain(&error.into());
        Self::problem(name, message, hint.unwrap_or_else(|| default_hint.into()))
    }

    pub(super) fn is_problem(&self) -> bool {
        self.level == Level::Problem
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "problem",
        };
        // A message may quote a provider's response.
        write!(
            f,
            "{level:<8} {:<17} {}",
            self.name,
            render::truncate(&self.message, MAX_MESSAGE_COLUMNS)
        )?;
        self.hint
            .as_ref()
            .map_or(Ok(()), |hint| write!(f, "\n{:27}hint: {hint}", ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_one_line_with_its_hint_on_the_next() {
        assert_eq!(
            Check::ok("queue", "is intact").to_string(),
            "ok       queue             is intact"
        );
        let failed = Check::failed("output", anyhow::anyhow!("no\nhint: create it"), "default");
        assert_eq!(
            failed.to_string(),
            "problem  output            no\n                           hint: create it"
        );
        assert!(failed.is_problem());
        assert!(!Check::warning("a", "b", "c").is_problem());
    }
}
