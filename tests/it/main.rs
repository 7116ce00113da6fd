//! Overnight as its users meet it: the real binary and a real SQLite file; only what costs money is simulated.

mod support;

mod cli;
mod crash;
#[cfg(debug_assertions)]
mod cuts;
mod kills;
mod layers;
mod model;
mod queue;
mod readme;
mod worker;
