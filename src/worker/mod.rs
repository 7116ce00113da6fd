//! The worker pool: claims due steps, runs each, records the result, and stops cleanly.
//!
//! The rule of this folder: a job advances by steps, each of which is one claim (a transaction),
//! one call of a port, and one transaction that records the outcome. A waiting job therefore
//! occupies no task, and resuming after a crash is the ordinary path.
//!
//! `pool` is one run and `work_loop` its loop, `turns` what it records and claims, `held` what it polls from memory; `waiting`,
//! `stopping` and `maintenance` are what it does beside its steps. `step` runs one step by calling
//! `submit`, `poll`, `reconcile` or `download`; `upload` stores one image at a provider; `record`
//! writes the results; `presumed` settles what was presumed absent,
//! `comparison` what another copy of the queue has paid for. Nothing here prints: what happens is reported as [`PoolEvent`]s.

pub(crate) mod canary;
mod cancel;
mod clock_check;
pub mod comparison;
mod completed_step;
mod context;
mod download;
mod download_failure;
pub(crate) mod event;
mod fault;
mod held;
mod host_gates;
mod lease_end;
mod live_settings;
mod maintenance;
mod options;
mod poll;
mod pool;
mod presumed;
pub mod processing_times;
mod provider_queue;
mod reconcile;
mod record;
mod slots;
mod step;
mod stopping;
mod submit;
mod submit_failure;
mod timing;
mod turns;
mod unknown;
mod upload;
pub mod verify;
mod waiting;
mod work_loop;

pub use canary::Canary;
pub use cancel::cancel_predictions;
pub use context::{FilePorts, StepContext};
pub use event::{Observer, PoolEvent};
pub use host_gates::HostGates;
pub use live_settings::{AppliedChange, LiveSettings};
pub use options::{MAINTENANCE_INTERVAL, PoolError, PoolExit, PoolOptions, StopSignal};
pub use pool::Pool;
pub use processing_times::ProcessingTimes;
