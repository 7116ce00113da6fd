//! What a turn is known to need before it begins.

use super::record::found_prediction;
use super::storage::TurnReads;
use super::{Claim, Completed, Turn};

/// Returns what a turn is known to need.
pub(super) fn of(turn: &Turn) -> TurnReads {
    let claims = turn.completed.iter().filter_map(claim_of);
    let found = turn.completed.iter().filter_map(|completed| {
        let Completed::Step { claim, outcome, .. } = completed else {
            return None;
        };
        let id = found_prediction(outcome)?;
        Some((claim.attempt.provider, id.to_owned()))
    });
    TurnReads {
        pool: turn.pool_id.clone(),
        leases: claims.map(|claim| claim.lease.clone()).collect(),
        predictions: found.collect(),
        has_claim: turn.claim.is_some(),
    }
}

/// Returns the claim of a step; `None` for an upload.
fn claim_of(completed: &Completed) -> Option<&Claim> {
    match completed {
        Completed::Step { claim, .. }
        | Completed::NotStarted { claim }
        | Completed::Panicked { claim, .. }
        | Completed::Released { claim, .. } => Some(claim),
        Completed::Upload { .. } => None,
    }
}
