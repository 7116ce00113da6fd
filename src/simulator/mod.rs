//! The three provider APIs on loopback, for rehearsals and tests.
//!
//! The rule of this folder: it is a second implementation, written from what the providers publish,
//! and shares no code with the clients. `world` is a pure model that takes time and randomness as
//! arguments; `server` is a thin HTTP surface over it; each API has a file of its own. The
//! [`Ledger`] lists every accepted create with its price.

mod aimlapi;
mod cdn;
mod clip;
mod create;
mod dialect;
mod eachlabs;
mod fal;
mod fal_platform;
pub(crate) mod ledger;
mod limits;
pub(crate) mod options;
pub(crate) mod prediction;
mod quoting;
pub(crate) mod rules;
mod server;
mod shared;
pub(crate) mod storage;
#[cfg(test)]
mod tests;
mod wire;
pub(crate) mod world;

pub use ledger::{Entry, Ledger, Requests, StoredFile};
pub use options::{Call, Fault, Faults, Limits, SimulatorOptions};
pub use server::{BaseUrls, Simulator};

/// One of the three simulated APIs. Its lower-case name is used in JSON and in the paths of clips
/// and uploads.
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
