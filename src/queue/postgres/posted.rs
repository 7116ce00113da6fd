//! The statements whose results nobody reads. They are sent with the next one that is waited for: each of those
//! takes a round trip.
//!
//! Updates that write the same columns of several rows become one statement.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement};

use super::row::{as_params, values};
use crate::queue::stored_update::{StoredValue, Update};

/// The values of a posted statement.
pub(super) type Values = Vec<Box<dyn ToSql + Sync + Send>>;

/// A statement that was posted.
pub(super) enum Posted {
    /// A statement with its values.
    Statement(Statement, Values),
    /// The same update of several rows.
    Updates(Updates),
}

/// Updates of several rows of a table that write the same columns.
pub(super) struct Updates {
    sql: String,
    statement: Statement,
    table: &'static str,
    keys: HashSet<i64>,
    updates: Vec<Update>,
}

impl Updates {
    pub(super) fn new(sql: String, statement: Statement, update: Update) -> Self {
        Self {
            sql,
            statement,
            table: update.table,
            keys: HashSet::from([update.key.1]),
            updates: vec![update],
        }
    }
}

impl Posted {
    /// Adds an update to the last statement that makes the same, unless its row is written after that one.
    /// Otherwise returns it.
    pub(super) fn merge(posted: &mut [Self], sql: &str, update: Update) -> Option<Update> {
        for earlier in posted.iter_mut().rev() {
            // What another statement writes is not known.
            let Self::Updates(earlier) = earlier else {
                break;
            };
            if earlier.table != update.table {
                continue;
            }
            if earlier.keys.contains(&update.key.1) {
                break;
            }
            if earlier.sql == sql {
                earlier.keys.insert(update.key.1);
                earlier.updates.push(update);
                return None;
            }
        }
        Some(update)
    }

    /// Sends the statement. Returns how many rows it should have written, if that is known, and how many it has.
    pub(super) async fn execute(self, client: Arc<Client>) -> Result<(Option<u64>, u64), Error> {
        let (statement, values, expected) = match self {
            Self::Statement(statement, values) => (statement, values, None),
            Self::Updates(updates) => {
                let rows = updates.updates.len() as u64;
                (updates.statement, columns(updates.updates), Some(rows))
            }
        };
        let written = client.execute(&statement, &as_params(&values)).await?;
        Ok((expected, written))
    }
}

/// Returns the statement that makes an update of many rows.
pub(super) fn sql_of_many(update: &Update) -> String {
    let mut from = String::from(" FROM unnest(");
    let mut names = String::new();
    let types = update.values.iter().map(|(_, value)| match value {
        StoredValue::Integer(_) => "BIGINT",
        StoredValue::Text(_) => "TEXT",
    });
    let token = update.needed_token().map(|_| "BIGINT");
    for (index, name) in types.chain(["BIGINT"]).chain(token).enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        // Writing to a text does not fail.
        let _ = write!(from, "{comma}${}::{name}[]", index + 1);
        let _ = write!(names, "{comma}v{index}");
    }
    let _ = write!(from, ") AS v ({names})");
    update.statement(&from, |sql, index| {
        let _ = write!(sql, "v.v{index}");
    })
}

/// Returns the values of updates, column by column, as [`sql_of_many`] takes them.
fn columns(updates: Vec<Update>) -> Values {
    let keys: Vec<i64> = updates.iter().map(|update| update.key.1).collect();
    let tokens: Option<Vec<i64>> = updates.iter().map(Update::needed_token).collect();
    let mut columns: Vec<Column> = Vec::new();
    for update in updates {
        for (index, (_, value)) in update.values.into_iter().enumerate() {
            match (columns.get_mut(index), value) {
                (Some(Column::Integers(column)), StoredValue::Integer(number)) => {
                    column.push(number);
                }
                (Some(Column::Texts(column)), StoredValue::Text(text)) => column.push(text),
                (_, StoredValue::Integer(number)) => columns.push(Column::Integers(vec![number])),
                (_, StoredValue::Text(text)) => columns.push(Column::Texts(vec![text])),
            }
        }
    }
    let mut all: Values = columns.into_iter().map(Column::into_value).collect();
    all.append(&mut values![keys]);
    if let Some(tokens) = tokens {
        all.append(&mut values![tokens]);
    }
    all
}

/// The values of a column.
enum Column {
    Integers(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
}

impl Column {
    fn into_value(self) -> Box<dyn ToSql + Sync + Send> {
        match self {
            Self::Integers(column) => Box::new(column),
            Self::Texts(column) => Box::new(column),
        }
    }
}
