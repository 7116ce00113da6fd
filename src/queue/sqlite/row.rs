//! Converts between columns and domain types.

use std::cell::Cell;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::{FromSql, Value};
use rusqlite::{Connection, OptionalExtension, Params, Row, Statement};

use crate::domain::{Input, JobCounts, JobState, Money};
use crate::queue::{QueueError, Result};

use super::paths;

/// A row whose columns are read by name, as domain types.
///
/// Text, times and JSON that cannot be parsed are a [`QueueError::Corrupt`].
pub(super) struct Columns<'a, 'b> {
    connection: &'a Connection,
    row: &'a Row<'b>,
    /// The index after the last column that was read. Most columns are read in the order in which
    /// they are selected, so that the next one is found without a search by name.
    next: Cell<usize>,
}

impl<'a, 'b> Columns<'a, 'b> {
    fn new(connection: &'a Connection, row: &'a Row<'b>) -> Self {
        Self {
            connection,
            row,
            next: Cell::new(0),
        }
    }

    /// Returns a column's value.
    pub(super) fn get<T: FromSql>(&self, column: &str) -> Result<T> {
        let statement: &Statement<'_> = self.row.as_ref();
        let next = self.next.get();
        let is_next = next < statement.column_count() && statement.column_name(next)? == column;
        let index = if is_next {
            next
        } else {
            statement.column_index(column)?
        };
        self.next.set(index + 1);
        Ok(self.row.get(index)?)
    }

    /// Parses a TEXT column.
    pub(super) fn parse<T: FromStr<Err = String>>(&self, column: &str) -> Result<T> {
        self.get::<String>(column)?
            .parse()
            .map_err(QueueError::corrupt)
    }

    /// Parses a TEXT column; `None` if it is NULL.
    pub(super) fn parse_optional<T: FromStr<Err = String>>(
        &self,
        column: &str,
    ) -> Result<Option<T>> {
        self.get::<Option<String>>(column)?
            .map(|text| text.parse().map_err(QueueError::corrupt))
            .transpose()
    }

    /// Returns an amount stored in micro-dollars.
    pub(super) fn money(&self, column: &str) -> Result<Money> {
        Ok(Money::from_micros(self.get(column)?))
    }

    /// Returns a time stored in milliseconds since the epoch.
    pub(super) fn time(&self, column: &str) -> Result<Timestamp> {
        timestamp_from_millis(self.get(column)?)
    }

    /// Returns a time stored in milliseconds since the epoch; `None` if it is NULL.
    pub(super) fn optional_time(&self, column: &str) -> Result<Option<Timestamp>> {
        self.get::<Option<i64>>(column)?
            .map(timestamp_from_millis)
            .transpose()
    }

    /// Returns a duration stored in milliseconds; `None` if it is NULL.
    pub(super) fn optional_duration(&self, column: &str) -> Result<Option<Duration>> {
        let millis: Option<i64> = self.get(column)?;
        Ok(millis.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0))))
    }

    /// Returns a stored path as an absolute one.
    pub(super) fn path(&self, column: &str) -> Result<PathBuf> {
        let stored: String = self.get(column)?;
        Ok(paths::from_stored(self.connection, &stored))
    }

    /// Returns a stored path that is a part of a column as an absolute one.
    pub(super) fn to_path(&self, stored: &str) -> PathBuf {
        paths::from_stored(self.connection, stored)
    }

    /// Returns a stored path as an absolute one; `None` if it is NULL.
    pub(super) fn optional_path(&self, column: &str) -> Result<Option<PathBuf>> {
        let stored: Option<String> = self.get(column)?;
        Ok(stored.map(|stored| paths::from_stored(self.connection, &stored)))
    }

    /// Returns the input of a job.
    pub(super) fn input(&self, column: &str) -> Result<Input> {
        let stored: String = self.get(column)?;
        paths::input_from_stored(self.connection, &stored)
    }

    /// Deserializes a column that holds JSON.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T> {
        let text: String = self.get(column)?;
        serde_json::from_str(&text).map_err(|error| QueueError::unparsable(column, error))
    }
}

/// Converts a stored time, in milliseconds since the epoch.
pub(super) fn timestamp_from_millis(millis: i64) -> Result<Timestamp> {
    Timestamp::from_millisecond(millis)
        .map_err(|error| QueueError::unparsable(format!("time {millis} ms"), error))
}

/// Runs a query, cached as a prepared statement, and returns its rows as mapped by `map`.
pub(super) fn select<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    mut map: impl FnMut(&Columns<'_, '_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut mapped = Vec::new();
    while let Some(row) = rows.next()? {
        mapped.push(map(&Columns::new(connection, row))?);
    }
    Ok(mapped)
}

/// Runs a query, cached as a prepared statement, and returns the first column of its first row;
/// `None` if there is no row or the value is NULL.
pub(super) fn query_value<T: FromSql>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Option<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement
        .query_row(params, |row| row.get::<_, Option<T>>(0))
        .optional()?
        .flatten())
}

/// Runs a statement, cached as a prepared statement, and returns the number of rows it changed.
pub(super) fn execute(connection: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    Ok(connection.prepare_cached(sql)?.execute(params)?)
}

/// Reads the job counts of a batch, from the columns of `batches` that are named after the states.
pub(super) fn read_job_counts(columns: &Columns<'_, '_>) -> Result<JobCounts> {
    let mut counts = JobCounts::default();
    for state in JobState::ALL {
        counts.set(state, columns.get(state.as_str())?);
    }
    Ok(counts)
}

/// Returns a duration in whole milliseconds, rounded down.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the value to store for a time: milliseconds since the epoch, or NULL.
pub(super) fn nullable_millis(time: Option<Timestamp>) -> Value {
    time.map_or(Value::Null, |time| Value::Integer(time.as_millisecond()))
}

/// Returns a number of rows as SQLite takes it.
pub(super) fn sql_limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
