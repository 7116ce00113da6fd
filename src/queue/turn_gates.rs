//! What a turn reads and writes of the gates of providers and routes. The rules are in
//! [`policy::gate`](crate::policy::gate) and [`policy::route_gate`](crate::policy::route_gate).

use std::borrow::Cow;

use jiff::Timestamp;

use crate::domain::{Attempt, Cost, ProviderName, ProviderSignal};
use crate::policy::claim::{ClaimPlan, ClaimView, RouteGates, Step};
use crate::policy::gate::ProviderGate;
use crate::policy::route_gate::RouteGate;
use crate::policy::taken_prediction;

use super::storage::Transaction;
use super::{Completed, Gates, Recorded, Result};

/// The gates in a transaction. Each kind is read once, when it is needed first.
#[derive(Default)]
pub(super) struct TurnGates {
    providers: Option<Gates>,
    routes: Option<RouteGates>,
    /// The gates of the providers that something was revealed about.
    signalled: Gates,
}

impl TurnGates {
    /// Writes what a completed step has revealed, after it was recorded.
    pub(super) fn apply(
        &mut self,
        tx: &mut dyn Transaction,
        completed: &Completed,
        recorded: &Recorded,
        now: Timestamp,
    ) -> Result<()> {
        if let Some((provider, signal)) = signal_of(completed, recorded, now) {
            let others = open_attempts(tx, provider, &signal)?;
            let after = self.change_provider(tx, provider, |gate| gate.after(&signal, others))?;
            self.signalled.insert(provider, after);
            if let Some(attempt) = submitted_attempt(completed) {
                self.change_route(tx, attempt, |gate| gate.after(&signal))?;
            }
        } else if let Some(attempt) = submitted_attempt(completed) {
            self.end_alone(tx, attempt)?;
        }
        Ok(())
    }

    /// Lets others follow a submission that has ended, in case it went alone.
    pub(super) fn end_alone(&mut self, tx: &mut dyn Transaction, attempt: &Attempt) -> Result<()> {
        self.change_provider(tx, attempt.provider, ProviderGate::not_submitting)?;
        self.change_route(tx, attempt, RouteGate::not_submitting)
    }

    /// Learns the price of a route from the bill of an attempt.
    pub(super) fn record_bill(
        &mut self,
        tx: &mut dyn Transaction,
        attempt: &Attempt,
        cost: Cost,
        now: Timestamp,
    ) -> Result<()> {
        let estimate = attempt.progress.estimate;
        if cost.amount == estimate {
            return Ok(());
        }
        self.change_route(tx, attempt, |gate| {
            gate.after_bill(estimate, cost, attempt.submitted_at, now)
        })
    }

    /// Returns the gates of the providers that something was revealed about.
    pub(super) fn into_signalled(self) -> Gates {
        self.signalled
    }

    fn change_provider(
        &mut self,
        tx: &mut dyn Transaction,
        provider: ProviderName,
        change: impl FnOnce(&ProviderGate) -> ProviderGate,
    ) -> Result<ProviderGate> {
        let known = match &mut self.providers {
            Some(known) => known,
            unread => {
                let used = tx.providers()?.into_iter();
                unread.insert(used.map(|(name, used)| (name, used.gate)).collect())
            }
        };
        let gate = known.entry(provider).or_default();
        let after = change(gate);
        if after != *gate {
            tx.set_gate(provider, &after)?;
            gate.clone_from(&after);
        }
        Ok(after)
    }

    fn change_route(
        &mut self,
        tx: &mut dyn Transaction,
        attempt: &Attempt,
        change: impl FnOnce(&RouteGate) -> RouteGate,
    ) -> Result<()> {
        let known = match &mut self.routes {
            Some(known) => known,
            unread => unread.insert(tx.routes()?),
        };
        let route = (attempt.provider, attempt.wire_model.clone());
        let gate = known.get(&route).cloned().unwrap_or_default();
        let after = change(&gate);
        if after != gate {
            tx.set_route(&route, &after)?;
            known.insert(route, after);
        }
        Ok(())
    }
}

/// Returns what a completed step revealed about its provider, given what was recorded of it.
fn signal_of<'a>(
    completed: &'a Completed,
    recorded: &Recorded,
    now: Timestamp,
) -> Option<(ProviderName, Cow<'a, ProviderSignal>)> {
    match completed {
        Completed::Step { claim, signal, .. } => {
            let provider = claim.attempt.provider;
            let signal = signal.as_ref()?;
            if let Recorded::Job {
                instead: Some(instead),
                ..
            } = recorded
                && *signal == ProviderSignal::Healthy
            {
                let signal = taken_prediction::signal_instead(instead, now)?;
                return Some((provider, Cow::Owned(signal)));
            }
            Some((provider, Cow::Borrowed(signal)))
        }
        Completed::Upload { claim, signal, .. } => {
            Some((claim.provider, Cow::Borrowed(signal.as_ref()?)))
        }
        Completed::NotStarted { .. } | Completed::Panicked { .. } | Completed::Released { .. } => {
            None
        }
    }
}

/// Returns the attempt of a submission that has ended.
fn submitted_attempt(completed: &Completed) -> Option<&Attempt> {
    match completed {
        Completed::Step { claim, .. } | Completed::NotStarted { claim } => {
            (claim.step == Step::Submit).then_some(&claim.attempt)
        }
        Completed::Panicked { .. } | Completed::Released { .. } | Completed::Upload { .. } => None,
    }
}

/// Returns the number of open attempts at a provider, without the refused one that a signal is
/// about, if the signal's meaning depends on it; 0 otherwise.
fn open_attempts(
    tx: &dyn Transaction,
    provider: ProviderName,
    signal: &ProviderSignal,
) -> Result<u32> {
    if !matches!(signal, ProviderSignal::BalanceInUse { .. }) {
        return Ok(0);
    }
    let used = tx.providers()?.remove(&provider).unwrap_or_default();
    Ok(used.in_flight)
}

/// Writes the gates that a plan has changed.
pub(super) fn write_planned(
    tx: &mut dyn Transaction,
    view: &ClaimView,
    plan: &ClaimPlan,
) -> Result<()> {
    for (before, after) in view.providers.iter().zip(&plan.providers) {
        if before.gate != after.gate {
            tx.set_gate(after.limits.provider, &after.gate)?;
        }
    }
    for (route, gate) in &plan.routes {
        if view.routes.get(route) != Some(gate) {
            tx.set_route(route, gate)?;
        }
    }
    Ok(())
}
