//! Reads a manifest of any format.

use std::io::{BufRead, Read, Seek};
use std::thread;

use crate::domain::panic_message::panic_message;
use crate::domain::printable::printable_excerpt;

use super::columns::row_mapper::RowMapper;
use super::formats::csv_reader::CsvReader;
use super::formats::detect::{Content, FileFormat};
use super::formats::row_format::RowFormat;
use super::formats::sheet_options::SheetOptions;
use super::formats::xml_feed::{self, FeedReader};
use super::formats::{open_document, workbook};
use super::rows::pipeline::Producer;
use super::rows::row_sink::RowSink;
use super::rows::{json_document, jsonl_rows, pipeline, table};

/// Reads a manifest of any format to its end, even if there are problems in it, and returns the
/// number of its rows. Rows that were left out because they lack a field do not count.
///
/// From a workbook it reads one sheet.
///
/// # Errors
/// Returns an error if the file cannot be read or the sink does not accept the rows. Problems in
/// the rows are not errors: they go to the sink.
pub fn read_file(
    mut file: impl Read + Seek + Send + 'static,
    file_format: FileFormat,
    sheet: &SheetOptions,
    name: &str,
    mapper: &RowMapper<'_>,
    sink: &mut dyn RowSink,
) -> anyhow::Result<u64> {
    match file_format.content {
        Content::Text(_, row_format) => {
            read(file_format.decode(file)?, name, row_format, mapper, sink)
        }
        Content::Feed(_) => read_ahead(name, sink, |producer| {
            let names = xml_feed::column_names(file_format.decode(&mut file)?)?;
            file.rewind()?;
            let mut reader = FeedReader::new(file_format.decode(file)?, &names);
            table::read_rows(&mut reader, mapper, producer)
        }),
        Content::OpenDocument => read_ahead(name, sink, |producer| {
            open_document::with_sheet(file, sheet, |reader| {
                table::read_rows(reader, mapper, producer)
            })
        }),
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
        RowFormat::RawTsv => table::read_rows(&mut CsvReader::raw_tsv(source)?, mapper, producer),
        RowFormat::Jsonl => jsonl_rows::read_rows(source, mapper, producer),
        RowFormat::Json => json_document::read_rows(source, mapper, producer),
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
        // A parser of a library may panic at a file that is not what it seems.
        reader.join().unwrap_or_else(|panic| {
            let text = printable_excerpt(panic_message(panic.as_ref()));
            Err(anyhow::anyhow!("its reader failed: {text}"))
        })
    })
}
