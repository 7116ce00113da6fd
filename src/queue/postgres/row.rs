//! Runs statements, and converts between columns and domain types.

use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::domain::{Input, Location};
use crate::queue::stored_row::StoredRow;
use crate::queue::{QueueError, Result};

/// The values of a statement's parameters.
pub(super) type Params<'a> = &'a [&'a (dyn tokio_postgres::types::ToSql + Sync)];

/// Lists the values of a statement's parameters.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$(&$value as &(dyn tokio_postgres::types::ToSql + Sync)),*]
    };
}
pub(super) use params;

/// Lists the values of a statement that is posted.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        vec![$(Box::new($value) as Box<dyn tokio_postgres::types::ToSql + Sync + Send>),*]
    };
}
pub(super) use values;

/// Returns the values of a statement's parameters, as it takes them.
pub(super) fn as_params(
    values: &[Box<dyn tokio_postgres::types::ToSql + Sync + Send>],
) -> Vec<&(dyn tokio_postgres::types::ToSql + Sync)> {
    values.iter().map(|value| value.as_ref() as _).collect()
}

/// A row whose columns are read by name.
pub(super) struct Columns<'a>(pub(super) &'a Row);

impl<'a> Columns<'a> {
    /// Returns a column's value.
    #[inline]
    pub(super) fn get<T: FromSql<'a>>(&self, column: &str) -> Result<T> {
        let value = self.0.try_get(column);
        value.map_err(|error| QueueError::unparsable(format!("column {column}"), error))
    }
}

impl StoredRow for Columns<'_> {
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
        stored.into()
    }

    fn to_input(&self, stored: &str) -> Result<Input> {
        serde_json::from_str(stored).map_err(|error| QueueError::unparsable("input", error))
    }
}

/// Returns the value to store for a time: milliseconds since the epoch, or NULL.
pub(super) fn nullable_millis(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::as_millisecond)
}

/// Returns a number as the server takes it.
pub(super) fn bigint(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
