//! Reads CSV (RFC 4180): quotes, embedded newlines, CRLF, a byte order mark.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use csv::{ByteRecord, ReaderBuilder};

use super::row::{ID, Row};
use super::{BOM, LONGEST_ROW, Problem, Rules, Sink};

/// Reads all rows.
pub(super) fn read(
    source: impl BufRead,
    file: &str,
    rules: &Rules<'_>,
    sink: &mut dyn Sink,
) -> anyhow::Result<u64> {
    let source = NumberedLines::new(without_bom(source)?);
    // The header is a row like any other here, so that its line is known and its mistakes are ours to tell.
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(source);
    let mut record = ByteRecord::new();
    let problem = |line, message| Problem { file: file.to_owned(), line, field: None, message };
    if !reader.read_byte_record(&mut record)? {
        sink.problem(problem(1, "is empty; a header with the names of the columns is needed".into()));
        return Ok(0);
    }
    let header_line = reader.get_mut().line_at(record.position().map_or(0, csv::Position::byte));
    let Some(columns) =
        read_header(&record, rules, &mut |message| sink.problem(problem(header_line, message)))
    else {
        return Ok(0);
    };
    let mut rows = 0;
    while reader.read_byte_record(&mut record)? {
        rows += 1;
        let line = reader.get_mut().line_at(record.position().map_or(0, csv::Position::byte));
        match read_row(&record, line, &columns, rules) {
            Ok(row) => match rules.finish(file, row) {
                Ok(job) => {
                    if let Some(message) = sink.row(job)? {
                        sink.problem(Problem { field: Some(ID.into()), ..problem(line, message) });
                    }
                }
                Err(problems) => problems.into_iter().for_each(|problem| sink.problem(problem)),
            },
            Err(message) => sink.problem(problem(line, message)),
        }
    }
    Ok(rows)
}

/// A column, and the fields it fills.
struct Column {
    name: String,
    fields: Vec<String>,
}

/// Reads the header; `None` when no row could be understood under it.
fn read_header(record: &ByteRecord, rules: &Rules<'_>, wrong: &mut dyn FnMut(String)) -> Option<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::new();
    let mut usable = true;
    let mut tell = |message: String| {
        usable = false;
        wrong(message);
    };
    for (index, cell) in record.iter().enumerate() {
        let Ok(name) = std::str::from_utf8(cell).map(str::trim) else {
            tell(format!("the name of column {} is not UTF-8 text", index + 1));
            continue;
        };
        if !name.is_empty() && columns.iter().any(|column| column.name == name) {
            tell(format!("two columns are called `{name}`"));
        }
        // Spreadsheets leave empty columns at the right; their cells must be empty, which is checked row by row.
        let fields = if name.is_empty() { Ok(Vec::new()) } else { rules.fields_of(name) };
        let fields = fields.unwrap_or_else(|message| {
            tell(message);
            Vec::new()
        });
        for field in &fields {
            if columns.iter().any(|column| column.fields.iter().any(|known| known == field)) {
                tell(format!("two columns give `{field}`; `{name}` is the second"));
            }
        }
        columns
            .push(Column { name: name.to_owned(), fields: fields.into_iter().map(str::to_owned).collect() });
    }
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    rules.missing_columns(&names).into_iter().for_each(&mut tell);
    usable.then_some(columns)
}

/// Reads a row's cells; the error is one that leaves nothing of the row to check.
fn read_row(record: &ByteRecord, line: u64, columns: &[Column], rules: &Rules<'_>) -> Result<Row, String> {
    if record.as_slice().len() > LONGEST_ROW {
        return Err(format!("is longer than {} MiB; is a quote missing?", LONGEST_ROW >> 20));
    }
    if record.len() != columns.len() {
        return Err(format!("has {} cells, the header has {}", record.len(), columns.len()));
    }
    let mut row = Row { line, ..Row::default() };
    let mut cells = Vec::with_capacity(columns.len());
    for (column, cell) in columns.iter().zip(record) {
        let text = match std::str::from_utf8(cell) {
            Ok(text) if !text.contains('\0') => text,
            Ok(_) => {
                row.wrong(&column.name, "holds a NUL character");
                ""
            }
            Err(_) => {
                row.wrong(&column.name, "is not UTF-8 text");
                ""
            }
        };
        cells.push((column, text));
    }
    for (column, text) in &cells {
        if column.name.is_empty() && !text.trim().is_empty() {
            row.problems.push((None, "has a value in a column without a name".into()));
        }
        // An empty cell leaves the field out.
        if text.trim().is_empty() {
            continue;
        }
        for field in &column.fields {
            if field == ID {
                row.id = Some((*text).to_owned());
                continue;
            }
            match rules.read_text(field, text) {
                Ok(value) => row.put(field, value),
                Err(problem) => row.wrong(field, problem),
            }
        }
    }
    rules.fill_prompt(&mut row, |name| {
        cells.iter().find(|(column, _)| column.name == name).map(|(_, text)| (*text).to_owned())
    });
    Ok(row)
}

fn without_bom(mut source: impl BufRead) -> io::Result<impl Read> {
    let start = source.fill_buf()?.starts_with(BOM);
    if start {
        source.consume(BOM.len());
    }
    Ok(source)
}

/// Knows the number of the line at each byte that goes through it. The parser below counts records, not lines, and
/// skips blank ones.
struct NumberedLines<R> {
    source: R,
    /// Bytes that went through.
    seen: u64,
    /// Lines that ended.
    ended: u64,
    /// Whether the next byte begins a line.
    at_start: bool,
    /// Start and number of each line that is not blank, from the last one asked for.
    starts: VecDeque<(u64, u64)>,
}

impl<R: Read> NumberedLines<R> {
    fn new(source: R) -> Self {
        Self { source, seen: 0, ended: 0, at_start: true, starts: VecDeque::new() }
    }

    /// Tells the number of the first line that is not blank and starts at `byte` or after it.
    fn line_at(&mut self, byte: u64) -> u64 {
        while self.starts.len() > 1 && self.starts.front().is_some_and(|(start, _)| *start < byte) {
            self.starts.pop_front();
        }
        self.starts.front().map_or(1, |(_, line)| *line)
    }
}

impl<R: Read> Read for NumberedLines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        for byte in &buffer[..length] {
            match byte {
                b'\n' => {
                    self.ended += 1;
                    self.at_start = true;
                }
                b'\r' => {}
                _ if self.at_start => {
                    self.at_start = false;
                    self.starts.push_back((self.seen, self.ended + 1));
                }
                _ => {}
            }
            self.seen += 1;
        }
        Ok(length)
    }
}
