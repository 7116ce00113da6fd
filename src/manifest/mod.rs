//! Turns a manifest (a table or JSONL) into jobs: one per row, checked and priced.
//!
//! Two rules hold in this folder. Rows are read, checked and passed on in chunks, so that a million
//! rows take no more memory than a few thousand. Every mistake in a file is reported with its line
//! before anything is queued.

mod batch_file;
mod cell_text;
mod columns;
mod formats;
mod limits;
mod pictures;
mod problem;
mod read;
mod remark;
mod row;
mod row_status;
mod rows;
#[cfg(test)]
mod tests;

pub use crate::image::ImageFixes;
pub use batch_file::{BatchFileError, LoadOptions};
pub use columns::mapping::MappingOptions;
pub use columns::mapping_error::MappingError;
pub use columns::preset::Preset;
pub use columns::row_filter::Condition;
pub use columns::row_mapper::RowMapper;
pub use columns::template::Template;
pub use formats::detect::{FileFormat, uncompressed_path};
pub use formats::row_format::RowFormat;
pub use formats::sheet_options::SheetOptions;
pub use pictures::link_form::parse_image_base;
pub use problem::{ColumnOption, Mistake, Problem};
pub use read::{read, read_file};
pub use remark::{LinkChange, OddLink, PictureNote, Remark, RemarkCount};
pub use row::ID_FIELD;
pub use row_status::RowStatus;
pub use rows::build_job::picture_notes;
pub use rows::row_sink::RowSink;
