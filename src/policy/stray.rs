//! What becomes of a prediction that was accepted under a lease that was lost meanwhile.

use jiff::Timestamp;

use crate::domain::{
    AttemptProgress, AttemptState, CostReport, IllegalTransition, JobEvent, JobProgress, JobState,
    PredictionHandle,
};

use super::{Change, moved};

/// Returns what the late acceptance of a job's current attempt changes; `None` if the attempt has a
/// prediction already or cannot be paid for.
///
/// A lease protects newer facts from older ones, but the id of an accepted submission is a fact that
/// nobody else may be able to find. A job in doubt, or queued again because the submission was taken
/// to be absent, is polled instead of being paid for twice; the attempt is then open again, even if
/// no slot is free or the budget is used up. A job that was given up keeps the id for a retry, which
/// continues with it without paying.
///
/// # Errors
///
/// Never in practice: the states that are matched here allow it.
pub fn adopt(
    job: &JobProgress,
    attempt: &AttemptProgress,
    prediction: &PredictionHandle,
    early_cost: Option<&CostReport>,
    due_at: Timestamp,
    now: Timestamp,
) -> Result<Option<Change>, IllegalTransition> {
    if attempt.prediction.is_some() {
        return Ok(None);
    }
    let mut attempt = AttemptProgress {
        prediction: Some(prediction.clone()),
        early_cost: early_cost.cloned(),
        ..attempt.clone()
    };
    let mut job = job.clone();
    match (job.state, attempt.state) {
        (JobState::InDoubt, AttemptState::InDoubt)
        | (JobState::Queued, AttemptState::Absent | AttemptState::PresumedAbsent) => {
            // Its absence took the attempt off the count.
            let is_counted = job.state == JobState::InDoubt;
            job = moved(&job, JobEvent::Adopt, Some(due_at), None, now)?;
            job.attempts += u32::from(!is_counted);
            attempt.state = AttemptState::Accepted;
            attempt.error = None;
            attempt.finished_at = None;
        }
        (JobState::Failed, AttemptState::Abandoned) => {}
        _ => return Ok(None),
    }
    Ok(Some(Change {
        job,
        attempt: Some(attempt),
    }))
}
