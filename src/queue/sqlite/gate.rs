//! The gates of the providers, in the table `providers`.

use rusqlite::{Connection, params};

use crate::domain::ProviderName;
use crate::policy::gate::ProviderGate;
use crate::queue::Result;

use super::row::{Columns, execute};

/// Writes the gate of a provider. Its row usually comes with the provider's first attempt, but an
/// upload may fail before that.
pub(super) fn write(tx: &Connection, provider: ProviderName, gate: &ProviderGate) -> Result<()> {
    execute(
        tx,
        "INSERT INTO providers (provider, creates_from, calls_from, failures, paused, refuses_looks)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (provider) DO UPDATE SET
            creates_from = excluded.creates_from, calls_from = excluded.calls_from,
            failures = excluded.failures, paused = excluded.paused,
            refuses_looks = excluded.refuses_looks",
        params![
            provider.as_str(),
            gate.submits_held_until.as_millisecond(),
            gate.calls_held_until.as_millisecond(),
            gate.failures,
            gate.suspended,
            gate.refuses_polls,
        ],
    )?;
    Ok(())
}

/// Reads a gate from a row of `providers`.
pub(super) fn from_columns(columns: &Columns<'_, '_>) -> Result<ProviderGate> {
    Ok(ProviderGate {
        submits_held_until: columns.time("creates_from")?,
        calls_held_until: columns.time("calls_from")?,
        failures: columns.get("failures")?,
        suspended: columns.get("paused")?,
        refuses_polls: columns.get("refuses_looks")?,
    })
}
