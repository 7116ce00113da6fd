//! The gates of the routes, in the table `routes`.

use rusqlite::{Connection, params};

use crate::policy::route_gate::RouteGate;
use crate::queue::Result;
use crate::queue::claim_reads::{RouteGates, RouteId};
use crate::queue::stored_row::StoredRow;
use crate::queue::stored_values::read_route_gate;

use super::row::{execute, nullable_millis, select};

/// Writes the gate of a route.
pub(super) fn write(
    tx: &Connection,
    (provider, wire_model): &RouteId,
    gate: &RouteGate,
) -> Result<()> {
    let price = gate.price;
    execute(
        tx,
        "INSERT INTO routes (provider, wire_model, held_until, alone_until, hold_reason, priced,
                             billed, learned_at, price_accepted)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
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

/// Reads the gates of all routes that have one. They are few: one a model and provider at most.
pub(super) fn read(tx: &Connection) -> Result<RouteGates> {
    let gates = select(tx, "SELECT * FROM routes", [], |columns| {
        let route = (columns.parse("provider")?, columns.get("wire_model")?);
        Ok((route, read_route_gate(columns)?))
    })?;
    Ok(gates.into_iter().collect())
}
