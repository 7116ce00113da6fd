//! Reads the rows of a table under its header.

use crate::domain::Shape;

use super::header::{Fill, Header};
use super::pipeline::Producer;
use super::products::{Products, links};
use super::row::Row;
use super::table_reader::{Record, TableReader};
use super::{ID, RowMapper};

/// Reads all rows.
pub(super) fn read(
    reader: &mut dyn TableReader,
    mapper: &RowMapper<'_>,
    ahead: &mut Producer<'_>,
) -> anyhow::Result<u64> {
    let mut record = Record::default();
    if !reader.read(&mut record)? {
        ahead.problem(
            1,
            "is empty; a header with the names of the columns is needed".into(),
        );
        return Ok(0);
    }
    let line = record.line;
    let Some(header) = Header::read(&record, mapper, &mut |message| ahead.problem(line, message))
    else {
        return Ok(0);
    };
    let grouping = match header.grouping(mapper) {
        Ok(grouping) => grouping,
        Err(message) => {
            ahead.problem(line, message);
            return Ok(0);
        }
    };
    let mut products;
    let reader: &mut dyn TableReader = match grouping {
        Some(grouping) => {
            products = Products::new(reader, grouping, header.columns.len());
            &mut products
        }
        None => reader,
    };
    let mut rows = 0;
    while reader.read(&mut record)? {
        rows += u64::from(ahead.row(record.line, read_row(&record, &header, mapper), mapper)?);
    }
    Ok(rows)
}

/// Reads a row's cells; the error is one that leaves nothing of the row to check.
fn read_row(record: &Record, header: &Header<'_>, mapper: &RowMapper<'_>) -> Result<Row, String> {
    let columns = &header.columns;
    if let Some(fault) = &record.fault {
        return Err(fault.clone());
    }
    if record.cells.len() != columns.len() {
        let cells = if record.cells.len() == 1 {
            "1 cell".into()
        } else {
            format!("{} cells", record.cells.len())
        };
        return Err(format!("has {cells}, the header has {}", columns.len()));
    }
    let mut row = Row {
        line: record.line,
        ..Row::default()
    };
    let mut cells = Vec::with_capacity(columns.len());
    for (column, cell) in columns.iter().zip(&record.cells) {
        cells.push(text_of(cell).unwrap_or_else(|wrong| {
            row.wrong(
                column
                    .fills
                    .first()
                    .map_or(column.name.as_str(), |fill| fill.field),
                wrong,
            );
            ""
        }));
    }
    for (column, text) in header
        .in_order
        .iter()
        .map(|index| (&columns[*index], cells[*index]))
    {
        // An empty cell leaves the field out.
        if text.trim().is_empty() {
            continue;
        }
        if column.name.is_empty() {
            row.problems
                .push((None, "has a value in a column without a name".into()));
        }
        for fill in &column.fills {
            fill_field(&mut row, fill, text, record.image);
        }
    }
    mapper.fill_prompt(&mut row, |name| {
        columns
            .iter()
            .position(|column| column.name == name)
            .map(|index| cells[index].to_owned())
    });
    Ok(row)
}

fn text_of(cell: &[u8]) -> Result<&str, &'static str> {
    match std::str::from_utf8(cell) {
        Ok(text) if text.contains('\0') => Err("holds a NUL character"),
        Ok(text) => Ok(text),
        Err(_) => Err("is not UTF-8 text"),
    }
}

/// Puts a cell's text under a field; `image` is that of the record.
fn fill_field(row: &mut Row, fill: &Fill<'_>, text: &str, image: usize) {
    let field = fill.field;
    let is_given = if fill.shape.is_some() {
        row.fields.contains_key(field)
    } else {
        row.id.is_some()
    };
    if is_given && fill.has_alternatives {
        return;
    }
    let Some(shape) = fill.shape else {
        row.id = Some(match image {
            0 | 1 => text.to_owned(),
            number => format!("{}-{number}", text.trim()),
        });
        return;
    };
    if *shape == Shape::Image && image == 0 {
        let links = links(text).len();
        if links > 1 {
            row.wrong(
                field,
                format!(
                    "holds {links} links; --one-per {ID} takes the first, --each-image makes a clip of each"
                ),
            );
            return;
        }
    }
    match shape.read_text(text) {
        Ok(value) => row.set(field, value),
        Err(problem) => row.wrong(field, problem),
    }
}
