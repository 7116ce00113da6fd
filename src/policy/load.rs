//! What a manifest row means for the job that the batch already has for its key.

use jiff::Timestamp;

use crate::domain::{IllegalTransition, JobEvent, JobProgress, JobState};

use super::moved;

/// The effect of a row on the job of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowEffect {
    /// The row asks for what the job already is.
    Unchanged,
    /// The job starts again with the row's input.
    Restart,
    /// The job is in progress and is left as it is: it may be paid for. Loading the row again after
    /// it has finished applies the change.
    LeaveInProgress,
}

/// Returns the effect of a row. `is_same_input` tells whether it asks for what the job already is.
pub fn row_effect(state: JobState, is_same_input: bool) -> RowEffect {
    match (is_same_input, state == JobState::Queued || state.is_final()) {
        (true, _) => RowEffect::Unchanged,
        (false, true) => RowEffect::Restart,
        (false, false) => RowEffect::LeaveInProgress,
    }
}

/// Returns whether the providers that may run a job follow a row that asks for the same: only while
/// nothing is submitted to any of them.
pub fn may_change_providers(state: JobState) -> bool {
    state == JobState::Queued
}

/// Returns whether a job takes the links of a row that asks for the same: while it may still be
/// submitted, because its own links may be gone by now.
pub fn takes_links(state: JobState) -> bool {
    matches!(
        state,
        JobState::Queued | JobState::Failed | JobState::Cancelled
    )
}

/// Returns a new job.
pub fn queued(now: Timestamp) -> JobProgress {
    JobProgress {
        state: JobState::Queued,
        state_since: now,
        due_at: Some(now),
        failures: 0,
        attempts: 0,
        refusals: 0,
        polls: 0,
        downloads: 0,
        crashes: 0,
        output: None,
        error: None,
        finished_at: None,
    }
}

/// Returns a job that starts again with a new input.
///
/// # Errors
///
/// Returns [`IllegalTransition`] if the job is in progress.
pub fn restart(job: &JobProgress, now: Timestamp) -> Result<JobProgress, IllegalTransition> {
    let mut job = moved(job, JobEvent::Restart, Some(now), None, now)?;
    job.output = None;
    Ok(job)
}
