//! Combines the rows of one product: a shop's export has a row for each variant and image.
//!
//! The rows of a product must be consecutive in the file, so that reading takes the memory of one
//! product. If they are not, the second group of rows is reported as a duplicate id.

use std::collections::{HashSet, VecDeque};

use csv::ByteRecord;

use super::grouping::Grouping;
use super::product_images::ProductImage;
use crate::manifest::columns::row_filter::RowFilter;
use crate::manifest::formats::table_reader::{Record, TableReader};
use crate::manifest::pictures::choice::choose;
use crate::manifest::problem::Mistake;
use crate::manifest::remark::Remark;

/// Maximum number of rows of one product. More are the sign of a wrong column.
const MAX_PRODUCT_ROWS: usize = 10_000;

/// Maximum length of the rows of one product, in bytes.
const MAX_PRODUCT_BYTES: usize = 64 << 20;

/// Reads the products of a table: one record per product, or one per image of a product.
pub(super) struct Products<'a> {
    rows: Box<dyn TableReader + 'a>,
    grouping: Grouping,
    filter: &'a RowFilter<'a>,
    /// Number of cells in a complete row.
    width: usize,
    /// The first row of the next product, if it was read already.
    next: Option<Record>,
    /// What the last row has in the column by which rows could be combined.
    last_group: String,
    /// Records of the last product that were not returned yet.
    ready: VecDeque<Record>,
}

impl<'a> Products<'a> {
    pub(in crate::manifest) fn new(
        rows: Box<dyn TableReader + 'a>,
        grouping: Grouping,
        filter: &'a RowFilter<'a>,
        width: usize,
    ) -> Self {
        Self {
            rows,
            grouping,
            filter,
            width,
            next: None,
            last_group: String::new(),
            ready: VecDeque::new(),
        }
    }

    fn next_row(&mut self) -> anyhow::Result<Option<Record>> {
        let mut row = Record::default();
        Ok(match self.next.take() {
            Some(next) => Some(next),
            None => self.rows.read(&mut row)?.then_some(row),
        })
    }

    /// Returns what identifies the product of a row; `None` if the row is not part of one.
    fn product_key<'r>(&self, row: &'r Record) -> Option<&'r str> {
        match self.grouping.product_column {
            Some(column) => {
                Some(row.text(column)).filter(|key| self.is_complete(row) && !key.is_empty())
            }
            None => self.job_key(row),
        }
    }

    /// Returns what identifies the job of a row.
    fn job_key<'r>(&self, row: &'r Record) -> Option<&'r str> {
        let mut keys = self
            .grouping
            .key_columns
            .iter()
            .map(|column| row.text(*column));
        keys.find(|key| self.is_complete(row) && !key.is_empty())
    }

    fn is_complete(&self, row: &Record) -> bool {
        row.fault.is_none() && row.cells.len() == self.width
    }

    fn read_product(&mut self, mut first: Record) -> anyhow::Result<()> {
        if let Some(column) = self.grouping.unused_group {
            let group = first.text(column).to_owned();
            if !group.is_empty() && group == self.last_group {
                first.remarks.push(Remark::SameGroup);
            }
            self.last_group = group;
        }
        let Some(key) = self.product_key(&first).map(str::to_owned) else {
            self.queue_product(vec![first]);
            return Ok(());
        };
        let mut bytes = first.cells.as_slice().len();
        let mut rows = vec![first];
        while let Some(row) = self.next_row()? {
            if self.product_key(&row) != Some(&key) {
                self.next = Some(row);
                break;
            }
            bytes += row.cells.as_slice().len();
            if rows.len() < MAX_PRODUCT_ROWS && bytes < MAX_PRODUCT_BYTES {
                rows.push(row);
            } else {
                rows[0].fault = Some(Mistake::HugeProduct {
                    key: key.clone(),
                    max_rows: MAX_PRODUCT_ROWS,
                });
            }
        }
        self.queue_product(rows);
        Ok(())
    }

    /// Queues the records of a product, unless it is left out.
    fn queue_product(&mut self, mut rows: Vec<Record>) {
        let Some(first) = rows.first_mut() else {
            return;
        };
        if first.fault.is_some() || first.cells.len() != self.width {
            self.ready.push_back(rows.swap_remove(0));
            return;
        }
        let mut remarks = Vec::new();
        if let Some((remark, is_left_out)) = self.filter.status(|column| first.text(column)) {
            remarks.push(remark);
            if is_left_out {
                // What would have been done with the rows does not matter any more.
                let hidden = rows.iter().flat_map(|row| &row.remarks);
                let hidden = hidden.filter(|remark| **remark == Remark::HiddenRow);
                remarks.extend(hidden.cloned());
                let line = rows[0].line;
                self.queue_left_out(remarks, line);
                return;
            }
        }
        let first = first.clone();
        let line = first.line;
        // What is hidden is no job, but belongs to the product.
        let (left_out, taken): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.is_left_out);
        let mut rows = taken;
        for row in left_out {
            self.queue_left_out(row.remarks, row.line);
        }
        if rows.is_empty() {
            return;
        }
        rows.retain(|row| {
            let cell = |column| match row.text(column) {
                "" => first.text(column),
                text => text,
            };
            self.filter.takes(cell)
        });
        if rows.is_empty() {
            self.queue_left_out(vec![Remark::Filtered], line);
            return;
        }
        if self.grouping.product_column.is_none() {
            self.queue_job(&first, &rows, &rows, remarks);
            return;
        }
        // Rows without a key of their own only add images to the product.
        let mut keys: Vec<&str> = rows.iter().filter_map(|row| self.job_key(row)).collect();
        let mut seen = HashSet::new();
        keys.retain(|key| seen.insert(*key));
        let keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
        if keys.is_empty() {
            self.queue_job(&first, &rows, &rows, remarks);
            return;
        }
        for key in keys {
            let own: Vec<Record> = rows
                .iter()
                .filter(|row| self.job_key(row) == Some(&key))
                .cloned()
                .collect();
            self.queue_job(&first, &own, &rows, std::mem::take(&mut remarks));
        }
    }

    fn queue_left_out(&mut self, remarks: Vec<Remark>, line: u64) {
        self.ready.push_back(Record {
            line,
            remarks,
            is_left_out: true,
            ..Record::default()
        });
    }

    /// Queues the records of one job or, with each image, of several. `first` is the first row of the
    /// product and `all` are all of its rows, of which images are taken if the job has none.
    fn queue_job<'r>(
        &mut self,
        first: &Record,
        own: &'r [Record],
        all: &'r [Record],
        mut remarks: Vec<Remark>,
    ) {
        let complete = |rows: &'r [Record]| rows.iter().filter(|row| self.is_complete(row));
        let mut images = if self.grouping.product_column.is_some() {
            self.grouping.images_of_job(complete(own))
        } else {
            self.grouping.images_of_product(complete(own))
        };
        if images.is_empty() {
            images = self.grouping.images_of_product(complete(all));
            if !images.is_empty() && own.len() < all.len() {
                remarks.push(Remark::PictureOfProduct);
            }
        }
        let is_own = |row: &Record| own.iter().any(|own| std::ptr::eq(own, row));
        // The job's texts are those of the first row with a picture.
        let first_images = images.iter().map(|image| image.row);
        let first_image = first_images.min_by_key(|row| row.line);
        let text_row = first_image.filter(|row| is_own(row)).or(own.first());
        let Some(text_row) = text_row else { return };
        let each_image = self.grouping.each_image;
        if self.grouping.product_column.is_none() {
            let folded = own.iter().skip(1).filter(|_| !each_image);
            for row in folded {
                self.queue_left_out(vec![Remark::Combined], row.line);
            }
            for line in self.rows_with_other_text(own, text_row, first) {
                self.queue_left_out(vec![Remark::OtherText], line);
            }
        }
        remarks.extend(choose(&mut images, |image| &image.written, each_image));
        if images.is_empty() {
            let mut record = self.inherit(text_row, first, None);
            record.remarks.extend(remarks);
            self.ready.push_back(record);
            return;
        }
        let mut records = Vec::new();
        for (index, image) in images.into_iter().enumerate() {
            // With each image, what its row says is about the image, unless that is another job's row.
            let is_about_image = each_image && is_own(image.row);
            let row = if is_about_image { image.row } else { text_row };
            let mut record = self.inherit(row, first, Some(&image));
            record.image_number = index + 1;
            // Said once, however many images there are.
            if index > 0 {
                record.remarks.clear();
            }
            record.remarks.append(&mut remarks);
            records.push(record);
        }
        self.ready.extend(records);
    }

    /// Returns the lines of rows that would have made another prompt than the one that is used.
    fn rows_with_other_text(&self, rows: &[Record], used: &Record, first: &Record) -> Vec<u64> {
        let text_used = |column: usize| match used.text(column) {
            "" => first.text(column),
            text => text,
        };
        let is_other = |row: &&Record| {
            let mut columns = self.grouping.text_columns.iter();
            columns.any(|column| !["", text_used(*column)].contains(&row.text(*column)))
        };
        let others = rows.iter().filter(is_other);
        others.map(|row| row.line).collect()
    }

    /// Returns a row whose empty cells are those of the product's first row, with one image.
    fn inherit(&self, row: &Record, first: &Record, image: Option<&ProductImage<'_>>) -> Record {
        // What identifies a job of a product is its own.
        let has_key = self.grouping.product_column.is_some() && self.job_key(row).is_some();
        let mut cells = ByteRecord::new();
        for (column, (cell, inherited)) in row.cells.iter().zip(&first.cells).enumerate() {
            let is_inherited = row.text(column).is_empty()
                && std::str::from_utf8(cell).is_ok()
                && !(has_key && self.grouping.key_columns.contains(&column));
            let value = if is_inherited { inherited } else { cell };
            match image {
                Some(image) if column == image.column => {
                    cells.push_field(image.written.link.as_bytes());
                }
                // Another column with an image of the product.
                Some(_) if self.grouping.image_columns.contains(&column) => cells.push_field(b""),
                _ => cells.push_field(value),
            }
        }
        let mut cell_faults = row.cell_faults.clone();
        let is_own = |column: &usize| row.cell_faults.iter().any(|(own, _)| own == column);
        let inherited = first
            .cell_faults
            .iter()
            .filter(|(column, _)| row.text(*column).is_empty() && !is_own(column));
        cell_faults.extend(inherited.cloned());
        Record {
            line: row.line,
            cells,
            cell_faults,
            image_name: image.and_then(|image| image.written.file_name.clone()),
            remarks: row.remarks.clone(),
            ..Record::default()
        }
    }
}

impl TableReader for Products<'_> {
    fn read(&mut self, record: &mut Record) -> anyhow::Result<bool> {
        if self.ready.is_empty()
            && let Some(first) = self.next_row()?
        {
            self.read_product(first)?;
        }
        let ready = self.ready.pop_front();
        let has_record = ready.is_some();
        *record = ready.unwrap_or_default();
        Ok(has_record)
    }
}
