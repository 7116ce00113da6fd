//! Keeps some lines at the foot of a terminal up to date, with as few bytes as will do.
//!
//! The cursor always rests at the beginning of the line below them. So whoever ends the program, however, finds the prompt
//! where it belongs, and nothing has to be hidden that would have to be shown again.

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

/// Knows what is on the terminal.
#[derive(Debug)]
pub(super) struct Painter {
    shown: Vec<Line>,
    size: Option<Size>,
}

impl Painter {
    /// Nothing is shown yet.
    pub(super) const fn new() -> Self {
        Self {
            shown: Vec::new(),
            size: None,
        }
    }

    pub(super) fn is_shown(&self) -> bool {
        !self.shown.is_empty()
    }

    /// What to write so that these lines are shown; nothing where they are.
    pub(super) fn show(&mut self, lines: Vec<Line>, size: Size) -> String {
        if self.size != Some(size) {
            let mut bytes = self.clear(size);
            self.put(lines, size, &mut bytes);
            return bytes;
        }
        let lines = fitting(lines, size);
        if lines == self.shown {
            return String::new();
        }
        let mut bytes = up(self.shown.len());
        for (row, line) in lines.iter().enumerate() {
            if self.shown.get(row) != Some(line) {
                bytes.push_str(&line.written);
                bytes.push_str(CLEAR_LINE);
            }
            bytes.push_str("\r\n");
        }
        bytes.push_str(CLEAR_BELOW);
        self.shown = lines;
        bytes
    }

    /// What to write so that a text stands above the lines, which stay.
    pub(super) fn above(&mut self, text: &str, size: Size) -> String {
        let lines = self.shown.clone();
        let mut bytes = self.clear(size);
        bytes.push_str(text);
        if !lines.is_empty() {
            self.put(lines, size, &mut bytes);
        }
        bytes
    }

    /// What to write so that the lines are gone.
    pub(super) fn clear(&mut self, size: Size) -> String {
        // A terminal that was made narrower has broken the longer lines, and one that was made lower shows the last.
        let rows = |line: &Line| line.columns.max(1).div_ceil(size.columns.max(1));
        let rows: usize = self.shown.iter().map(rows).sum();
        self.shown.clear();
        self.size = Some(size);
        if rows == 0 {
            String::new()
        } else {
            up(rows.min(size.rows.saturating_sub(1))) + CLEAR_BELOW
        }
    }

    fn put(&mut self, lines: Vec<Line>, size: Size, bytes: &mut String) {
        self.shown = fitting(lines, size);
        for line in &self.shown {
            bytes.push_str(&line.written);
            bytes.push_str("\r\n");
        }
    }
}

/// The lines there is room for: the first, for they say most.
fn fitting(mut lines: Vec<Line>, size: Size) -> Vec<Line> {
    lines.truncate(size.rows.saturating_sub(1));
    lines.retain(|line| line.columns < size.columns);
    lines
}

fn up(rows: usize) -> String {
    let mut bytes = "\r".to_owned();
    if rows > 0 {
        // Writing to a text cannot fail.
        let _ = write!(bytes, "\u{1b}[{rows}A");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use vt100::Parser;

    use super::*;
    use crate::cli::screen::text::{Look, Text};

    const SIZE: Size = Size {
        rows: 10,
        columns: 30,
    };

    fn terminal() -> Parser {
        let [rows, columns] =
            [SIZE.rows, SIZE.columns].map(|size| u16::try_from(size).unwrap().try_into().unwrap());
        Parser::new(rows, columns, 100)
    }

    fn lines(texts: &[&str]) -> Vec<Line> {
        texts
            .iter()
            .map(|text| Text::of(Look::Good, *text).fit(29, true))
            .collect()
    }

    /// What a terminal shows, without the empty rows at its end.
    fn seen(terminal: &Parser) -> Vec<String> {
        let rows: Vec<String> = terminal
            .screen()
            .contents()
            .lines()
            .map(|row| row.trim_end().to_owned())
            .collect();
        rows
    }

    #[test]
    fn a_terminal_shows_the_lines_and_above_them_what_was_said() {
        let (mut painter, mut terminal) = (Painter::new(), terminal());
        terminal.process(b"$ overnight run\r\n");
        let mut show = |painter: &mut Painter, bytes: String| {
            terminal.process(bytes.as_bytes());
            let at_left = terminal.screen().cursor_position().1 == 0;
            assert!(at_left && painter.shown.len() < 10);
            seen(&terminal)
        };
        let bytes = painter.show(lines(&["1/3", "fal 1/4", "a done"]), SIZE);
        assert_eq!(
            show(&mut painter, bytes),
            ["$ overnight run", "1/3", "fal 1/4", "a done"]
        );
        let bytes = painter.show(lines(&["2/3", "fal 1/4", "b done", "a done"]), SIZE);
        assert_eq!(
            show(&mut painter, bytes),
            ["$ overnight run", "2/3", "fal 1/4", "b done", "a done"]
        );
        let bytes = painter.above("WARN fal\n".replace('\n', "\r\n").as_str(), SIZE);
        let all = [
            "$ overnight run",
            "WARN fal",
            "2/3",
            "fal 1/4",
            "b done",
            "a done",
        ];
        assert_eq!(show(&mut painter, bytes), all);
        let bytes = painter.show(lines(&["3/3", "b done"]), SIZE);
        assert_eq!(
            show(&mut painter, bytes),
            ["$ overnight run", "WARN fal", "3/3", "b done"]
        );
        let bytes = painter.clear(SIZE);
        assert_eq!(show(&mut painter, bytes), ["$ overnight run", "WARN fal"]);
    }

    #[test]
    fn at_the_foot_of_a_full_terminal_nothing_is_lost() {
        let (mut painter, mut terminal) = (Painter::new(), terminal());
        for said in 0..40 {
            let bytes = painter.show(lines(&[&format!("{said}/40"), "fal"]), SIZE);
            terminal.process(bytes.as_bytes());
            terminal.process(painter.above(&format!("said {said}\r\n"), SIZE).as_bytes());
        }
        let mut rows: Vec<String> = (33..40).map(|said| format!("said {said}")).collect();
        rows.extend(["39/40", "fal"].map(String::from));
        assert_eq!(seen(&terminal), rows);
        terminal.screen_mut().set_scrollback(33);
        assert_eq!(seen(&terminal)[0], "said 0");
    }

    #[test]
    fn only_what_changed_is_written_and_nothing_where_nothing_did() {
        let mut painter = Painter::new();
        painter.show(lines(&["1/3", "fal 1/4", "a done"]), SIZE);
        assert_eq!(painter.show(lines(&["1/3", "fal 1/4", "a done"]), SIZE), "");
        let bytes = painter.show(lines(&["1/3", "fal 2/4", "a done"]), SIZE);
        assert!(
            bytes.contains("fal 2/4") && !bytes.contains("1/3") && !bytes.contains("a done"),
            "{bytes:?}"
        );
        assert!(
            !bytes.contains("\u{1b}[2J") && !bytes.contains("\u{1b}[H"),
            "{bytes:?}"
        );
    }

    #[test]
    fn a_terminal_that_was_made_narrower_is_cleared_of_the_lines_it_broke() {
        let mut painter = Painter::new();
        let wide = Size {
            columns: 80,
            ..SIZE
        };
        painter.show(
            vec![Text::of(Look::Plain, "x".repeat(70)).fit(79, false)],
            wide,
        );
        // 70 columns of 30 are three rows.
        let bytes = painter.show(lines(&["1/3"]), SIZE);
        assert!(bytes.starts_with("\r\u{1b}[3A\u{1b}[J"), "{bytes:?}");
        assert_eq!(painter.shown.len(), 1);
        // What was fitted to more columns than there are is left out until it is made anew.
        assert_eq!(
            fitting(
                vec![Text::of(Look::Plain, "x".repeat(70)).fit(79, false)],
                SIZE
            ),
            []
        );
        assert_eq!(fitting(lines(&["1"; 20]), SIZE).len(), 9);
    }
}
