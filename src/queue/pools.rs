//! The pools of a queue: registration, heartbeats and the removal of dead pools.

use jiff::{SignedDuration, Timestamp};

use crate::domain::{JobState, PoolId};
use crate::policy::takeover;

use super::storage::{JobSet, Snapshot, Transaction};
use super::turn_gates::TurnGates;
use super::{LEASE_DURATION, PoolRecord, QueueError, Result, SettingChange};

/// Maximum remaining wait after a clock change.
///
/// A time that was near when it was stored may be hours ahead of the new clock.
const MAX_WAIT: SignedDuration = SignedDuration::from_secs(60);

/// Backward steps up to this size are jitter; larger ones mean that the clock was changed.
const CLOCK_JUMP: SignedDuration = SignedDuration::from_secs(1);

/// Registers a pool of this process. Removes the live settings if no other pool is active.
pub(super) fn join(
    tx: &mut dyn Transaction,
    pool: &PoolId,
    host: &str,
    now: Timestamp,
) -> Result<()> {
    if list_active(tx, host, now)?.is_empty() {
        tx.set_settings(&[])?;
    }
    record_heartbeat(tx, now)?;
    let record = PoolRecord {
        host: host.to_owned(),
        pid: std::process::id(),
        started_at: now,
        expires_at: expires_at(now),
    };
    tx.put_pool(pool, &record)
}

/// Renews a pool's leases.
///
/// # Errors
///
/// [`QueueError::PoolLost`] if the pool is no longer registered.
pub(super) fn heartbeat(tx: &mut dyn Transaction, pool: &PoolId, now: Timestamp) -> Result<()> {
    record_heartbeat(tx, now)?;
    let mut pools = tx.pools()?.into_iter();
    let known = pools.find(|(pool_id, _)| pool_id == pool);
    let (_, record) = known.ok_or_else(|| QueueError::PoolLost(pool.clone()))?;
    let renewed = PoolRecord {
        expires_at: expires_at(now),
        ..record
    };
    tx.put_pool(pool, &renewed)
}

/// Returns when the leases of a pool expire that joins or sends a heartbeat now.
fn expires_at(now: Timestamp) -> Timestamp {
    now.saturating_add(LEASE_DURATION).unwrap_or(Timestamp::MAX)
}

/// Removes a pool and releases its leases. Returns how many jobs were released.
pub(super) fn remove(tx: &mut dyn Transaction, pool: &PoolId, now: Timestamp) -> Result<usize> {
    let orphans = tx.stored_jobs(JobSet::LeasedBy(pool))?;
    let mut gates = TurnGates::default();
    for job in &orphans {
        let attempt = job.current_attempt()?;
        let change = takeover::release(&job.progress, &attempt.progress, now)?;
        tx.write(job, &change)?;
        if job.progress.state == JobState::Submitting {
            gates.end_alone(tx, attempt)?;
        }
    }
    tx.remove_pool(pool)?;
    Ok(orphans.len())
}

/// Lists the pools that are not known to be dead, oldest first. Whether a pool of another machine is
/// alive cannot be checked, so expired ones are listed too.
pub(super) fn list_running<S: Snapshot + ?Sized>(snapshot: &S) -> Result<Vec<PoolRecord>> {
    let pools = snapshot.pools()?.into_iter();
    let running = pools.filter(|(pool, record)| !snapshot.is_dead(pool, record));
    Ok(running.map(|(_, record)| record).collect())
}

/// Lists the pools that are at work, oldest first.
///
/// A pool of another machine must not have expired. A pool of this machine that is not known to be
/// dead may have expired while the machine was asleep.
pub(super) fn list_active<S: Snapshot + ?Sized>(
    snapshot: &S,
    host: &str,
    now: Timestamp,
) -> Result<Vec<PoolRecord>> {
    let mut pools = list_running(snapshot)?;
    pools.retain(|pool| pool.host == host || pool.expires_at > now);
    Ok(pools)
}

/// Lists the pools that are dead or have expired.
pub(super) fn list_dead<S: Snapshot + ?Sized>(snapshot: &S, now: Timestamp) -> Result<Vec<PoolId>> {
    let pools = snapshot.pools()?.into_iter();
    let dead =
        pools.filter(|(pool, record)| snapshot.is_dead(pool, record) || record.expires_at <= now);
    Ok(dead.map(|(pool, _)| pool).collect())
}

/// Returns the changed settings that are in force.
///
/// They end with the last run that applies them. A killed run leaves them in the store, so that is
/// decided here.
pub(super) fn live_settings<S: Snapshot + ?Sized>(snapshot: &S) -> Result<Vec<SettingChange>> {
    if list_running(snapshot)?.is_empty() {
        return Ok(Vec::new());
    }
    snapshot.settings()
}

/// Records that the clock was changed, and corrects stored times that are too far ahead of it.
pub(super) fn record_clock_change(tx: &mut dyn Transaction, now: Timestamp) -> Result<()> {
    tx.change_clock(now, now + MAX_WAIT)
}

/// Records the time of a pool's heartbeat, and detects whether the clock has gone back since the
/// last one.
pub(super) fn record_heartbeat(tx: &mut dyn Transaction, now: Timestamp) -> Result<()> {
    let last = tx.replace_last_heartbeat(now)?;
    if last.is_some_and(|last| now + CLOCK_JUMP < last) {
        record_clock_change(tx, now)?;
    }
    Ok(())
}
