//! Writes what the rules change in a job and its attempt.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::connection::Connection;
use crate::domain::{Attempt, AttemptProgress};
use crate::policy::Change;
use crate::policy::tally::Tally;
use crate::queue::Result;
use crate::queue::stored_update::{Before, LeaseChange, StoredValue, Update, update_attempt};

/// What is in front of the number of a parameter.
const MARKER: char = '$';

/// Writes a change of a job, unless its lease is not the one that it must have. Returns whether it was
/// written, and adds it to a tally, which the caller writes, if it was.
pub(super) fn write(
    tx: &Connection,
    before: &Before<'_>,
    change: &Change,
    lease: LeaseChange,
    tally: &mut Tally,
) -> Result<bool> {
    if !execute(tx, before.update_job(MARKER, &change.job, lease))? {
        return Ok(false);
    }
    post_others(tx, before, change, tally)?;
    Ok(true)
}

/// Writes a change of a job whose lease is known to be the one that it must have, and adds it to a tally.
pub(super) fn post(
    tx: &Connection,
    before: &Before<'_>,
    change: &Change,
    lease: LeaseChange,
    tally: &mut Tally,
) -> Result<()> {
    post_update(tx, before.update_job(MARKER, &change.job, lease))?;
    post_others(tx, before, change, tally)
}

/// Writes what a change changes beside the job.
fn post_others(
    tx: &Connection,
    before: &Before<'_>,
    change: &Change,
    tally: &mut Tally,
) -> Result<()> {
    // The clip is in the other table, which hardly ever changes.
    let mut clip = Update::new(MARKER, "rows", ("job_id", before.job_id));
    before.update_clip(&mut clip, &change.job, |file| {
        file.path.to_string_lossy().into_owned()
    });
    if !clip.is_empty() {
        post_update(tx, clip)?;
    }
    if let Some(update) = before.update_attempt(MARKER, change)? {
        post_update(tx, update)?;
    }
    before.add_to(tally, change);
    Ok(())
}

/// Writes a change of an attempt.
pub(super) fn write_attempt(
    tx: &Connection,
    attempt: &Attempt,
    new: &AttemptProgress,
) -> Result<()> {
    match update_attempt(MARKER, attempt, new)? {
        Some(update) => post_update(tx, update),
        None => Ok(()),
    }
}

/// Updates a row that exists.
fn post_update(tx: &Connection, update: Update) -> Result<()> {
    let (sql, values) = update.into_statement();
    let values = values.into_iter().map(|value| Box::new(value) as _);
    tx.post(&sql, values.collect())
}

/// Updates a row. Returns whether there is one.
fn execute(tx: &Connection, update: Update) -> Result<bool> {
    let (sql, values) = update.into_statement();
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
    Ok(tx.execute(&sql, &values)? == 1)
}

impl ToSql for StoredValue {
    fn to_sql(
        &self,
        column: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) => number.to_sql(column, out),
            Self::Text(text) => text.to_sql(column, out),
        }
    }

    fn accepts(column: &Type) -> bool {
        <i64 as ToSql>::accepts(column) || <String as ToSql>::accepts(column)
    }

    to_sql_checked!();
}
