//! Reads the records of a CSV file (RFC 4180), each with its line.
//!
//! The reader behind it forgives any quote. Here each one is watched on its way in, because one that is never closed
//! turns all rows after it into the prompt of one job, and that job is paid.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::ops::Range;

use csv::{Position, Reader, ReaderBuilder};
use memchr::memchr3;

use super::table_reader::{Record, TableReader};
use super::{BOM, LONGEST_ROW};

/// Reads records one by one.
pub(super) struct CsvReader<R> {
    reader: Reader<QuoteChecker<R>>,
    is_first: bool,
}

impl<R: BufRead> CsvReader<R> {
    /// Begins with the first line, past a byte order mark.
    pub(super) fn new(mut source: R, separator: u8) -> io::Result<Self> {
        if source.fill_buf()?.starts_with(BOM) {
            source.consume(BOM.len());
        }
        // The header is a record like any other here, so that its line is known and its mistakes are ours to tell.
        let mut builder = ReaderBuilder::new();
        builder
            .has_headers(false)
            .flexible(true)
            .delimiter(separator);
        Ok(Self {
            reader: builder.from_reader(QuoteChecker::new(source, separator)),
            is_first: true,
        })
    }
}

impl<R: BufRead> TableReader for CsvReader<R> {
    fn read(&mut self, record: &mut Record) -> anyhow::Result<bool> {
        while self.reader.read_byte_record(&mut record.cells)? {
            let start = record.cells.position().map_or(0, Position::byte);
            let span = start..self.reader.position().byte();
            (record.line, record.fault) = self.reader.get_mut().take(span);
            // A spreadsheet saves the empty rows below a table as rows of separators.
            let is_blank = record.cells.as_slice().trim_ascii().is_empty();
            // Excel's line that tells the separator.
            let is_said =
                std::mem::take(&mut self.is_first) && record.cells.get(0) == Some(b"sep=");
            if !(is_blank || is_said) || record.fault.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Where in a record a byte stands.
#[derive(Clone, Copy, PartialEq)]
enum CsvPosition {
    /// Before its first byte.
    Before,
    /// At the start of a cell.
    Start,
    /// In a cell without quotes. A quote sign is a letter here: `a 12" plate`.
    Plain,
    /// Between quotes.
    Quoted,
    /// Right behind a quote that closes the cell, or is the first of two that stand for one.
    Quote,
    /// Behind a closing quote and a blank.
    AccessDenied,
}

/// Follows the bytes on their way to the reader: on which line each record starts, and what its quotes do.
struct QuoteChecker<R> {
    source: R,
    separator: u8,
    place: CsvPosition,
    /// Bytes that went through, and those of this record among them.
    seen: u64,
    length: usize,
    /// The line of the next byte, and of the last quote that opened.
    line: u64,
    quote_line: u64,
    /// Whether the last byte was a CR: an LF behind it ends no further line.
    after_cr: bool,
    /// Offset and line of each record from the last one asked for.
    starts: VecDeque<(u64, u64)>,
    /// Offset and text of each fault that was not asked for yet.
    faults: VecDeque<(u64, String)>,
}

impl<R> QuoteChecker<R> {
    fn new(source: R, separator: u8) -> Self {
        Self {
            source,
            separator,
            place: CsvPosition::Before,
            seen: 0,
            length: 0,
            line: 1,
            quote_line: 1,
            after_cr: false,
            starts: VecDeque::new(),
            faults: VecDeque::new(),
        }
    }

    /// Takes the line and the first fault of the record that lies in these bytes, with blank lines before it.
    fn take(&mut self, span: Range<u64>) -> (u64, Option<String>) {
        while self.starts.len() > 1 && self.starts.front().is_some_and(|(at, _)| *at < span.start) {
            self.starts.pop_front();
        }
        let mut fault = None;
        while self.faults.front().is_some_and(|(at, _)| *at <= span.end) {
            fault = fault.or(self.faults.pop_front().map(|(_, fault)| fault));
        }
        (
            self.starts.front().map_or(self.line, |(_, line)| *line),
            fault,
        )
    }

    fn fault(&mut self, fault: String) {
        self.faults.push_back((self.seen, fault));
    }

    fn see_all(&mut self, mut bytes: &[u8]) {
        while let Some((byte, rest)) = bytes.split_first() {
            self.see(*byte);
            // Most bytes are letters of a cell, which change nothing.
            let end = match self.place {
                CsvPosition::Plain => {
                    memchr3(self.separator, b'\r', b'\n', rest).unwrap_or(rest.len())
                }
                CsvPosition::Quoted => memchr3(b'"', b'\r', b'\n', rest).unwrap_or(rest.len()),
                _ => 0,
            };
            self.after_cr &= end == 0;
            self.seen += end as u64;
            self.length += end;
            bytes = &rest[end..];
        }
    }

    fn see(&mut self, byte: u8) {
        let ends_line = byte == b'\r' || (byte == b'\n' && !self.after_cr);
        self.after_cr = byte == b'\r';
        if self.place == CsvPosition::Before && !matches!(byte, b'\r' | b'\n') {
            self.starts.push_back((self.seen, self.line));
            (self.place, self.length) = (CsvPosition::Start, 0);
        }
        self.place = match (self.place, byte) {
            (CsvPosition::Quoted, b'"') => CsvPosition::Quote,
            (CsvPosition::Quoted, _) | (CsvPosition::Quote, b'"') => CsvPosition::Quoted,
            (_, b'\r' | b'\n') => CsvPosition::Before,
            (_, byte) if byte == self.separator => CsvPosition::Start,
            (CsvPosition::Start, b'"') => {
                self.quote_line = self.line;
                CsvPosition::Quoted
            }
            (CsvPosition::Quote | CsvPosition::AccessDenied, b' ' | b'\t') => {
                CsvPosition::AccessDenied
            }
            (CsvPosition::Quote | CsvPosition::AccessDenied, _) => {
                self.fault(format!(
                    "the quote that opens on line {} closes in the middle of a cell on line {}; write a quote \
                     inside a quoted cell twice",
                    self.quote_line, self.line
                ));
                CsvPosition::Plain
            }
            _ => CsvPosition::Plain,
        };
        self.line += u64::from(ends_line);
        self.seen += 1;
        self.length += 1;
    }
}

impl<R: Read> Read for QuoteChecker<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.length > LONGEST_ROW {
            // Seen as the end of the file, so that no row takes more memory than this.
            let size = LONGEST_ROW >> 20;
            self.fault(format!(
                "is longer than {size} MiB, so nothing after it could be read; is a quote missing?"
            ));
            return Ok(0);
        }
        let length = self.source.read(buffer)?;
        self.see_all(&buffer[..length]);
        if length == 0 && self.place == CsvPosition::Quoted {
            self.fault(format!(
                "the quote that opens on line {} is never closed, so nothing after it could be read",
                self.quote_line
            ));
        }
        Ok(length)
    }
}
