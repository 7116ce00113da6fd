//! How far something has got, shown on a terminal.

use std::io::{IsTerminal, Read, Seek};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Makes a bar; `None` where nobody would see it.
fn on_terminal(quiet: bool, template: &str) -> Option<ProgressBar> {
    if quiet || !std::io::stderr().is_terminal() {
        return None;
    }
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(5));
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━━─"));
    }
    Some(bar)
}

/// How far a file is read.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// Makes a bar that nobody sees yet, or ever where standard error is no terminal.
    pub(super) fn new(quiet: bool) -> Self {
        let bar = on_terminal(quiet, "{bar:24} {bytes}/{total_bytes} of {msg}, {eta} left");
        Self(bar.unwrap_or_else(ProgressBar::hidden))
    }

    /// Begins to show a file.
    pub(super) fn begin(&self, file: &str, bytes: u64) {
        self.0.reset();
        self.0.set_length(bytes);
        self.0.set_message(file.to_owned());
    }

    /// Moves on with what is read.
    pub(super) fn watch<R: Read + Seek>(&self, file: R) -> impl Read + Seek + use<R> {
        self.0.wrap_read(file)
    }

    /// Lets something be printed that the bar must not run into.
    pub(super) fn aside(&self, print: impl FnOnce()) {
        self.0.suspend(print);
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}
