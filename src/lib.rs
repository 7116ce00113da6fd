#![doc = include_str!("../README.md")]
//!
//! # The map
//!
//! Arrows point one way: `main → cli → worker → {queue, provider, output} → domain`, and `manifest, catalog → domain`.
//! `image` reads pictures on disk, for `manifest`, `worker` and `provider`.
//! `cli → report → queue` writes the page of a night. `cli → rehearsal → {worker, simulator}` plays a night with no network. `simulator` uses nothing of `provider`. Only `cli/setup.rs` names concrete adapters.
//!
//! To see the whole in one sitting read [`domain::job`] (the state machine), [`domain::outcome`], [`domain::retry`],
//! [`queue`], [`provider`], [`worker::pool`] and [`worker::step`].

pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
mod failpoint;
pub mod image;
pub mod manifest;
pub mod output;
pub mod provider;
pub mod queue;
pub mod rehearsal;
pub mod report;
pub mod simulator;
pub mod tls;
pub mod toml_file;
pub mod worker;
