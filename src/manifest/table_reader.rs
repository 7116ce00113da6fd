//! The records of a table, whichever file they come from.

use csv::ByteRecord;

use super::problem::Mistake;

/// The cells of one record. One value is reused for all records, so that reading takes the memory
/// of one.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    /// The line on which it starts, or the number of its row in a sheet, from 1.
    pub(super) line: u64,
    /// Why its cells cannot be trusted; `None` if they can.
    pub(super) fault: Option<Mistake>,
    pub(super) cells: ByteRecord,
    /// The number of its image among those of its product, from 1; 0 if rows are not combined into
    /// products, or if no image was found.
    pub(super) image_number: usize,
}

/// Reads the records of a table one after another, the header first.
pub(super) trait TableReader {
    /// Reads the next record that is not blank. Returns `false` at the end.
    fn read(&mut self, record: &mut Record) -> anyhow::Result<bool>;
}
