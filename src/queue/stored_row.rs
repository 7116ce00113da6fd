//! A row of a store, whose columns are read by name, as domain types.

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::{Input, JobCounts, JobState, Location, Money};

use super::{QueueError, Result};

/// A row of a store. Text, numbers, times and JSON that cannot be parsed are a [`QueueError::Corrupt`].
///
/// Times are milliseconds since the epoch, and amounts micro-dollars.
pub(super) trait StoredRow {
    /// Returns a text.
    fn text(&self, column: &str) -> Result<String>;

    /// Returns a text; `None` if it is NULL.
    fn optional_text(&self, column: &str) -> Result<Option<String>>;

    /// Returns a whole number.
    fn integer(&self, column: &str) -> Result<i64>;

    /// Returns a whole number; `None` if it is NULL.
    fn optional_integer(&self, column: &str) -> Result<Option<i64>>;

    /// Returns whether something is so.
    fn boolean(&self, column: &str) -> Result<bool>;

    /// Returns a location that is stored as a text.
    fn to_location(&self, stored: &str) -> Location;

    /// Returns an input that is stored as JSON.
    fn to_input(&self, stored: &str) -> Result<Input>;

    /// Returns a whole number of a type.
    fn number<T: TryFrom<i64>>(&self, column: &str) -> Result<T> {
        let number = self.integer(column)?;
        T::try_from(number).map_err(|_| QueueError::corrupt(format!("column {column}: {number}")))
    }

    /// Returns a whole number of a type; `None` if it is NULL.
    fn optional_number<T: TryFrom<i64>>(&self, column: &str) -> Result<Option<T>> {
        let number = self.optional_integer(column)?;
        let converted = number.map(|number| {
            T::try_from(number)
                .map_err(|_| QueueError::corrupt(format!("column {column}: {number}")))
        });
        converted.transpose()
    }

    /// Parses a text.
    fn parse<T: FromStr<Err = String>>(&self, column: &str) -> Result<T> {
        self.text(column)?.parse().map_err(QueueError::corrupt)
    }

    /// Parses a text; `None` if it is NULL.
    fn parse_optional<T: FromStr<Err = String>>(&self, column: &str) -> Result<Option<T>> {
        let text = self.optional_text(column)?;
        text.map(|text| text.parse().map_err(QueueError::corrupt))
            .transpose()
    }

    /// Returns an amount.
    fn money(&self, column: &str) -> Result<Money> {
        Ok(Money::from_micros(self.integer(column)?))
    }

    /// Returns an amount; `None` if it is NULL.
    fn optional_money(&self, column: &str) -> Result<Option<Money>> {
        Ok(self.optional_integer(column)?.map(Money::from_micros))
    }

    /// Returns a time.
    fn time(&self, column: &str) -> Result<Timestamp> {
        timestamp_from_millis(self.integer(column)?)
    }

    /// Returns a time; `None` if it is NULL.
    fn optional_time(&self, column: &str) -> Result<Option<Timestamp>> {
        let millis = self.optional_integer(column)?;
        millis.map(timestamp_from_millis).transpose()
    }

    /// Returns a duration, in milliseconds; `None` if it is NULL.
    fn optional_duration(&self, column: &str) -> Result<Option<Duration>> {
        let millis = self.optional_integer(column)?;
        Ok(millis.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0))))
    }

    /// Returns a location.
    fn location(&self, column: &str) -> Result<Location> {
        Ok(self.to_location(&self.text(column)?))
    }

    /// Returns a location; `None` if it is NULL.
    fn optional_location(&self, column: &str) -> Result<Option<Location>> {
        let stored = self.optional_text(column)?;
        Ok(stored.map(|stored| self.to_location(&stored)))
    }

    /// Returns the input of a job.
    fn input(&self, column: &str) -> Result<Input> {
        self.to_input(&self.text(column)?)
    }

    /// Deserializes JSON.
    fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T> {
        let text = self.text(column)?;
        serde_json::from_str(&text).map_err(|error| QueueError::unparsable(column, error))
    }

    /// Returns the job counts of a batch, from the columns that are named after the states.
    fn job_counts(&self) -> Result<JobCounts> {
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
