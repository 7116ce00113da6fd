//! What becomes of the jobs that a dead pool had leased.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::{
    AttemptProgress, AttemptState, IllegalTransition, JobEvent, JobProgress, JobState,
};

use super::{Change, abandoned, moved};

/// Number of consecutive crashes after which a job is no longer claimed until the user decides.
pub const MAX_CRASHES: u32 = 10;

/// Returns what the release of one job of a removed pool changes.
///
/// A submitting job becomes in doubt: the request may have been sent. A job whose next step was not
/// due yet was only held by the pool, and keeps its due time. Every other counts a crash, because
/// its step may have caused it. After [`MAX_CRASHES`] consecutive ones a job waits for the user: in
/// doubt without a due time, or failed, which books the estimate of an open attempt.
///
/// # Errors
///
/// Returns [`IllegalTransition`] if the job is in a state in which no job is leased.
pub fn release(
    job: &JobProgress,
    attempt: &AttemptProgress,
    now: Timestamp,
) -> Result<Change, IllegalTransition> {
    if job.due_at.is_some_and(|due_at| due_at > now) {
        return Ok(Change {
            job: job.clone(),
            attempt: Some(attempt.clone()),
        });
    }
    crashed(job, attempt, "the program ended", None, now)
}

/// Returns what a panic in the step of a job changes: the same as the death of its pool, of this job
/// alone. `message` is what the panic said.
///
/// # Errors
///
/// As [`release`].
pub fn after_panic(
    job: &JobProgress,
    attempt: &AttemptProgress,
    message: &str,
    now: Timestamp,
) -> Result<Change, IllegalTransition> {
    crashed(job, attempt, "the program had a fault", Some(message), now)
}

fn crashed(
    job: &JobProgress,
    attempt: &AttemptProgress,
    what: &str,
    message: Option<&str>,
    now: Timestamp,
) -> Result<Change, IllegalTransition> {
    let describe = |when: &str| match message {
        Some(message) => format!("{what} {when}: {message}"),
        None => format!("{what} {when}"),
    };
    let is_at_limit = job.crashes + 1 >= MAX_CRASHES;
    let due_at = if is_at_limit {
        None
    } else {
        now.saturating_add(backoff(job.crashes)).ok()
    };
    let mut change = match job.state {
        JobState::Submitting => lose_response(
            job,
            attempt,
            &describe("during the submit call"),
            due_at,
            now,
        )?,
        JobState::Running | JobState::Downloading if is_at_limit => {
            let reason = describe(&format!("{MAX_CRASHES} times while working on this job"));
            Change {
                attempt: Some(abandoned(attempt, &reason, now)),
                job: moved(job, JobEvent::GiveUp, None, Some(reason), now)?,
            }
        }
        _ => Change {
            job: JobProgress {
                due_at,
                error: message.map(|_| describe("in a step")).or(job.error.clone()),
                ..job.clone()
            },
            attempt: Some(attempt.clone()),
        },
    };
    change.job.crashes = job.crashes + 1;
    Ok(change)
}

fn lose_response(
    job: &JobProgress,
    attempt: &AttemptProgress,
    reason: &str,
    due_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Change, IllegalTransition> {
    let reason = Some(reason.to_owned());
    let mut job = moved(job, JobEvent::LoseResponse, due_at, reason.clone(), now)?;
    job.attempts += 1;
    let attempt = AttemptProgress {
        state: AttemptState::InDoubt,
        answered_at: Some(now),
        error: reason,
        ..attempt.clone()
    };
    Ok(Change {
        job,
        attempt: Some(attempt),
    })
}

/// Returns how long a job waits after a crash: 0 s after the first, then 1, 2, 4 … up to 32 s.
///
/// Every job of a crashed pool counts the crash, but perhaps only one of them caused it. The
/// growing delays separate that job from the others, whose next recorded outcome resets their
/// count.
fn backoff(crashes_before: u32) -> Duration {
    let doublings = crashes_before.min(6);
    if doublings == 0 {
        Duration::ZERO
    } else {
        Duration::from_secs(1 << (doublings - 1))
    }
}
