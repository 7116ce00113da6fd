//! The three provider APIs on loopback, for rehearsals, tests and the demo.
//!
//! The rule of this crate: it is a second implementation, written from what the providers publish,
//! and shares no code with the clients. [`World`] is the pure model: it does no I/O and has no clock.
//! The feature `server` adds `Simulator`, a thin HTTP surface over it, in which each API has a file
//! of its own. The [`Ledger`] lists every accepted create with its price.
//!
//! Arrows point one way: `server → world → {models, rules, prediction, ledger, storage, limits,
//! random} → options → {fault, history, link, clip} → api`. A file imports an item from the file that defines it, never
//! from here.

mod api;
pub mod clip;
mod fault;
mod history;
mod ledger;
mod limits;
mod link;
mod models;
mod options;
mod prediction;
mod random;
mod rules;
#[cfg(feature = "server")]
mod server;
mod storage;
mod world;

pub use api::{Api, Call};
pub use clip::ClipKind;
pub use fault::{Fault, FaultRule, Faults};
pub use history::HistoryScope;
pub use ledger::{Entry, Ledger, Requests, StoredFile};
pub use link::{LinkDefect, Links};
pub use options::{Limits, SimulatorOptions};
pub use prediction::{NewPrediction, Prediction, PredictionOutcome};
pub use rules::{FieldError, FieldProblem, ModelRules};
#[cfg(feature = "server")]
pub use server::{BaseUrls, BoundSimulator, Simulator};
pub use storage::{FileUpload, UploadRefusal, UploadSlot};
pub use world::capacity::LimitExceeded;
pub use world::{CancelOutcome, FaultDraw, World};
