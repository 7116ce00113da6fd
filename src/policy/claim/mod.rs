//! Which steps to start now: the fairness between jobs, the choice of a provider, and every limit.
//!
//! [`plan()`] decides from a [`ClaimView`]; [`backlog()`] tells what is left after that, and when more
//! can be claimed. Due time, provider slot, submission rate and budget are checked here, in the
//! transaction that reads the view and writes the plan, so that any number of processes together
//! stay within them.

mod backlog;
mod claim_plan;
mod placement;
mod plan;
mod planner;
mod prepared;
mod reads;
mod request;
mod submissions;
#[cfg(test)]
mod tests;
mod transitions;
mod uploads;
mod view;

pub use backlog::{BacklogView, NextSubmit, backlog, rate_window_start};
pub use claim_plan::{ClaimPlan, PlannedSubmission};
pub use placement::{PARKED_FOR, PARKED_FROM};
pub use plan::plan;
pub use prepared::{PreparedRequest, attempt_digest, request_digest};
pub use reads::{DueQuery, Reads};
pub use request::{Backlog, BudgetLimit, Capacity, ClaimRequest, ProviderLimits, Step};
pub use transitions::{start, submit};
pub use view::{
    BatchTotals, BatchView, ClaimView, DueStep, LaneView, Missing, ProviderView, QueuedJob,
    RouteGates, RouteId, UnresolvedRequest,
};
