//! The gate of a provider: what its responses to some calls mean for the others.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::ProviderSignal;

/// How long a submission that goes alone may take before another is tried. Longer than the call
/// takes; what became of it is usually recorded long before.
const MAX_ALONE: SignedDuration = SignedDuration::from_secs(120);

/// Number of lost responses in a row after which nothing is submitted until one of the submissions
/// is found. One or two are a bad connection; more are a provider that may charge for what it does
/// not confirm.
const MAX_LOST_RESPONSES: u32 = 3;

/// Longest time until a submission shows whether a provider answers again.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// Whether, and from when, a provider may be called. Shared by every process on the queue, and kept
/// across restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderGate {
    /// No submission before this time.
    pub submits_held_until: Timestamp,
    /// No call of any kind before this time, downloads aside.
    pub calls_held_until: Timestamp,
    /// Consecutive hold signals without a healthy one; sets the provider's backoff.
    pub failures: u32,
    /// Why submissions are suspended until any run starts; `None` if they are not.
    pub suspended: Option<String>,
    /// Whether polls and history searches are suspended as well.
    pub refuses_polls: bool,
    /// Why submissions are held; `None` if the provider gave no reason.
    pub hold_reason: Option<String>,
    /// Whether submissions go one at a time until one is accepted: a burst after a hold would be
    /// refused again.
    pub is_alone: bool,
    /// No submission before this time, because one that goes alone is under way.
    pub alone_until: Timestamp,
    /// No submission while there are this many open attempts; `None` if their number does not
    /// matter.
    pub waits_below: Option<u32>,
    /// Submissions in a row whose response was lost.
    pub lost_responses: u32,
    /// When the last of them was lost.
    pub lost_at: Timestamp,
}

impl Default for ProviderGate {
    /// Returns the gate of a provider that was never called: open.
    fn default() -> Self {
        Self {
            submits_held_until: Timestamp::UNIX_EPOCH,
            calls_held_until: Timestamp::UNIX_EPOCH,
            failures: 0,
            suspended: None,
            refuses_polls: false,
            hold_reason: None,
            is_alone: false,
            alone_until: Timestamp::UNIX_EPOCH,
            waits_below: None,
            lost_responses: 0,
            lost_at: Timestamp::UNIX_EPOCH,
        }
    }
}

impl ProviderGate {
    /// Returns the gate after a signal. Holds are only ever extended, never shortened.
    ///
    /// `others` is the number of open attempts at the provider, without the one that the signal is
    /// about.
    #[must_use]
    pub fn after(&self, signal: &ProviderSignal, others: u32) -> Self {
        let mut next = self.clone();
        // Only polls and uploads hold all calls, which ends no submission.
        if !matches!(signal, ProviderSignal::HoldAll { .. }) {
            next.alone_until = Timestamp::UNIX_EPOCH;
        }
        match signal {
            ProviderSignal::Healthy => {
                next.failures = 0;
                next.lost_responses = 0;
                // An answer to an earlier submission says nothing about the next one.
                if self.alone_until > Timestamp::UNIX_EPOCH {
                    next.is_alone = false;
                    next.waits_below = None;
                    next.hold_reason = None;
                }
            }
            ProviderSignal::HoldSubmits { until } => {
                next.failures += 1;
                next.submits_held_until = next.submits_held_until.max(*until);
            }
            ProviderSignal::LostResponse { until, at } => {
                next.failures += 1;
                next.submits_held_until = next.submits_held_until.max(*until);
                // Of those that were sent together, no more than enough count: each further one is a
                // submission that went alone to try the provider again.
                if self.lost_responses < MAX_LOST_RESPONSES || self.was_alone() {
                    next.lost_responses += 1;
                }
                next.lost_at = next.lost_at.max(*at);
                if next.stops_after_lost_responses() {
                    next.is_alone = true;
                    next.hold_reason =
                        Some("several responses in a row were lost or of no use".into());
                }
            }
            ProviderSignal::SubmissionFound => {
                if next.stops_after_lost_responses() {
                    next.hold_reason = None;
                }
                next.lost_responses = 0;
            }
            ProviderSignal::LimitSubmits {
                until,
                reason,
                is_repeated,
            } => {
                next.failures += 1;
                next.submits_held_until = next.submits_held_until.max(*until);
                next.hold_reason = Some(reason.clone());
                next.is_alone |= is_repeated;
            }
            ProviderSignal::HoldAll { until } => {
                next.failures += 1;
                next.calls_held_until = next.calls_held_until.max(*until);
            }
            ProviderSignal::Suspend { reason, polls_too } => {
                next.suspended = Some(reason.clone());
                next.refuses_polls |= polls_too;
            }
            // Refused while nothing else was under way: no end of a prediction will change that.
            ProviderSignal::BalanceInUse { reason } if others == 0 && self.was_alone() => {
                next.suspended = Some(reason.clone());
            }
            // With several submissions at once, the others may have ended since the refusal.
            ProviderSignal::BalanceInUse { reason } => {
                next.hold_reason = Some(reason.clone());
                next.waits_below = Some(others).filter(|others| *others > 0);
                next.is_alone = true;
            }
            // That the provider answers says nothing about its other routes.
            ProviderSignal::HoldRoute { .. } => {}
        }
        next
    }

    /// Returns the gate after the user may have fixed the key or the balance: no longer suspended.
    #[must_use]
    pub fn reopened(&self) -> Self {
        Self {
            suspended: None,
            refuses_polls: self.refuses_polls && self.suspended.is_none(),
            // The predictions that a balance waits for may never end.
            waits_below: None,
            // The provider may have been mended: one submission shows it.
            lost_at: Timestamp::UNIX_EPOCH,
            ..self.clone()
        }
    }

    /// Returns the gate while a submission is under way: no other, if it goes alone.
    #[must_use]
    pub fn submitting(&self, now: Timestamp) -> Self {
        let mut next = self.clone();
        if self.goes_alone() {
            next.alone_until = alone_until(now);
        }
        next
    }

    /// Returns whether a submission is under way alone, which waited for no other to end.
    fn was_alone(&self) -> bool {
        self.is_alone && self.waits_below.is_none() && self.alone_until > Timestamp::UNIX_EPOCH
    }

    /// Returns the gate after a submission has ended that revealed nothing, or was not sent.
    #[must_use]
    pub fn not_submitting(&self) -> Self {
        Self {
            alone_until: Timestamp::UNIX_EPOCH,
            ..self.clone()
        }
    }

    /// Returns whether the next submission goes alone.
    pub fn goes_alone(&self) -> bool {
        self.is_alone
    }

    /// Returns when the holds permit submissions again; in the past if they do now.
    pub fn submits_allowed_from(&self) -> Timestamp {
        self.submits_held_until
            .max(self.calls_held_until)
            .max(self.alone_until)
    }

    /// Returns whether submissions wait until one of the open attempts has ended.
    pub fn waits_for_end(&self, in_flight: u32) -> bool {
        self.waits_below.is_some_and(|below| in_flight >= below)
    }

    /// Returns whether submissions have stopped because too many responses in a row were lost.
    fn stops_after_lost_responses(&self) -> bool {
        self.lost_responses >= MAX_LOST_RESPONSES
    }

    /// Returns until when nothing is submitted because responses were lost, unless one of these
    /// submissions is found before; `None` if too few were lost.
    ///
    /// `history_delay` is how long the provider's history may take to list a submission. After that,
    /// one submission shows whether the provider answers again; after each that does not, it is twice
    /// as long until the next, up to a day.
    pub fn lost_until(&self, history_delay: Duration) -> Option<Timestamp> {
        let doublings = self.lost_responses.saturating_sub(MAX_LOST_RESPONSES);
        let pause = history_delay.saturating_mul(1 << doublings.min(16));
        let until = self.lost_at.saturating_add(pause.min(MAX_PAUSE));
        self.stops_after_lost_responses()
            .then_some(until.unwrap_or(Timestamp::MAX))
    }

    /// Returns whether the holds permit a submission now.
    pub fn accepts_submits(&self, now: Timestamp) -> bool {
        self.suspended.is_none() && self.submits_allowed_from() <= now
    }

    /// Returns whether the provider may be polled, searched and sent images now.
    pub fn accepts_polls(&self, now: Timestamp) -> bool {
        !self.refuses_polls && self.calls_held_until <= now
    }
}

/// Returns until when a submission that goes alone keeps others back.
pub(super) fn alone_until(now: Timestamp) -> Timestamp {
    now.saturating_add(MAX_ALONE).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_use() -> ProviderSignal {
        ProviderSignal::BalanceInUse {
            reason: "402".into(),
        }
    }

    #[test]
    fn a_balance_in_use_is_waited_for_and_suspends_only_a_submission_that_was_alone() {
        let now = Timestamp::from_second(1_000).unwrap();
        let waiting = ProviderGate::default().after(&in_use(), 3);
        assert!(waiting.waits_for_end(3) && !waiting.waits_for_end(2));
        assert!(waiting.suspended.is_none() && waiting.goes_alone());
        let probing = waiting.submitting(now);
        assert!(!probing.accepts_submits(now));
        let open = probing.after(&ProviderSignal::Healthy, 2);
        assert!(!open.goes_alone() && open.accepts_submits(now));

        let alone = probing.after(&in_use(), 0);
        assert!(alone.suspended.is_none() && !alone.waits_for_end(0));
        let refused = alone.submitting(now).after(&in_use(), 0);
        assert_eq!(refused.suspended.as_deref(), Some("402"));
        assert!(
            refused.reopened().accepts_submits(now),
            "nothing is under way"
        );
    }

    #[test]
    fn lost_responses_in_a_row_stop_submissions_until_one_is_found_or_could_have_been_listed() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let lost = ProviderSignal::LostResponse {
            until: at(1),
            at: at(1_000),
        };
        let delay = Duration::from_secs(900);
        let twice = ProviderGate::default().after(&lost, 0).after(&lost, 0);
        assert_eq!(twice.lost_until(delay), None);
        let stopped = twice.after(&lost, 0);
        assert_eq!(stopped.lost_until(delay), Some(at(1_900)));
        assert!(stopped.goes_alone() && stopped.hold_reason.is_some());

        let found = stopped.after(&ProviderSignal::SubmissionFound, 0);
        assert_eq!(found.lost_until(delay), None);
        assert!(found.goes_alone() && found.hold_reason.is_none());
        let again = stopped.submitting(at(1_900)).after(
            &ProviderSignal::LostResponse {
                until: at(1),
                at: at(1_901),
            },
            0,
        );
        assert_eq!(again.lost_until(delay), Some(at(1_901 + 2 * 900)));
        // Another that was sent before the stop proves nothing more.
        assert_eq!(
            again.after(&lost, 0).lost_until(delay),
            again.lost_until(delay)
        );
        let answered = stopped
            .submitting(at(1_900))
            .after(&ProviderSignal::Healthy, 0);
        assert!(answered.lost_until(delay).is_none() && !answered.goes_alone());
    }

    #[test]
    fn after_repeated_limits_one_submission_goes_alone_until_it_is_accepted() {
        let now = Timestamp::from_second(1_000).unwrap();
        let limit = |is_repeated| ProviderSignal::LimitSubmits {
            until: now,
            reason: "429".into(),
            is_repeated,
        };
        let once = ProviderGate::default().after(&limit(false), 0);
        assert!(!once.goes_alone() && once.accepts_polls(now));
        let twice = once.after(&limit(true), 0);
        // The answer to a submission from before the limit does not end it.
        let twice = twice.after(&ProviderSignal::Healthy, 0);
        assert!(twice.goes_alone() && twice.accepts_submits(now));
        let probing = twice.submitting(now);
        assert!(!probing.accepts_submits(now) && probing.accepts_polls(now));
        assert!(!probing.after(&ProviderSignal::Healthy, 0).goes_alone());
    }
}
