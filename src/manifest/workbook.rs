//! Reads the records of a sheet of an Excel workbook, each with the number of its row.

use std::io::{Read, Seek};

use calamine::{Cell, DataRef, Reader, Xlsx, XlsxCellReader};
use csv::ByteRecord;

use crate::domain::suggest::did_you_mean;

use super::limits::MAX_ROW_BYTES;
use super::problem::Mistake;
use super::table_reader::{Record, TableReader};

/// The size from which a spreadsheet has lost a number's last digits: it stores 15 digits.
const MIN_INEXACT_NUMBER: f64 = 1e15;

/// Maximum number of columns. Every row is filled up to the widest, so that one cell far to the right would
/// take memory for each of them.
const MAX_COLUMNS: usize = 2_000;

/// Maximum length of a cell's text, in bytes. A text may be shared by a million cells.
const MAX_CELL_BYTES: usize = 1 << 20;

/// Opens a workbook and calls `read` with a reader of one of its sheets: the one with the given
/// name, or the first.
///
/// # Errors
/// Returns an error if the file is not an Excel workbook or has no such sheet, or the error of
/// `read`.
pub(super) fn with_sheet<T>(
    file: impl Read + Seek,
    sheet: Option<&str>,
    read: impl FnOnce(&mut dyn TableReader) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut workbook = Xlsx::new(file)
        .map_err(|error| anyhow::anyhow!("it is not an Excel workbook (.xlsx): {error}"))?;
    let names = workbook.sheet_names();
    let name = match sheet {
        None => names
            .first()
            .cloned()
            .ok_or_else(|| anyhow::anyhow!("it has no sheets"))?,
        Some(sheet) if names.iter().any(|name| name == sheet) => sheet.to_owned(),
        Some(sheet) => anyhow::bail!(
            "it has no sheet `{sheet}`{}\nhint: its sheets are {}",
            did_you_mean(sheet, names.iter().map(String::as_str)),
            names.join(", ")
        ),
    };
    let cells = workbook.worksheet_cells_reader(&name)?;
    read(&mut WorkbookReader {
        cells,
        next: None,
        is_exhausted: false,
        width: None,
    })
}

/// Reads the rows of one sheet.
struct WorkbookReader<'a, R: Read + Seek> {
    cells: XlsxCellReader<'a, R>,
    /// The first cell of the next row, if it was read already.
    next: Option<Cell<DataRef<'a>>>,
    is_exhausted: bool,
    /// Number of cells in the header, once it was read. Empty cells at the end of a row are not in
    /// the file, so shorter rows are filled up to this width.
    width: Option<usize>,
}

impl<'a, R: Read + Seek> WorkbookReader<'a, R> {
    /// Returns the next cell. The underlying reader is not asked again after its last cell.
    fn next_cell(&mut self) -> anyhow::Result<Option<Cell<DataRef<'a>>>> {
        let cell = if self.is_exhausted {
            None
        } else {
            self.cells.next_cell()?
        };
        self.is_exhausted = cell.is_none();
        Ok(cell)
    }
}

impl<R: Read + Seek> TableReader for WorkbookReader<'_, R> {
    fn read(&mut self, record: &mut Record) -> anyhow::Result<bool> {
        loop {
            let first = match self.next.take() {
                Some(first) => Some(first),
                None => self.next_cell()?,
            };
            let Some(first) = first else { return Ok(false) };
            let row = first.get_position().0;
            let mut texts: Vec<String> = Vec::new();
            let mut bytes = 0;
            let mut fault = None;
            let mut next = Some(first);
            while let Some(cell) = next {
                if cell.get_position().0 != row {
                    self.next = Some(cell);
                    break;
                }
                let column = cell.get_position().1 as usize;
                if column >= MAX_COLUMNS {
                    anyhow::bail!(
                        "row {} has a cell in column {}; at most {MAX_COLUMNS} columns are read",
                        row + 1,
                        column + 1
                    );
                }
                let text = format_value(cell.get_value()).unwrap_or_else(|message| {
                    fault.get_or_insert(message);
                    String::new()
                });
                bytes += text.len();
                if bytes > MAX_ROW_BYTES {
                    anyhow::bail!("row {} is longer than 16 MiB", row + 1);
                }
                if !text.is_empty() {
                    texts.resize(texts.len().max(column + 1), String::new());
                    texts[column] = text;
                }
                next = self.next_cell()?;
            }
            if texts.iter().all(|text| text.trim().is_empty()) && fault.is_none() {
                continue;
            }
            let width = *self.width.get_or_insert(texts.len());
            texts.resize(texts.len().max(width), String::new());
            *record = Record {
                line: u64::from(row) + 1,
                fault: fault.map(Mistake::from),
                cells: ByteRecord::from(texts),
                image_number: 0,
            };
            return Ok(true);
        }
    }
}

/// Formats a cell's value as text. A date is written like `2026-11-21`, with its time unless that
/// is midnight.
///
/// # Errors
/// Returns a message if the value is an error, too long, or a number that lost its last digits.
fn format_value(value: &DataRef<'_>) -> Result<String, String> {
    Ok(match value {
        DataRef::SharedString(text) if text.len() > MAX_CELL_BYTES => {
            return Err("a cell has a text of more than 1 MiB".into());
        }
        DataRef::Empty => String::new(),
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => {
            text.clone()
        }
        DataRef::SharedString(text) => (*text).to_owned(),
        DataRef::Bool(value) => value.to_string(),
        DataRef::Int(number) => number.to_string(),
        DataRef::Float(number) if number.abs() >= MIN_INEXACT_NUMBER => {
            return Err(format!(
                "a cell contains the number {number:e}, whose last digits are lost; format the \
                 cell as text and enter it again"
            ));
        }
        DataRef::Float(number) => number.to_string(),
        DataRef::DateTime(time) => {
            let (year, month, day, hour, minute, second, _) = time.to_ymd_hms_milli();
            let date = format!("{year:04}-{month:02}-{day:02}");
            if (hour, minute, second) == (0, 0, 0) {
                date
            } else {
                format!("{date} {hour:02}:{minute:02}:{second:02}")
            }
        }
        DataRef::Error(error) => {
            return Err(format!(
                "a cell contains the error {error}; correct it in the workbook"
            ));
        }
    })
}
