//! The one screen that shows a run, to whoever works and to whoever looks on.
//!
//! [`snapshot`] reads how things stand, [`lines`] says it in lines of a width, [`painter`] writes them with as few bytes as
//! will do, and [`foot`] keeps them below whatever else is said. Only the first and the last touch anything outside.

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

pub(super) use lines::{hold_reason, plain, screen};
pub(super) use painter::Size;
pub(super) use snapshot::{Snapshot, SnapshotReader};

use painter::Painter;

/// How often the screen is drawn anew.
pub(super) const BEAT: Duration = Duration::from_millis(500);

/// Where nobody tells how large a terminal is.
const USUAL: Size = Size {
    rows: 24,
    columns: 80,
};

/// Tells whether a terminal can show lines that change.
pub(super) fn is_shown_on(term: &Term) -> bool {
    term.is_term() && std::env::var_os("TERM").is_some_and(|name| name != "dumb")
}

pub(super) fn size_of(term: &Term) -> Size {
    term.size_checked().map_or(USUAL, |(rows, columns)| Size {
        rows: rows.into(),
        columns: columns.into(),
    })
}

/// The screen on standard output, for a command that shows nothing else.
pub(super) struct OnOutput {
    term: Term,
    color: bool,
    painter: Painter,
}

impl OnOutput {
    pub(super) fn new(color: bool) -> Self {
        Self {
            term: Term::stdout(),
            color,
            painter: Painter::new(),
        }
    }

    /// Shows how things stand now.
    pub(super) fn show(&mut self, snapshot: &Snapshot) -> std::io::Result<()> {
        let size = size_of(&self.term);
        let bytes = self.painter.show(screen(snapshot, size, self.color), size);
        let mut output = std::io::stdout().lock();
        output.write_all(bytes.as_bytes())?;
        output.flush()
    }
}
