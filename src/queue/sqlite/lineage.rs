//! Which queue a file is, how old, and with which keys it was run, in the table `meta`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::ProviderName;
use crate::queue::stored_row::{StoredRow, timestamp_from_millis};
use crate::queue::{Lineage, Result};

use super::clock_changes::{read_meta, write_meta};
use super::row::{execute, query_value, select};

/// What the active runs agree on.
const RUN_SETUP: &str = "run_setup";

/// Since when the queue may not know what was paid for.
const DOUBT: &str = "doubt_since";

/// Since when another queue has paid for what may be loaded yet.
const UNCLAIMED: &str = "unclaimed_since";

/// Reads which queue a file is, and how old.
pub(super) fn read(connection: &Connection) -> Result<Lineage> {
    let generation = text(connection, "generation")?;
    Ok(Lineage {
        queue_id: text(connection, "queue_id")?.unwrap_or_default(),
        generation: generation.and_then(|text| text.parse().ok()).unwrap_or(0),
        last_attempt: query_value(connection, "SELECT max(attempt_id) FROM attempts", [])?
            .unwrap_or(0),
        last_seen: match read_meta(connection, "seen_at")? {
            Some(seen_at) => Some(seen_at),
            None => first_batch(connection)?,
        },
        doubt_since: read_meta(connection, DOUBT)?,
        unclaimed_since: read_meta(connection, UNCLAIMED)?,
        has_other_server: false,
        providers: providers(connection)?,
        fresh: fresh_batches(connection)?,
    })
}

/// Returns the providers whose keys have marks.
fn providers(connection: &Connection) -> Result<BTreeSet<ProviderName>> {
    let mut providers = BTreeSet::new();
    for provider in ProviderName::ALL {
        if key_mark(connection, provider)?.is_some() {
            providers.insert(provider);
        }
    }
    Ok(providers)
}

fn fresh_batches(connection: &Connection) -> Result<BTreeMap<String, Timestamp>> {
    let sql = "SELECT name, fresh_at FROM batches WHERE fresh_at IS NOT NULL";
    let fresh = select(connection, sql, [], |columns| {
        Ok((columns.get("name")?, columns.time("fresh_at")?))
    })?;
    Ok(fresh.into_iter().collect())
}

fn first_batch(connection: &Connection) -> Result<Option<Timestamp>> {
    let sql = "SELECT min(created_at) FROM batches";
    let millis: Option<Option<i64>> = query_value(connection, sql, [])?;
    millis.flatten().map(timestamp_from_millis).transpose()
}

/// Sets the number of runs.
pub(super) fn set_generation(tx: &Connection, generation: u64) -> Result<()> {
    set_text(tx, "generation", &generation.to_string())
}

/// Sets since when the queue may not know what was paid for.
pub(super) fn set_doubt(tx: &Connection, since: Option<Timestamp>) -> Result<()> {
    set_time(tx, DOUBT, since)
}

/// Sets since when another queue has paid for what may be loaded yet.
pub(super) fn set_unclaimed(tx: &Connection, since: Option<Timestamp>) -> Result<()> {
    set_time(tx, UNCLAIMED, since)
}

fn set_time(tx: &Connection, key: &str, time: Option<Timestamp>) -> Result<()> {
    match time {
        Some(time) => write_meta(tx, key, time),
        None => execute(tx, "DELETE FROM meta WHERE key = ?1", [key]).map(|_| ()),
    }
}

/// Reads the mark of a provider's key, and when it was found to differ from the one before.
pub(super) fn key_mark(
    connection: &Connection,
    provider: ProviderName,
) -> Result<Option<(String, Option<Timestamp>)>> {
    let Some(mark) = text(connection, &format!("key_mark.{provider}"))? else {
        return Ok(None);
    };
    let changed_at = read_meta(connection, &format!("key_changed_at.{provider}"))?;
    Ok(Some((mark, changed_at)))
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
        Some(at) => write_meta(tx, &format!("key_changed_at.{provider}"), at),
        None => Ok(()),
    }
}

/// Reads what the active runs agree on.
pub(super) fn run_setup(connection: &Connection) -> Result<Option<String>> {
    text(connection, RUN_SETUP)
}

/// Stores what the active runs agree on.
pub(super) fn set_run_setup(tx: &Connection, setup: &str) -> Result<()> {
    set_text(tx, RUN_SETUP, setup)
}

fn text(connection: &Connection, key: &str) -> Result<Option<String>> {
    let sql = "SELECT value FROM meta WHERE key = ?1";
    query_value(connection, sql, [key])
}

fn set_text(tx: &Connection, key: &str, value: &str) -> Result<()> {
    execute(
        tx,
        "INSERT INTO meta (key, value) VALUES (?1, ?2)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        params![key, value],
    )?;
    Ok(())
}
