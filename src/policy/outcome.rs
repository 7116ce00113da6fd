//! What the outcome of a step changes in its job and attempt, beside the job's state: counters,
//! backoff, due time, and the money that is booked or released.

use jiff::{SignedDuration, Timestamp};

use crate::domain::{
    AttemptProgress, AttemptState, Cost, CostSource, IllegalTransition, JobProgress, JobState,
    Money, Outcome,
};

use super::{Change, abandoned, closed};

/// Delay before a history is searched again after another job adopted the prediction it showed.
const SEARCH_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(1);

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
    let state = job.state.after(outcome.event())?;
    Ok(Change {
        job: next_job(job, attempt, outcome, state, now),
        attempt: Some(next_attempt(job, attempt, outcome, now)),
    })
}

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
    let mut change = apply(job, attempt, &not_sent, now)?;
    // A step that was not started does not show that the job no longer ends the program.
    change.job.crashes = job.crashes;
    Ok(change)
}

/// Returns the outcome to record instead of one whose prediction belongs to another attempt: one
/// prediction, paid for once, never counts as two. `None` if the outcome has no prediction.
///
/// An id of another job is not a usable response to a submission: the provider may have accepted
/// this one under an id that is not known. A prediction that a history showed was adopted by
/// another job in the meantime, so the history is searched again without it.
pub fn without_prediction(outcome: &Outcome, reason: String, now: Timestamp) -> Option<Outcome> {
    let search_at = now
        .saturating_add(SEARCH_AGAIN_AFTER)
        .unwrap_or(Timestamp::MAX);
    match outcome {
        Outcome::Accepted { .. } => Some(Outcome::LostResponse {
            reason,
            due_at: search_at,
        }),
        Outcome::Adopted { .. } => Some(Outcome::Wait {
            due_at: Some(search_at),
            failure: Some(reason),
        }),
        _ => None,
    }
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

fn next_job(
    job: &JobProgress,
    attempt: &AttemptProgress,
    outcome: &Outcome,
    state: JobState,
    now: Timestamp,
) -> JobProgress {
    let (due_at, error, is_failure) = match outcome {
        Outcome::Accepted { due_at, .. }
        | Outcome::Adopted { due_at, .. }
        | Outcome::ProvenAbsent { due_at }
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
        Outcome::LinkExpired { reason, due_at } => (Some(*due_at), Some(reason), true),
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
    // A lost response counts as an attempt because it may have been paid for; proof of its absence
    // takes it off again.
    let attempts = match outcome {
        Outcome::Accepted { .. } | Outcome::LostResponse { .. } => job.attempts + 1,
        Outcome::ProvenAbsent { .. } => job.attempts.saturating_sub(1),
        _ => job.attempts,
    };
    let output = match outcome {
        Outcome::Saved { file } => Some(file.clone()),
        _ => job.output.clone(),
    };
    JobProgress {
        state,
        state_since: if state == job.state {
            job.state_since
        } else {
            now
        },
        due_at,
        failures,
        attempts,
        refusals: job.refusals + u32::from(matches!(outcome, Outcome::Refused { .. })),
        polls: job.polls,
        downloads: job.downloads,
        crashes: 0,
        output,
        error: error.cloned(),
        finished_at: state.is_final().then_some(now),
    }
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
    match outcome {
        Outcome::Accepted {
            prediction,
            early_cost,
            ..
        } => {
            next.state = AttemptState::Accepted;
            next.prediction = Some(prediction.clone());
            next.early_cost.clone_from(early_cost);
            next.error = None;
        }
        Outcome::Adopted { prediction, .. } => {
            next.state = AttemptState::Accepted;
            next.prediction = Some(prediction.clone());
            next.error = None;
        }
        Outcome::Refused { reason, .. } | Outcome::Rejected { reason } => {
            return closed(
                &next,
                AttemptState::Refused,
                None,
                Some(reason.clone()),
                now,
            );
        }
        Outcome::LostResponse { reason, .. } => {
            next.state = AttemptState::InDoubt;
            next.error = Some(reason.clone());
        }
        Outcome::ProvenAbsent { .. } => {
            return closed(&next, AttemptState::Absent, None, None, now);
        }
        Outcome::Finished {
            output_url,
            cost,
            processing,
            ..
        } => {
            let had_clip = attempt.state == AttemptState::Done;
            next.output_url = Some(output_url.clone());
            next.error = None;
            // Only the first result of a prediction has a processing time, and a poll for a fresh
            // link may report less about the cost: a cost by rule does not replace the booked one.
            if !had_clip {
                next.processing = *processing;
            }
            if !had_clip || cost.source != CostSource::Rule {
                return closed(&next, AttemptState::Done, Some(*cost), None, now);
            }
        }
        Outcome::PredictionFailed { reason, cost } => {
            let error = Some(reason.clone());
            return closed(&next, AttemptState::Failed, Some(*cost), error, now);
        }
        Outcome::FailedUnbilled { reason, source, .. } => {
            let cost = Cost {
                amount: Money::ZERO,
                source: *source,
            };
            let error = Some(reason.clone());
            return closed(&next, AttemptState::Failed, Some(cost), error, now);
        }
        Outcome::GaveUp { reason } => return abandoned(&next, reason, now),
        Outcome::Wait { .. } | Outcome::LinkExpired { .. } | Outcome::Saved { .. } => {}
    }
    next
}
