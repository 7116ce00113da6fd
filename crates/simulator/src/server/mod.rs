//! The APIs over HTTP: a thin surface over the [`World`](crate::World).
//!
//! The rule of this folder: what a provider decides is decided in the model; here are only its
//! words: paths, headers, JSON and status codes. Each API has a file of its own, and only
//! `dialect` and the two hosts without a key (`uploads`, `cdn`) inject faults.

mod aimlapi;
mod base_urls;
mod cdn;
mod connection;
mod dialect;
mod eachlabs;
mod fal;
mod fal_platform;
mod links;
mod quoting;
mod routes;
mod simulator;
mod state;
mod uploads;
mod wire;

pub use base_urls::BaseUrls;
pub use simulator::{BoundSimulator, Simulator};
