//! Reads the rows of a table below its header.

use std::collections::VecDeque;

use crate::domain::Shape;

use super::build_job::is_like_date;
use super::grouping::Grouping;
use super::pipeline::Producer;
use super::products::Products;
use super::variations::{VariationColumns, Variations};
use crate::manifest::cell_text::{text_of_formula, trim};
use crate::manifest::columns::header::{Header, Target};
use crate::manifest::columns::row_mapper::RowMapper;
use crate::manifest::formats::table_reader::{Record, TableReader};
use crate::manifest::pictures::read_link::read_one;
use crate::manifest::problem::Mistake;
use crate::manifest::remark::Remark;
use crate::manifest::row::Row;

/// Number of records in which a header is searched: titles and notes above a table are not longer.
const MAX_RECORDS_ABOVE_HEADER: usize = 25;

/// Reads all rows and returns their number, or 0 if the header cannot be used.
pub(in crate::manifest) fn read_rows(
    reader: &mut dyn TableReader,
    mapper: &RowMapper<'_>,
    producer: &mut Producer<'_>,
) -> anyhow::Result<u64> {
    let mut reader = HeaderSearch {
        reader,
        ahead: VecDeque::new(),
    };
    let Some(record) = reader.find(mapper, producer)? else {
        return Ok(0);
    };
    let line = record.line;
    for remark in &record.remarks {
        producer.add_remark(remark.clone(), line);
    }
    let samples: Vec<&Record> = reader.ahead.iter().collect();
    let mut report = |mistake| producer.add_problem(line, mistake);
    let Some(header) = Header::parse(&record, &samples, mapper, &mut report) else {
        return Ok(0);
    };
    reader.set_columns(header.columns.len(), &header.columns_for("image"));
    let grouping = match Grouping::of(&header, mapper) {
        Ok(grouping) => grouping,
        Err(mistake) => {
            producer.add_problem(line, mistake);
            return Ok(0);
        }
    };
    let mut reader: Box<dyn TableReader + '_> = Box::new(reader);
    if let Some(columns) = VariationColumns::of(&header, mapper) {
        reader = Box::new(Variations::new(reader, columns));
    }
    if grouping.is_some() || !header.filter.is_empty() {
        let grouping = grouping.unwrap_or_default();
        reader = Box::new(Products::new(
            reader,
            grouping,
            &header.filter,
            header.columns.len(),
        ));
    }
    let mut rows = 0;
    let mut record = Record::default();
    while reader.read(&mut record)? {
        let mut about_job = Vec::new();
        for remark in record.remarks.drain(..) {
            if remark.is_about_job() && !record.is_left_out {
                about_job.push(remark);
            } else {
                producer.add_remark(remark, record.line);
            }
        }
        if record.is_left_out {
            continue;
        }
        let mut row = read_row(&record, &header, mapper);
        if let Ok(row) = &mut row {
            row.remarks.append(&mut about_job);
        }
        rows += u64::from(producer.add_row(record.line, row, mapper)?);
    }
    Ok(rows)
}

/// Searches the header of a table, which may be below a title, and keeps what was read ahead for it.
struct HeaderSearch<'a> {
    reader: &'a mut dyn TableReader,
    ahead: VecDeque<Record>,
}

impl HeaderSearch<'_> {
    /// Returns the header's record. Says if there is none, and how many lines are above it.
    fn find(
        &mut self,
        mapper: &RowMapper<'_>,
        producer: &mut Producer<'_>,
    ) -> anyhow::Result<Option<Record>> {
        if let Some(line) = mapper.header_row {
            return self.find_line(line, producer);
        }
        let mut best: Option<(usize, usize)> = None;
        for index in 0..MAX_RECORDS_ABOVE_HEADER {
            let mut record = Record::default();
            if !self.reader.read(&mut record)? {
                break;
            }
            let names = record
                .cells
                .iter()
                .filter_map(|cell| std::str::from_utf8(cell).ok());
            let names: Vec<&str> = names.map(trim).collect();
            let found = mapper.count_known(&names);
            let is_whole = found == mapper.max_known();
            // The first of those with the most: a row of data may repeat a name.
            if best.is_none_or(|(most, _)| found > most) {
                best = Some((found, index));
            }
            self.ahead.push_back(record);
            if is_whole || (index == 0 && found > 0) {
                break;
            }
        }
        // Without a known name, the header is the first line with about as many cells as a row.
        if best.is_some_and(|(found, _)| found == 0) {
            let cells = self.ahead.iter().map(Record::count_texts);
            let max = cells.clone().max().unwrap_or(0);
            let is_wide = |cells: usize| cells * 4 >= max * 3;
            best = cells.clone().position(is_wide).map(|index| (0, index));
        }
        let Some((_, index)) = best else {
            let empty = "the file is empty; write a header with the names of the columns";
            producer.add_problem(1, empty.into());
            return Ok(None);
        };
        let above = self.ahead.drain(..index);
        let remarks: Vec<Remark> = above.flat_map(|record| record.remarks).collect();
        remarks
            .into_iter()
            .for_each(|remark| producer.add_remark(remark, 1));
        let header = self.ahead.pop_front();
        if let Some(Record { line, .. }) = header.as_ref().filter(|_| index > 0) {
            producer.add_remark(Remark::AboveHeader { line: *line }, 1);
        }
        Ok(header)
    }

    fn find_line(
        &mut self,
        line: u64,
        producer: &mut Producer<'_>,
    ) -> anyhow::Result<Option<Record>> {
        let mut record = Record::default();
        let mut remarks = Vec::new();
        while self.reader.read(&mut record)? {
            remarks.append(&mut record.remarks);
            if record.line >= line {
                break;
            }
        }
        record.remarks = remarks;
        if record.line == line {
            return Ok(Some(record));
        }
        producer.add_problem(line, Mistake::NoHeaderHere);
        Ok(None)
    }
}

impl TableReader for HeaderSearch<'_> {
    fn read(&mut self, record: &mut Record) -> anyhow::Result<bool> {
        match self.ahead.pop_front() {
            Some(ahead) => {
                *record = ahead;
                Ok(true)
            }
            None => self.reader.read(record),
        }
    }

    fn set_columns(&mut self, width: usize, image_columns: &[usize]) {
        for record in &mut self.ahead {
            record.fill_up(width);
        }
        self.reader.set_columns(width, image_columns);
    }
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
    for (index, fault) in &record.cell_faults {
        let column = columns.get(*index).filter(|column| column.is_used);
        if let Some(column) = column {
            row.add_problem(column.label(), fault.clone());
        }
    }
    let mut cells = Vec::with_capacity(columns.len());
    for (column, cell) in columns.iter().zip(&record.cells) {
        let mut text = decode_cell(cell).unwrap_or_else(|message| {
            if column.is_used {
                row.add_problem(column.label(), message);
            }
            ""
        });
        if column.is_used
            && let Some(inner) = text_of_formula(text)
        {
            text = inner;
            row.remarks.push(Remark::TextFormula);
        }
        cells.push(text);
    }
    for (column, text) in header
        .read_order
        .iter()
        .map(|index| (&columns[*index], cells[*index]))
    {
        // An empty cell leaves the field out.
        if trim(text).is_empty() {
            continue;
        }
        if column.is_trailing {
            row.problems.push((
                None,
                "a column without a name has a value; name the column or clear the cell".into(),
            ));
        }
        for target in &column.targets {
            set_target(&mut row, target, text, record, mapper);
        }
    }
    if row.id.as_deref().is_some_and(is_like_date) {
        row.remarks.push(Remark::DateLikeId);
    }
    if mapper.each_image && record.image_number > 0 {
        row.number_picture(record.image_number);
    }
    mapper.fill_prompt(&mut row, |name| {
        let index = header.template_columns.get(name)?;
        Some(cells[*index].to_owned())
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

/// Sets a field from the text of a cell of a record.
fn set_target(
    row: &mut Row,
    target: &Target<'_>,
    text: &str,
    record: &Record,
    mapper: &RowMapper<'_>,
) {
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
        row.id = Some(text.to_owned());
        return;
    };
    let text = if *shape == Shape::Image {
        let file_name = record.image_name.as_deref();
        match read_one(row, field, text, file_name, mapper.image_base.as_ref()) {
            Some(link) => link,
            None => return,
        }
    } else {
        text.to_owned()
    };
    match shape.read_text(&text) {
        Ok(value) => row.set(field, value),
        Err(message) => row.add_problem(field, message),
    }
}
