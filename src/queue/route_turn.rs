//! What a turn reads and writes of the gates of routes. The rules are in
//! [`policy::route_gate`](crate::policy::route_gate).

use jiff::Timestamp;

use crate::domain::{Attempt, Cost, ProviderSignal};
use crate::policy::claim::{ClaimPlan, ClaimView, Step};

use super::storage::Transaction;
use super::{Completed, Result};

/// Records what a submission revealed about its route.
pub(super) fn record_signal(
    tx: &mut dyn Transaction,
    completed: &Completed,
    signal: &ProviderSignal,
) -> Result<()> {
    let Completed::Step { claim, .. } = completed else {
        return Ok(());
    };
    if claim.step != Step::Submit {
        return Ok(());
    }
    let attempt = &claim.attempt;
    let route = (attempt.provider, attempt.wire_model.clone());
    let known = tx.routes()?.remove(&route).unwrap_or_default();
    let after = known.after(signal);
    if after != known {
        tx.set_route(&route, &after)?;
    }
    Ok(())
}

/// Returns the attempt of a submission that has ended and revealed nothing about its provider.
pub(super) fn silent_submission(completed: &Completed) -> Option<&Attempt> {
    match completed {
        Completed::Step {
            claim,
            signal: None,
            ..
        }
        | Completed::NotStarted { claim } => (claim.step == Step::Submit).then_some(&claim.attempt),
        _ => None,
    }
}

/// Lets others follow a submission that has ended, in case it went alone.
pub(super) fn end_alone(tx: &mut dyn Transaction, attempt: &Attempt) -> Result<()> {
    let provider = attempt.provider;
    let gate = tx.providers()?.remove(&provider).unwrap_or_default().gate;
    if gate != gate.not_submitting() {
        tx.set_gate(provider, &gate.not_submitting())?;
    }
    let route = (provider, attempt.wire_model.clone());
    let gate = tx.routes()?.remove(&route).unwrap_or_default();
    if gate != gate.not_submitting() {
        tx.set_route(&route, &gate.not_submitting())?;
    }
    Ok(())
}

/// Learns the price of a route from the bill of an attempt.
pub(super) fn record_bill(
    tx: &mut dyn Transaction,
    attempt: &Attempt,
    cost: Cost,
    now: Timestamp,
) -> Result<()> {
    let estimate = attempt.progress.estimate;
    if cost.amount == estimate {
        return Ok(());
    }
    let route = (attempt.provider, attempt.wire_model.clone());
    let known = tx.routes()?.remove(&route).unwrap_or_default();
    let after = known.after_bill(estimate, cost, attempt.submitted_at, now);
    if after != known {
        tx.set_route(&route, &after)?;
    }
    Ok(())
}

/// Writes the gates that a plan has changed.
pub(super) fn write_gates(
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
