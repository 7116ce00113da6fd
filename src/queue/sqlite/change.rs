//! Writes what the rules change in a job and its attempt.

use std::fmt::Write;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql, params, params_from_iter};

use crate::domain::{Attempt, AttemptId, AttemptProgress, ProviderName};
use crate::policy::Change;
use crate::policy::tally::Tally;
use crate::queue::Result;
use crate::queue::stored_update::{Before, LeaseChange, StoredValue, Update, update_attempt};

use super::paths;
use super::row::query_value;

/// Writes a change of a job, unless its lease is not the one that it must have. Returns whether it was
/// written, and adds it to a tally, which the caller writes, if it was.
pub(super) fn write(
    tx: &Connection,
    before: &Before<'_>,
    change: &Change,
    lease: LeaseChange,
    tally: &mut Tally,
) -> Result<bool> {
    let mut update = before.update_job(&change.job, lease);
    before.update_clip(&mut update, &change.job, |file| {
        paths::to_stored(tx, &file.location)
    });
    if !execute(tx, update)? {
        return Ok(false);
    }
    if let Some(update) = before.update_attempt(change)? {
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
    match update_attempt(attempt, new)? {
        Some(update) => execute(tx, update).map(drop),
        None => Ok(()),
    }
}

/// Updates a row. Returns whether there is one.
fn execute(tx: &Connection, update: Update) -> Result<bool> {
    let sql = update.statement("", |sql, index| {
        // Writing to a text does not fail.
        let _ = write!(sql, "?{}", index + 1);
    });
    let key = StoredValue::Integer(Some(update.key.1));
    let token = update.needed_token();
    let token = token.map(|token| StoredValue::Integer(Some(token)));
    let values = update.values.into_iter().map(|(_, value)| value);
    let values = values.chain([key]).chain(token);
    let changed = tx.prepare_cached(&sql)?.execute(params_from_iter(values))?;
    Ok(changed == 1)
}

impl ToSql for StoredValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Integer(Some(number)) => ToSqlOutput::Owned(Value::Integer(*number)),
            Self::Text(Some(text)) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Integer(None) | Self::Text(None) => ToSqlOutput::Owned(Value::Null),
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
