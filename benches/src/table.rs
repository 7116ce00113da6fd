//! The table: what was measured, against what, and whether the goal holds.

use std::fmt::{self, Display, Formatter};
use std::io::Write;

use crate::measure::Pair;

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// No less.
    AtLeast(f64),
    /// No more.
    AtMost(f64),
    /// It is only shown.
    None,
}

/// The rows so far. Each is also told as it comes, on standard error.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<[String; 6]>,
    notes: Vec<String>,
}

impl Table {
    /// Adds two sides, and the goal of their ratio.
    pub(crate) fn compare(&mut self, what: impl Display, pair: Pair, unit: &str, goal: Goal) {
        let (ours, against) = (with_unit(pair.ours, unit), with_unit(pair.against, unit));
        let goal_text = match goal {
            Goal::AtLeast(goal) => format!("≥ {goal}"),
            Goal::AtMost(goal) => format!("≤ {goal}"),
            Goal::None => String::new(),
        };
        let verdict = verdict(pair.ratio, goal);
        // Close to nothing and close to one the third digit tells.
        let digits = if pair.ratio < 0.1 || (0.9..1.2).contains(&pair.ratio) {
            3
        } else {
            2
        };
        self.push([
            what.to_string(),
            ours,
            against,
            format!("{:.digits$}", pair.ratio),
            goal_text,
            verdict,
        ]);
    }

    /// Adds one figure, and its own goal.
    pub(crate) fn tell(&mut self, what: impl Display, figure: f64, unit: &str, goal: Goal) {
        let goal_text = match goal {
            Goal::AtLeast(goal) => format!("≥ {goal} {unit}"),
            Goal::AtMost(goal) => format!("≤ {goal} {unit}"),
            Goal::None => String::new(),
        };
        let verdict = verdict(figure, goal);
        let (figure, empty) = (with_unit(figure, unit), String::new);
        self.push([
            what.to_string(),
            figure,
            empty(),
            empty(),
            goal_text,
            verdict,
        ]);
    }

    /// Adds something to be known with the table.
    pub(crate) fn note(&mut self, note: impl Display) {
        let note = note.to_string();
        aside(&note);
        self.notes.push(note);
    }

    fn push(&mut self, row: [String; 6]) {
        aside(row.join(" | "));
        self.rows.push(row);
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | ours | against | ratio | goal | holds |")?;
        writeln!(f, "| --- | ---: | ---: | ---: | --- | --- |")?;
        for row in &self.rows {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        if !self.notes.is_empty() {
            writeln!(f)?;
        }
        self.notes
            .iter()
            .try_for_each(|note| writeln!(f, "- {note}"))
    }
}

/// Tells something that does not belong into the table.
pub(crate) fn aside(text: impl Display) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn verdict(figure: f64, goal: Goal) -> String {
    let holds = match goal {
        Goal::AtLeast(goal) => figure >= goal,
        Goal::AtMost(goal) => figure <= goal,
        Goal::None => return String::new(),
    };
    if holds { "yes" } else { "no" }.to_owned()
}

/// Three digits say all that a noisy machine can tell.
fn with_unit(figure: f64, unit: &str) -> String {
    let digits = match figure.abs() {
        figure if figure >= 100.0 => 0,
        figure if figure >= 10.0 => 1,
        figure if figure >= 1.0 => 2,
        _ => 3,
    };
    format!("{figure:.digits$} {unit}")
}
