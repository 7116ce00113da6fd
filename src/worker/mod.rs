//! The pool that works a queue off: claims steps, runs each, records what it found out, stops cleanly.
//!
//! The rule of this folder: a job advances by steps (one claim, one external call, one transaction), so a waiting job
//! holds no task, and going on after a crash is the ordinary path. Nothing here prints; what happened is an [`PoolEvent`].

pub mod canary;
mod completed;
mod download;
pub mod event;
mod live_settings;
pub mod poll;
pub mod pool;
pub mod processing_times;
mod slots;
pub mod step;
pub mod submit;
mod upload;

pub use event::{Observer, PoolEvent};
pub use pool::{MAINTENANCE_INTERVAL, Pool, PoolError, PoolExit, PoolOptions, StopSignal};
pub use processing_times::ProcessingTimes;
pub use step::StepContext;
