//! What a step found out, on its way to the queue.

use crate::domain::{JobEvent, Outcome, ProviderSignal};
use crate::queue::{Claim, Completed, Step};

use super::PoolError;

/// The result of a step's call: what happened to the job, or to the upload, and what it says about
/// the provider.
pub(super) struct StepOutcome<O = Outcome> {
    pub(super) outcome: O,
    /// How the call changes what may be sent to its provider; `None` leaves that as it is.
    pub(super) signal: Option<ProviderSignal>,
}

impl<O> StepOutcome<O> {
    /// Adds what the call revealed about the provider.
    pub(super) fn with_signal(self, signal: ProviderSignal) -> Self {
        let signal = Some(signal);
        Self { signal, ..self }
    }
}

impl<O> From<O> for StepOutcome<O> {
    fn from(outcome: O) -> Self {
        Self {
            outcome,
            signal: None,
        }
    }
}

/// A step that has ended and is not recorded yet.
pub(super) struct CompletedStep {
    /// What the queue records.
    pub(super) completed: Completed,
    /// The error that ends the whole run, because it would fail every other step as well.
    pub(super) fatal: Option<PoolError>,
}

impl From<Completed> for CompletedStep {
    fn from(completed: Completed) -> Self {
        Self {
            completed,
            fatal: None,
        }
    }
}

impl CompletedStep {
    /// Returns the event that recording the step causes for its job; `None` for an upload.
    ///
    /// A submission that was not sent counts as refused, although no provider was asked.
    pub(super) fn event(&self) -> Option<(&Claim, JobEvent)> {
        match &self.completed {
            Completed::Step { claim, outcome, .. } => Some((claim, outcome.event())),
            Completed::NotStarted { claim } => {
                (claim.step == Step::Submit).then_some((claim, JobEvent::Refuse))
            }
            Completed::Panicked { claim, .. } => {
                (claim.step == Step::Submit).then_some((claim, JobEvent::LoseResponse))
            }
            Completed::Released { .. } | Completed::Upload { .. } => None,
        }
    }
}
