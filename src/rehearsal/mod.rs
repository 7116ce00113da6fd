//! Plays a whole night in virtual time: the worker as it is, against the simulator's model of the providers.
//!
//! The rule of this folder: what works is the worker's own code, unchanged; only what is outside of the program is played
//! (providers, clips, the disk they go to, the clock). Everything happens on one thread, because virtual time goes on
//! whenever that thread waits: a call to another thread, or a socket, would make it jump.

mod clips;
mod clock;
mod ideal;
mod provider;
mod report;
mod scenario;
mod sim_state;
mod simulate;
mod times;

pub use ideal::ideal;
pub use report::{ProviderReport, RehearsalReport, Stop};
pub use scenario::{Latency, Scenario, SimulatedHost};
pub use simulate::{RehearsalError, simulate};
pub use times::TimeDistribution;
