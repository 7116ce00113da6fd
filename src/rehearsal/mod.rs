//! Simulates a whole run in virtual time: the real worker against the simulator's model of the
//! providers.
//!
//! The rule of this folder: the worker's code runs unchanged; only what is outside the program is
//! simulated (providers, clips, images, the output disk, the clock). Everything runs on one thread,
//! because virtual time advances whenever that thread is idle: a call to another thread, or a
//! socket, would make it jump.

mod clips;
mod clock;
mod estimate;
mod ideal;
mod provider;
mod report;
mod scenario;
mod seeds;
mod sim_state;
mod simulate;
mod summary;
mod times;

pub use estimate::{Estimate, RouteEstimate};
pub use ideal::ideal_makespan;
pub use report::{ProviderReport, RehearsalReport, StopReason};
pub use scenario::{Latency, Scenario, SimulatedHost};
pub use seeds::simulate_seeds;
pub use simulate::{RehearsalError, simulate};
pub use summary::{RehearsalSummary, Spread};
pub use times::TimeDistribution;
