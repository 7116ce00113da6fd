//! Records the outcome of a step in one transaction, fenced by its lease.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{JobId, JobState, Lease, Outcome, ProviderName, ProviderSignal};
use crate::policy;
use crate::policy::gate::ProviderGate;
use crate::queue::{QueueError, Result};

use super::change::{self, StoredJob, select_stored_jobs};
use super::row::{Columns, execute, select};

/// Records an outcome, ends the lease and returns the job's new state.
///
/// Fails with [`QueueError::LeaseLost`] if the lease has passed to another pool, and with
/// [`QueueError::IllegalTransition`] if the job's state does not allow the outcome. The transaction
/// must then be rolled back: the provider signal is written first.
pub(super) fn record_outcome(
    tx: &Connection,
    lease: &Lease,
    outcome: &Outcome,
    signal: Option<&(ProviderName, ProviderSignal)>,
    now: Timestamp,
) -> Result<JobState> {
    if let Some((provider, signal)) = signal {
        record_signal(tx, *provider, signal)?;
    }
    let job = leased_job(tx, lease)?;
    let attempt = job.current_attempt()?;
    if let Outcome::Accepted { prediction, .. } | Outcome::Adopted { prediction, .. } = outcome {
        change::ensure_unowned(tx, attempt, prediction)?;
    }
    let change = policy::outcome::apply(&job.progress, &attempt.progress, outcome, now)?;
    job.write(tx, &change)?;
    Ok(change.job.state)
}

/// Releases a step that was not started; it is due again at once.
///
/// A submission that was not sent is recorded as refused, which frees its slot and its price.
pub(super) fn release(tx: &Connection, lease: &Lease, now: Timestamp) -> Result<()> {
    let job = leased_job(tx, lease)?;
    let attempt = job.current_attempt()?;
    let change = policy::outcome::release(&job.progress, &attempt.progress, now)?;
    job.write(tx, &change)
}

/// Reads a job under its lease; fails with [`QueueError::LeaseLost`] if the token does not match.
fn leased_job(tx: &Connection, lease: &Lease) -> Result<StoredJob> {
    let JobId(job_id) = lease.job_id;
    select(
        tx,
        select_stored_jobs!("WHERE j.job_id = ?1 AND j.lease_token = ?2"),
        params![job_id, lease.token],
        StoredJob::read,
    )?
    .pop()
    .ok_or(QueueError::LeaseLost(lease.job_id))
}

/// Records what a response means for the other calls to the same provider.
pub(super) fn record_signal(
    tx: &Connection,
    provider: ProviderName,
    signal: &ProviderSignal,
) -> Result<()> {
    let stored = select(
        tx,
        "SELECT * FROM providers WHERE provider = ?1",
        [provider.as_str()],
        read_gate,
    )?;
    // The row usually comes with the provider's first attempt, but an upload may fail before that.
    let before = stored.into_iter().next().unwrap_or_default();
    let after = before.after(signal);
    if after == before {
        return Ok(());
    }
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
            after.submits_held_until.as_millisecond(),
            after.calls_held_until.as_millisecond(),
            after.failures,
            after.suspended,
            after.refuses_polls,
        ],
    )?;
    Ok(())
}

/// Reads the gate of a provider from its row.
pub(super) fn read_gate(columns: &Columns<'_, '_>) -> Result<ProviderGate> {
    Ok(ProviderGate {
        submits_held_until: columns.time("creates_from")?,
        calls_held_until: columns.time("calls_from")?,
        failures: columns.get("failures")?,
        suspended: columns.get("paused")?,
        refuses_polls: columns.get("refuses_looks")?,
    })
}
