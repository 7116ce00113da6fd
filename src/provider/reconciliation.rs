//! What is needed to search a history for a lost submission, and what the search shows.
//!
//! If a search reports absence, the queue may pay for the job again. Absence is therefore reported
//! only if the history was read to its end, every entry could be compared, and the clocks agree.
//! Anything less is a failure, and the job stays in doubt.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::domain::{Failure, LaterSubmissions, OwnedPrediction, PredictionHandle, ProviderName};

use super::history::{EntryContent, History, HistoryEntry, HistoryQuery};
use super::json::InputMatch;
use super::submission::Submission;

/// Margin at both ends of the period that is read of a history, because the provider's clock may differ
/// from ours.
pub const WINDOW_MARGIN: SignedDuration = SignedDuration::from_secs(120);

/// Margin at the start of a search window if this machine's clock was changed in between.
const CHANGED_CLOCK_MARGIN: SignedDuration = SignedDuration::from_hours(24);

/// Maximum difference between the provider's clock and ours for absence to be believed: half of the
/// margin of a search window.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(WINDOW_MARGIN.as_secs() / 2);

/// A submission whose response was lost, and what is needed to search for it.
#[derive(Clone, Debug, PartialEq)]
pub struct LostSubmission {
    /// What was submitted.
    pub submission: Submission,
    /// When the intent to submit was committed, by our clock. The request was sent after this.
    pub submitted_at: Timestamp,
    /// When the submit call ended, whatever its result; the request may have arrived until then.
    pub call_ended_at: Timestamp,
    /// Whether this machine's clock was changed since `submitted_at`, which may then be hours off.
    pub clock_was_changed: bool,
    /// The current time, by our clock.
    pub now: Timestamp,
    /// The predictions of the same model that already belong to a job of this queue, and so cannot
    /// be a match.
    pub owned: BTreeMap<String, OwnedPrediction>,
    /// The digest of the request as it is stored.
    pub request_digest: i64,
}

impl LostSubmission {
    /// Returns the start and end of the time window in which the provider may have accepted the
    /// submission, by the provider's clock.
    pub fn window(&self) -> (Timestamp, Timestamp) {
        let margin = if self.clock_was_changed {
            CHANGED_CLOCK_MARGIN
        } else {
            WINDOW_MARGIN
        };
        let start = self
            .submitted_at
            .saturating_sub(margin)
            .unwrap_or(Timestamp::MIN);
        let end = self
            .now
            .saturating_add(WINDOW_MARGIN)
            .unwrap_or(Timestamp::MAX);
        (start, end)
    }

    /// Returns the part of the history in which the submission may be listed.
    pub fn query(&self) -> HistoryQuery {
        let (from, to) = self.window();
        HistoryQuery {
            wire_model: self.submission.wire_model.clone(),
            from,
            to,
            known: self.owned.keys().cloned().collect(),
        }
    }

    /// Searches a history for the submission.
    ///
    /// # Errors
    ///
    /// Without a match, [`Failure::Transient`] if an entry cannot be compared, or if the clocks
    /// differ by more than a minute, so that the wrong period may have been read.
    pub fn find_in(
        &self,
        history: &History,
        provider: ProviderName,
    ) -> Result<Reconciliation, Failure> {
        let mut matches = BTreeSet::new();
        let mut inconclusive = 0;
        let mut listed = BTreeSet::new();
        let mut taken = None;
        for entry in &history.entries {
            let id = entry.prediction_id.as_ref();
            if let Some((id, owner)) = id.and_then(|id| self.owned.get_key_value(id)) {
                listed.insert(id);
                if self.is_taken_by(owner, entry) {
                    taken = Some(id);
                }
                continue;
            }
            match entry.compare(&self.submission) {
                InputMatch::Same => matches.extend(id.cloned()),
                InputMatch::Different => {}
                InputMatch::Inconclusive => inconclusive += 1,
            }
        }
        if let Some(id) = taken.filter(|_| matches.is_empty()) {
            return Ok(Reconciliation::Taken(id.clone()));
        }
        let reason = match history.clock_ahead {
            _ if !matches.is_empty() => None,
            _ if inconclusive > 0 => Some(format!(
                "{provider}'s history lists {inconclusive} predictions of that time that cannot \
                 be compared"
            )),
            Some(ahead) if ahead.abs() > MAX_CLOCK_SKEW => {
                let seconds = ahead.abs().as_secs();
                let side = if ahead.is_positive() {
                    "ahead of"
                } else {
                    "behind"
                };
                Some(format!(
                    "this machine's clock is {seconds} seconds {side} {provider}'s, so its history \
                     proves nothing; set the clock"
                ))
            }
            _ => None,
        };
        if let Some(reason) = reason {
            return Err(Failure::Transient {
                reason,
                retry_after: None,
            });
        }
        let absence = AbsenceEvidence {
            lists_running: history.lists_running,
            later: self.later_submissions(&listed),
            is_later_certain: listed
                .iter()
                .any(|id| self.owned[*id].submitted_at >= self.call_ended_at),
        };
        Ok(Reconciliation::from_matches(
            matches.into_iter().collect(),
            absence,
        ))
    }

    /// Returns whether an entry is this submission although its id was returned for another one, whose job
    /// owns it now.
    fn is_taken_by(&self, owner: &OwnedPrediction, entry: &HistoryEntry) -> bool {
        // One that asked for the same has the same content.
        let is_another = match entry.content {
            EntryContent::ClientToken(_) => true,
            EntryContent::Input(_) => owner
                .request_digest
                .is_some_and(|digest| digest != self.request_digest),
        };
        is_another && entry.compare(&self.submission) == InputMatch::Same
    }

    /// Returns what a history shows of later submissions that lists these of the owned predictions.
    fn later_submissions(&self, listed: &BTreeSet<&String>) -> LaterSubmissions {
        let later = self.owned.iter();
        let later = later.filter(|(_, owned)| owned.submitted_at >= self.submitted_at);
        let mut first: Option<Timestamp> = None;
        for (id, owned) in later {
            if listed.contains(id) {
                return LaterSubmissions::Listed;
            }
            first = Some(first.map_or(owned.submitted_at, |first| first.min(owned.submitted_at)));
        }
        first.map_or(LaterSubmissions::None, |first| {
            let since = self.now.duration_since(first).max(SignedDuration::ZERO);
            LaterSubmissions::Unlisted {
                since: since.unsigned_abs(),
            }
        })
    }
}

/// What a provider's history shows about a lost submission.
#[derive(Clone, Debug, PartialEq)]
pub enum Reconciliation {
    /// Exactly one entry matches.
    Found(PredictionHandle),
    /// Several entries match, by prediction id; the user has to choose.
    Ambiguous(Vec<String>),
    /// The entry with this id matches, and belongs to a job that asked for something else: the provider
    /// returned the id for the wrong submission.
    Taken(String),
    /// No entry matches.
    Absent(AbsenceEvidence),
}

/// What a history that does not list a submission shows beside that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsenceEvidence {
    /// Whether the history lists predictions that are still running. If it lists only finished
    /// ones, absence is proof only after the processing time.
    pub lists_running: bool,
    /// What it shows of the owned predictions that were submitted at the same time or later. If it
    /// lists none of them, it may be late, or another account's.
    pub later: LaterSubmissions,
    /// Whether a listed one was submitted after this one's call had ended. If none was, this one may have
    /// arrived after all of them.
    pub is_later_certain: bool,
}

impl Reconciliation {
    /// Builds the result from the distinct prediction ids that match.
    pub fn from_matches(mut ids: Vec<String>, absence: AbsenceEvidence) -> Self {
        match (ids.len(), ids.pop()) {
            (_, None) => Self::Absent(absence),
            (1, Some(id)) => Self::Found(PredictionHandle::from_id(id)),
            (_, Some(last)) => {
                ids.push(last);
                Self::Ambiguous(ids)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn owned(submitted_at: Timestamp) -> OwnedPrediction {
        OwnedPrediction {
            submitted_at,
            request_digest: Some(2),
        }
    }

    fn entry(id: &str) -> HistoryEntry {
        HistoryEntry {
            prediction_id: Some(id.into()),
            submitted_at: None,
            content: EntryContent::Input(Some(json!({ "prompt": id }))),
            is_unbilled: false,
            is_running: false,
        }
    }

    #[test]
    fn a_submission_of_this_queue_from_the_same_time_or_later_shows_whether_a_history_is_current() {
        let lost = LostSubmission {
            submission: Submission {
                wire_model: "m".into(),
                request: json!({ "prompt": "lost" }),
                client_token: "t".into(),
            },
            submitted_at: at(100),
            call_ended_at: at(120),
            clock_was_changed: false,
            now: at(200),
            owned: [("early", 99), ("same", 100), ("late", 150)]
                .map(|(id, second)| (id.to_owned(), owned(at(second))))
                .into(),
            request_digest: 1,
        };
        let unlisted = LaterSubmissions::Unlisted {
            since: Duration::from_secs(100),
        };
        for (listed, later, is_later_certain) in [
            (vec![], unlisted, false),
            (vec!["foreign"], unlisted, false),
            (vec!["early", "foreign"], unlisted, false),
            (vec!["same"], LaterSubmissions::Listed, false),
            (vec!["early", "late"], LaterSubmissions::Listed, true),
        ] {
            let history = History {
                entries: listed.iter().map(|id| entry(id)).collect(),
                lists_running: true,
                clock_ahead: None,
            };
            let expected = Reconciliation::Absent(AbsenceEvidence {
                lists_running: true,
                later,
                is_later_certain,
            });
            let found = lost.find_in(&history, ProviderName::Fal);
            assert_eq!(found, Ok(expected), "{listed:?}");
        }
    }

    #[test]
    fn a_submission_whose_id_was_returned_for_another_one_is_not_absent() {
        let request = json!({ "prompt": "lost" });
        let mut lost = LostSubmission {
            submission: Submission {
                wire_model: "m".into(),
                request: request.clone(),
                client_token: "t".into(),
            },
            submitted_at: at(100),
            call_ended_at: at(100),
            clock_was_changed: false,
            now: at(200),
            owned: [("p".to_owned(), owned(at(100)))].into(),
            request_digest: 1,
        };
        let find = |lost: &LostSubmission, content| {
            let history = History {
                entries: vec![HistoryEntry {
                    content,
                    ..entry("p")
                }],
                lists_running: true,
                clock_ahead: None,
            };
            lost.find_in(&history, ProviderName::Fal).unwrap()
        };
        let input = EntryContent::Input(Some(request));
        let token = EntryContent::ClientToken(Some("t".into()));
        let taken = Reconciliation::Taken("p".into());
        assert_eq!(find(&lost, input.clone()), taken);
        assert_eq!(find(&lost, token.clone()), taken);
        // An identical request of another job, which has the same content but its own token.
        lost.request_digest = 2;
        assert!(matches!(find(&lost, input), Reconciliation::Absent(_)));
        assert_eq!(find(&lost, token), taken);
    }
}
