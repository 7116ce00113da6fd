//! Overnight as its users meet it: the real binary and a real SQLite file; only what costs money is simulated.

/// What the fuzz targets check.
#[path = "../../fuzz/src/lib.rs"]
pub mod properties;
mod support;

mod bill;
mod budget;
mod canary;
mod cli;
mod corpus;
mod crash;
mod ctl;
#[cfg(debug_assertions)]
mod cuts;
mod files;
mod images;
mod kills;
mod layers;
mod model;
mod older;
mod pool;
mod queue;
mod readme;
mod rehearse;
mod report;
mod secrets;
mod shops;
mod trouble;
mod ways;
mod worker;
