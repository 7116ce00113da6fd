//! The gates of providers and routes.

use super::connection::Connection;
use super::row::{Columns, nullable_millis, params};
use crate::domain::{Money, ProviderName};
use crate::policy::gate::ProviderGate;
use crate::policy::route_gate::{LearnedPrice, RouteGate};
use crate::queue::Result;
use crate::queue::claim_reads::{RouteGates, RouteId};

/// Writes the gate of a provider.
pub(super) fn write_provider(
    tx: &Connection,
    provider: ProviderName,
    gate: &ProviderGate,
) -> Result<()> {
    tx.execute(
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
        params![
            provider.as_str(),
            gate.submits_held_until.as_millisecond(),
            gate.calls_held_until.as_millisecond(),
            i64::from(gate.failures),
            gate.suspended,
            gate.refuses_polls,
            gate.hold_reason,
            gate.is_alone,
            gate.alone_until.as_millisecond(),
            gate.waits_below.map(i64::from),
            i64::from(gate.lost_responses),
            gate.lost_at.as_millisecond(),
        ],
    )?;
    Ok(())
}

/// Reads a gate from a row of `providers`.
pub(super) fn provider_gate(columns: &Columns<'_>) -> Result<ProviderGate> {
    Ok(ProviderGate {
        submits_held_until: columns.time("creates_from")?,
        calls_held_until: columns.time("calls_from")?,
        failures: columns.number("failures")?,
        suspended: columns.get("paused")?,
        refuses_polls: columns.get("refuses_looks")?,
        hold_reason: columns.get("hold_reason")?,
        is_alone: columns.get("alone")?,
        alone_until: columns.time("alone_until")?,
        waits_below: columns.optional_number("waits_below")?,
        lost_responses: columns.number("lost_responses")?,
        lost_at: columns.time("lost_at")?,
    })
}

/// Writes the gate of a route.
pub(super) fn write_route(
    tx: &Connection,
    (provider, wire_model): &RouteId,
    gate: &RouteGate,
) -> Result<()> {
    let price = gate.price;
    tx.execute(
        "INSERT INTO routes (provider, wire_model, held_until, alone_until, hold_reason, priced,
                             billed, learned_at, price_accepted)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (provider, wire_model) DO UPDATE SET
            held_until = excluded.held_until, alone_until = excluded.alone_until,
            hold_reason = excluded.hold_reason, priced = excluded.priced, billed = excluded.billed,
            learned_at = excluded.learned_at, price_accepted = excluded.price_accepted",
        params![
            provider.as_str(),
            wire_model,
            gate.held_until.as_millisecond(),
            gate.alone_until.as_millisecond(),
            gate.hold_reason,
            price.map(|price| price.priced.micros()),
            price.map(|price| price.billed.micros()),
            nullable_millis(price.map(|price| price.learned_at)),
            price.is_some_and(|price| price.is_accepted),
        ],
    )?;
    Ok(())
}

/// Reads the gates of all routes that have one.
pub(super) fn read_routes(tx: &Connection) -> Result<RouteGates> {
    let gates = tx.select("SELECT * FROM routes", &[], |columns| {
        let route = (columns.parse("provider")?, columns.get("wire_model")?);
        Ok((route, route_gate(columns)?))
    })?;
    Ok(gates.into_iter().collect())
}

fn route_gate(columns: &Columns<'_>) -> Result<RouteGate> {
    let priced: Option<i64> = columns.get("priced")?;
    let price = match (priced, columns.optional_time("learned_at")?) {
        (Some(priced), Some(learned_at)) => Some(LearnedPrice {
            priced: Money::from_micros(priced),
            billed: columns.money("billed")?,
            learned_at,
            is_accepted: columns.get("price_accepted")?,
        }),
        _ => None,
    };
    Ok(RouteGate {
        held_until: columns.time("held_until")?,
        alone_until: columns.time("alone_until")?,
        hold_reason: columns.get("hold_reason")?,
        price,
    })
}
