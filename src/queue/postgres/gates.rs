//! The gates of providers and routes.

use super::connection::Connection;
use super::row::{Columns, nullable_millis, values};
use crate::domain::ProviderName;
use crate::policy::gate::ProviderGate;
use crate::policy::route_gate::RouteGate;
use crate::queue::Result;
use crate::queue::claim_reads::RouteId;
use crate::queue::stored_row::StoredRow;
use crate::queue::stored_values::read_route_gate;

/// Writes the gate of a provider.
pub(super) fn write_provider(
    tx: &Connection,
    provider: ProviderName,
    gate: &ProviderGate,
) -> Result<()> {
    tx.post(
        "INSERT INTO providers (provider, creates_from, calls_from, failures, paused, refuses_looks,
                                hold_reason, alone, alone_until, waits_below, lost_responses, lost_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (provider) DO UPDATE SET
            creates_from = excluded.creates_from, calls_from = excluded.calls_from,
            failures = excluded.failures, paused = excluded.paused,
            refuses_looks = excluded.refuses_looks, hold_reason = excluded.hold_reason,
            alone = excluded.alone, alone_until = excluded.alone_until,
            waits_below = excluded.waits_below, lost_responses = excluded.lost_responses,
            lost_at = excluded.lost_at",
        values![
            provider.as_str(),
            gate.submits_held_until.as_millisecond(),
            gate.calls_held_until.as_millisecond(),
            i64::from(gate.failures),
            gate.suspended.clone(),
            gate.refuses_polls,
            gate.hold_reason.clone(),
            gate.is_alone,
            gate.alone_until.as_millisecond(),
            gate.waits_below.map(i64::from),
            i64::from(gate.lost_responses),
            gate.lost_at.as_millisecond(),
        ],
    )
}

/// Writes the gate of a route.
pub(super) fn write_route(
    tx: &Connection,
    (provider, wire_model): &RouteId,
    gate: &RouteGate,
) -> Result<()> {
    let price = gate.price;
    tx.post(
        "INSERT INTO routes (provider, wire_model, held_until, alone_until, hold_reason, priced,
                             billed, learned_at, price_accepted)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (provider, wire_model) DO UPDATE SET
            held_until = excluded.held_until, alone_until = excluded.alone_until,
            hold_reason = excluded.hold_reason, priced = excluded.priced, billed = excluded.billed,
            learned_at = excluded.learned_at, price_accepted = excluded.price_accepted",
        values![
            provider.as_str(),
            wire_model.clone(),
            gate.held_until.as_millisecond(),
            gate.alone_until.as_millisecond(),
            gate.hold_reason.clone(),
            price.map(|price| price.priced.micros()),
            price.map(|price| price.billed.micros()),
            nullable_millis(price.map(|price| price.learned_at)),
            price.is_some_and(|price| price.is_accepted),
        ],
    )
}

/// Reads a row of the gates of routes.
pub(super) fn read_route(columns: &Columns<'_>) -> Result<(RouteId, RouteGate)> {
    let route = (columns.parse("provider")?, columns.get("wire_model")?);
    Ok((route, read_route_gate(columns)?))
}
