//! Reads the records of a sheet of an Excel workbook, each with the number of its row.

use std::collections::HashMap;
use std::io::{Read, Seek};

use calamine::{Cell, DataRef, Reader, Xlsx, XlsxCellReader};
use csv::ByteRecord;

use super::number_format;
use super::sheet_notes::{self, MergedCells, SheetEntry, SheetNotes};
use super::sheet_options::SheetOptions;
use super::table_reader::{Record, TableReader};
use crate::manifest::limits::MAX_ROW_BYTES;
use crate::manifest::problem::Mistake;
use crate::manifest::remark::Remark;

/// The size from which a spreadsheet has lost a number's last digits: it stores 15 digits.
const MIN_INEXACT_NUMBER: f64 = 1e15;

/// Maximum number of columns. Every row is filled up to the widest, so that one cell far to the right would
/// take memory for each of them.
const MAX_COLUMNS: usize = 2_000;

/// Maximum number of merged cells that reach below a row.
const MAX_ACTIVE_MERGES: usize = 1_000;

/// Maximum length of the text of merged cells, in bytes.
const MAX_MERGED_BYTES: usize = 16 << 10;

/// Maximum length of a cell's text, in bytes. A text may be shared by a million cells.
const MAX_CELL_BYTES: usize = 1 << 20;

/// Opens a workbook and calls `read` with a reader of one of its sheets.
///
/// # Errors
/// Returns an error if the file is not an Excel workbook or has no such sheet, or the error of
/// `read`.
pub(in crate::manifest) fn with_sheet<T>(
    mut file: impl Read + Seek,
    options: &SheetOptions,
    read: impl FnOnce(&mut dyn TableReader) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let sheets = sheet_notes::list_sheets(&mut file);
    let names: Vec<(&str, bool)> = sheets
        .iter()
        .map(|sheet| (sheet.name.as_str(), sheet.is_hidden))
        .collect();
    // What is no workbook has no sheets here: its reader says why.
    let chosen = if sheets.is_empty() {
        None
    } else {
        Some(options.choose(&names)?)
    };
    let sheet = chosen.map(|chosen| &sheets[chosen.position]);
    let mut notes = SheetNotes::default();
    if let Some(sheet) = sheet {
        file.rewind()?;
        notes = SheetNotes::read(&mut file, sheet);
    }
    if options.hidden {
        notes.hidden_rows.clear();
    }
    file.rewind()?;
    let mut workbook = Xlsx::new(file)
        .map_err(|error| anyhow::anyhow!("it is not an Excel workbook (.xlsx): {error}"))?;
    let Some(SheetEntry { name, .. }) = sheet else {
        anyhow::bail!("it has no sheets");
    };
    let links = if notes.has_links {
        workbook.hyperlinks_by_sheet_name(name)?
    } else {
        Vec::new()
    };
    let links = links
        .into_iter()
        .filter_map(|link| Some((link.range.start, link.target?)));
    let links = links.collect();
    let cells = workbook.worksheet_cells_reader(name)?;
    notes
        .merged
        .sort_by_key(|merged| std::cmp::Reverse(merged.first_row));
    read(&mut WorkbookReader {
        remarks: vec![Remark::HiddenSheet; chosen.map_or(0, |chosen| chosen.hidden)],
        cells,
        notes,
        links,
        merged: Vec::new(),
        next: None,
        is_exhausted: false,
        width: None,
        image_columns: Vec::new(),
    })
}

/// A cell, with the number of its style.
type StyledCell<'a> = (Cell<DataRef<'a>>, usize);

/// Reads the rows of one sheet.
struct WorkbookReader<'a, R: Read + Seek> {
    cells: XlsxCellReader<'a, R>,
    notes: SheetNotes,
    /// The links behind cells.
    links: HashMap<(u32, u32), String>,
    /// The merged cells that the next row may be in, with their text.
    merged: Vec<(MergedCells, String)>,
    /// What is to be said with the next row.
    remarks: Vec<Remark>,
    /// The first cell of the next row, if it was read already.
    next: Option<StyledCell<'a>>,
    is_exhausted: bool,
    /// Number of cells in the header, once it was read. Empty cells at the end of a row are not in
    /// the file, so shorter rows are filled up to this width.
    width: Option<usize>,
    image_columns: Vec<usize>,
}

impl<'a, R: Read + Seek> WorkbookReader<'a, R> {
    /// Returns the next cell. The underlying reader is not asked again after its last cell.
    fn next_cell(&mut self) -> anyhow::Result<Option<StyledCell<'a>>> {
        let cell = if self.is_exhausted {
            None
        } else {
            self.cells.next_cell_with_style_id()?
        };
        self.is_exhausted = cell.is_none();
        Ok(cell)
    }

    /// Reads the cells of the next row; returns `None` at the end.
    fn read_row(&mut self, record: &mut Record) -> anyhow::Result<Option<u32>> {
        let first = match self.next.take() {
            Some(first) => Some(first),
            None => self.next_cell()?,
        };
        let Some(first) = first else { return Ok(None) };
        let row = first.0.get_position().0;
        let mut texts: Vec<String> = Vec::new();
        let mut bytes = 0;
        record.cell_faults.clear();
        let mut next = Some(first);
        while let Some((cell, style)) = next {
            let (cell_row, column) = cell.get_position();
            if cell_row != row {
                self.next = Some((cell, style));
                break;
            }
            let index = column as usize;
            if index >= MAX_COLUMNS {
                anyhow::bail!(
                    "row {} has a cell in column {}; at most {MAX_COLUMNS} columns are read",
                    row + 1,
                    column + 1
                );
            }
            let text = self.text(&cell, style).unwrap_or_else(|message| {
                record.cell_faults.push((index, Mistake::from(message)));
                String::new()
            });
            bytes += text.len();
            if bytes > MAX_ROW_BYTES {
                anyhow::bail!("row {} is longer than 16 MiB", row + 1);
            }
            if !text.is_empty() {
                texts.resize(texts.len().max(index + 1), String::new());
                texts[index] = text;
            }
            next = self.next_cell()?;
        }
        self.fill_merged(row, &mut texts, &mut record.remarks);
        if let Some(width) = self.width {
            texts.resize(texts.len().max(width), String::new());
        }
        record.line = u64::from(row) + 1;
        record.fault = None;
        record.cells = ByteRecord::from(texts);
        Ok(Some(row))
    }

    /// Returns the text of a cell as the sheet shows it or, in a column of images, the link behind it.
    ///
    /// # Errors
    /// Returns why it has none that can be used.
    fn text(&mut self, cell: &Cell<DataRef<'_>>, style: usize) -> Result<String, String> {
        let position = cell.get_position();
        let text = match self.notes.unsaved_formulas.remove(&position) {
            Some(link) => link.ok_or_else(|| {
                "is a formula without a saved value; open the workbook in a spreadsheet program and \
                 save it"
                    .to_owned()
            })?,
            None => format_value(cell.get_value(), self.format_code(style))?,
        };
        let is_image = self.image_columns.contains(&(position.1 as usize));
        let link = self.links.get(&position).filter(|_| is_image);
        Ok(match link {
            Some(link) if !text.contains("://") => link.clone(),
            _ => text,
        })
    }

    fn format_code(&self, style: usize) -> Option<&str> {
        let style = self.cells.styles().get(style)?;
        let format = style.number_format.as_ref()?;
        Some(&format.format_code)
    }

    /// Writes the text of merged cells into the rows below their first.
    fn fill_merged(&mut self, row: u32, texts: &mut Vec<String>, remarks: &mut Vec<Remark>) {
        while self
            .notes
            .merged
            .last()
            .is_some_and(|merged| merged.first_row <= row)
        {
            let Some(merged) = self.notes.merged.pop() else {
                break;
            };
            let text = texts.get(merged.first_column as usize);
            let has_room = self.merged.len() < MAX_ACTIVE_MERGES;
            if merged.first_row == row && merged.last_row > row && has_room {
                let text = text.filter(|text| text.len() <= MAX_MERGED_BYTES);
                let text = text.cloned().unwrap_or_default();
                self.merged.push((merged, text));
            }
        }
        self.merged.retain(|(merged, _)| merged.last_row >= row);
        for (merged, text) in &self.merged {
            let column = merged.first_column as usize;
            let is_below = merged.first_row < row && column < MAX_COLUMNS && !text.is_empty();
            if is_below && texts.get(column).is_none_or(String::is_empty) {
                texts.resize(texts.len().max(column + 1), String::new());
                texts[column].clone_from(text);
                remarks.push(Remark::MergedCell);
            }
        }
    }
}

impl<R: Read + Seek> TableReader for WorkbookReader<'_, R> {
    fn read(&mut self, record: &mut Record) -> anyhow::Result<bool> {
        loop {
            record.remarks = std::mem::take(&mut self.remarks);
            record.is_left_out = false;
            let Some(row) = self.read_row(record)? else {
                return Ok(false);
            };
            let is_blank = record.cells.iter().all(|cell| cell.trim_ascii().is_empty());
            if is_blank && record.cell_faults.is_empty() {
                self.remarks = std::mem::take(&mut record.remarks);
                continue;
            }
            // Nobody sees a hidden title, and a header may be hidden to look better.
            if self.width.is_some() && self.notes.hidden_rows.contains(&row) {
                record.is_left_out = true;
                record.remarks = vec![Remark::HiddenRow];
            }
            return Ok(true);
        }
    }

    fn set_columns(&mut self, width: usize, image_columns: &[usize]) {
        self.width = Some(width);
        self.image_columns = image_columns.to_vec();
    }
}

/// Formats a cell's value as text. A date is written like `2026-11-21`, with its time unless that
/// is midnight; a number as its format shows it, as far as that is known.
///
/// # Errors
/// Returns a message if the value is an error, too long, or a number that lost its last digits.
fn format_value(value: &DataRef<'_>, format_code: Option<&str>) -> Result<String, String> {
    let shown = |number: f64| {
        let format = format_code.and_then(|code| number_format::format(number, code));
        format.unwrap_or_else(|| number.to_string())
    };
    Ok(match value {
        DataRef::SharedString(text) if text.len() > MAX_CELL_BYTES => {
            return Err("has a text of more than 1 MiB".into());
        }
        DataRef::Empty => String::new(),
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => {
            text.clone()
        }
        DataRef::SharedString(text) => (*text).to_owned(),
        DataRef::Bool(value) => value.to_string(),
        DataRef::Int(number) => shown(*number as f64),
        DataRef::Float(number) if number.abs() >= MIN_INEXACT_NUMBER => {
            return Err(format!(
                "is the number {number:e}, whose last digits are lost; format the cell as text and \
                 enter it again"
            ));
        }
        DataRef::Float(number) => shown(*number),
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
            return Err(format!("is the error {error}; correct it in the workbook"));
        }
    })
}
