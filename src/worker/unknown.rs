//! Predictions that a history lists and the queue does not know.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::{Attempt, Catalog, PredictionHandle, ProviderName};
use crate::policy::claim::request_digest;
use crate::policy::late_match::LateFinding;
use crate::provider::{HistoryEntry, InputMatch, Submission, WINDOW_MARGIN};
use crate::queue::{AbsentAttempt, HistoryFinding, JobRecord, UnknownPrediction};

/// The predictions of one route that the queue does not know.
pub(super) struct Unknown {
    pub(super) provider: ProviderName,
    pub(super) wire_model: String,
    pub(super) entries: Vec<HistoryEntry>,
    pub(super) lists_running: bool,
    /// The provider's attempts of that time that were taken to be absent.
    pub(super) absent: Vec<AbsentAttempt>,
    /// How long after the end of a submit call the provider may still accept it.
    pub(super) history_delay: Duration,
    /// No queued job takes one that was submitted before this, by the provider's clock.
    pub(super) since: Option<Timestamp>,
}

/// Returns whether a queued job may take a prediction that was submitted at a time, if that is known: not
/// one from before the queue was last seen at work, nor from before its batch was loaded to be rendered
/// anew.
fn may_be_ours(
    submitted_at: Option<Timestamp>,
    since: Option<Timestamp>,
    fresh_at: Option<Timestamp>,
) -> bool {
    match submitted_at {
        Some(at) => since.max(fresh_at).is_none_or(|earliest| at >= earliest),
        None => fresh_at.is_none(),
    }
}

/// Returns until when a provider may have accepted an attempt, by its clock. `history_delay` is how long
/// after the end of a submit call it may.
pub(super) fn accepted_until(attempt: &Attempt, history_delay: Duration) -> Timestamp {
    let until = attempt.call_ended_at().saturating_add(history_delay);
    let until = until.and_then(|until| until.saturating_add(WINDOW_MARGIN));
    until.unwrap_or(Timestamp::MAX)
}

impl Unknown {
    /// Takes the prediction of an attempt that was taken to be absent, if there is one.
    pub(super) fn take_absent(&mut self, absent: &AbsentAttempt) -> Option<HistoryFinding> {
        if absent.attempt.wire_model != self.wire_model {
            return None;
        }
        let submission = Submission::from(&absent.attempt);
        // A prediction of another time is another's, even if it asked for the same.
        let from = absent.attempt.submitted_at.saturating_sub(WINDOW_MARGIN);
        let from = from.unwrap_or(Timestamp::MIN);
        let to = accepted_until(&absent.attempt, self.history_delay);
        let is_of_that_time =
            |entry: &HistoryEntry| entry.submitted_at.is_none_or(|at| from <= at && at <= to);
        let prediction = self.take(|entry| {
            is_of_that_time(entry) && entry.compare(&submission) == InputMatch::Same
        })?;
        Some(HistoryFinding::Absent {
            job: absent.job,
            attempt: absent.attempt.attempt_id,
            finding: LateFinding::Accepted(prediction),
        })
    }

    /// Takes a prediction that asked for what a job asks for, if there is one; none from before the job's
    /// batch was loaded to be rendered anew.
    pub(super) fn take_asked(
        &mut self,
        catalog: &Catalog,
        job: &JobRecord,
        fresh_at: Option<Timestamp>,
    ) -> Option<HistoryFinding> {
        if self.entries.is_empty() {
            return None;
        }
        let quote = catalog.quote(&job.model, &job.input, self.provider)?;
        if quote.wire_model != self.wire_model {
            return None;
        }
        let digest = request_digest(&quote.request.to_string());
        let since = self.since;
        let is_recent = |entry: &HistoryEntry| may_be_ours(entry.submitted_at, since, fresh_at);
        let prediction =
            self.take(|entry| is_recent(entry) && entry.asks_for(&quote.request, digest))?;
        Some(HistoryFinding::Unknown(Box::new(UnknownPrediction {
            job: job.job_id,
            input: job.input.clone(),
            provider: self.provider,
            wire_model: quote.wire_model,
            prediction,
            request: quote.request,
            estimate: quote.price,
            clip_s: job.input.duration(),
        })))
    }

    fn take(&mut self, matches: impl Fn(&HistoryEntry) -> bool) -> Option<PredictionHandle> {
        let index = self.entries.iter().position(matches)?;
        let id = self.entries.swap_remove(index).prediction_id?;
        Some(PredictionHandle::from_id(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_from_before_the_queue_or_before_a_fresh_load_is_not_taken() {
        let at = |second| Timestamp::from_second(second).ok();
        assert!(may_be_ours(at(100), at(100), None));
        assert!(!may_be_ours(at(99), at(100), None), "another queue's");
        assert!(may_be_ours(None, at(100), None));
        assert!(
            !may_be_ours(at(150), at(100), at(200)),
            "to be rendered anew"
        );
        assert!(may_be_ours(at(200), at(100), at(200)));
        assert!(!may_be_ours(None, at(100), at(200)));
    }
}
