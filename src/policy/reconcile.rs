//! What a history proves that does not list a submission whose response was lost.

use std::time::Duration;

/// How many typical processing times must have passed before a history that lists only finished
/// predictions proves, by not listing one, that there is none.
const PROCESSING_TIMES_UNTIL_LISTED: u32 = 3;

/// Longest time between two searches while absence is not proven yet.
const MAX_SEARCH_INTERVAL: Duration = Duration::from_secs(60);

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
    /// Typical processing time of the prediction.
    pub processing: Duration,
    /// Number of the job's earlier attempts that were taken to be absent.
    pub earlier_absences: u32,
    /// Shortest time between two searches.
    pub min_interval: Duration,
}

/// What an [`Absence`] proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The provider did not accept the submission: the job may be submitted again.
    Absent,
    /// Nothing yet: search again after this time.
    SearchAgain(Duration),
    /// The history was believed once for this job and lists neither submission, so it is in doubt
    /// itself: the user decides.
    Hold,
}

/// Returns what an absence proves: nothing until the provider has had time to accept the request
/// and to list it, and after that what it says, once for each job.
pub fn judge(absence: &Absence) -> Verdict {
    let processing = if absence.lists_running {
        Duration::ZERO
    } else {
        absence.processing * PROCESSING_TIMES_UNTIL_LISTED
    };
    let listed_within = absence.history_delay + processing;
    if absence.waited < listed_within {
        let pause = (listed_within / 6)
            .max(absence.min_interval)
            .min(MAX_SEARCH_INTERVAL.max(absence.min_interval))
            .min(listed_within - absence.waited);
        return Verdict::SearchAgain(pause);
    }
    if absence.earlier_absences > 0 {
        Verdict::Hold
    } else {
        Verdict::Absent
    }
}
