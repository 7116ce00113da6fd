//! The three APIs on loopback, for rehearsals and tests.
//!
//! The rule of this folder: a second implementation, written from what the providers publish, that shares no code with
//! the clients. [`world`] is pure (time and chance come in as arguments); `server` is a thin HTTP surface over it;
//! each API has a file of its own. Every accepted create is in the [`Ledger`], with its price.

mod aimlapi;
mod cdn;
mod clip;
mod create;
mod dialect;
mod eachlabs;
mod fal;
mod fal_platform;
pub mod ledger;
mod limits;
pub mod options;
pub mod prediction;
mod quoting;
pub mod rules;
mod server;
mod shared;
pub mod storage;
#[cfg(test)]
mod tests;
mod wire;
pub mod world;

pub use ledger::{Entry, Ledger, Requests, StoredFile};
pub use options::{Call, Fault, Faults, Limits, SimulatorOptions};
pub use server::{BaseUrls, Simulator};

/// Which of the three APIs.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// each::labs.
    Eachlabs,
    /// AI/ML API.
    Aimlapi,
    /// fal.ai.
    Fal,
}
