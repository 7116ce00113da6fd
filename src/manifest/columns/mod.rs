//! Which columns provide which fields, which rows are taken, and what a prompt is made of.

pub(in crate::manifest) mod column_names;
pub(in crate::manifest) mod header;
pub(in crate::manifest) mod header_match;
pub(in crate::manifest) mod mapping;
pub(in crate::manifest) mod mapping_error;
pub(in crate::manifest) mod new_mapper;
pub(in crate::manifest) mod plain_text;
pub(in crate::manifest) mod preset;
pub(in crate::manifest) mod row_filter;
pub(in crate::manifest) mod row_mapper;
pub(in crate::manifest) mod template;
pub(in crate::manifest) mod unknown_columns;
