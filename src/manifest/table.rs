//! Reads the rows of a table under its header.

use std::collections::HashSet;

use crate::domain::nearest::did_you_mean;
use crate::domain::shown::shown;

use super::ahead::Ahead;
use super::products::{Grouping, Products, links};
use super::records::{Record, Records};
use super::row::Row;
use super::{ID, MOST_COLUMNS, Rules};

/// Reads all rows.
pub(super) fn read(
    records: &mut dyn Records,
    rules: &Rules<'_>,
    ahead: &mut Ahead<'_>,
) -> anyhow::Result<u64> {
    let mut record = Record::default();
    if !records.read(&mut record)? {
        ahead.problem(1, "is empty; a header with the names of the columns is needed".into());
        return Ok(0);
    }
    let line = record.line;
    let Some(columns) = read_header(&record, rules, &mut |message| ahead.problem(line, message)) else {
        return Ok(0);
    };
    let grouping = match grouping(&columns, rules) {
        Ok(grouping) => grouping,
        Err(message) => {
            ahead.problem(line, message);
            return Ok(0);
        }
    };
    let mut products;
    let records: &mut dyn Records = match grouping {
        Some(grouping) => {
            products = Products::new(records, grouping, columns.len());
            &mut products
        }
        None => records,
    };
    let mut rows = 0;
    while records.read(&mut record)? {
        rows += u64::from(ahead.row(record.line, read_row(&record, &columns, rules), rules)?);
    }
    Ok(rows)
}

/// A column, and the fields it fills.
struct Column {
    name: String,
    fields: Vec<String>,
}

/// How the rows become products, where the user said so.
fn grouping(columns: &[Column], rules: &Rules<'_>) -> Result<Option<Grouping>, String> {
    if rules.one_per.is_none() && !rules.each_image {
        return Ok(None);
    }
    let of = |field: &str| -> Vec<usize> {
        let gives = |column: &Column| column.fields.iter().any(|known| known == field);
        let mut of: Vec<usize> = (0..columns.len()).filter(|index| gives(&columns[*index])).collect();
        of.sort_by_key(|index| rules.rank(&columns[*index].name));
        of
    };
    let images = of("image");
    if rules.each_image && images.is_empty() {
        return Err("no column gives `image`, of which --each-image makes jobs".into());
    }
    let mut by = Vec::new();
    if let Some(name) = &rules.one_per {
        let named = columns.iter().position(|column| column.name == *name);
        by = named.map_or_else(|| of(name), |index| vec![index]);
        if by.is_empty() {
            let near = did_you_mean(name, columns.iter().map(|column| column.name.as_str()));
            return Err(format!("there is no column `{}`, which --one-per names{near}", shown(name)));
        }
    }
    Ok(Some(Grouping { by, images, each_image: rules.each_image }))
}

/// Reads the header; `None` when no row could be understood under it.
fn read_header(record: &Record, rules: &Rules<'_>, wrong: &mut dyn FnMut(String)) -> Option<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::new();
    let mut usable = true;
    let mut tell = |message: String| {
        usable = false;
        wrong(message);
    };
    if let Some(fault) = &record.fault {
        tell(fault.clone());
        return None;
    }
    if record.cells.len() > MOST_COLUMNS {
        tell(format!("has {} columns, the most are {MOST_COLUMNS}", record.cells.len()));
        return None;
    }
    let names: Vec<&str> =
        record.cells.iter().filter_map(|cell| std::str::from_utf8(cell).ok().map(str::trim)).collect();
    if let Some(preset) = rules.likely_preset(&names) {
        let word = preset.as_str();
        tell(format!("has the columns of {word}; read it with --preset {word} --prompt TEMPLATE"));
        return None;
    }
    let (mut seen, mut filled) = (HashSet::new(), HashSet::new());
    for (index, cell) in record.cells.iter().enumerate() {
        let Ok(name) = std::str::from_utf8(cell).map(str::trim) else {
            tell(format!("the name of column {} is not UTF-8 text", index + 1));
            continue;
        };
        if name.contains('\0') {
            tell("its header holds NUL characters; is it UTF-16 text? Save it as UTF-8".into());
            return None;
        }
        if !name.is_empty() && !seen.insert(name) {
            tell(format!("two columns are called `{}`", shown(name)));
        }
        // Spreadsheets leave empty columns at the right; their cells must be empty, which is checked row by row.
        let fields = if name.is_empty() { Ok(Vec::new()) } else { rules.fields_of(name) };
        let fields = fields.unwrap_or_else(|message| {
            tell(message);
            Vec::new()
        });
        for field in &fields {
            if !filled.insert(*field) && !rules.has_alternatives(field) {
                tell(format!("two columns give `{field}`; `{}` is the second", shown(name)));
            }
        }
        columns
            .push(Column { name: name.to_owned(), fields: fields.into_iter().map(str::to_owned).collect() });
    }
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    rules.missing_columns(&names).into_iter().for_each(&mut tell);
    if usable {
        // Told once here, not once a row. After another mistake it would only repeat that one.
        let given: Vec<&str> = columns.iter().flat_map(|column| &column.fields).map(String::as_str).collect();
        let spare = columns.iter().filter(|column| column.fields.is_empty());
        let spare: Vec<&str> = spare.map(|column| column.name.as_str()).collect();
        for message in rules.missing_fields(&given, &spare) {
            usable = false;
            wrong(message);
        }
    }
    usable.then_some(columns)
}

/// Reads a row's cells; the error is one that leaves nothing of the row to check.
fn read_row(record: &Record, columns: &[Column], rules: &Rules<'_>) -> Result<Row, String> {
    if let Some(fault) = &record.fault {
        return Err(fault.clone());
    }
    if record.cells.len() != columns.len() {
        let cells =
            if record.cells.len() == 1 { "1 cell".into() } else { format!("{} cells", record.cells.len()) };
        return Err(format!("has {cells}, the header has {}", columns.len()));
    }
    let mut row = Row { line: record.line, ..Row::default() };
    let mut cells = Vec::with_capacity(columns.len());
    for (column, cell) in columns.iter().zip(&record.cells) {
        let field = column.fields.first().unwrap_or(&column.name);
        let text = match std::str::from_utf8(cell) {
            Ok(text) if !text.contains('\0') => text,
            Ok(_) => {
                row.wrong(field, "holds a NUL character");
                ""
            }
            Err(_) => {
                row.wrong(field, "is not UTF-8 text");
                ""
            }
        };
        cells.push((column, text));
    }
    // Of several columns that give one field the first that is not empty does.
    let mut in_order: Vec<_> = cells.iter().collect();
    if columns.iter().any(|column| rules.rank(&column.name) > 0) {
        in_order.sort_by_key(|(column, _)| rules.rank(&column.name));
    }
    for (column, text) in in_order {
        if column.name.is_empty() && !text.trim().is_empty() {
            row.problems.push((None, "has a value in a column without a name".into()));
        }
        // An empty cell leaves the field out.
        if text.trim().is_empty() {
            continue;
        }
        for field in &column.fields {
            let is_given = if field == ID { row.id.is_some() } else { row.fields.contains_key(field) };
            if is_given && rules.has_alternatives(field) {
                continue;
            }
            if field == ID {
                row.id = Some(match record.image {
                    0 | 1 => (*text).to_owned(),
                    number => format!("{}-{number}", text.trim()),
                });
                continue;
            }
            if rules.is_image(field) && record.image == 0 {
                let links = links(text).len();
                if links > 1 {
                    row.wrong(
                        field,
                        format!("holds {links} links; --one-per {ID} takes the first, --each-image makes a clip of each"),
                    );
                    continue;
                }
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
