//! A progress bar for reading a manifest.

use std::io::{IsTerminal, Read, Seek};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Returns a bar on standard error; `None` with `--quiet` or if standard error is no terminal.
fn visible_bar(quiet: bool, template: &str) -> Option<ProgressBar> {
    if quiet || !std::io::stderr().is_terminal() {
        return None;
    }
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(5));
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━━─"));
    }
    Some(bar)
}

/// Shows how many links have been asked.
pub(super) struct ProbeProgress(ProgressBar);

impl ProbeProgress {
    /// Returns a bar for this number of links; it draws nothing with `quiet` or if standard error is no
    /// terminal.
    pub(super) fn new(quiet: bool, links: u64) -> Self {
        let bar = visible_bar(quiet, "{bar:24} {pos}/{len} links asked, {eta} left");
        let bar = bar.unwrap_or_else(ProgressBar::hidden);
        bar.set_length(links);
        Self(bar)
    }

    /// Counts a link.
    pub(super) fn advance(&self) {
        self.0.inc(1);
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// Shows how much of a file has been read.
pub(super) struct ReadProgress(ProgressBar);

impl ReadProgress {
    /// Returns a bar that draws nothing until [`Self::start_file`], and nothing at all with
    /// `quiet` or if standard error is no terminal.
    pub(super) fn new(quiet: bool) -> Self {
        let bar = visible_bar(quiet, "{bar:24} {bytes}/{total_bytes} of {msg}, {eta} left");
        Self(bar.unwrap_or_else(ProgressBar::hidden))
    }

    /// Starts over with a file and its size in bytes.
    pub(super) fn start_file(&self, file: &str, bytes: u64) {
        self.0.reset();
        self.0.set_length(bytes);
        self.0.set_message(file.to_owned());
    }

    /// Wraps a reader so that reading it advances the bar.
    pub(super) fn wrap_reader<R: Read + Seek>(&self, file: R) -> impl Read + Seek + use<R> {
        self.0.wrap_read(file)
    }

    /// Hides the bar while `print` writes to the terminal.
    pub(super) fn suspend(&self, print: impl FnOnce()) {
        self.0.suspend(print);
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
