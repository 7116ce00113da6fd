//! Writes what the rules change in a job and its attempt.

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql, params, params_from_iter};

use crate::domain::{Attempt, AttemptId, AttemptProgress, ProviderName};
use crate::policy::Change;
use crate::policy::tally::Tally;
use crate::queue::Result;
use crate::queue::stored_update::{Before, LeaseChange, StoredValue, Update, update_attempt};

use super::paths;
use super::row::query_value;

/// What is in front of the number of a parameter.
const MARKER: char = '?';

/// Writes a change of a job, unless its lease is not the one that it must have. Returns whether it was
/// written, and adds it to a tally, which the caller writes, if it was.
pub(super) fn write(
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
