//! How far a file is read, shown on a terminal.

use std::io::{IsTerminal, Read};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far a file is read.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// Makes a bar that nobody sees yet, or ever where standard error is no terminal.
    pub(super) fn new(quiet: bool) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(5));
        let style = ProgressStyle::with_template("{bar:24} {bytes}/{total_bytes} of {msg}, {eta} left");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("━━─"));
        }
        Self(bar)
    }

    /// Begins to show a file.
    pub(super) fn begin(&self, file: &str, bytes: u64) {
        self.0.reset();
        self.0.set_length(bytes);
        self.0.set_message(file.to_owned());
    }

    /// Moves on with what is read.
    pub(super) fn watch<R: Read>(&self, file: R) -> impl Read + use<R> {
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
