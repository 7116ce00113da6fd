//! The records of a table, whichever file they come from.

use csv::ByteRecord;

use crate::manifest::cell_text::{text_of_formula, trim};
use crate::manifest::problem::Mistake;
use crate::manifest::remark::Remark;

/// The cells of one record. One value is reused for all records, so that reading takes the memory
/// of one.
#[derive(Clone, Debug, Default)]
pub(in crate::manifest) struct Record {
    /// The line on which it starts, or the number of its row in a sheet, from 1.
    pub(in crate::manifest) line: u64,
    /// Why its cells cannot be trusted; `None` if they can.
    pub(in crate::manifest) fault: Option<Mistake>,
    pub(in crate::manifest) cells: ByteRecord,
    /// Cells, by column, whose content cannot be used, and why. They count only if the column is used.
    pub(in crate::manifest) cell_faults: Vec<(usize, Mistake)>,
    /// The number of its image among those of its product, from 1; 0 if rows are not combined into
    /// products, or if no image was found.
    pub(in crate::manifest) image_number: usize,
    /// The name of that image's file, if the cell had it beside its link.
    pub(in crate::manifest) image_name: Option<String>,
    /// Why the row is no job, and what else is to be said of it.
    pub(in crate::manifest) remarks: Vec<Remark>,
    /// Whether the row is no job.
    pub(in crate::manifest) is_left_out: bool,
}

impl Record {
    /// Returns the text of a cell without blanks around it; empty if there is no such text.
    pub(in crate::manifest) fn text(&self, column: usize) -> &str {
        let cell = self.cells.get(column).unwrap_or_default();
        let text = std::str::from_utf8(cell).map_or("", trim);
        text_of_formula(text).unwrap_or(text)
    }

    /// Returns the number of cells that are not empty.
    pub(in crate::manifest) fn count_texts(&self) -> usize {
        (0..self.cells.len())
            .filter(|column| !self.text(*column).is_empty())
            .count()
    }

    /// Adds empty cells at the end up to this number of cells.
    pub(in crate::manifest) fn fill_up(&mut self, width: usize) {
        while self.cells.len() < width {
            self.cells.push_field(b"");
        }
    }
}

/// Reads the records of a table one after another, the header first.
pub(in crate::manifest) trait TableReader {
    /// Reads the next record that is not blank. Returns `false` at the end.
    fn read(&mut self, record: &mut Record) -> anyhow::Result<bool>;

    /// Sets the number of cells of the header, to which the rows after it are filled up where the file
    /// leaves out empty cells at their end, and the columns with images, of which links behind the texts
    /// are read.
    fn set_columns(&mut self, _width: usize, _image_columns: &[usize]) {}
}
