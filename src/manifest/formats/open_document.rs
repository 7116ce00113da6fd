//! Reads the records of a sheet of an OpenDocument spreadsheet (`.ods`), each with the number of its row.
//!
//! calamine would keep all cells of all sheets, and does not tell which rows are hidden. A cell is read as
//! the sheet shows it, because that text is in the file.

use std::collections::HashSet;
use std::io::{BufReader, Read, Seek};

use csv::ByteRecord;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;

use super::sheet_options::{ChosenSheet, SheetOptions};
use super::table_reader::{Record, TableReader};
use super::xml::{self, attribute};
use crate::manifest::limits::MAX_ROW_BYTES;
use crate::manifest::problem::Mistake;
use crate::manifest::remark::Remark;

/// The part that holds all sheets.
const CONTENT: &str = "content.xml";

/// Maximum number of columns and of rows. A cell or a row may be repeated.
const MAX_COLUMNS: usize = 2_000;
const MAX_ROWS: u64 = 1 << 20;

/// Maximum number of times that a cell or a row is repeated.
const MAX_REPEATS: u64 = 1 << 32;

/// Maximum length of a row with all its repetitions, in bytes.
const MAX_REPEATED_BYTES: u64 = 256 << 20;

/// Maximum number of merged cells that reach below a row.
const MAX_SPANS: usize = 1_000;

/// Texts that a spreadsheet program shows for an error.
const ERRORS: [&str; 7] = [
    "#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!",
];

/// Opens a spreadsheet and calls `read` with a reader of one of its sheets.
///
/// # Errors
/// Returns an error if the file is not a spreadsheet or has no such sheet, or the error of `read`.
pub(in crate::manifest) fn with_sheet<T>(
    mut file: impl Read + Seek,
    options: &SheetOptions,
    read: impl FnOnce(&mut dyn TableReader) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let not_one = |error: zip::result::ZipError| {
        anyhow::anyhow!("it is not an OpenDocument spreadsheet (.ods): {error}")
    };
    let sheets = {
        let mut archive = ZipArchive::new(&mut file).map_err(not_one)?;
        list_sheets(archive.by_name(CONTENT).map_err(not_one)?)?
    };
    let names: Vec<(&str, bool)> = sheets
        .iter()
        .map(|(name, is_hidden)| (name.as_str(), *is_hidden))
        .collect();
    let ChosenSheet { position, hidden } = options.choose(&names)?;
    file.rewind()?;
    let mut archive = ZipArchive::new(file).map_err(not_one)?;
    let mut reader = SheetReader {
        xml: xml::open(archive.by_name(CONTENT).map_err(not_one)?),
        buffer: Vec::new(),
        reads_hidden: options.hidden,
        row: 0,
        repeated: None,
        spans: Vec::new(),
        remarks: vec![Remark::HiddenSheet; hidden],
        width: None,
        image_columns: Vec::new(),
    };
    reader.skip_to_sheet(position)?;
    read(&mut reader)
}

/// Returns the name of each sheet, and whether it is hidden.
fn list_sheets(part: impl Read) -> anyhow::Result<Vec<(String, bool)>> {
    let mut reader = xml::open(part);
    let mut buffer = Vec::new();
    let mut sheets = Vec::new();
    let mut hidden_styles = HashSet::new();
    let mut style = None;
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer)? {
            Event::Start(tag) => match tag.local_name().as_ref() {
                "style" => style = attribute(&tag, "name"),
                "table-properties" if attribute(&tag, "display").as_deref() == Some("false") => {
                    hidden_styles.extend(style.take());
                }
                "table" => {
                    let name = attribute(&tag, "name").unwrap_or_default();
                    let style = attribute(&tag, "style-name");
                    let is_hidden = style.is_some_and(|style| hidden_styles.contains(&style));
                    sheets.push((name, is_hidden));
                }
                _ => {}
            },
            Event::Eof => return Ok(sheets),
            _ => {}
        }
    }
}

fn number(tag: &BytesStart<'_>, name: &str) -> u64 {
    let number = attribute(tag, name).and_then(|number| number.parse().ok());
    number.unwrap_or(1).clamp(1, MAX_REPEATS)
}

/// Reads the rows of one sheet.
struct SheetReader<R: Read> {
    xml: Reader<BufReader<R>>,
    buffer: Vec<u8>,
    reads_hidden: bool,
    /// Number of rows that were read.
    row: u64,
    /// A row that is still to be returned some times.
    repeated: Option<(Record, u64)>,
    /// Merged cells that reach below the last row: their column, last row and text.
    spans: Vec<(usize, u64, String)>,
    /// What is to be said with the next row.
    remarks: Vec<Remark>,
    width: Option<usize>,
    image_columns: Vec<usize>,
}

/// A cell as it is written in the file.
#[derive(Default)]
struct CellContent {
    text: String,
    link: Option<String>,
    /// The value of a date or of a number, as the file holds it.
    value: Option<String>,
    is_number: bool,
}

impl<R: Read> SheetReader<R> {
    fn skip_to_sheet(&mut self, position: usize) -> anyhow::Result<()> {
        let mut found = 0;
        loop {
            self.buffer.clear();
            match self.xml.read_event_into(&mut self.buffer)? {
                Event::Start(tag) if tag.local_name().as_ref() == "table" => {
                    if found == position {
                        return Ok(());
                    }
                    found += 1;
                }
                Event::Eof => return Ok(()),
                _ => {}
            }
        }
    }

    /// Reads the next row and how often it is repeated; `None` at the end of the sheet.
    fn read_row(&mut self) -> anyhow::Result<Option<(Record, u64)>> {
        loop {
            self.buffer.clear();
            match self.xml.read_event_into(&mut self.buffer)? {
                Event::Start(tag) if tag.local_name().as_ref() == "table-row" => {
                    let times = number(&tag, "number-rows-repeated");
                    let visibility = attribute(&tag, "visibility");
                    let is_hidden = visibility.is_some_and(|visibility| visibility != "visible");
                    let mut record = self.read_cells()?;
                    record.line = self.row + 1;
                    let bytes = record.cells.as_slice().len() as u64;
                    anyhow::ensure!(
                        bytes.saturating_mul(times) <= MAX_REPEATED_BYTES,
                        "row {} is repeated {times} times",
                        record.line
                    );
                    if is_hidden && !self.reads_hidden && self.width.is_some() {
                        record.is_left_out = true;
                        record.remarks = vec![Remark::HiddenRow];
                    }
                    self.row += times;
                    return Ok(Some((record, times)));
                }
                Event::End(tag) if tag.local_name().as_ref() == "table" => return Ok(None),
                Event::Eof => return Ok(None),
                _ => {}
            }
        }
    }

    fn read_cells(&mut self) -> anyhow::Result<Record> {
        let mut record = Record::default();
        let mut texts: Vec<String> = Vec::new();
        let mut column = 0;
        let mut bytes = 0;
        let mut new_spans = Vec::new();
        loop {
            self.buffer.clear();
            match self.xml.read_event_into(&mut self.buffer)? {
                Event::Start(tag)
                    if matches!(
                        tag.local_name().as_ref(),
                        "table-cell" | "covered-table-cell"
                    ) =>
                {
                    let times = usize::try_from(number(&tag, "number-columns-repeated"))?;
                    let rows = number(&tag, "number-rows-spanned");
                    let kind = attribute(&tag, "value-type");
                    let content = CellContent {
                        value: attribute(&tag, "date-value").or_else(|| attribute(&tag, "value")),
                        is_number: kind.as_deref() != Some("date"),
                        ..CellContent::default()
                    };
                    let content = self.read_content(content)?;
                    let text = self.shown(column, content).unwrap_or_else(|message| {
                        record.cell_faults.push((column, Mistake::from(message)));
                        String::new()
                    });
                    if !text.is_empty() {
                        let end = column.saturating_add(times);
                        anyhow::ensure!(
                            end <= MAX_COLUMNS,
                            "row {} has a cell in column {end}; at most {MAX_COLUMNS} columns are read",
                            self.row + 1
                        );
                        bytes += text.len() * times;
                        anyhow::ensure!(
                            bytes <= MAX_ROW_BYTES,
                            "row {} is longer than 16 MiB",
                            self.row + 1
                        );
                        texts.resize(column, String::new());
                        texts.extend(std::iter::repeat_n(text.clone(), times));
                        let has_room = self.spans.len() + new_spans.len() < MAX_SPANS;
                        if rows > 1 && has_room && text.len() <= MAX_ROW_BYTES / MAX_SPANS {
                            new_spans.push((column, self.row + rows, text));
                        }
                    }
                    column = column.saturating_add(times);
                }
                Event::End(tag) if tag.local_name().as_ref() == "table-row" => break,
                Event::Eof => break,
                _ => {}
            }
        }
        let row = self.row + 1;
        self.spans.retain(|(_, last, _)| *last >= row);
        for (column, _, text) in &self.spans {
            if texts.get(*column).is_none_or(String::is_empty) {
                texts.resize(texts.len().max(column + 1), String::new());
                texts[*column].clone_from(text);
                record.remarks.push(Remark::MergedCell);
            }
        }
        self.spans.extend(new_spans);
        if let Some(width) = self.width {
            texts.resize(texts.len().max(width), String::new());
        }
        record.cells = ByteRecord::from(texts);
        Ok(record)
    }

    /// Reads what is in a cell, without its comments.
    fn read_content(&mut self, mut content: CellContent) -> anyhow::Result<CellContent> {
        let mut depth = 1;
        let mut comment_depth = None;
        let mut paragraphs = 0;
        loop {
            self.buffer.clear();
            match self.xml.read_event_into(&mut self.buffer)? {
                Event::Start(tag) => {
                    depth += 1;
                    match tag.local_name().as_ref() {
                        "annotation" | "frame" | "custom-shape" | "rect" | "g" | "shapes" => {
                            comment_depth = comment_depth.or(Some(depth));
                        }
                        _ if comment_depth.is_some() => {}
                        "p" => {
                            paragraphs += 1;
                            if paragraphs > 1 {
                                content.text.push('\n');
                            }
                        }
                        "s" => {
                            let blanks = usize::try_from(number(&tag, "c"))?.min(MAX_COLUMNS);
                            content.text.push_str(&" ".repeat(blanks));
                        }
                        "line-break" => content.text.push('\n'),
                        "tab" => content.text.push('\t'),
                        "a" => content.link = attribute(&tag, "href"),
                        _ => {}
                    }
                }
                Event::Text(text) if comment_depth.is_none() && paragraphs > 0 => {
                    content.text.push_str(&text);
                }
                Event::GeneralRef(entity) if comment_depth.is_none() => {
                    let text = xml::entity_text(&entity);
                    let text =
                        text.ok_or_else(|| anyhow::anyhow!("unknown entity `{}`", &*entity))?;
                    content.text.push_str(&text);
                }
                Event::End(_) => {
                    if comment_depth == Some(depth) {
                        comment_depth = None;
                    }
                    depth -= 1;
                    if depth == 0 {
                        return Ok(content);
                    }
                }
                Event::Eof => return Ok(content),
                _ => {}
            }
            anyhow::ensure!(
                content.text.len() <= MAX_ROW_BYTES,
                "row {} is longer than 16 MiB",
                self.row + 1
            );
        }
    }

    /// Returns the text of a cell as the sheet shows it or, in a column of images, the link behind it.
    ///
    /// # Errors
    /// Returns why it cannot be used.
    fn shown(&self, column: usize, content: CellContent) -> Result<String, String> {
        let CellContent {
            text,
            link,
            value,
            is_number,
        } = content;
        if ERRORS.contains(&text.as_str()) || text.starts_with("Err:") {
            return Err(format!(
                "is the error {text}; correct it in the spreadsheet"
            ));
        }
        let link = link.filter(|_| self.image_columns.contains(&column) && !text.contains("://"));
        if let Some(link) = link {
            return Ok(link);
        }
        // A date is written like `2026-11-21`, and a number that is shown too short as it is.
        let is_short = text.contains("E+") || text.starts_with("###");
        Ok(match value {
            Some(date) if !is_number => date.trim_end_matches("T00:00:00").replace('T', " "),
            Some(number) if is_short => number,
            _ => text,
        })
    }
}

impl<R: Read> TableReader for SheetReader<R> {
    fn read(&mut self, record: &mut Record) -> anyhow::Result<bool> {
        loop {
            let (next, times) = match self.repeated.take() {
                Some(repeated) => repeated,
                None => match self.read_row()? {
                    Some(row) => row,
                    None => return Ok(false),
                },
            };
            let is_blank = next.cells.iter().all(|cell| cell.trim_ascii().is_empty());
            if is_blank && next.cell_faults.is_empty() {
                continue;
            }
            anyhow::ensure!(next.line <= MAX_ROWS, "it has more than {MAX_ROWS} rows");
            *record = next.clone();
            record.remarks.append(&mut self.remarks);
            if times > 1 {
                let line = next.line + 1;
                self.repeated = Some((Record { line, ..next }, times - 1));
            }
            return Ok(true);
        }
    }

    fn set_columns(&mut self, width: usize, image_columns: &[usize]) {
        self.width = Some(width);
        self.image_columns = image_columns.to_vec();
        if let Some((record, _)) = &mut self.repeated {
            record.fill_up(width);
        }
    }
}
