//! Overnight.

pub mod clock;
pub mod domain;
pub mod toml_file;
pub mod catalog;
pub mod manifest;
