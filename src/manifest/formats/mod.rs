//! Reads files of every format as records of cells, or names what a file is that none of them reads.

pub(in crate::manifest) mod csv_reader;
pub(in crate::manifest) mod detect;
pub(in crate::manifest) mod foreign;
pub(in crate::manifest) mod number_format;
pub(in crate::manifest) mod open_document;
pub(in crate::manifest) mod row_format;
pub(in crate::manifest) mod separator;
pub(in crate::manifest) mod sheet_notes;
pub(in crate::manifest) mod sheet_options;
pub(in crate::manifest) mod table_reader;
pub(in crate::manifest) mod text_encoding;
pub(in crate::manifest) mod workbook;
pub(in crate::manifest) mod workbook_limits;
pub(in crate::manifest) mod xml;
pub(in crate::manifest) mod xml_feed;
