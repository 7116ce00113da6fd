//! The gate of a provider: what its responses to some calls mean for the others.

use jiff::{SignedDuration, Timestamp};

use crate::domain::ProviderSignal;

/// How long a submission that goes alone may take before another is tried. Longer than the call
/// takes; what became of it is usually recorded long before.
const MAX_ALONE: SignedDuration = SignedDuration::from_secs(120);

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
