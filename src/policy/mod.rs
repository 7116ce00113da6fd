//! The rules of the queue as pure functions: no SQL, no async, no clock and no random numbers.
//!
//! Every store does the same: in one transaction it reads what a rule needs, asks the rule, and
//! writes what the rule decided. The state machine ([`JobState::after`]) decides only the next
//! state; the rules decide everything that changes with it.
//!
//! - [`claim`]: which steps to start now, at which provider, within every limit.
//! - [`outcome`]: what the outcome of a step changes in its job and attempt.
//! - [`leased`]: when a leased job is released or held further.
//! - [`stray`]: what becomes of a prediction that was accepted under a lease that was lost.
//! - [`taken_prediction`]: what is recorded if a prediction belongs to another job.
//! - [`takeover`]: what becomes of the jobs of a dead pool.
//! - [`reconcile`]: what a history that does not list a submission proves.
//! - [`late_match`]: what becomes of a submission that was presumed absent.
//! - [`operator`]: what the user's commands change.
//! - [`load`]: what a manifest row means for the job that the batch has for it.
//! - [`upload`]: what the outcome of an upload changes.
//! - [`gate`]: what a provider's responses mean for the other calls to it.
//! - [`route_gate`]: what a provider's responses and bills mean for one of its models.
//! - [`tally`]: what changes add up to in the sums over jobs and attempts.
//!
//! [`JobState::after`]: crate::domain::JobState::after

pub mod claim;
pub mod gate;
pub mod late_match;
pub mod leased;
pub mod load;
pub mod operator;
pub mod outcome;
pub mod reconcile;
pub mod route_gate;
pub mod stray;
pub mod taken_prediction;
pub mod takeover;
pub mod tally;
#[cfg(test)]
mod tests;
pub mod upload;

use jiff::Timestamp;

use crate::domain::{
    AttemptProgress, AttemptState, Cost, CostSource, IllegalTransition, JobEvent, JobProgress,
};

/// What a rule changes: the new values of a job and of its current attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The job's new values.
    pub job: JobProgress,
    /// The attempt's new values; `None` if the job has no attempt.
    pub attempt: Option<AttemptProgress>,
}

/// Returns a job after an event that no step caused: a command of the user, a changed manifest row,
/// or a dead pool. Failures and crashes start again from zero.
fn moved(
    job: &JobProgress,
    event: JobEvent,
    due_at: Option<Timestamp>,
    error: Option<String>,
    now: Timestamp,
) -> Result<JobProgress, IllegalTransition> {
    let state = job.state.after(event)?;
    Ok(JobProgress {
        state,
        state_since: now,
        due_at,
        error,
        failures: 0,
        crashes: 0,
        finished_at: state.is_final().then_some(now),
        ..job.clone()
    })
}

/// Returns a closed attempt. One that is closed already keeps the time at which it was closed.
fn closed(
    attempt: &AttemptProgress,
    state: AttemptState,
    cost: Option<Cost>,
    error: Option<String>,
    now: Timestamp,
) -> AttemptProgress {
    AttemptProgress {
        state,
        cost,
        error,
        finished_at: attempt.finished_at.or(Some(now)),
        ..attempt.clone()
    }
}

/// Returns an attempt that is no longer followed: closed if it was open, else unchanged.
///
/// Its estimate is booked as its cost. Nothing proves that the provider did not bill it, and the
/// budget must cover what may have been billed.
fn abandoned(attempt: &AttemptProgress, reason: &str, now: Timestamp) -> AttemptProgress {
    if !attempt.state.is_open() {
        return attempt.clone();
    }
    let cost = Cost {
        amount: attempt.estimate,
        source: CostSource::Rule,
    };
    closed(
        attempt,
        AttemptState::Abandoned,
        Some(cost),
        Some(reason.to_owned()),
        now,
    )
}
