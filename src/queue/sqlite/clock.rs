//! What is left of the stored times when somebody has set this machine's clock.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

use crate::queue::Result;

use super::row::{self, execute, value};

/// Nothing waits longer than this for a time that lay close and is hours away by the new clock.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(60);

/// The clock is read to the millisecond, and may tremble; what goes back further was set.
const CLOCK_JUMP: SignedDuration = SignedDuration::from_secs(1);

/// Notes that the clock was set, and brings near what lies too far ahead by it.
pub(super) fn was_set(tx: &Connection, now: Timestamp) -> Result<()> {
    write_meta(tx, "clock_set_at", now)?;
    let soon = (now + LONGEST_WAIT).as_millisecond();
    execute(tx, "UPDATE jobs SET due_at = ?1 WHERE due_at > ?1", [soon])?;
    execute(
        tx,
        "UPDATE pools SET expires_at = ?1 WHERE expires_at > ?1",
        [soon],
    )?;
    execute(
        tx,
        "UPDATE providers SET creates_from = min(creates_from, ?1), calls_from = min(calls_from, ?1)",
        [soon],
    )?;
    let now = now.as_millisecond();
    execute(
        tx,
        "UPDATE attempts SET answered_at = ?1 WHERE answered_at > ?1",
        [now],
    )?;
    execute(
        tx,
        "UPDATE attempts SET submitted_at = ?1 WHERE finished_at IS NULL AND state <> 'accepted' AND submitted_at > ?1",
        params![now],
    )?;
    Ok(())
}

/// Tells when the clock was set last, by the clock since.
pub(super) fn set_at(connection: &Connection) -> Result<Option<Timestamp>> {
    read_meta(connection, "clock_set_at")
}

/// Notes the time of a sign of life, and finds out whether the clock was set back since the last one.
pub(super) fn see(tx: &Connection, now: Timestamp) -> Result<()> {
    if read_meta(tx, "seen_at")?.is_some_and(|seen| now + CLOCK_JUMP < seen) {
        was_set(tx, now)?;
    }
    write_meta(tx, "seen_at", now)
}

fn read_meta(connection: &Connection, key: &str) -> Result<Option<Timestamp>> {
    let millis: Option<i64> = value(
        connection,
        "SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?1",
        [key],
    )?;
    millis.map(row::time).transpose()
}

fn write_meta(tx: &Connection, key: &str, time: Timestamp) -> Result<()> {
    execute(
        tx,
        "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        params![key, time.as_millisecond().to_string()],
    )?;
    Ok(())
}
