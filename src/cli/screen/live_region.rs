//! Standard error: the lines at its region, where it is a terminal that shows some, and above them whatever is said.
//!
//! A process has one standard error, which notes and logs of every thread are written to, so there is one of these.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::painter::Painter;
use super::size_of;
use super::text::Line;

static FOOT: Mutex<Painter> = Mutex::new(Painter::new());

fn live_region() -> MutexGuard<'static, Painter> {
    FOOT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows lines at the region, in place of those that are there.
pub(in crate::cli) fn show(lines: Vec<Line>) {
    let mut region = live_region();
    write(
        region
            .show(lines, size_of(&console::Term::stderr()))
            .as_bytes(),
    );
}

/// Takes the lines away.
pub(in crate::cli) fn clear() {
    let mut region = live_region();
    if region.is_shown() {
        write(region.clear(size_of(&console::Term::stderr())).as_bytes());
    }
}

/// Writes whole lines above the region.
fn say(text: &[u8]) {
    let mut region = live_region();
    if region.is_shown() {
        let bytes = region.above(
            &String::from_utf8_lossy(text),
            size_of(&console::Term::stderr()),
        );
        write(bytes.as_bytes());
    } else {
        write(text);
    }
}

/// In one piece, so that a terminal never shows half of it.
fn write(bytes: &[u8]) {
    // A closed standard error is nobody to tell.
    let _ = io::stderr().lock().write_all(bytes);
}

/// Takes whole lines, as logs and notes are written.
pub(in crate::cli) struct Above;

impl Write for Above {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        say(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
