//! The live status display of `run` and `status --watch`.
//!
//! [`snapshot`] reads the queue, [`lines`] formats a snapshot for the terminal's width, [`painter`]
//! redraws only what changed, and [`live_region`] keeps the lines below all other output on
//! standard error. Of these four, only the first and the last perform I/O.

mod lines;
pub(super) mod live_region;
mod painter;
mod snapshot;
#[cfg(test)]
mod tests;
mod text;

use std::io::Write;
use std::time::Duration;

use console::Term;

pub(super) use lines::{format_plain, format_screen, hold_reason, price_stop, route_hold_reason};
pub(super) use painter::Size;
pub(super) use snapshot::{Snapshot, SnapshotReader};

use painter::Painter;

/// Time between two redraws.
pub(super) const REFRESH_INTERVAL: Duration = Duration::from_millis(500);

/// Size to assume for a terminal that does not report one.
const DEFAULT_SIZE: Size = Size {
    rows: 24,
    columns: 80,
};

/// Returns whether a terminal can redraw lines in place.
pub(super) fn supports_redraw(term: &Term) -> bool {
    term.is_term() && std::env::var_os("TERM").is_some_and(|name| name != "dumb")
}

/// Returns the size of a terminal, or [`DEFAULT_SIZE`] if it does not report one.
pub(super) fn terminal_size(term: &Term) -> Size {
    term.size_checked()
        .map_or(DEFAULT_SIZE, |(rows, columns)| Size {
            rows: rows.into(),
            columns: columns.into(),
        })
}

/// The status display on standard output, for a command that prints nothing else.
pub(super) struct StdoutScreen {
    term: Term,
    color: bool,
    painter: Painter,
}

impl StdoutScreen {
    pub(super) fn new(color: bool) -> Self {
        Self {
            term: Term::stdout(),
            color,
            painter: Painter::new(),
        }
    }

    /// Draws a snapshot in place of the previous one.
    pub(super) fn draw(&mut self, snapshot: &Snapshot) -> std::io::Result<()> {
        let size = terminal_size(&self.term);
        let lines = format_screen(snapshot, size, self.color);
        let output = self.painter.redraw(lines, size);
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(output.as_bytes())?;
        stdout.flush()
    }
}
