//! Redraws a few lines at the bottom of a terminal, writing only what changed.
//!
//! The cursor always rests at the start of the row below the lines. However the process ends, the
//! shell prompt appears there, and no hidden cursor has to be restored.

use std::fmt::Write;

use super::text::Line;

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Size {
    pub(in crate::cli) rows: usize,
    pub(in crate::cli) columns: usize,
}

/// Clears from the cursor to the end of the screen.
const CLEAR_BELOW: &str = "\u{1b}[J";
/// Clears from the cursor to the end of the line.
const CLEAR_LINE: &str = "\u{1b}[K";

/// Tracks which lines are on the terminal, and returns what to write to change them.
#[derive(Debug)]
pub(super) struct Painter {
    /// The lines on the terminal.
    lines: Vec<Line>,
    /// The terminal's size when they were drawn.
    size: Option<Size>,
}

impl Painter {
    /// Returns a painter for a terminal on which nothing is drawn yet.
    pub(super) const fn new() -> Self {
        Self {
            lines: Vec::new(),
            size: None,
        }
    }

    pub(super) fn is_visible(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Returns what to write so that the terminal shows `lines`; empty if it already does.
    pub(super) fn redraw(&mut self, lines: Vec<Line>, size: Size) -> String {
        if self.size != Some(size) {
            let mut output = self.erase(size);
            self.draw(lines, size, &mut output);
            return output;
        }
        let lines = fit_to(lines, size);
        if lines == self.lines {
            return String::new();
        }
        let mut output = cursor_up(self.lines.len());
        for (row, line) in lines.iter().enumerate() {
            if self.lines.get(row) != Some(line) {
                output.push_str(&line.rendered);
                output.push_str(CLEAR_LINE);
            }
            output.push_str("\r\n");
        }
        output.push_str(CLEAR_BELOW);
        self.lines = lines;
        output
    }

    /// Returns what to write so that `text` appears above the lines, which stay visible.
    pub(super) fn insert_above(&mut self, text: &str, size: Size) -> String {
        let lines = self.lines.clone();
        let mut output = self.erase(size);
        output.push_str(text);
        if !lines.is_empty() {
            self.draw(lines, size, &mut output);
        }
        output
    }

    /// Returns what to write so that the lines disappear.
    pub(super) fn erase(&mut self, size: Size) -> String {
        // A terminal that became narrower has wrapped the longer lines; one that became lower
        // shows only the last rows.
        let rows = |line: &Line| line.columns.max(1).div_ceil(size.columns.max(1));
        let rows: usize = self.lines.iter().map(rows).sum();
        self.lines.clear();
        self.size = Some(size);
        if rows == 0 {
            String::new()
        } else {
            cursor_up(rows.min(size.rows.saturating_sub(1))) + CLEAR_BELOW
        }
    }

    fn draw(&mut self, lines: Vec<Line>, size: Size, output: &mut String) {
        self.lines = fit_to(lines, size);
        for line in &self.lines {
            output.push_str(&line.rendered);
            output.push_str("\r\n");
        }
    }
}

/// Keeps the lines that fit on the terminal: the first ones, because they matter most.
fn fit_to(mut lines: Vec<Line>, size: Size) -> Vec<Line> {
    lines.truncate(size.rows.saturating_sub(1));
    lines.retain(|line| line.columns < size.columns);
    lines
}

/// Moves the cursor to the start of the line, and up by `rows`.
fn cursor_up(rows: usize) -> String {
    let mut output = "\r".to_owned();
    if rows > 0 {
        // Writing to a String cannot fail.
        let _ = write!(output, "\u{1b}[{rows}A");
    }
    output
}

#[cfg(test)]
mod tests {
    use vt100::Parser;

    use super::*;
    use crate::cli::screen::text::{Style, Text};

    const SIZE: Size = Size {
        rows: 10,
        columns: 30,
    };

    fn new_terminal() -> Parser {
        let [rows, columns] =
            [SIZE.rows, SIZE.columns].map(|size| u16::try_from(size).unwrap().try_into().unwrap());
        Parser::new(rows, columns, 100)
    }

    fn lines(texts: &[&str]) -> Vec<Line> {
        texts
            .iter()
            .map(|text| Text::new(Style::Success, *text).fit(29, true))
            .collect()
    }

    /// Returns the rows on a terminal, without empty ones at the end.
    fn visible_rows(terminal: &Parser) -> Vec<String> {
        terminal
            .screen()
            .contents()
            .lines()
            .map(|row| row.trim_end().to_owned())
            .collect()
    }

    #[test]
    fn the_lines_stay_below_inserted_text() {
        let mut painter = Painter::new();
        let mut terminal = new_terminal();
        terminal.process(b"$ overnight run\r\n");
        let mut apply = |painter: &mut Painter, output: String| {
            terminal.process(output.as_bytes());
            let column = terminal.screen().cursor_position().1;
            assert_eq!(column, 0);
            assert!(painter.lines.len() < 10);
            visible_rows(&terminal)
        };
        let output = painter.redraw(lines(&["1/3", "fal 1/4", "a done"]), SIZE);
        assert_eq!(
            apply(&mut painter, output),
            ["$ overnight run", "1/3", "fal 1/4", "a done"]
        );
        let output = painter.redraw(lines(&["2/3", "fal 1/4", "b done", "a done"]), SIZE);
        assert_eq!(
            apply(&mut painter, output),
            ["$ overnight run", "2/3", "fal 1/4", "b done", "a done"]
        );
        let output = painter.insert_above("WARN fal\r\n", SIZE);
        let all_rows = [
            "$ overnight run",
            "WARN fal",
            "2/3",
            "fal 1/4",
            "b done",
            "a done",
        ];
        assert_eq!(apply(&mut painter, output), all_rows);
        let output = painter.redraw(lines(&["3/3", "b done"]), SIZE);
        assert_eq!(
            apply(&mut painter, output),
            ["$ overnight run", "WARN fal", "3/3", "b done"]
        );
        let output = painter.erase(SIZE);
        assert_eq!(apply(&mut painter, output), ["$ overnight run", "WARN fal"]);
    }

    #[test]
    fn text_inserted_on_a_full_terminal_scrolls_into_the_history() {
        let mut painter = Painter::new();
        let mut terminal = new_terminal();
        for number in 0..40 {
            let output = painter.redraw(lines(&[&format!("{number}/40"), "fal"]), SIZE);
            terminal.process(output.as_bytes());
            let output = painter.insert_above(&format!("note {number}\r\n"), SIZE);
            terminal.process(output.as_bytes());
        }
        let mut rows: Vec<String> = (33..40).map(|number| format!("note {number}")).collect();
        rows.extend(["39/40", "fal"].map(String::from));
        assert_eq!(visible_rows(&terminal), rows);
        terminal.screen_mut().set_scrollback(33);
        assert_eq!(visible_rows(&terminal)[0], "note 0");
    }

    #[test]
    fn only_changed_lines_are_written() {
        let mut painter = Painter::new();
        painter.redraw(lines(&["1/3", "fal 1/4", "a done"]), SIZE);
        let output = painter.redraw(lines(&["1/3", "fal 1/4", "a done"]), SIZE);
        assert_eq!(output, "");
        let output = painter.redraw(lines(&["1/3", "fal 2/4", "a done"]), SIZE);
        assert!(output.contains("fal 2/4"), "{output:?}");
        assert!(!output.contains("1/3"), "{output:?}");
        assert!(!output.contains("a done"), "{output:?}");
        let clears_screen = output.contains("\u{1b}[2J");
        let moves_home = output.contains("\u{1b}[H");
        assert!(!clears_screen && !moves_home, "{output:?}");
    }

    #[test]
    fn lines_wrapped_by_a_narrower_terminal_are_erased() {
        let wide_line = || Text::new(Style::Plain, "x".repeat(70)).fit(79, false);
        let mut painter = Painter::new();
        let wide = Size {
            columns: 80,
            ..SIZE
        };
        painter.redraw(vec![wide_line()], wide);
        // 70 columns wrap into three rows of 30.
        let output = painter.redraw(lines(&["1/3"]), SIZE);
        assert!(output.starts_with("\r\u{1b}[3A\u{1b}[J"), "{output:?}");
        assert_eq!(painter.lines.len(), 1);
    }

    #[test]
    fn lines_that_do_not_fit_on_the_terminal_are_left_out() {
        let wide_line = Text::new(Style::Plain, "x".repeat(70)).fit(79, false);
        assert_eq!(fit_to(vec![wide_line], SIZE), []);
        assert_eq!(fit_to(lines(&["1"; 20]), SIZE).len(), 9);
    }
}
