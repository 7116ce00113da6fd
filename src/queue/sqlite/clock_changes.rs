//! Adjusts stored times after the clock of this machine was changed.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::policy::claim::PARKED_FROM;
use crate::queue::Result;
use crate::queue::stored_row::timestamp_from_millis;

use super::row::{execute, query_value};

/// Records that the clock was changed, and corrects stored times that are too far ahead of it.
pub(super) fn record_change(tx: &Connection, now: Timestamp, latest: Timestamp) -> Result<()> {
    write_meta(tx, "clock_set_at", now)?;
    let latest = latest.as_millisecond();
    execute(
        tx,
        "UPDATE jobs SET due_at = ?1 WHERE due_at > ?1 AND due_at < ?2",
        [latest, PARKED_FROM.as_millisecond()],
    )?;
    execute(
        tx,
        "UPDATE pools SET expires_at = ?1 WHERE expires_at > ?1",
        [latest],
    )?;
    execute(
        tx,
        "UPDATE providers
         SET creates_from = min(creates_from, ?1), calls_from = min(calls_from, ?1),
             alone_until = min(alone_until, ?1), lost_at = min(lost_at, ?1)",
        [latest],
    )?;
    execute(
        tx,
        "UPDATE routes
         SET held_until = min(held_until, ?1), alone_until = min(alone_until, ?1),
             learned_at = min(learned_at, ?1)",
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

/// Stores the time of a pool's heartbeat, and returns that of the last one.
pub(super) fn replace_last_heartbeat(tx: &Connection, now: Timestamp) -> Result<Option<Timestamp>> {
    let last = read_meta(tx, "seen_at")?;
    write_meta(tx, "seen_at", now)?;
    Ok(last)
}

pub(super) fn read_meta(connection: &Connection, key: &str) -> Result<Option<Timestamp>> {
    let millis: Option<i64> = query_value(
        connection,
        "SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?1",
        [key],
    )?;
    millis.map(timestamp_from_millis).transpose()
}

pub(super) fn write_meta(tx: &Connection, key: &str, time: Timestamp) -> Result<()> {
    execute(
        tx,
        "INSERT INTO meta (key, value) VALUES (?1, ?2)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        params![key, time.as_millisecond().to_string()],
    )?;
    Ok(())
}
