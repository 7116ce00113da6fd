//! Printing: data goes to standard output, everything else to standard error. Color never carries
//! information that the text does not.

use std::io::{self, Write};

use serde::Serialize;

use crate::domain::printable::{printable, printable_json, printable_lines};

use super::args::Color;
use super::error_text::explain;
use super::screen::live_region;
use super::width;

pub(super) use super::format::{format_count, format_duration, format_size};
pub(super) use super::width::truncate;

/// Returns whether to use color on a stream. `auto` follows `NO_COLOR` and whether the stream is a
/// terminal.
pub(super) fn use_color(choice: Color, is_terminal: bool) -> bool {
    match choice {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
    }
}

/// Prints a line of data to standard output.
pub(super) fn print_line(text: impl std::fmt::Display) -> anyhow::Result<()> {
    writeln!(
        io::stdout().lock(),
        "{}",
        printable_lines(&text.to_string())
    )?;
    Ok(())
}

/// Prints data as one line of JSON to standard output.
pub(super) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print_line(printable_json(&serde_json::to_string(value)?))
}

/// Prints a message that is not data to standard error, above the live region.
pub(super) fn print_note(text: impl std::fmt::Display) {
    // With standard error closed there is nowhere to report the failure.
    let text = text.to_string();
    let _ = live_region::LogWriter.write_all(format!("{}\n", printable_lines(&text)).as_bytes());
}

/// Prints an error with its causes and, on a line of its own, its hint.
pub(super) fn print_error(error: &anyhow::Error) {
    let (message, hint) = explain(error);
    print_note(format_args!("error: {message}"));
    if let Some(hint) = hint {
        print_note(format_args!("hint: {hint}"));
    }
}

/// Returns whether an error only means that the reader of a pipe has exited, as in
/// `overnight jobs | head`.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>())
        .map(io::Error::kind);
    let csv = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<csv::Error>());
    let csv_kind = csv.and_then(|error| match error.kind() {
        csv::ErrorKind::Io(error) => Some(error.kind()),
        _ => None,
    });
    kind.or(csv_kind) == Some(io::ErrorKind::BrokenPipe)
}

/// Prints rows with aligned columns to standard output. The first row is the header.
pub(super) fn print_table(rows: &[Vec<String>]) -> anyhow::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| width::display_width(cell))
                .max()
                .unwrap_or(0)
        })
        .collect();
    for row in rows {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&width::pad(&printable(cell), width + 2));
        }
        print_line(text.trim_end())?;
    }
    Ok(())
}
