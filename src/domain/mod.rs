//! The rules of the program as pure values: no I/O, no async, no clock and no random numbers.
//! Time and randomness are always arguments.
//!
//! Read [`job_state`] first (the state machine), then [`job`] and [`attempt`] (one submission of it),
//! [`outcome`] (the result of one step), [`retry`] (whether and when to try again) and
//! `poll_plan` (when to poll a prediction).

pub mod attempt;
pub(crate) mod backoff;
mod canonical;
pub(crate) mod client_token;
pub mod file_name;
pub(crate) mod input;
mod input_diff;
pub mod job;
pub(crate) mod job_counts;
pub mod job_state;
mod later_submissions;
pub(crate) mod lease;
pub(crate) mod local_image;
pub(crate) mod location;
pub mod model;
pub mod money;
pub(crate) mod names;
pub(crate) mod new_job;
pub mod outcome;
mod owned_prediction;
pub(crate) mod panic_message;
pub(crate) mod poll_plan;
pub(crate) mod prediction_id;
pub(crate) mod price;
pub(crate) mod printable;
pub(crate) mod provider_name;
pub(crate) mod provider_signal;
pub(crate) mod public_address;
pub(crate) mod queue_address;
pub(crate) mod redact;
pub mod retry;
pub(crate) mod route;
pub(crate) mod saved_file;
pub(crate) mod shape;
pub(crate) mod suggest;

pub use attempt::{Attempt, AttemptId, AttemptProgress, AttemptState, PredictionHandle};
pub use backoff::Backoff;
pub use input::{Fingerprint, Input};
pub use input_diff::{IgnoredQuery, InputComparison, InputDiff};
pub use job::{Job, JobId, JobProgress};
pub use job_counts::JobCounts;
pub use job_state::{IllegalTransition, JobEvent, JobState};
pub use later_submissions::LaterSubmissions;
pub use lease::{Lease, PoolId};
pub use local_image::LocalImage;
pub use location::{Location, ObjectUrl};
pub use model::{Catalog, Model, PictureLimits};
pub use money::{Money, MoneyError};
pub use new_job::NewJob;
pub use outcome::Outcome;
pub use owned_prediction::OwnedPrediction;
pub use poll_plan::PollPlan;
pub use price::{Cost, CostReport, CostSource, PriceRule};
pub use provider_name::ProviderName;
pub use provider_signal::ProviderSignal;
pub use queue_address::{DatabaseUrl, QueueAddress};
pub use retry::{Failure, RetryPolicy};
pub use route::{ImageForm, Route, WireField};
pub use saved_file::{JobClips, KeptClip, SavedFile};
pub use shape::{Field, Shape};
