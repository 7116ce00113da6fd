//! The port to a hosted image-to-video API ([`Provider`]), and one adapter per provider.
//!
//! A provider's own vocabulary (`request_id`, `IN_PROGRESS`, `canceled`) does not leave this
//! folder. Neither an adapter nor the HTTP client below it repeats a submission: the state machine
//! decides whether to submit again, after the queue has recorded what became of the first one.
//!
//! In the adapters, each fact about a provider names its source: the *model page* of the hosted
//! model, *documented* (API reference or guides), the *source of an official client*, *seen by
//! users* (published reports and captured responses), or *assumed* (no source).

pub(crate) mod aimlapi;
mod cancellation;
mod classify;
mod clip_link;
pub mod eachlabs;
pub(crate) mod fal;
mod history;
mod history_pages;
pub mod http;
mod json;
pub(crate) mod key;
mod named_prediction;
#[doc(hidden)]
pub mod parse;
mod poll_result;
mod port;
pub(crate) mod probe;
mod reconciliation;
mod redaction;
mod storage;
mod submission;
#[cfg(test)]
mod tests;
pub mod timeouts;

pub use cancellation::Cancellation;
pub use history::{EntryContent, History, HistoryEntry, HistoryQuery};
pub use json::InputMatch;
pub use key::{ApiKey, InvalidKey};
pub use poll_result::PollResult;
pub use port::{Acceptance, Provider};
pub use probe::{Probe, ProbeResult};
pub use reconciliation::{AbsenceEvidence, LostSubmission, Reconciliation, WINDOW_MARGIN};
pub use storage::{Presigned, UploadedImage};
pub use submission::Submission;
