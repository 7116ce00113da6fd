//! What is recorded instead of an outcome whose prediction belongs to another job.

use jiff::{SignedDuration, Timestamp};

use crate::domain::{Outcome, ProviderSignal};

/// Delay before a history is searched again after another job adopted the prediction it showed.
const SEARCH_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(1);

/// Returns the outcome to record instead of one whose prediction belongs to another attempt: one
/// prediction, paid for once, never counts as two. `None` if the outcome has no prediction.
///
/// An id of another job is not a usable response to a submission: the provider may have accepted
/// this one under an id that is not known. A prediction that a history showed was adopted by
/// another job in the meantime, so the history is searched again without it.
pub fn outcome_instead(outcome: &Outcome, reason: String, now: Timestamp) -> Option<Outcome> {
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

/// Returns what an outcome that is recorded [instead](outcome_instead) reveals about the provider: an
/// id of another job is no more use than a lost response.
pub fn signal_instead(instead: &Outcome, now: Timestamp) -> Option<ProviderSignal> {
    match instead {
        Outcome::LostResponse { due_at, .. } => Some(ProviderSignal::LostResponse {
            until: *due_at,
            at: now,
        }),
        _ => None,
    }
}
