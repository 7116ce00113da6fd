//! A manifest, a table or JSONL, becomes jobs: one a row, checked and priced.
//!
//! The rule of this folder: a row is read, checked and forgotten, so that a million rows take the memory of one; and
//! every mistake of a file is told, with its line, before anything is queued.

mod csv_reader;
mod detect;
mod header;
mod images;
mod jsonl_rows;
mod pipeline;
mod plain_text;
mod preset;
mod products;
mod row;
mod row_mapper;
mod table;
mod table_reader;
mod template;
mod workbook;

use std::fmt;
use std::io::{BufRead, Read, Seek};
use std::{panic, thread};

use crate::domain::NewJob;

use csv_reader::CsvReader;
use detect::Content;
pub use detect::{FileFormat, unpacked_name};
use pipeline::Producer;
pub use preset::Preset;
pub use row_mapper::{Layout, RowMapper};
pub use template::Template;

/// How a manifest that is text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    /// A table with a header (RFC 4180).
    Csv {
        /// The sign between two cells.
        separator: u8,
    },
    /// One JSON object a line.
    Jsonl,
}

impl RowFormat {
    /// Comma separated.
    pub const CSV: Self = Self::Csv { separator: b',' };
}

/// The field that is the row's key, beside the model's own.
pub const ID: &str = "id";

/// The mark some programs put before UTF-8 text.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// More columns than this are a mistake: no spreadsheet holds them.
const MOST_COLUMNS: usize = 16_384;

/// A row longer than this is a mistake, and is not kept in memory.
const LONGEST_ROW: usize = 16 << 20;

/// What is wrong with a manifest, and where: `file:line: field: what is wrong`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The manifest, as the user named it.
    pub file: String,
    /// The line on which the row starts, from 1.
    pub line: u64,
    /// The field, where it is one field's mistake.
    pub field: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Takes what a manifest gives, some rows at a time.
pub trait Sink {
    /// Takes good rows; tells what is wrong with some of them all the same, each with its line.
    fn rows(&mut self, jobs: Vec<NewJob>) -> anyhow::Result<Vec<(u64, String)>>;

    /// Takes a problem.
    fn problem(&mut self, problem: Problem);

    /// Learns how many rows were left out because they lack a field.
    fn skipped(&mut self, field: &str, rows: u64);
}

/// Reads a manifest of any kind to its end, whatever is wrong in it, and tells how many rows it had. Of a workbook it is
/// the first sheet, or that of a name.
///
/// # Errors
/// Only what keeps it from being read or its rows from being taken; what is wrong with a row goes to the sink.
pub fn read_file(
    file: impl Read + Seek + Send + 'static,
    kind: FileFormat,
    sheet: Option<&str>,
    name: &str,
    mapper: &RowMapper<'_>,
    sink: &mut dyn Sink,
) -> anyhow::Result<u64> {
    match kind.content {
        Content::Text(_, format) => read(kind.text(file)?, name, format, mapper, sink),
        Content::Workbook => ahead_of(name, sink, |ahead| {
            workbook::with_records(file, sheet, |reader| table::read(reader, mapper, ahead))
        }),
    }
}

/// Reads a manifest of UTF-8 text, as [`read_file`] does.
///
/// # Errors
/// As [`read_file`].
pub fn read(
    source: impl BufRead + Send,
    file: &str,
    format: RowFormat,
    mapper: &RowMapper<'_>,
    sink: &mut dyn Sink,
) -> anyhow::Result<u64> {
    ahead_of(file, sink, |ahead| match format {
        RowFormat::Csv { separator } => {
            table::read(&mut CsvReader::new(source, separator)?, mapper, ahead)
        }
        RowFormat::Jsonl => jsonl_rows::read(source, mapper, ahead),
    })
}

/// Reads on a thread of its own, and gives what was read to the sink.
fn ahead_of(
    file: &str,
    sink: &mut dyn Sink,
    read: impl FnOnce(&mut Producer<'_>) -> anyhow::Result<u64> + Send,
) -> anyhow::Result<u64> {
    thread::scope(|scope| {
        let (mut ahead, behind) = pipeline::ends(file);
        let reader = scope.spawn(move || {
            let rows = read(&mut ahead)?;
            ahead.hand_over()?;
            Ok(rows)
        });
        behind.give_to(sink)?;
        reader
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests;
