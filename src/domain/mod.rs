//! The rules of the program as pure values: no I/O, no async, no clock and no random numbers.
//! Time and randomness are always arguments.
//!
//! Read [`job`] first (the state machine), then [`attempt`] (one submission of a job),
//! [`outcome`] (the result of one step), [`retry`] (whether and when to try again) and
//! [`poll_plan`] (when to poll a prediction).

pub mod attempt;
pub mod backoff;
pub mod file_name;
pub mod input;
pub mod job;
pub mod lease;
pub mod local_image;
pub mod model;
pub mod money;
pub mod new_job;
pub mod outcome;
pub mod poll_plan;
pub mod price;
pub mod printable;
pub mod provider_name;
pub mod public_address;
pub mod retry;
pub mod route;
pub mod shape;
pub mod suggest;

pub use attempt::{Attempt, AttemptId, AttemptState, PredictionHandle};
pub use backoff::Backoff;
pub use input::Input;
pub use job::{IllegalTransition, Job, JobEvent, JobId, JobState};
pub use lease::{Lease, PoolId};
pub use local_image::LocalImage;
pub use model::{Catalog, Field, Model};
pub use money::{Money, MoneyError};
pub use new_job::NewJob;
pub use outcome::{Outcome, ProviderSignal, SavedFile};
pub use poll_plan::PollPlan;
pub use price::{Cost, CostReport, CostSource, PriceRule};
pub use provider_name::ProviderName;
pub use retry::{Failure, RetryPolicy};
pub use route::{ImageForm, Route, WireField};
pub use shape::Shape;
