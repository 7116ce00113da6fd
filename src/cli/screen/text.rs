//! A line of the screen: pieces that look different, cut to the columns there are.

use console::Style;

use crate::cli::width;

/// How a piece looks, where there is colour. What it says is in its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    Strong,
    Faint,
    Good,
    Bad,
    Waits,
}

/// Pieces of a line.
#[derive(Clone, Debug, Default)]
pub(super) struct Text(Vec<(Look, String)>);

/// A line as it is written, and the columns it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Line {
    pub(super) written: String,
    pub(super) columns: usize,
}

impl Text {
    /// One piece.
    pub(super) fn of(look: Look, text: impl Into<String>) -> Self {
        Self(vec![(look, text.into())])
    }

    /// One more piece.
    pub(super) fn and(mut self, look: Look, text: impl Into<String>) -> Self {
        self.0.push((look, text.into()));
        self
    }

    /// Puts texts in a row, with the same between them.
    pub(super) fn join(texts: impl IntoIterator<Item = Self>, between: &str) -> Self {
        let mut joined = Self::default();
        for text in texts {
            if !joined.0.is_empty() {
                joined.0.push((Look::Faint, between.to_owned()));
            }
            joined.0.extend(text.0);
        }
        joined
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The words alone.
    pub(super) fn plain(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// Writes it in so many columns at most.
    pub(super) fn fit(&self, most: usize, color: bool) -> Line {
        let (mut written, mut columns) = (String::new(), 0);
        let fits = width::columns(&self.plain()) <= most;
        for (index, (look, text)) in self.0.iter().enumerate() {
            let left = most - columns;
            // What is cut shows so at its end, also where it is cut between two pieces.
            let is_cut_behind = !fits && index + 1 < self.0.len() && width::columns(text) == left;
            let text = width::clipped(
                &if is_cut_behind {
                    format!("{text} ")
                } else {
                    text.clone()
                },
                left,
            );
            columns += width::columns(&text);
            if !text.is_empty() {
                written.push_str(
                    &look
                        .style()
                        .force_styling(color)
                        .apply_to(&text)
                        .to_string(),
                );
            }
            if columns >= most {
                break;
            }
        }
        Line { written, columns }
    }
}

impl Look {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Faint => Style::new().dim(),
            Self::Good => Style::new().green(),
            Self::Bad => Style::new().red(),
            Self::Waits => Style::new().yellow(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_its_columns_end_with_and_without_colour() {
        let text = Text::of(Look::Good, "ready").and(Look::Plain, " to go");
        for (most, shown) in [
            (11, "ready to go"),
            (10, "ready to …"),
            (6, "ready…"),
            (5, "read…"),
            (0, ""),
        ] {
            let line = text.fit(most, false);
            assert_eq!(
                (line.written.as_str(), line.columns),
                (shown, width::columns(shown)),
                "{most}"
            );
            let colored = text.fit(most, true);
            assert_eq!(console::strip_ansi_codes(&colored.written), shown, "{most}");
        }
        assert!(
            !text.fit(20, false).written.contains('\u{1b}')
                && text.fit(20, true).written.contains('\u{1b}')
        );
    }
}
