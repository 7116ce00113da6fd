//! What becomes of an attempt that was taken to be absent, once the provider's history shows more.

use jiff::Timestamp;

use crate::domain::{
    AttemptProgress, AttemptState, IllegalTransition, JobProgress, JobState, PredictionHandle,
};

use super::{Change, abandoned, closed, stray};

/// The error of an attempt that was accepted although its job was submitted again.
const LISTED_LATE: &str = "listed by the history after its job was submitted again";

/// What a history shows of an attempt that was taken to be absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LateFinding {
    /// It lists a later submission and not this one: it is absent.
    Absent,
    /// It lists this one after all.
    Accepted(PredictionHandle),
}

/// What a finding changes.
#[derive(Clone, Debug, PartialEq)]
pub enum LateChange {
    /// The job polls the prediction: it has not been submitted again yet.
    Adopt(Change),
    /// Only the attempt changes.
    Attempt(AttemptProgress),
}

/// Returns what a finding changes in an attempt that is presumed absent, or absent; `None` if the
/// attempt is not, or not any more.
///
/// A prediction that is listed late is polled if its job is still queued. Otherwise it is paid for
/// beside the one that the job was submitted for again: its estimate is booked.
///
/// # Errors
///
/// Never in practice: a queued job may adopt a prediction.
pub fn settle(
    job: &JobProgress,
    is_current: bool,
    attempt: &AttemptProgress,
    finding: &LateFinding,
    now: Timestamp,
) -> Result<Option<LateChange>, IllegalTransition> {
    let prediction = match (finding, attempt.state) {
        (LateFinding::Absent, AttemptState::PresumedAbsent) => {
            let error = attempt.error.clone();
            let absent = closed(attempt, AttemptState::Absent, None, error, now);
            return Ok(Some(LateChange::Attempt(absent)));
        }
        (
            LateFinding::Accepted(prediction),
            AttemptState::PresumedAbsent | AttemptState::Absent,
        ) => prediction,
        _ => return Ok(None),
    };
    // As if the submit call had ended now: later searches look for its prediction among those that
    // became known since.
    let answered = AttemptProgress {
        answered_at: Some(now),
        ..attempt.clone()
    };
    if is_current && job.state == JobState::Queued {
        let adopted = stray::adopt(job, &answered, prediction, None, now, now)?;
        return Ok(adopted.map(LateChange::Adopt));
    }
    let accepted = AttemptProgress {
        state: AttemptState::Accepted,
        prediction: Some(prediction.clone()),
        ..answered
    };
    Ok(Some(LateChange::Attempt(abandoned(
        &accepted,
        LISTED_LATE,
        now,
    ))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Money;
    use crate::policy::load;

    #[test]
    fn a_submission_that_is_listed_late_is_polled_or_booked_and_one_that_is_absent_released() {
        let now = Timestamp::UNIX_EPOCH;
        let (_, attempt) =
            crate::policy::claim::submit(&load::queued(now), Money::from_micros(5), now).unwrap();
        let presumed = AttemptProgress {
            state: AttemptState::PresumedAbsent,
            finished_at: Some(now),
            ..attempt
        };
        let job = load::queued(now);
        let found = LateFinding::Accepted(PredictionHandle::from_id("p"));
        let settle = |is_current, finding| settle(&job, is_current, &presumed, finding, now);

        let Ok(Some(LateChange::Adopt(adopted))) = settle(true, &found) else {
            panic!("not adopted")
        };
        assert_eq!(adopted.job.state, JobState::Running);
        assert_eq!(
            adopted.attempt.map(|attempt| (attempt.state, attempt.cost)),
            Some((AttemptState::Accepted, None))
        );
        let Ok(Some(LateChange::Attempt(booked))) = settle(false, &found) else {
            panic!("not booked")
        };
        assert_eq!(booked.state, AttemptState::Abandoned);
        assert_eq!(booked.cost.map(|cost| cost.amount.micros()), Some(5));
        assert!(booked.prediction.is_some());
        let Ok(Some(LateChange::Attempt(absent))) = settle(false, &LateFinding::Absent) else {
            panic!("not released")
        };
        assert_eq!((absent.state, absent.cost), (AttemptState::Absent, None));
    }
}
