//! The gates of the providers, in the table `providers`.

use rusqlite::{Connection, params};

use crate::domain::ProviderName;
use crate::policy::gate::ProviderGate;
use crate::queue::Result;

use super::row::execute;

/// Writes the gate of a provider. Its row usually comes with the provider's first attempt, but an
/// upload may fail before that.
pub(super) fn write(tx: &Connection, provider: ProviderName, gate: &ProviderGate) -> Result<()> {
    execute(
        tx,
        "INSERT INTO providers (provider, creates_from, calls_from, failures, paused, refuses_looks,
                                hold_reason, alone, alone_until, waits_below, lost_responses, lost_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
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
            gate.failures,
            gate.suspended,
            gate.refuses_polls,
            gate.hold_reason,
            gate.is_alone,
            gate.alone_until.as_millisecond(),
            gate.waits_below,
            gate.lost_responses,
            gate.lost_at.as_millisecond(),
        ],
    )?;
    Ok(())
}
