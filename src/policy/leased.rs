//! What a pool may do with a job that it has leased, beside recording an outcome: release it, or hold
//! it further.

use jiff::Timestamp;

use crate::domain::{AttemptProgress, IllegalTransition, JobProgress, JobState, Outcome};

use super::{Change, outcome};

/// Returns what the release of a step changes that was not started, or was aborted and may be
/// repeated at no cost: it is due again at once. A submission was not sent and counts as refused.
///
/// # Errors
///
/// Never in practice: a leased job is in progress, and every such state allows it.
pub fn release(
    job: &JobProgress,
    attempt: &AttemptProgress,
    now: Timestamp,
) -> Result<Change, IllegalTransition> {
    if job.state != JobState::Submitting {
        let job = JobProgress {
            due_at: job.due_at.map(|_| now),
            ..job.clone()
        };
        return Ok(Change {
            job,
            attempt: Some(attempt.clone()),
        });
    }
    let not_sent = Outcome::Refused {
        reason: "not sent".into(),
        due_at: now,
        counts_as_failure: false,
    };
    let mut change = outcome::apply(job, attempt, &not_sent, now)?;
    // A step that was not started does not show that the job no longer ends the program.
    change.job.crashes = job.crashes;
    Ok(change)
}

/// Returns whether a poll of the job that finds nothing need not be recorded, because there is
/// nothing that it would reset.
pub fn is_steady(job: &JobProgress) -> bool {
    let is_recovering = job.failures > 0 || job.crashes > 0 || job.error.is_some();
    job.state == JobState::Running && !is_recovering
}

/// Returns whether the pool may hold the lease of a job after a change, to poll it from memory: a
/// poll that finds nothing then writes nothing.
pub fn may_be_held(job: &JobProgress) -> bool {
    job.state == JobState::Running && job.due_at.is_some()
}
