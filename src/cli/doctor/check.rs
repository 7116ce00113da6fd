//! One thing that was checked, and how it was found.

use std::fmt;

use serde::Serialize;

use crate::cli::render;

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    name: String,
    level: Level,
    message: String,
    hint: Option<String>,
}

/// How it was found. Only a problem is in a run's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// A run goes on with it, but somebody should know.
    Warning,
    /// A run cannot do with it what it is for.
    Problem,
}

impl Check {
    pub(super) fn ok(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            level: Level::Ok,
            message: message.into(),
            hint: None,
        }
    }

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

    /// A problem by an error, whose own hint comes before the one given.
    pub(super) fn failed(name: impl Into<String>, error: &anyhow::Error, otherwise: &str) -> Self {
        let text = format!("{error:#}");
        let (message, hint) = render::apart(&text);
        Self::problem(name, message, hint.unwrap_or(otherwise))
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
        // What a provider says is in some of them.
        write!(
            f,
            "{level:<8} {:<17} {}",
            self.name,
            render::clipped(&self.message, 400)
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
    fn a_check_is_a_line_with_its_remedy_below() {
        assert_eq!(
            Check::ok("queue", "is whole").to_string(),
            "ok       queue             is whole"
        );
        let wrong = Check::failed("output", &anyhow::anyhow!("no\nhint: make it"), "else");
        assert_eq!(
            wrong.to_string(),
            "problem  output            no\n                           hint: make it"
        );
        assert!(wrong.is_problem() && !Check::warning("a", "b", "c").is_problem());
    }
}
