//! What a manifest row means for the job that the batch already has for its key.

use jiff::Timestamp;

use crate::domain::{
    AttemptProgress, AttemptState, Cost, CostSource, IllegalTransition, JobEvent, JobProgress,
    JobState, Money, SavedFile,
};

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

/// Returns a job that starts again with a new input. Its clip stays its current one until the next is
/// saved.
///
/// # Errors
///
/// Returns [`IllegalTransition`] if the job is in progress.
pub fn restart(job: &JobProgress, now: Timestamp) -> Result<JobProgress, IllegalTransition> {
    moved(job, JobEvent::Restart, Some(now), None, now)
}

/// Returns a queued job that takes the clip of a finished attempt, which may be of another job, and
/// its own attempt at it. The attempt costs nothing, and knows the prediction only to fetch the clip
/// anew if the file is gone.
///
/// # Errors
///
/// Returns [`IllegalTransition`] if the job is not queued.
pub fn reuse(
    job: &JobProgress,
    made: &AttemptProgress,
    now: Timestamp,
) -> Result<(JobProgress, AttemptProgress), IllegalTransition> {
    let job = moved(job, JobEvent::Reuse, Some(now), None, now)?;
    let attempt = AttemptProgress {
        state: AttemptState::Done,
        estimate: Money::ZERO,
        answered_at: None,
        prediction: made.prediction.clone(),
        early_cost: None,
        output_url: made.output_url.clone(),
        processing: None,
        cost: Some(Cost {
            amount: Money::ZERO,
            source: CostSource::Reused,
        }),
        error: None,
        finished_at: Some(now),
    };
    Ok((job, attempt))
}

/// Returns a queued job whose clip is a file that the user has.
///
/// # Errors
///
/// Returns [`IllegalTransition`] if the job is not queued.
pub fn take_file(
    job: &JobProgress,
    file: SavedFile,
    now: Timestamp,
) -> Result<JobProgress, IllegalTransition> {
    let mut job = moved(job, JobEvent::TakeFile, None, None, now)?;
    job.output = Some(file);
    Ok(job)
}
