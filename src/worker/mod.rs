//! The pool that works a queue off: claims steps, runs each, records what it found out, stops cleanly.
//!
//! The rule of this folder: a job advances by steps (one claim, one external call, one transaction), so a waiting job
//! holds no task, and going on after a crash is the ordinary path. Nothing here prints; what happened is an [`Event`].

pub mod begun;
mod download;
mod ended;
pub mod event;
mod in_hand;
pub mod look;
pub mod pace;
pub mod pool;
mod steering;
pub mod step;
pub mod submit;
mod upload;

pub use event::{Event, Observer};
pub use pace::Pace;
pub use pool::{LOOK_AROUND, Pool, PoolError, PoolOptions, Rest, StopSignal};
pub use step::Tools;
