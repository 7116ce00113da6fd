//! The table of results: what was measured, against which baseline, and whether the goal is met.

use std::fmt::{self, Display, Formatter};
use std::io::Write;

use crate::measure::Comparison;

/// The goal for a figure or a ratio.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// The given value or more.
    AtLeast(f64),
    /// The given value or less.
    AtMost(f64),
    /// No goal: the figure is only shown.
    None,
}

/// The results so far. Each row is also written to standard error when it is added.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<[String; 6]>,
    notes: Vec<String>,
}

impl Table {
    /// Adds a comparison with a goal for its ratio.
    pub(crate) fn add_comparison(
        &mut self,
        name: impl Display,
        comparison: Comparison,
        unit: &str,
        goal: Goal,
    ) {
        let goal_text = match goal {
            Goal::AtLeast(goal) => format!("≥ {goal}"),
            Goal::AtMost(goal) => format!("≤ {goal}"),
            Goal::None => String::new(),
        };
        // Ratios close to zero or one need a third digit.
        let digits = if comparison.ratio < 0.1 || (0.9..1.2).contains(&comparison.ratio) {
            3
        } else {
            2
        };
        self.push([
            name.to_string(),
            with_unit(comparison.ours, unit),
            with_unit(comparison.baseline, unit),
            format!("{:.digits$}", comparison.ratio),
            goal_text,
            verdict(comparison.ratio, goal),
        ]);
    }

    /// Adds a single figure with a goal of its own.
    pub(crate) fn add_figure(&mut self, name: impl Display, figure: f64, unit: &str, goal: Goal) {
        let goal_text = match goal {
            Goal::AtLeast(goal) => format!("≥ {goal} {unit}"),
            Goal::AtMost(goal) => format!("≤ {goal} {unit}"),
            Goal::None => String::new(),
        };
        self.push([
            name.to_string(),
            with_unit(figure, unit),
            String::new(),
            String::new(),
            goal_text,
            verdict(figure, goal),
        ]);
    }

    /// Adds a remark that is printed below the table.
    pub(crate) fn add_note(&mut self, note: impl Display) {
        let note = note.to_string();
        print_progress(&note);
        self.notes.push(note);
    }

    fn push(&mut self, row: [String; 6]) {
        print_progress(row.join(" | "));
        self.rows.push(row);
    }
}

/// Formats the table as Markdown.
impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "| measurement | ours | baseline | ratio | goal | met |")?;
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

/// Writes a line to standard error, for the user who waits for the table.
pub(crate) fn print_progress(text: impl Display) {
    // Standard error may be closed; that must not stop the measurement.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Returns `yes` or `no`, or nothing without a goal.
fn verdict(figure: f64, goal: Goal) -> String {
    let is_met = match goal {
        Goal::AtLeast(goal) => figure >= goal,
        Goal::AtMost(goal) => figure <= goal,
        Goal::None => return String::new(),
    };
    if is_met { "yes" } else { "no" }.to_owned()
}

/// Formats a figure with three digits; the noise of the machine makes more of them meaningless.
fn with_unit(figure: f64, unit: &str) -> String {
    let digits = match figure.abs() {
        figure if figure >= 100.0 => 0,
        figure if figure >= 10.0 => 1,
        figure if figure >= 1.0 => 2,
        _ => 3,
    };
    format!("{figure:.digits$} {unit}")
}
