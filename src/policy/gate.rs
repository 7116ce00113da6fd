//! The gate of a provider: what its responses to some calls mean for the others.

use jiff::Timestamp;

use crate::domain::ProviderSignal;

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
        }
    }
}

impl ProviderGate {
    /// Returns the gate after a signal. Holds are only ever extended, never shortened.
    #[must_use]
    pub fn after(&self, signal: &ProviderSignal) -> Self {
        let mut next = self.clone();
        match signal {
            ProviderSignal::Healthy => next.failures = 0,
            ProviderSignal::HoldSubmits { until } => {
                next.failures += 1;
                next.submits_held_until = next.submits_held_until.max(*until);
            }
            ProviderSignal::HoldAll { until } => {
                next.failures += 1;
                next.calls_held_until = next.calls_held_until.max(*until);
            }
            ProviderSignal::Suspend { reason, polls_too } => {
                next.suspended = Some(reason.clone());
                next.refuses_polls |= polls_too;
            }
        }
        next
    }

    /// Returns the gate after the user may have fixed the key or the balance: no longer suspended.
    #[must_use]
    pub fn reopened(&self) -> Self {
        Self {
            suspended: None,
            refuses_polls: self.refuses_polls && self.suspended.is_none(),
            ..self.clone()
        }
    }

    /// Returns when the holds permit submissions again; in the past if they do now.
    pub fn submits_allowed_from(&self) -> Timestamp {
        self.submits_held_until.max(self.calls_held_until)
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
