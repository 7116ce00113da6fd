//! The records of a table, whatever file it stands in.

use csv::ByteRecord;

/// The cells of one record. It is used for record after record, so that reading takes the memory of one.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    /// The line on which it starts, or the number of its row in a sheet, from 1.
    pub(super) line: u64,
    /// Why its cells cannot be trusted, if they cannot.
    pub(super) fault: Option<String>,
    pub(super) cells: ByteRecord,
    /// Which image of its product it is about, from 1; 0 where that was not looked for.
    pub(super) image: usize,
}

/// Gives records one by one.
pub(super) trait TableReader {
    /// Reads the next record that is not blank; `false` at the end.
    fn read(&mut self, record: &mut Record) -> anyhow::Result<bool>;
}
