//! Overnight as its users meet it: the real binary and a real SQLite file; only what costs money is
//! simulated.

/// What the fuzz targets check.
#[path = "../../fuzz/src/lib.rs"]
pub mod properties;
mod support;

mod bill;
mod budget;
mod canary;
mod cli;
mod clip_kinds;
mod copies;
mod corpus;
mod crash {
    #[cfg(debug_assertions)]
    mod points;
    mod random;
    mod signals;
}
mod architecture;
mod balances;
mod ctl;
mod database;
mod docs;
mod doctor;
mod exports;
mod files;
mod help;
mod hostile;
mod images;
mod import_graph;
mod local_store;
mod lost_submissions;
mod messages;
mod migrations;
mod model;
mod moto;
mod moved;
mod output;
mod pool;
mod postgres_server;
mod provider_faults;
mod provider_queue;
mod queue;
mod refusals;
mod rehearse;
mod reload;
mod report;
mod secrets;
mod shop_exports;
mod simulator;
mod skipped;
mod snapshots;
mod storage_server;
mod worker;
