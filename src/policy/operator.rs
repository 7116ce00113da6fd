//! What the user's commands change in a job: retry, cancel, resolve, and downloading again.

use jiff::Timestamp;

use crate::domain::{
    AttemptProgress, AttemptState, IllegalTransition, JobEvent, JobProgress, JobState,
    PredictionHandle,
};

use super::{Change, abandoned, closed, moved};

/// The error of a job and its attempt after it was cancelled.
const CANCELLED: &str = "cancelled by the user";

/// The error of a job and its attempt after the user gave it up.
const GIVEN_UP: &str = "given up by the user while in doubt";

/// Why a command does not apply to a job in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotApplicable {
    /// Only failed and cancelled jobs can be retried.
    #[error("there is nothing to retry")]
    NothingToRetry,
    /// The job is final: there is nothing to cancel.
    #[error("there is nothing to cancel")]
    NothingToCancel,
    /// The job is being submitted: whether it can be cancelled is known when the call has ended.
    #[error("it is being submitted, try again in a minute")]
    BeingSubmitted,
    /// The job is in doubt: it may be paid for, so the user has to resolve it.
    #[error("it may be paid for already")]
    InDoubt,
    /// Only jobs in doubt can be resolved.
    #[error("there is nothing to resolve")]
    NotInDoubt,
    /// Only the file of a succeeded job can be downloaded again.
    #[error("there is no file to download again")]
    NotSucceeded,
}

/// What the user can do about a job that does not continue without them, at no further cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The job is in doubt and waits for the user's decision.
    Resolve,
    /// A retry polls the job's prediction again, which may have a clip.
    Retry,
}

/// The user's decision about a job in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The provider accepted the submission as this prediction; poll it.
    Adopt(PredictionHandle),
    /// The provider did not accept the submission; queue the job again. The attempt becomes
    /// [`Absent`](AttemptState::Absent), which costs nothing. If the provider did accept it, the
    /// job is paid for twice.
    Resubmit,
    /// Give up on the job: it fails, and its attempt becomes
    /// [`Abandoned`](AttemptState::Abandoned). The estimate is booked as its cost, because it is
    /// not proven that nothing was paid.
    Fail,
}

/// Returns what a retry changes.
///
/// A job with a known prediction that did not fail at the provider is polled again, which costs
/// nothing; an abandoned attempt is open again, so that it occupies a slot and reserves its
/// estimate. Any other job starts again from the queue, also one whose reused clip is gone.
///
/// # Errors
///
/// Returns why the job cannot be retried.
pub fn retry(
    job: &JobProgress,
    attempt: Option<&AttemptProgress>,
    now: Timestamp,
) -> Result<Change, NotApplicable> {
    if !matches!(job.state, JobState::Failed | JobState::Cancelled) {
        return Err(NotApplicable::NothingToRetry);
    }
    let followed = attempt.filter(|attempt| {
        may_have_clip(attempt.state) && attempt.prediction.is_some() && !attempt.is_reused()
    });
    let event = if followed.is_some() {
        JobEvent::ResumePolling
    } else {
        JobEvent::Restart
    };
    let job = moved(job, event, Some(now), None, now)
        .map_err(|IllegalTransition { .. }| NotApplicable::NothingToRetry)?;
    let attempt = match followed {
        Some(attempt) if attempt.state == AttemptState::Abandoned => Some(AttemptProgress {
            state: AttemptState::Accepted,
            cost: None,
            error: None,
            finished_at: None,
            ..attempt.clone()
        }),
        _ => attempt.cloned(),
    };
    Ok(Change { job, attempt })
}

/// Returns whether a retry polls the prediction of an attempt in this state again, which costs
/// nothing, if the prediction is known: it may have a clip.
pub fn may_have_clip(state: AttemptState) -> bool {
    matches!(
        state,
        AttemptState::Accepted | AttemptState::Done | AttemptState::Abandoned
    )
}

/// Returns what the user can do about a job at no further cost. `is_due` tells whether a step is
/// scheduled, and `has_clip` whether its last attempt has a known prediction that
/// [may have a clip](may_have_clip).
pub fn remedy(state: JobState, is_due: bool, has_clip: bool) -> Option<Remedy> {
    match state {
        JobState::InDoubt if !is_due => Some(Remedy::Resolve),
        JobState::Failed | JobState::Cancelled if has_clip => Some(Remedy::Retry),
        _ => None,
    }
}

/// Returns what a cancellation changes. An open attempt is abandoned and its estimate booked; a
/// retry polls its prediction again.
///
/// # Errors
///
/// Returns why the job cannot be cancelled.
pub fn cancel(
    job: &JobProgress,
    attempt: Option<&AttemptProgress>,
    now: Timestamp,
) -> Result<Change, NotApplicable> {
    match job.state {
        JobState::Submitting => return Err(NotApplicable::BeingSubmitted),
        JobState::InDoubt => return Err(NotApplicable::InDoubt),
        _ => {}
    }
    let job = moved(job, JobEvent::Cancel, None, Some(CANCELLED.into()), now)
        .map_err(|IllegalTransition { .. }| NotApplicable::NothingToCancel)?;
    Ok(Change {
        job,
        attempt: attempt.map(|attempt| abandoned(attempt, CANCELLED, now)),
    })
}

/// Returns what the user's decision about a job in doubt changes.
///
/// # Errors
///
/// Returns [`NotApplicable::NotInDoubt`] if the job is in any other state.
pub fn resolve(
    job: &JobProgress,
    attempt: &AttemptProgress,
    decision: &Decision,
    now: Timestamp,
) -> Result<Change, NotApplicable> {
    if job.state != JobState::InDoubt {
        return Err(NotApplicable::NotInDoubt);
    }
    let (event, due_at, error) = match decision {
        Decision::Adopt(_) => (JobEvent::Adopt, Some(now), None),
        Decision::Resubmit => (JobEvent::ProveAbsent, Some(now), None),
        Decision::Fail => (JobEvent::GiveUp, None, Some(GIVEN_UP.to_owned())),
    };
    let mut job = moved(job, event, due_at, error, now)
        .map_err(|IllegalTransition { .. }| NotApplicable::NotInDoubt)?;
    let attempt = match decision {
        Decision::Adopt(prediction) => AttemptProgress {
            state: AttemptState::Accepted,
            prediction: Some(prediction.clone()),
            error: None,
            ..attempt.clone()
        },
        Decision::Resubmit => {
            job.attempts = job.attempts.saturating_sub(1);
            closed(
                attempt,
                AttemptState::Absent,
                None,
                attempt.error.clone(),
                now,
            )
        }
        Decision::Fail => abandoned(attempt, GIVEN_UP, now),
    };
    Ok(Change {
        job,
        attempt: Some(attempt),
    })
}

/// Returns what downloading the lost file of a succeeded job again changes. The attempt stays done
/// and its cost booked; the stored link is tried first, and if it has expired, the prediction is
/// polled for a fresh one.
///
/// # Errors
///
/// Returns [`NotApplicable::NotSucceeded`] if the job is in any other state: it no longer has the
/// file that was missed. Also if it has no attempt: its file was adopted, and no provider has it.
pub fn download_again(
    job: &JobProgress,
    attempt: Option<&AttemptProgress>,
    now: Timestamp,
) -> Result<Change, NotApplicable> {
    let attempt = attempt.ok_or(NotApplicable::NotSucceeded)?;
    let mut job = moved(job, JobEvent::Redownload, Some(now), None, now)
        .map_err(|IllegalTransition { .. }| NotApplicable::NotSucceeded)?;
    job.output = None;
    Ok(Change {
        job,
        attempt: Some(attempt.clone()),
    })
}
