//! Converts between columns and domain types.

use std::cell::Cell;

use jiff::Timestamp;
use rusqlite::types::{FromSql, Value};
use rusqlite::{Connection, OptionalExtension, Params, Row, Statement};

use crate::domain::{Input, Location};
use crate::queue::Result;
use crate::queue::stored_row::StoredRow;

use super::paths;

/// A row whose columns are read by name.
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
    #[inline]
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
}

impl StoredRow for Columns<'_, '_> {
    fn text(&self, column: &str) -> Result<String> {
        self.get(column)
    }

    fn optional_text(&self, column: &str) -> Result<Option<String>> {
        self.get(column)
    }

    fn integer(&self, column: &str) -> Result<i64> {
        self.get(column)
    }

    fn optional_integer(&self, column: &str) -> Result<Option<i64>> {
        self.get(column)
    }

    fn boolean(&self, column: &str) -> Result<bool> {
        self.get(column)
    }

    fn to_location(&self, stored: &str) -> Location {
        paths::from_stored(self.connection, stored)
    }

    fn to_input(&self, stored: &str) -> Result<Input> {
        paths::input_from_stored(self.connection, stored)
    }
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

/// Returns the value to store for a time: milliseconds since the epoch, or NULL.
pub(super) fn nullable_millis(time: Option<Timestamp>) -> Value {
    time.map_or(Value::Null, |time| Value::Integer(time.as_millisecond()))
}

/// Returns a number of rows as SQLite takes it.
pub(super) fn sql_limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
