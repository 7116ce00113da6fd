//! Turns records and objects into jobs, row by row.

pub(in crate::manifest) mod build_job;
pub(in crate::manifest) mod grouping;
pub(in crate::manifest) mod json_document;
pub(in crate::manifest) mod jsonl_rows;
pub(in crate::manifest) mod pipeline;
pub(in crate::manifest) mod product_images;
pub(in crate::manifest) mod products;
pub(in crate::manifest) mod row_sink;
pub(in crate::manifest) mod table;
pub(in crate::manifest) mod variations;
