//! Turns a manifest (a table or JSONL) into jobs: one per row, checked and priced.
//!
//! Two rules hold in this folder. Rows are read, checked and passed on in chunks, so that a million
//! rows take no more memory than a few thousand. Every mistake in a file is reported with its line
//! before anything is queued.

mod batch_file;
mod csv_reader;
mod detect;
mod header;
mod images;
mod jsonl_rows;
mod mapping_error;
mod pipeline;
mod plain_text;
mod preset;
mod problem;
mod products;
mod row;
mod row_mapper;
mod table;
mod table_reader;
mod template;
mod workbook;

use std::io::{BufRead, Read, Seek};
use std::{panic, thread};

use crate::domain::NewJob;

pub use batch_file::{BatchFileError, LoadOptions};
use csv_reader::CsvReader;
use detect::Content;
pub use detect::{FileFormat, uncompressed_path};
pub use mapping_error::MappingError;
use pipeline::Producer;
pub use preset::Preset;
pub use problem::{ColumnOption, Mistake, Problem};
pub use row_mapper::{MappingOptions, RowMapper};
pub use template::Template;

/// How the rows of a text manifest are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    /// A table with a header (RFC 4180).
    Csv {
        /// The byte between two cells.
        separator: u8,
    },
    /// One JSON object per line.
    Jsonl,
}

impl RowFormat {
    /// Comma-separated values.
    pub const CSV: Self = Self::Csv { separator: b',' };
}

/// The field that holds a row's key. Every model has it in addition to its own fields.
pub const ID_FIELD: &str = "id";

/// The byte order mark that some programs write before UTF-8 text.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Maximum number of columns. More are a mistake: no spreadsheet holds them.
const MAX_COLUMNS: usize = 16_384;

/// Maximum length of a row, in bytes. A longer one is a mistake and is not kept in memory.
const MAX_ROW_BYTES: usize = 16 << 20;

/// Receives what is read from a manifest, several rows at a time.
pub trait RowSink {
    /// Accepts rows that passed every check of this folder. Returns the line and the message of
    /// each row that is rejected nevertheless, such as a duplicate; they are reported as problems
    /// of the field `id`.
    fn rows(&mut self, jobs: Vec<NewJob>) -> anyhow::Result<Vec<(u64, String)>>;

    /// Receives a problem.
    fn problem(&mut self, problem: Problem);

    /// Receives the number of rows that were left out because they lack a field.
    fn skipped(&mut self, field: &str, rows: u64);
}

/// Reads a manifest of any format to its end, even if there are problems in it, and returns the
/// number of its rows. Rows that were left out because they lack a field do not count.
///
/// From a workbook it reads the sheet of the given name, or the first one.
///
/// # Errors
/// Returns an error if the file cannot be read or the sink does not accept the rows. Problems in
/// the rows are not errors: they go to the sink.
pub fn read_file(
    file: impl Read + Seek + Send + 'static,
    file_format: FileFormat,
    sheet: Option<&str>,
    name: &str,
    mapper: &RowMapper<'_>,
    sink: &mut dyn RowSink,
) -> anyhow::Result<u64> {
    match file_format.content {
        Content::Text(_, row_format) => {
            read(file_format.decode(file)?, name, row_format, mapper, sink)
        }
        Content::Workbook => read_ahead(name, sink, |producer| {
            workbook::with_sheet(file, sheet, |reader| {
                table::read_rows(reader, mapper, producer)
            })
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
    sink: &mut dyn RowSink,
) -> anyhow::Result<u64> {
    read_ahead(file, sink, |producer| match format {
        RowFormat::Csv { separator } => {
            table::read_rows(&mut CsvReader::new(source, separator)?, mapper, producer)
        }
        RowFormat::Jsonl => jsonl_rows::read_rows(source, mapper, producer),
    })
}

/// Reads on a separate thread and passes the result to the sink on this one.
fn read_ahead(
    file: &str,
    sink: &mut dyn RowSink,
    read: impl FnOnce(&mut Producer<'_>) -> anyhow::Result<u64> + Send,
) -> anyhow::Result<u64> {
    thread::scope(|scope| {
        let (mut producer, consumer) = pipeline::channel(file);
        let reader = scope.spawn(move || {
            let rows = read(&mut producer)?;
            producer.flush()?;
            Ok(rows)
        });
        consumer.drain_into(sink)?;
        reader
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests;
