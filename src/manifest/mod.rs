//! A manifest, CSV or JSONL, becomes jobs: one a row, checked and priced.
//!
//! The rule of this folder: a row is read, checked and forgotten, so that a million rows take the memory of one; and
//! every mistake of a file is told, with its line, before anything is queued.

mod ahead;
mod csv_records;
mod csv_rows;
mod jsonl_rows;
mod row;
mod rules;
mod template;

use std::fmt;
use std::io::{self, BufRead};
use std::path::Path;
use std::{panic, thread};

use crate::domain::NewJob;

use ahead::Ahead;
pub use rules::Rules;
pub use template::Template;

/// How a manifest is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma separated, with a header (RFC 4180).
    Csv,
    /// One JSON object a line.
    Jsonl,
}

impl Format {
    /// Tells the format by the file's ending; `None` where it says nothing.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            _ => None,
        }
    }

    /// Tells the format by the first byte that is not blank.
    pub fn sniff(source: &mut impl BufRead) -> io::Result<Self> {
        let start = source.fill_buf()?;
        let start = start.strip_prefix(BOM).unwrap_or(start);
        let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
        Ok(if first == Some(&b'{') { Self::Jsonl } else { Self::Csv })
    }
}

/// The field that is the row's key, beside the model's own.
const ID: &str = "id";

/// The mark some programs put before UTF-8 text.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The marks of text that is not UTF-8: what Excel calls Unicode text begins so.
const UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

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
}

/// Reads a manifest to its end, whatever is wrong in it, and tells how many rows it had.
///
/// # Errors
/// Only what keeps it from being read or its rows from being taken; what is wrong with a row goes to the sink.
pub fn read(
    source: impl BufRead + Send,
    file: &str,
    format: Format,
    rules: &Rules<'_>,
    sink: &mut dyn Sink,
) -> anyhow::Result<u64> {
    thread::scope(|scope| {
        let (mut ahead, behind) = ahead::ends();
        let reader = scope.spawn(move || {
            let rows = read_ahead(source, file, format, rules, &mut ahead)?;
            ahead.hand_over()?;
            Ok(rows)
        });
        behind.give_to(file, sink)?;
        reader.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

fn read_ahead(
    mut source: impl BufRead,
    file: &str,
    format: Format,
    rules: &Rules<'_>,
    ahead: &mut Ahead,
) -> anyhow::Result<u64> {
    let start = source.fill_buf()?;
    if UTF_16.iter().any(|mark| start.starts_with(mark)) {
        let message = "is UTF-16 text; save it as UTF-8".into();
        ahead.problem(Problem { file: file.to_owned(), line: 1, field: None, message });
        return Ok(0);
    }
    match format {
        Format::Csv => csv_rows::read(source, file, rules, ahead),
        Format::Jsonl => jsonl_rows::read(source, file, rules, ahead),
    }
}

#[cfg(test)]
mod tests;
