//! What a history proves that does not list a submission whose response was lost.

use std::time::Duration;

use crate::domain::LaterSubmissions;

/// How many typical processing times must have passed before a history that lists only finished
/// predictions proves, by not listing one, that there is none.
const PROCESSING_TIMES_UNTIL_LISTED: u32 = 3;

/// Longest time between two searches while absence is not proven yet.
const MAX_SEARCH_INTERVAL: Duration = Duration::from_secs(60);

/// How many times as long as a history may take to list a submission one is searched that omits later
/// submissions too.
const WAITS_FOR_LATE_HISTORY: u32 = 4;

/// A search that was complete and did not find the submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// Real time since the submit call ended.
    pub waited: Duration,
    /// How long after the end of the call the provider may still accept the request, and its
    /// history may list it.
    pub history_delay: Duration,
    /// Whether the history lists predictions that are still running.
    pub lists_running: bool,
    /// What it shows of the other submissions to the same model that were sent at the same time or
    /// later and accepted.
    pub later: LaterSubmissions,
    /// Typical processing time of the prediction.
    pub processing: Duration,
    /// Number of the job's earlier attempts that were taken to be absent.
    pub earlier_absences: u32,
    /// Shortest time between two searches.
    pub min_interval: Duration,
    /// Whether the provider's key was changed since the submission: the history may be another
    /// account's.
    pub key_was_changed: bool,
}

/// What an [`Absence`] proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The provider did not accept the submission: the job may be submitted again.
    Absent,
    /// Nothing, but nothing speaks against it either: the job may be submitted again, and the
    /// submission stays at risk.
    PresumedAbsent,
    /// Nothing yet: search again after this time.
    SearchAgain(Duration),
    /// The user decides.
    Hold(HoldReason),
}

/// Why a history that does not list a submission is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldReason {
    /// It was believed once for this job, and lists neither submission.
    SecondAbsence,
    /// The key was changed since, so it may be another account's.
    KeyChanged,
    /// It omits later submissions that the provider accepted. It is late, or another account's.
    NotCurrent,
}

/// Returns what an absence proves: nothing until the provider has had time to accept the request
/// and to list it, and nothing while the history omits later submissions too. Otherwise what it
/// says, once for each job.
pub fn judge(absence: &Absence) -> Verdict {
    let listed_within = absence.listed_within();
    if absence.waited < listed_within {
        return absence.search_again(listed_within - absence.waited);
    }
    if absence.earlier_absences > 0 {
        return Verdict::Hold(HoldReason::SecondAbsence);
    }
    if absence.key_was_changed {
        return Verdict::Hold(HoldReason::KeyChanged);
    }
    match absence.later {
        LaterSubmissions::Listed => Verdict::Absent,
        LaterSubmissions::None => Verdict::PresumedAbsent,
        LaterSubmissions::Unlisted { since } if since < listed_within => {
            absence.search_again(listed_within - since)
        }
        LaterSubmissions::Unlisted { .. } => {
            let late_within = listed_within * WAITS_FOR_LATE_HISTORY;
            if absence.waited < late_within {
                absence.search_again(late_within - absence.waited)
            } else {
                Verdict::Hold(HoldReason::NotCurrent)
            }
        }
    }
}

/// Returns how long after the end of its call a history lists a submission at the latest.
pub fn listed_within(
    history_delay: Duration,
    lists_running: bool,
    processing: Duration,
) -> Duration {
    if lists_running {
        history_delay
    } else {
        history_delay + processing * PROCESSING_TIMES_UNTIL_LISTED
    }
}

impl Absence {
    fn listed_within(&self) -> Duration {
        listed_within(self.history_delay, self.lists_running, self.processing)
    }

    fn search_again(&self, at_most: Duration) -> Verdict {
        let pause = (self.listed_within() / 6)
            .max(self.min_interval)
            .min(MAX_SEARCH_INTERVAL.max(self.min_interval))
            .min(at_most);
        Verdict::SearchAgain(pause)
    }
}
