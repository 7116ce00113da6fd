//! Which queue this is, how old, and what became of its clock, in the table `meta`.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::connection::Connection;
use super::row::params;
use crate::domain::ProviderName;
use crate::policy::claim::PARKED_FROM;
use crate::queue::stored_row::{StoredRow, timestamp_from_millis};
use crate::queue::{Lineage, Result};

/// The random id of the queue.
pub(super) const QUEUE_ID: &str = "queue_id";

/// Since when the queue may not know what was paid for.
pub(super) const DOUBT: &str = "doubt_since";

/// Since when another queue has paid for what may be loaded yet.
pub(super) const UNCLAIMED: &str = "unclaimed_since";

/// The server on which the last run began.
const SERVER: &str = "server";

/// The number of runs.
const GENERATION: &str = "generation";

/// When the clock was last changed.
pub(super) const CLOCK_CHANGE: &str = "clock_set_at";

/// What the active runs agree on.
pub(super) const RUN_SETUP: &str = "run_setup";

/// The latest heartbeat of a pool.
const LAST_HEARTBEAT: &str = "seen_at";

/// Reads which queue this is, and how old.
pub(super) fn lineage(tx: &Connection) -> Result<Lineage> {
    let generation = text(tx, GENERATION)?;
    let mut providers = BTreeSet::new();
    for provider in ProviderName::ALL {
        if key_mark(tx, provider)?.is_some() {
            providers.insert(provider);
        }
    }
    let fresh = tx.select(
        "SELECT name, fresh_at FROM batches WHERE fresh_at IS NOT NULL",
        &[],
        |columns| Ok((columns.get("name")?, columns.time("fresh_at")?)),
    )?;
    let first_batch = || {
        let millis: Option<i64> = tx.value("SELECT min(created_at) FROM batches", &[])?;
        millis.map(timestamp_from_millis).transpose()
    };
    Ok(Lineage {
        queue_id: text(tx, QUEUE_ID)?.unwrap_or_default(),
        generation: generation.and_then(|text| text.parse().ok()).unwrap_or(0),
        last_attempt: tx
            .value("SELECT max(attempt_id) FROM attempts", &[])?
            .unwrap_or(0),
        last_seen: match time(tx, LAST_HEARTBEAT)? {
            Some(seen_at) => Some(seen_at),
            None => first_batch()?,
        },
        doubt_since: time(tx, DOUBT)?,
        unclaimed_since: time(tx, UNCLAIMED)?,
        has_other_server: {
            let known = text(tx, SERVER)?;
            known.is_some() && known.as_ref() != tx.server()
        },
        providers,
        fresh: fresh.into_iter().collect(),
    })
}

/// Reads the mark of a provider's key, and when it was found to differ from the one before.
pub(super) fn key_mark(
    tx: &Connection,
    provider: ProviderName,
) -> Result<Option<(String, Option<Timestamp>)>> {
    let Some(mark) = text(tx, &format!("key_mark.{provider}"))? else {
        return Ok(None);
    };
    Ok(Some((
        mark,
        time(tx, &format!("key_changed_at.{provider}"))?,
    )))
}

/// Stores the mark of a provider's key, and when it was found to differ from the one before.
pub(super) fn set_key_mark(
    tx: &Connection,
    provider: ProviderName,
    mark: &str,
    changed_at: Option<Timestamp>,
) -> Result<()> {
    set_text(tx, &format!("key_mark.{provider}"), mark)?;
    match changed_at {
        Some(at) => set_time(tx, &format!("key_changed_at.{provider}"), Some(at)),
        None => Ok(()),
    }
}

/// Stores the time of a pool's heartbeat, and returns that of the last one.
pub(super) fn replace_last_heartbeat(tx: &Connection, now: Timestamp) -> Result<Option<Timestamp>> {
    let last = time(tx, LAST_HEARTBEAT)?;
    set_time(tx, LAST_HEARTBEAT, Some(now))?;
    Ok(last)
}

/// Records that the clock was changed, and corrects stored times that are too far ahead of it.
pub(super) fn record_clock_change(
    tx: &Connection,
    now: Timestamp,
    latest: Timestamp,
) -> Result<()> {
    set_time(tx, CLOCK_CHANGE, Some(now))?;
    let latest = latest.as_millisecond();
    tx.execute(
        "UPDATE jobs SET due_at = $1 WHERE due_at > $1 AND due_at < $2",
        params![latest, PARKED_FROM.as_millisecond()],
    )?;
    for sql in [
        "UPDATE pools SET expires_at = $1 WHERE expires_at > $1",
        "UPDATE providers
         SET creates_from = least(creates_from, $1), calls_from = least(calls_from, $1),
             alone_until = least(alone_until, $1), lost_at = least(lost_at, $1)",
        "UPDATE routes
         SET held_until = least(held_until, $1), alone_until = least(alone_until, $1),
             learned_at = CASE WHEN learned_at IS NULL THEN NULL ELSE least(learned_at, $1) END",
    ] {
        tx.execute(sql, params![latest])?;
    }
    let now = now.as_millisecond();
    for sql in [
        "UPDATE attempts SET answered_at = $1 WHERE answered_at > $1",
        "UPDATE attempts SET submitted_at = $1
         WHERE finished_at IS NULL AND state <> 'accepted' AND submitted_at > $1",
    ] {
        tx.execute(sql, params![now])?;
    }
    Ok(())
}

/// Stores the number of runs, and the server on which the last of them begins.
pub(super) fn set_generation(tx: &Connection, generation: u64) -> Result<()> {
    set_text(tx, GENERATION, &generation.to_string())?;
    match tx.server() {
        Some(server) => set_text(tx, SERVER, server),
        None => tx
            .execute("DELETE FROM meta WHERE key = $1", params![SERVER])
            .map(drop),
    }
}

/// Returns a value; `None` if there is none.
pub(super) fn text(tx: &Connection, key: &str) -> Result<Option<String>> {
    tx.value("SELECT value FROM meta WHERE key = $1", params![key])
}

/// Stores a value.
pub(super) fn set_text(tx: &Connection, key: &str, value: &str) -> Result<()> {
    tx.execute(
        "INSERT INTO meta (key, value) VALUES ($1, $2)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        params![key, value],
    )?;
    Ok(())
}

/// Returns a time; `None` if there is none.
pub(super) fn time(tx: &Connection, key: &str) -> Result<Option<Timestamp>> {
    let sql = "SELECT value::BIGINT FROM meta WHERE key = $1";
    let millis: Option<i64> = tx.value(sql, params![key])?;
    millis.map(timestamp_from_millis).transpose()
}

/// Stores or removes a time.
pub(super) fn set_time(tx: &Connection, key: &str, time: Option<Timestamp>) -> Result<()> {
    match time {
        Some(time) => set_text(tx, key, &time.as_millisecond().to_string()),
        None => tx
            .execute("DELETE FROM meta WHERE key = $1", params![key])
            .map(drop),
    }
}
