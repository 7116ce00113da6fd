//! Reads the rows of a table below its header.

use crate::domain::Shape;

use super::header::{Header, Target};
use super::pipeline::Producer;
use super::problem::Mistake;
use super::products::{Products, split_links};
use super::row::Row;
use super::row_mapper::RowMapper;
use super::table_reader::{Record, TableReader};

/// Reads all rows and returns their number, or 0 if the header cannot be used.
pub(super) fn read_rows(
    reader: &mut dyn TableReader,
    mapper: &RowMapper<'_>,
    producer: &mut Producer<'_>,
) -> anyhow::Result<u64> {
    let mut record = Record::default();
    if !reader.read(&mut record)? {
        producer.add_problem(
            1,
            "the file is empty; write a header with the names of the columns".into(),
        );
        return Ok(0);
    }
    let line = record.line;
    let mut report = |mistake| producer.add_problem(line, mistake);
    let Some(header) = Header::parse(&record, mapper, &mut report) else {
        return Ok(0);
    };
    let grouping = match header.grouping(mapper) {
        Ok(grouping) => grouping,
        Err(mistake) => {
            producer.add_problem(line, mistake);
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
        let row = read_row(&record, &header, mapper);
        rows += u64::from(producer.add_row(record.line, row, mapper)?);
    }
    Ok(rows)
}

/// Reads a row's cells.
///
/// # Errors
/// Returns the mistake that leaves nothing of the row to check; other mistakes are in the row.
fn read_row(record: &Record, header: &Header<'_>, mapper: &RowMapper<'_>) -> Result<Row, Mistake> {
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
        return Err(format!("the row has {cells}, but the header has {}", columns.len()).into());
    }
    let mut row = Row {
        line: record.line,
        ..Row::default()
    };
    let mut cells = Vec::with_capacity(columns.len());
    for (column, cell) in columns.iter().zip(&record.cells) {
        cells.push(decode_cell(cell).unwrap_or_else(|message| {
            row.add_problem(
                column
                    .targets
                    .first()
                    .map_or(column.name.as_str(), |target| target.field),
                message,
            );
            ""
        }));
    }
    for (column, text) in header
        .read_order
        .iter()
        .map(|index| (&columns[*index], cells[*index]))
    {
        // An empty cell leaves the field out.
        if text.trim().is_empty() {
            continue;
        }
        if column.name.is_empty() {
            row.problems.push((
                None,
                "a column without a name has a value; name the column or clear the cell".into(),
            ));
        }
        for target in &column.targets {
            set_target(&mut row, target, text, record.image_number);
        }
    }
    if mapper.each_image && record.image_number > 0 {
        let suffix = format!("-{}", record.image_number);
        let id = row.id.as_ref();
        row.product = id.map(|id| id.strip_suffix(&suffix).unwrap_or(id).trim().to_owned());
    }
    mapper.fill_prompt(&mut row, |name| {
        columns
            .iter()
            .position(|column| column.name == name)
            .map(|index| cells[index].to_owned())
    });
    Ok(row)
}

fn decode_cell(cell: &[u8]) -> Result<&str, &'static str> {
    match std::str::from_utf8(cell) {
        Ok(text) if text.contains('\0') => Err("contains a NUL character"),
        Ok(text) => Ok(text),
        Err(_) => Err("is not UTF-8 text"),
    }
}

/// Sets a field from a cell's text. `image_number` is that of the record.
fn set_target(row: &mut Row, target: &Target<'_>, text: &str, image_number: usize) {
    let field = target.field;
    let is_set = if target.shape.is_some() {
        row.fields.contains_key(field)
    } else {
        row.id.is_some()
    };
    if is_set && target.has_alternatives {
        return;
    }
    let Some(shape) = target.shape else {
        row.id = Some(match image_number {
            0 | 1 => text.to_owned(),
            number => format!("{}-{number}", text.trim()),
        });
        return;
    };
    if *shape == Shape::Image && image_number == 0 {
        let links = split_links(text).len();
        if links > 1 {
            row.add_problem(field, Mistake::SeveralLinks { links });
            return;
        }
    }
    match shape.read_text(text) {
        Ok(value) => row.set(field, value),
        Err(message) => row.add_problem(field, message),
    }
}
