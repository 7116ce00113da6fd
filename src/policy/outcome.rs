//! What the outcome of a step changes in its job and attempt, beside the job's state: counters,
//! backoff, due time, and the money that is booked or released.

use jiff::Timestamp;

use crate::domain::{
    AttemptProgress, AttemptState, Cost, CostSource, IllegalTransition, JobProgress, JobState,
    Money, Outcome,
};

use super::{Change, abandoned, closed};

/// Returns what an outcome changes in the leased job and its current attempt.
///
/// # Errors
///
/// Returns [`IllegalTransition`] if the job's state does not allow the outcome.
pub fn apply(
    job: &JobProgress,
    attempt: &AttemptProgress,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<Change, IllegalTransition> {
    Ok(Change {
        job: next_job(job, attempt, outcome, now)?,
        attempt: Some(next_attempt(job, attempt, outcome, now)),
    })
}

fn next_job(
    job: &JobProgress,
    attempt: &AttemptProgress,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<JobProgress, IllegalTransition> {
    let state = job.state.after(outcome.event())?;
    let (due_at, error, is_failure) = match outcome {
        Outcome::Accepted { due_at, .. }
        | Outcome::Adopted { due_at, .. }
        | Outcome::Absent { due_at, .. }
        | Outcome::Finished { due_at, .. } => (Some(*due_at), None, false),
        Outcome::Refused {
            reason,
            due_at,
            counts_as_failure,
        } => (Some(*due_at), Some(reason), *counts_as_failure),
        Outcome::LostResponse { reason, due_at }
        | Outcome::FailedUnbilled { reason, due_at, .. } => (Some(*due_at), Some(reason), false),
        // Counts as a failure although the next poll may return a fresh link: a link that keeps
        // expiring must use up the retries.
        Outcome::LinkExpired {
            reason,
            due_at,
            counts_as_failure,
        } => (Some(*due_at), Some(reason), *counts_as_failure),
        Outcome::Postponed { reason, due_at } => (Some(*due_at), Some(reason), false),
        Outcome::Wait { due_at, failure } => (*due_at, failure.as_ref(), failure.is_some()),
        Outcome::PredictionFailed { reason, .. }
        | Outcome::Rejected { reason }
        | Outcome::GaveUp { reason } => (None, Some(reason), false),
        Outcome::Saved { .. } => (None, None, false),
    };
    // A fresh link is a success of its own, but must not reset the failures of a finished clip.
    let keeps_failures = attempt.state == AttemptState::Done && !state.is_final();
    let failures = match (is_failure, keeps_failures) {
        (true, _) => job.failures + 1,
        (false, true) => job.failures,
        (false, false) => 0,
    };
    // A lost response counts as an attempt because it may have been paid for; its absence takes it
    // off again.
    let attempts = match outcome {
        Outcome::Accepted { .. } | Outcome::LostResponse { .. } => job.attempts + 1,
        Outcome::Absent { .. } => job.attempts.saturating_sub(1),
        _ => job.attempts,
    };
    let output = match outcome {
        Outcome::Saved { file } => Some(file.clone()),
        _ => job.output.clone(),
    };
    let is_new_state = state != job.state;
    Ok(JobProgress {
        state,
        state_since: if is_new_state { now } else { job.state_since },
        due_at,
        failures,
        attempts,
        refusals: job.refusals + u32::from(matches!(outcome, Outcome::Refused { .. })),
        crashes: 0,
        output,
        error: error.cloned(),
        finished_at: state.is_final().then_some(now),
        ..job.clone()
    })
}

fn next_attempt(
    job: &JobProgress,
    attempt: &AttemptProgress,
    outcome: &Outcome,
    now: Timestamp,
) -> AttemptProgress {
    let mut next = attempt.clone();
    if job.state == JobState::Submitting {
        next.answered_at = Some(now);
    }
    let (state, cost, error) = match outcome {
        Outcome::Accepted { prediction, .. } | Outcome::Adopted { prediction, .. } => {
            next.prediction = Some(prediction.clone());
            if let Outcome::Accepted { early_cost, .. } = outcome {
                next.early_cost.clone_from(early_cost);
            }
            (AttemptState::Accepted, None, None)
        }
        Outcome::Refused { reason, .. } | Outcome::Rejected { reason } => {
            (AttemptState::Refused, None, Some(reason))
        }
        Outcome::LostResponse { reason, .. } => (AttemptState::InDoubt, None, Some(reason)),
        Outcome::Absent {
            is_proven: true, ..
        } => (AttemptState::Absent, None, None),
        Outcome::Absent { .. } => (AttemptState::PresumedAbsent, None, None),
        Outcome::Finished {
            output_url,
            cost,
            processing,
            ..
        } => {
            next.output_url.clone_from(output_url);
            // A poll for a fresh link may report less than the first result: it has no processing
            // time, and a cost by rule does not replace the booked one.
            let is_fresh_link = attempt.state == AttemptState::Done;
            if !is_fresh_link {
                next.processing = *processing;
            }
            let by_rule = cost.source == CostSource::Rule;
            let keeps_cost = is_fresh_link && (by_rule || attempt.is_reused());
            let cost = if keeps_cost {
                attempt.cost
            } else {
                Some(*cost)
            };
            (AttemptState::Done, cost, None)
        }
        Outcome::PredictionFailed { reason, cost } => {
            (AttemptState::Failed, Some(*cost), Some(reason))
        }
        Outcome::FailedUnbilled { reason, source, .. } => {
            let unbilled = Cost {
                amount: Money::ZERO,
                source: *source,
            };
            (AttemptState::Failed, Some(unbilled), Some(reason))
        }
        Outcome::GaveUp { reason } => return abandoned(&next, reason, now),
        Outcome::Wait { .. }
        | Outcome::Postponed { .. }
        | Outcome::LinkExpired { .. }
        | Outcome::Saved { .. } => return next,
    };
    if state.is_open() {
        next.state = state;
        next.error = error.cloned();
        return next;
    }
    closed(&next, state, cost, error.cloned(), now)
}
