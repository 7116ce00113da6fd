//! Turns a manifest (a table or JSONL) into jobs: one per row, checked and priced.
//!
//! Two rules hold in this folder. Rows are read, checked and passed on in chunks, so that a million
//! rows take no more memory than a few thousand. Every mistake in a file is reported with its line
//! before anything is queued.

mod batch_file;
mod build_job;
mod csv_reader;
mod detect;
mod header;
mod images;
mod jsonl_rows;
mod limits;
mod mapping_error;
mod pipeline;
mod plain_text;
mod preset;
mod problem;
mod products;
mod read;
mod row;
mod row_format;
mod row_mapper;
mod row_sink;
mod table;
mod table_reader;
mod template;
#[cfg(test)]
mod tests;
mod workbook;
mod workbook_limits;

pub use batch_file::{BatchFileError, LoadOptions};
pub use detect::{FileFormat, uncompressed_path};
pub use mapping_error::MappingError;
pub use preset::Preset;
pub use problem::{ColumnOption, Mistake, Problem};
pub use read::{read, read_file};
pub use row::ID_FIELD;
pub use row_format::RowFormat;
pub use row_mapper::{MappingOptions, RowMapper};
pub use row_sink::RowSink;
pub use template::Template;
