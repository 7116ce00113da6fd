//! Turns a manifest (a table or JSONL) into jobs: one per row, checked and priced.
//!
//! Two rules hold in this folder. Rows are read, checked and passed on in chunks, so that a million
//! rows take no more memory than a few thousand. Every mistake in a file is reported with its line
//! before anything is queued.

mod batch_file;
mod build_job;
mod column_names;
mod csv_reader;
mod detect;
mod foreign;
mod header;
mod images;
mod json_document;
mod jsonl_rows;
mod limits;
mod links;
mod mapping_error;
mod number_format;
mod open_document;
mod pipeline;
mod plain_text;
mod preset;
mod problem;
mod products;
mod read;
mod remark;
mod row;
mod row_filter;
mod row_format;
mod row_mapper;
mod row_sink;
mod row_status;
mod separator;
mod sheet_notes;
mod sheet_options;
mod table;
mod table_reader;
mod template;
#[cfg(test)]
mod tests;
mod variations;
mod workbook;
mod workbook_limits;
mod xml;
mod xml_feed;

pub use crate::image::ImageFixes;
pub use batch_file::{BatchFileError, LoadOptions};
pub use build_job::picture_notes;
pub use detect::{FileFormat, uncompressed_path};
pub use links::parse_image_base;
pub use mapping_error::MappingError;
pub use preset::Preset;
pub use problem::{ColumnOption, Mistake, Problem};
pub use read::{read, read_file};
pub use remark::{LinkChange, OddLink, PictureNote, Remark, RemarkCount};
pub use row::ID_FIELD;
pub use row_filter::Condition;
pub use row_format::RowFormat;
pub use row_mapper::{MappingOptions, RowMapper};
pub use row_sink::RowSink;
pub use row_status::RowStatus;
pub use sheet_options::SheetOptions;
pub use template::Template;
