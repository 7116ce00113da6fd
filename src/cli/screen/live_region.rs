//! The live region: status lines that stay at the bottom of standard error while notes and logs
//! scroll above them.
//!
//! All threads of the process share one standard error, so there is a single, global live region.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::painter::Painter;
use super::terminal_size;
use super::text::Line;

static PAINTER: Mutex<Painter> = Mutex::new(Painter::new());

fn lock_painter() -> MutexGuard<'static, Painter> {
    PAINTER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Draws lines in the region, in place of its current ones.
pub(in crate::cli) fn draw(lines: Vec<Line>) {
    let mut painter = lock_painter();
    let size = terminal_size(&console::Term::stderr());
    write_stderr(painter.redraw(lines, size).as_bytes());
}

/// Removes the region from the terminal.
pub(in crate::cli) fn clear() {
    let mut painter = lock_painter();
    if painter.is_visible() {
        let size = terminal_size(&console::Term::stderr());
        write_stderr(painter.erase(size).as_bytes());
    }
}

/// Writes whole lines above the region, or as they are if no region is visible.
fn write_above(text: &[u8]) {
    let mut painter = lock_painter();
    if painter.is_visible() {
        let size = terminal_size(&console::Term::stderr());
        let output = painter.insert_above(&String::from_utf8_lossy(text), size);
        write_stderr(output.as_bytes());
    } else {
        write_stderr(text);
    }
}

/// Writes in one call, so that a terminal does not show a half-drawn update.
fn write_stderr(bytes: &[u8]) {
    // With standard error closed there is nowhere to report the failure.
    let _ = io::stderr().lock().write_all(bytes);
}

/// Writer for notes and logs. Each write must consist of whole lines.
pub(in crate::cli) struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        write_above(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
