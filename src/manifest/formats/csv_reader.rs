//! Reads the records of a CSV file (RFC 4180), each with its line.
//!
//! The `csv` crate accepts any placement of quotes. The bytes are checked on their way to it,
//! because a quote that is never closed turns all rows after it into the prompt of one job, and
//! that job would be paid for.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::ops::Range;

use csv::{Position, Reader, ReaderBuilder};
use memchr::memchr3;

use super::table_reader::{Record, TableReader};
use crate::manifest::limits::{BOM, MAX_ROW_BYTES};
use crate::manifest::problem::Mistake;

/// Reads the records of a CSV file, the header included.
pub(in crate::manifest) struct CsvReader<R> {
    reader: Reader<QuoteChecker<R>>,
    is_first: bool,
}

impl<R: BufRead> CsvReader<R> {
    /// Creates a reader that starts at the first line, after a byte order mark.
    pub(in crate::manifest) fn new(source: R, separator: u8) -> io::Result<Self> {
        Self::open(source, separator, true)
    }

    /// As [`new`](Self::new), for tab-separated values in which a quote is a character like any other.
    pub(in crate::manifest) fn raw_tsv(source: R) -> io::Result<Self> {
        Self::open(source, b'\t', false)
    }

    fn open(mut source: R, separator: u8, has_quotes: bool) -> io::Result<Self> {
        if source.fill_buf()?.starts_with(BOM) {
            source.consume(BOM.len());
        }
        // The header is read like any other record, so that its line is known and its mistakes are
        // reported by this module.
        let mut builder = ReaderBuilder::new();
        builder
            .has_headers(false)
            .flexible(true)
            .quoting(has_quotes)
            .delimiter(separator);
        Ok(Self {
            reader: builder.from_reader(QuoteChecker::new(source, separator, has_quotes)),
            is_first: true,
        })
    }
}

impl<R: BufRead> TableReader for CsvReader<R> {
    fn read(&mut self, record: &mut Record) -> anyhow::Result<bool> {
        while self.reader.read_byte_record(&mut record.cells)? {
            let start = record.cells.position().map_or(0, Position::byte);
            let span = start..self.reader.position().byte();
            let (line, fault) = self.reader.get_mut().take_record(span);
            record.line = line;
            record.fault = fault.map(Mistake::from);
            // A spreadsheet saves the empty rows below a table as rows of separators.
            let is_blank = record.cells.as_slice().trim_ascii().is_empty();
            // Excel's first line that declares the separator.
            let is_declaration =
                std::mem::take(&mut self.is_first) && record.cells.get(0) == Some(b"sep=");
            if !(is_blank || is_declaration) || record.fault.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Where the next byte stands in its record.
#[derive(Clone, Copy, PartialEq)]
enum CsvPosition {
    /// Before the first byte of a record.
    RecordStart,
    /// At the first byte of a cell.
    CellStart,
    /// In a cell without quotes, where a quote is an ordinary character: `a 12" plate`.
    Unquoted,
    /// Between quotes.
    Quoted,
    /// After a quote that closes the cell, or that is the first of two which stand for one.
    AfterQuote,
    /// After a closing quote and a blank.
    AfterQuotedCell,
}

/// Passes bytes on to the `csv` crate, and notes on which line each record starts and which of its
/// quotes are wrong.
struct QuoteChecker<R> {
    source: R,
    separator: u8,
    /// Whether quotes enclose cells.
    has_quotes: bool,
    position: CsvPosition,
    /// The number of bytes passed on, which is the offset of the next one.
    offset: u64,
    /// The number of bytes of the current record passed on so far.
    record_length: usize,
    /// The line of the next byte, from 1.
    line: u64,
    /// The line of the last opening quote.
    quote_line: u64,
    /// Whether the last byte was a CR, so that an LF after it does not end another line.
    is_after_cr: bool,
    /// Offset and line of each record, from the last one that was asked for.
    record_starts: VecDeque<(u64, u64)>,
    /// Offset and text of each fault that was not asked for yet.
    faults: VecDeque<(u64, String)>,
}

impl<R> QuoteChecker<R> {
    fn new(source: R, separator: u8, has_quotes: bool) -> Self {
        Self {
            source,
            separator,
            has_quotes,
            position: CsvPosition::RecordStart,
            offset: 0,
            record_length: 0,
            line: 1,
            quote_line: 1,
            is_after_cr: false,
            record_starts: VecDeque::new(),
            faults: VecDeque::new(),
        }
    }

    /// Returns the line and the first fault of the record in these bytes, which may start with
    /// blank lines. Forgets its faults and the starts of the records before it.
    fn take_record(&mut self, span: Range<u64>) -> (u64, Option<String>) {
        while self.record_starts.len() > 1
            && self
                .record_starts
                .front()
                .is_some_and(|(offset, _)| *offset < span.start)
        {
            self.record_starts.pop_front();
        }
        let mut fault = None;
        while self
            .faults
            .front()
            .is_some_and(|(offset, _)| *offset <= span.end)
        {
            fault = fault.or(self.faults.pop_front().map(|(_, fault)| fault));
        }
        let line = self
            .record_starts
            .front()
            .map_or(self.line, |(_, line)| *line);
        (line, fault)
    }

    fn add_fault(&mut self, fault: String) {
        self.faults.push_back((self.offset, fault));
    }

    fn observe_all(&mut self, mut bytes: &[u8]) {
        while let Some((byte, rest)) = bytes.split_first() {
            self.observe(*byte);
            // Most bytes are text within a cell and change nothing, so they are skipped at once.
            let skipped = match self.position {
                CsvPosition::Unquoted => {
                    memchr3(self.separator, b'\r', b'\n', rest).unwrap_or(rest.len())
                }
                CsvPosition::Quoted => memchr3(b'"', b'\r', b'\n', rest).unwrap_or(rest.len()),
                _ => 0,
            };
            self.is_after_cr &= skipped == 0;
            self.offset += skipped as u64;
            self.record_length += skipped;
            bytes = &rest[skipped..];
        }
    }

    fn observe(&mut self, byte: u8) {
        let ends_line = byte == b'\r' || (byte == b'\n' && !self.is_after_cr);
        self.is_after_cr = byte == b'\r';
        if self.position == CsvPosition::RecordStart && !matches!(byte, b'\r' | b'\n') {
            self.record_starts.push_back((self.offset, self.line));
            self.position = CsvPosition::CellStart;
            self.record_length = 0;
        }
        self.position = match (self.position, byte) {
            (CsvPosition::Quoted, b'"') => CsvPosition::AfterQuote,
            (CsvPosition::Quoted, _) | (CsvPosition::AfterQuote, b'"') => CsvPosition::Quoted,
            (_, b'\r' | b'\n') => CsvPosition::RecordStart,
            (_, byte) if byte == self.separator => CsvPosition::CellStart,
            (CsvPosition::CellStart, b'"') if self.has_quotes => {
                self.quote_line = self.line;
                CsvPosition::Quoted
            }
            (CsvPosition::AfterQuote | CsvPosition::AfterQuotedCell, b' ' | b'\t') => {
                CsvPosition::AfterQuotedCell
            }
            (CsvPosition::AfterQuote | CsvPosition::AfterQuotedCell, _) => {
                self.add_fault(format!(
                    "the quote opened on line {} is closed in the middle of a cell on line {}; \
                     write \"\" for a quote inside a quoted cell",
                    self.quote_line, self.line
                ));
                CsvPosition::Unquoted
            }
            _ => CsvPosition::Unquoted,
        };
        self.line += u64::from(ends_line);
        self.offset += 1;
        self.record_length += 1;
    }
}

impl<R: Read> Read for QuoteChecker<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.record_length > MAX_ROW_BYTES {
            // Reported to the `csv` crate as the end of the file, so that it does not buffer more
            // of this row.
            let size = MAX_ROW_BYTES >> 20;
            self.add_fault(format!(
                "the row is longer than {size} MiB, so nothing after it could be read; check \
                 whether a closing quote is missing"
            ));
            return Ok(0);
        }
        let length = self.source.read(buffer)?;
        self.observe_all(&buffer[..length]);
        if length == 0 && self.position == CsvPosition::Quoted {
            self.add_fault(format!(
                "the quote opened on line {} is never closed, so nothing after it could be read",
                self.quote_line
            ));
        }
        Ok(length)
    }
}
