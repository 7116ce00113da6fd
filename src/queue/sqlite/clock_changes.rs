//! Adjusts stored times after the clock of this machine was changed.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

use crate::queue::Result;

use super::row::{self, execute, query_value};

/// Maximum remaining wait after a clock change.
///
/// A time that was near when it was stored may be hours ahead of the new clock.
const MAX_WAIT: SignedDuration = SignedDuration::from_secs(60);

/// Backward steps up to this size are jitter; larger ones mean that the clock was changed.
const CLOCK_JUMP: SignedDuration = SignedDuration::from_secs(1);

/// Records that the clock was changed, and corrects stored times that are too far ahead of it.
pub(super) fn record_change(tx: &Connection, now: Timestamp) -> Result<()> {
    write_meta(tx, "clock_set_at", now)?;
    let latest = (now + MAX_WAIT).as_millisecond();
    execute(
        tx,
        "UPDATE jobs SET due_at = ?1 WHERE due_at > ?1",
        [latest],
    )?;
    execute(
        tx,
        "UPDATE pools SET expires_at = ?1 WHERE expires_at > ?1",
        [latest],
    )?;
    execute(
        tx,
        "UPDATE providers
         SET creates_from = min(creates_from, ?1), calls_from = min(calls_from, ?1)",
        [latest],
    )?;
    let now = now.as_millisecond();
    execute(
        tx,
        "UPDATE attempts SET answered_at = ?1 WHERE answered_at > ?1",
        [now],
    )?;
    execute(
        tx,
        "UPDATE attempts SET submitted_at = ?1
         WHERE finished_at IS NULL AND state <> 'accepted' AND submitted_at > ?1",
        params![now],
    )?;
    Ok(())
}

/// Returns when the clock was last changed, in the time of the changed clock; `None` if never.
pub(super) fn last_change(connection: &Connection) -> Result<Option<Timestamp>> {
    read_meta(connection, "clock_set_at")
}

/// Records the time of a pool's heartbeat, and detects whether the clock has gone back since the
/// last one.
pub(super) fn record_heartbeat(tx: &Connection, now: Timestamp) -> Result<()> {
    if read_meta(tx, "seen_at")?.is_some_and(|seen_at| now + CLOCK_JUMP < seen_at) {
        record_change(tx, now)?;
    }
    write_meta(tx, "seen_at", now)
}

fn read_meta(connection: &Connection, key: &str) -> Result<Option<Timestamp>> {
    let millis: Option<i64> = query_value(
        connection,
        "SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?1",
        [key],
    )?;
    millis.map(row::timestamp_from_millis).transpose()
}

fn write_meta(tx: &Connection, key: &str, time: Timestamp) -> Result<()> {
    execute(
        tx,
        "INSERT INTO meta (key, value) VALUES (?1, ?2)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        params![key, time.as_millisecond().to_string()],
    )?;
    Ok(())
}
