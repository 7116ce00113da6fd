//! A styled line of the status display, truncated to the terminal's width.

use crate::cli::width;

/// The style of a piece of text. It only repeats what the words say, because color may be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Bold,
    Dim,
    /// Green.
    Success,
    /// Red.
    Failure,
    /// Yellow: something waits or needs attention.
    Warning,
}

/// Styled pieces that together form one line.
#[derive(Clone, Debug, Default)]
pub(super) struct Text(Vec<(Style, String)>);

/// A line ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Line {
    /// The text with its escape sequences.
    pub(super) rendered: String,
    /// Columns that the line takes on a terminal.
    pub(super) columns: usize,
}

impl Text {
    pub(super) fn new(style: Style, text: impl Into<String>) -> Self {
        Self(vec![(style, text.into())])
    }

    /// Appends a piece.
    pub(super) fn with(mut self, style: Style, text: impl Into<String>) -> Self {
        self.0.push((style, text.into()));
        self
    }

    /// Joins texts with a separator.
    pub(super) fn join(texts: impl IntoIterator<Item = Self>, separator: &str) -> Self {
        let mut joined = Self::default();
        for text in texts {
            if !joined.0.is_empty() {
                joined.0.push((Style::Dim, separator.to_owned()));
            }
            joined.0.extend(text.0);
        }
        joined
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the text without styles.
    pub(super) fn to_plain_string(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// Renders the text in at most `max_columns`, with an ellipsis where it is truncated.
    pub(super) fn fit(&self, max_columns: usize, color: bool) -> Line {
        let mut rendered = String::new();
        let mut columns = 0;
        let fits = width::display_width(&self.to_plain_string()) <= max_columns;
        for (index, (style, text)) in self.0.iter().enumerate() {
            let remaining = max_columns - columns;
            // A piece that fills the line exactly would hide that more follows: make it too long,
            // so that it is truncated with an ellipsis.
            let is_last = index + 1 == self.0.len();
            let text = if !fits && !is_last && width::display_width(text) == remaining {
                format!("{text} ")
            } else {
                text.clone()
            };
            let text = width::truncate(&text, remaining);
            columns += width::display_width(&text);
            if !text.is_empty() {
                let styled = style.to_console().force_styling(color).apply_to(&text);
                rendered.push_str(&styled.to_string());
            }
            if columns >= max_columns {
                break;
            }
        }
        Line { rendered, columns }
    }
}

impl Style {
    fn to_console(self) -> console::Style {
        match self {
            Self::Plain => console::Style::new(),
            Self::Bold => console::Style::new().bold(),
            Self::Dim => console::Style::new().dim(),
            Self::Success => console::Style::new().green(),
            Self::Failure => console::Style::new().red(),
            Self::Warning => console::Style::new().yellow(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_truncated_at_the_same_column_with_and_without_color() {
        let text = Text::new(Style::Success, "ready").with(Style::Plain, " to go");
        for (max_columns, expected) in [
            (11, "ready to go"),
            (10, "ready to …"),
            (6, "ready…"),
            (5, "read…"),
            (0, ""),
        ] {
            let line = text.fit(max_columns, false);
            assert_eq!(line.rendered, expected, "{max_columns}");
            assert_eq!(
                line.columns,
                width::display_width(expected),
                "{max_columns}"
            );
            let colored = text.fit(max_columns, true);
            let uncolored = console::strip_ansi_codes(&colored.rendered);
            assert_eq!(uncolored, expected, "{max_columns}");
        }
        assert!(!text.fit(20, false).rendered.contains('\u{1b}'));
        assert!(text.fit(20, true).rendered.contains('\u{1b}'));
    }
}
