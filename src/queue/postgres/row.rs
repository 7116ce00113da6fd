//! Runs statements, and converts between columns and domain types.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::domain::{Input, JobCounts, JobState, Money};
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

/// A row whose columns are read by name, as domain types.
///
/// Text, times and JSON that cannot be parsed are a [`QueueError::Corrupt`].
pub(super) struct Columns<'a>(pub(super) &'a Row);

impl<'a> Columns<'a> {
    /// Returns a column's value.
    pub(super) fn get<T: FromSql<'a>>(&self, column: &str) -> Result<T> {
        let value = self.0.try_get(column);
        value.map_err(|error| QueueError::unparsable(format!("column {column}"), error))
    }

    /// Returns a whole number.
    pub(super) fn number<T: TryFrom<i64>>(&self, column: &str) -> Result<T> {
        let number: i64 = self.get(column)?;
        T::try_from(number).map_err(|_| QueueError::corrupt(format!("column {column}: {number}")))
    }

    /// Returns a whole number; `None` if it is NULL.
    pub(super) fn optional_number<T: TryFrom<i64>>(&self, column: &str) -> Result<Option<T>> {
        let number: Option<i64> = self.get(column)?;
        number.map(|_| self.number(column)).transpose()
    }

    /// Parses a TEXT column.
    pub(super) fn parse<T: FromStr<Err = String>>(&self, column: &str) -> Result<T> {
        let text: &str = self.get(column)?;
        text.parse().map_err(QueueError::corrupt)
    }

    /// Parses a TEXT column; `None` if it is NULL.
    pub(super) fn parse_optional<T: FromStr<Err = String>>(
        &self,
        column: &str,
    ) -> Result<Option<T>> {
        let text: Option<&str> = self.get(column)?;
        text.map(|text| text.parse().map_err(QueueError::corrupt))
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
        let millis: Option<i64> = self.get(column)?;
        millis.map(timestamp_from_millis).transpose()
    }

    /// Returns a duration stored in milliseconds; `None` if it is NULL.
    pub(super) fn optional_duration(&self, column: &str) -> Result<Option<Duration>> {
        let millis: Option<u64> = self.optional_number(column)?;
        Ok(millis.map(Duration::from_millis))
    }

    /// Returns a path; `None` if it is NULL.
    pub(super) fn optional_path(&self, column: &str) -> Result<Option<PathBuf>> {
        let path: Option<String> = self.get(column)?;
        Ok(path.map(PathBuf::from))
    }

    /// Deserializes a column that holds JSON.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T> {
        let text: &str = self.get(column)?;
        serde_json::from_str(text).map_err(|error| QueueError::unparsable(column, error))
    }

    /// Returns the input of a job.
    pub(super) fn input(&self, column: &str) -> Result<Input> {
        self.json(column)
    }

    /// Returns the job counts of a batch, from the columns that are named after the states.
    pub(super) fn job_counts(&self) -> Result<JobCounts> {
        let mut counts = JobCounts::default();
        for state in JobState::ALL {
            counts.set(state, self.number(state.as_str())?);
        }
        Ok(counts)
    }
}

/// Converts a stored time, in milliseconds since the epoch.
pub(super) fn timestamp_from_millis(millis: i64) -> Result<Timestamp> {
    Timestamp::from_millisecond(millis)
        .map_err(|error| QueueError::unparsable(format!("time {millis} ms"), error))
}

/// Returns the value to store for a time: milliseconds since the epoch, or NULL.
pub(super) fn nullable_millis(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::as_millisecond)
}

/// Returns a number as the server takes it.
pub(super) fn bigint(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
