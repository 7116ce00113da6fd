//! What calamine does not tell of a sheet: which rows are hidden, which cells are merged, and which
//! formulas were saved without their values.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Seek};

use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;

use super::xml::{self, attribute};

/// Maximum number of notes of a kind: more are not kept, and read as if they were not there.
const MAX_NOTES: usize = 1_000_000;

/// Rows and columns count from 0.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SheetNotes {
    /// Rows that are hidden, by hand or by a filter.
    pub(super) hidden_rows: HashSet<u32>,
    /// Cells of which only the first has a value.
    pub(super) merged: Vec<MergedCells>,
    /// Formulas without a saved value, by row and column, with the link that one stands for.
    pub(super) unsaved_formulas: HashMap<(u32, u32), Option<String>>,
    /// Whether cells have links behind their texts.
    pub(super) has_links: bool,
}

/// Cells that are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MergedCells {
    pub(super) first_row: u32,
    pub(super) last_row: u32,
    pub(super) first_column: u32,
    pub(super) last_column: u32,
}

impl SheetNotes {
    /// Reads the notes of a sheet. What cannot be read has none: the reader of the workbook says why.
    pub(super) fn read(file: impl Read + Seek, sheet: &SheetEntry) -> Self {
        let read = || {
            let mut archive = ZipArchive::new(file).ok()?;
            let part = archive.by_name(&sheet.path).ok()?;
            Some(read_sheet(part))
        };
        read().unwrap_or_default()
    }
}

/// A sheet of a workbook.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SheetEntry {
    pub(super) name: String,
    pub(super) is_hidden: bool,
    /// The name of the part that holds it.
    path: String,
}

/// Returns the sheets of a workbook, in order; none if it is no workbook.
pub(super) fn list_sheets(file: impl Read + Seek) -> Vec<SheetEntry> {
    let list = || {
        let mut archive = ZipArchive::new(file).ok()?;
        let mut paths = HashMap::new();
        for_each_tag(archive.by_name("xl/_rels/workbook.xml.rels").ok()?, |tag| {
            if let (Some(id), Some(target)) = (attribute(tag, "Id"), attribute(tag, "Target")) {
                let path = match target.strip_prefix('/') {
                    Some(absolute) => absolute.to_owned(),
                    None => format!("xl/{target}"),
                };
                paths.insert(id, path);
            }
        });
        let mut sheets = Vec::new();
        for_each_tag(archive.by_name("xl/workbook.xml").ok()?, |tag| {
            let id = attribute(tag, "id");
            if tag.local_name().as_ref() == "sheet"
                && let Some(name) = attribute(tag, "name")
            {
                let state = attribute(tag, "state");
                sheets.push(SheetEntry {
                    name,
                    is_hidden: state.is_some_and(|state| state != "visible"),
                    path: id
                        .and_then(|id| paths.get(&id).cloned())
                        .unwrap_or_default(),
                });
            }
        });
        Some(sheets)
    };
    list().unwrap_or_default()
}

fn for_each_tag(part: impl Read, mut visit: impl FnMut(&BytesStart<'_>)) {
    let mut reader = xml::open(part);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(tag)) => visit(&tag),
            Ok(Event::Eof) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// A cell whose tags are being read.
#[derive(Default)]
struct OpenCell {
    reference: Option<String>,
    formula: Option<String>,
    has_value: bool,
    is_in_value: bool,
}

fn read_sheet(part: impl Read) -> SheetNotes {
    let mut notes = SheetNotes::default();
    let mut reader = xml::open(part);
    let mut buffer = Vec::new();
    let mut row: u32 = 0;
    let mut cell = OpenCell::default();
    let mut is_formula = false;
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(tag)) => match tag.local_name().as_ref() {
                "row" => {
                    let number = attribute(&tag, "r").and_then(|number| number.parse().ok());
                    row = number.unwrap_or(row + 1);
                    let is_hidden = attribute(&tag, "hidden")
                        .is_some_and(|hidden| matches!(hidden.as_str(), "1" | "true"));
                    if is_hidden && notes.hidden_rows.len() < MAX_NOTES {
                        notes.hidden_rows.insert(row.saturating_sub(1));
                    }
                }
                "c" => {
                    // The result of a formula may be an empty text.
                    let is_text = attribute(&tag, "t").as_deref() == Some("str");
                    cell = OpenCell {
                        reference: attribute(&tag, "r"),
                        has_value: is_text,
                        ..OpenCell::default()
                    };
                }
                "f" => {
                    is_formula = true;
                    cell.formula = Some(String::new());
                }
                "v" => cell.is_in_value = true,
                "is" => cell.has_value = true,
                "mergeCell" => {
                    let range = attribute(&tag, "ref").and_then(|range| parse_range(&range));
                    if notes.merged.len() < MAX_NOTES {
                        notes.merged.extend(range);
                    }
                }
                "hyperlink" => notes.has_links = true,
                _ => {}
            },
            Ok(Event::Text(text)) if cell.is_in_value => cell.has_value |= !text.is_empty(),
            Ok(Event::Text(text)) if is_formula => {
                if let Some(formula) = &mut cell.formula {
                    formula.push_str(&text);
                }
            }
            Ok(Event::GeneralRef(entity)) if is_formula => {
                let text = xml::entity_text(&entity).unwrap_or_default();
                if let Some(formula) = &mut cell.formula {
                    formula.push_str(&text);
                }
            }
            Ok(Event::End(tag)) => match tag.local_name().as_ref() {
                "f" => is_formula = false,
                "v" => cell.is_in_value = false,
                "c" => {
                    let cell = std::mem::take(&mut cell);
                    let position = cell.reference.as_deref().and_then(parse_cell);
                    let formula = cell.formula.filter(|_| !cell.has_value);
                    if let (Some(position), Some(formula)) = (position, formula)
                        && notes.unsaved_formulas.len() < MAX_NOTES
                    {
                        let link = link_of_formula(&formula);
                        notes.unsaved_formulas.insert(position, link);
                    }
                }
                _ => {}
            },
            Ok(Event::Eof) | Err(_) => return notes,
            Ok(_) => {}
        }
    }
}

fn parse_range(range: &str) -> Option<MergedCells> {
    let (first, last) = range.split_once(':')?;
    let (first_row, first_column) = parse_cell(first)?;
    let (last_row, last_column) = parse_cell(last)?;
    Some(MergedCells {
        first_row,
        last_row,
        first_column,
        last_column,
    })
}

/// Parses the name of a cell, such as `B7`: its row and column, from 0.
fn parse_cell(name: &str) -> Option<(u32, u32)> {
    let name = name.replace('$', "");
    let digits = name.find(|c: char| c.is_ascii_digit())?;
    let column = name[..digits].chars().try_fold(0_u32, |column, letter| {
        let digit = letter.to_digit(36).filter(|digit| *digit >= 10)? - 9;
        column.checked_mul(26)?.checked_add(digit)
    })?;
    let row: u32 = name[digits..].parse().ok()?;
    Some((row.checked_sub(1)?, column.checked_sub(1)?))
}

/// Returns the link that a formula stands for: `HYPERLINK("https://…", "photo")`, `IMAGE("https://…")`.
fn link_of_formula(formula: &str) -> Option<String> {
    let formula = formula.trim_start_matches('=').trim_start_matches("_xlfn.");
    let name_end = formula.find('(')?;
    let name = formula[..name_end].to_ascii_uppercase();
    if !matches!(name.as_str(), "HYPERLINK" | "IMAGE") {
        return None;
    }
    let link = formula[name_end + 1..].trim_start().strip_prefix('"')?;
    link.split('"').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_rows_merged_cells_and_formulas_without_values_are_found() {
        let notes = read_sheet(
            r#"<worksheet><sheetData><row r="1"><c r="A1" t="s"><v>0</v></c></row>
            <row r="2" hidden="1"><c r="A2"><f>1+1</f><v>2</v></c></row>
            <row r="4"><c r="AB4"><f>IMAGE(&quot;https://a/1.jpg?a=1&amp;b=2&quot;)</f><v></v></c></row></sheetData>
            <mergeCells><mergeCell ref="A2:B$4"/></mergeCells></worksheet>"#
                .as_bytes(),
        );
        let link = "https://a/1.jpg?a=1&b=2".to_owned();
        assert_eq!(
            notes,
            SheetNotes {
                hidden_rows: HashSet::from([1]),
                merged: vec![MergedCells {
                    first_row: 1,
                    last_row: 3,
                    first_column: 0,
                    last_column: 1,
                }],
                unsaved_formulas: HashMap::from([((3, 27), Some(link))]),
                has_links: false,
            }
        );
    }
}
