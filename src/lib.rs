//! Overnight.

pub mod clock;
pub mod domain;
pub mod toml_file;
pub mod catalog;
pub mod manifest;
pub mod queue;
pub mod tls;
pub mod provider;
pub mod output;
pub mod worker;
pub mod simulator;
