//! Writes what the rules change in a job and its attempt.

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql, params, params_from_iter};

use crate::domain::{Attempt, AttemptId, AttemptProgress, ProviderName};
use crate::policy::Change;
use crate::policy::tally::Tally;
use crate::queue::storage::StoredJob;
use crate::queue::stored_update::{Before, LeaseChange, StoredValue, Update, update_attempt};
use crate::queue::{Claim, Result};

use super::paths;
use super::row::query_value;

/// What is in front of the number of a parameter.
const MARKER: char = '?';

/// Writes a change of a job and ends its lease, if there is one. Adds the change to a tally, which
/// the caller writes.
pub(super) fn write(
    tx: &Connection,
    job: &StoredJob,
    change: &Change,
    tally: &mut Tally,
) -> Result<()> {
    write_if(tx, &job.into(), change, LeaseChange::End, tally).map(drop)
}

/// Writes a change of a leased job, and ends the lease unless it is `held` further. Returns whether
/// it was written: not if the lease is no longer current. Adds a written change to a tally, which
/// the caller writes.
pub(super) fn write_leased(
    tx: &Connection,
    claim: &Claim,
    change: &Change,
    held: bool,
    tally: &mut Tally,
) -> Result<bool> {
    let lease = LeaseChange::after(claim, held);
    write_if(tx, &claim.into(), change, lease, tally)
}

fn write_if(
    tx: &Connection,
    before: &Before<'_>,
    change: &Change,
    lease: LeaseChange,
    tally: &mut Tally,
) -> Result<bool> {
    let mut update = before.update_job(MARKER, &change.job, lease);
    before.update_clip(&mut update, &change.job, |file| {
        paths::to_stored(tx, &file.path)
    });
    if !execute(tx, update)? {
        return Ok(false);
    }
    if let Some(update) = before.update_attempt(MARKER, change)? {
        execute(tx, update)?;
    }
    before.add_to(tally, change);
    Ok(true)
}

/// Writes a change of an attempt.
pub(super) fn write_attempt(
    tx: &Connection,
    attempt: &Attempt,
    new: &AttemptProgress,
) -> Result<()> {
    match update_attempt(MARKER, attempt, new)? {
        Some(update) => execute(tx, update).map(drop),
        None => Ok(()),
    }
}

/// Updates a row. Returns whether there is one.
fn execute(tx: &Connection, update: Update) -> Result<bool> {
    let (sql, values) = update.into_statement();
    let changed = tx.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    Ok(changed == 1)
}

impl ToSql for StoredValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Integer(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

/// Returns the job that a prediction belongs to, other than through this attempt.
pub(super) fn prediction_owner(
    tx: &Connection,
    provider: ProviderName,
    prediction_id: &str,
    except: AttemptId,
) -> Result<Option<i64>> {
    query_value(
        tx,
        "SELECT job_id FROM attempts
         WHERE provider = ?1 AND prediction_id = ?2 AND attempt_id <> ?3",
        params![provider.as_str(), prediction_id, except.0],
    )
}
