//! Reads the records of a sheet of an Excel workbook, each with the number of its row.

use std::io::{Read, Seek};

use calamine::{Cell, DataRef, Reader, Xlsx, XlsxCellReader};
use csv::ByteRecord;

use crate::domain::suggest::did_you_mean;

use super::table_reader::{Record, TableReader};

/// A whole number with more digits has lost its last ones in a spreadsheet.
const LONGEST_WHOLE: f64 = 1e15;

/// Opens a workbook and gives the records of one of its sheets: the first, or that of a name.
pub(super) fn with_records<T>(
    file: impl Read + Seek,
    sheet: Option<&str>,
    work: impl FnOnce(&mut dyn TableReader) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut workbook = Xlsx::new(file)
        .map_err(|error| anyhow::anyhow!("it is not an Excel workbook (.xlsx): {error}"))?;
    let names = workbook.sheet_names();
    let name = match sheet {
        None => names
            .first()
            .cloned()
            .ok_or_else(|| anyhow::anyhow!("it has no sheet"))?,
        Some(sheet) if names.iter().any(|name| name == sheet) => sheet.to_owned(),
        Some(sheet) => anyhow::bail!(
            "it has no sheet `{sheet}`{}\nhint: there are {}",
            did_you_mean(sheet, names.iter().map(String::as_str)),
            names.join(", ")
        ),
    };
    let cells = workbook.worksheet_cells_reader(&name)?;
    work(&mut WorkbookReader {
        cells,
        next: None,
        is_over: false,
        width: None,
    })
}

struct WorkbookReader<'a, R: Read + Seek> {
    cells: XlsxCellReader<'a, R>,
    /// The first cell of the next row.
    next: Option<Cell<DataRef<'a>>>,
    is_over: bool,
    /// The cells of the header; cells that are empty to the end of a row are not in the file.
    width: Option<usize>,
}

impl<'a, R: Read + Seek> WorkbookReader<'a, R> {
    /// The next cell. Behind the last one there must be no further question.
    fn next_cell(&mut self) -> anyhow::Result<Option<Cell<DataRef<'a>>>> {
        let cell = if self.is_over {
            None
        } else {
            self.cells.next_cell()?
        };
        self.is_over = cell.is_none();
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
            let mut cells: Vec<String> = Vec::new();
            let mut fault = None;
            let mut cell = Some(first);
            while let Some(found) = cell {
                if found.get_position().0 != row {
                    self.next = Some(found);
                    break;
                }
                let column = found.get_position().1 as usize;
                let text = text(found.get_value()).unwrap_or_else(|wrong| {
                    fault.get_or_insert(wrong);
                    String::new()
                });
                if !text.is_empty() {
                    cells.resize(cells.len().max(column + 1), String::new());
                    cells[column] = text;
                }
                cell = self.next_cell()?;
            }
            if cells.iter().all(|cell| cell.trim().is_empty()) && fault.is_none() {
                continue;
            }
            let width = *self.width.get_or_insert(cells.len());
            cells.resize(cells.len().max(width), String::new());
            *record = Record {
                line: u64::from(row) + 1,
                fault,
                cells: ByteRecord::from(cells),
                image: 0,
            };
            return Ok(true);
        }
    }
}

/// A cell as a person reads it.
fn text(value: &DataRef<'_>) -> Result<String, String> {
    Ok(match value {
        DataRef::Empty => String::new(),
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => {
            text.clone()
        }
        DataRef::SharedString(text) => (*text).to_owned(),
        DataRef::Bool(is) => is.to_string(),
        DataRef::Int(number) => number.to_string(),
        DataRef::Float(number) if number.abs() >= LONGEST_WHOLE => {
            return Err(format!(
                "holds the number {number:e}, whose last digits are lost; format its cell as text"
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
        DataRef::Error(error) => return Err(format!("holds the error {error}")),
    })
}
