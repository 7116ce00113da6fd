//! Columns to domain types and back.

use std::cell::Cell;
use std::ops::AddAssign;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::{FromSql, Value};
use rusqlite::{Connection, OptionalExtension, Params, Row, Statement};
use serde_json::json;

use crate::domain::{
    Attempt, AttemptId, CostReport, Input, Job, JobId, JobState, Money, PredictionHandle,
};
use crate::queue::{QueueError, Result};

/// Reads the columns of a row by name, into domain types.
pub(super) struct Columns<'a, 'b> {
    row: &'a Row<'b>,
    /// The column behind the last one that was read. Most are read in the order they are selected in, and need not be
    /// looked for.
    next: Cell<usize>,
}

impl<'a, 'b> Columns<'a, 'b> {
    fn of(row: &'a Row<'b>) -> Self {
        Self {
            row,
            next: Cell::new(0),
        }
    }

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

    pub(super) fn word<T: FromStr<Err = String>>(&self, column: &str) -> Result<T> {
        self.get::<String>(column)?
            .parse()
            .map_err(QueueError::Corrupt)
    }

    pub(super) fn word_or_null<T: FromStr<Err = String>>(&self, column: &str) -> Result<Option<T>> {
        self.get::<Option<String>>(column)?
            .map(|word| word.parse().map_err(QueueError::Corrupt))
            .transpose()
    }

    pub(super) fn money(&self, column: &str) -> Result<Money> {
        Ok(Money::from_micros(self.get(column)?))
    }

    pub(super) fn time(&self, column: &str) -> Result<Timestamp> {
        time(self.get(column)?)
    }

    pub(super) fn time_or_null(&self, column: &str) -> Result<Option<Timestamp>> {
        self.get::<Option<i64>>(column)?.map(time).transpose()
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T> {
        let text: String = self.get(column)?;
        serde_json::from_str(&text)
            .map_err(|error| QueueError::Corrupt(format!("{column}: {error}")))
    }
}

pub(super) fn time(millis: i64) -> Result<Timestamp> {
    Timestamp::from_millisecond(millis)
        .map_err(|error| QueueError::Corrupt(format!("a time of {millis} ms: {error}")))
}

/// Runs a cached query and maps its rows.
pub(super) fn select<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    mut map: impl FnMut(&Columns<'_, '_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(map(&Columns::of(row))?);
    }
    Ok(found)
}

/// Runs a cached query of one value; `None` where there is no row or the value is NULL.
pub(super) fn value<T: FromSql>(
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

/// Runs a cached statement and tells how many rows it changed.
pub(super) fn execute(connection: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    Ok(connection.prepare_cached(sql)?.execute(params)?)
}

/// How many jobs of a batch, or of all, are in which state.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct JobCounts([u64; JobState::ALL.len()]);

impl JobCounts {
    /// Reads the columns of a batch that are called like the states.
    pub(super) fn read(columns: &Columns<'_, '_>) -> Result<Self> {
        let mut counts = Self::default();
        for state in JobState::ALL {
            counts.0[state as usize] = columns.get(state.as_str())?;
        }
        Ok(counts)
    }

    pub(super) fn of(&self, state: JobState) -> u64 {
        self.0[state as usize]
    }

    /// Counts a job in another state.
    pub(super) fn step(&mut self, from: JobState, to: JobState) {
        self.0[from as usize] = self.0[from as usize].saturating_sub(1);
        self.0[to as usize] += 1;
    }

    pub(super) fn all(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl AddAssign for JobCounts {
    fn add_assign(&mut self, other: Self) {
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(jobs, more)| *jobs += more);
    }
}

/// The columns [`job_and_attempt`] reads.
pub(super) const JOB_AND_ATTEMPT: &str = "
    SELECT j.job_id, b.name AS batch, j.row_key, b.model, j.input, j.state, j.state_since, b.folder, j.file_name,
           j.attempts, j.failures, j.polls,
           a.attempt_id, a.number, a.state AS attempt_state, a.provider, a.wire_model, a.request, a.client_token,
           a.estimate, a.submitted_at, a.prediction, a.early_cost, a.output_url
    FROM jobs j JOIN batches b USING (batch_id) JOIN attempts a ON a.attempt_id = j.attempt_id
    WHERE j.job_id = ?1";

/// Reads a job with its attempt.
pub(super) fn job_and_attempt(columns: &Columns<'_, '_>) -> Result<(Job, Attempt)> {
    let job = Job {
        job_id: JobId(columns.get("job_id")?),
        batch: columns.get("batch")?,
        row_key: columns.get("row_key")?,
        model: columns.get("model")?,
        input: columns.json::<Input>("input")?,
        state: columns.word("state")?,
        folder: columns.get::<String>("folder")?.into(),
        file_name: columns.get("file_name")?,
        attempts: columns.get("attempts")?,
        failures: columns.get("failures")?,
        state_since: columns.time("state_since")?,
    };
    let prediction: Option<String> = columns.get("prediction")?;
    let early_cost: Option<String> = columns.get("early_cost")?;
    let attempt = Attempt {
        attempt_id: AttemptId(columns.get("attempt_id")?),
        number: columns.get("number")?,
        state: columns.word("attempt_state")?,
        provider: columns.word("provider")?,
        wire_model: columns.get("wire_model")?,
        request: columns.json("request")?,
        client_token: columns.get("client_token")?,
        estimate: columns.money("estimate")?,
        submitted_at: columns.time("submitted_at")?,
        prediction: prediction
            .map(|text| {
                serde_json::from_str::<PredictionHandle>(&text)
                    .map_err(|error| QueueError::Corrupt(format!("prediction: {error}")))
            })
            .transpose()?,
        early_cost: early_cost.as_deref().and_then(read_cost),
        output_url: columns.get("output_url")?,
        polls: columns.get("polls")?,
    };
    Ok((job, attempt))
}

/// Writes a cost report as JSON.
pub(super) fn write_cost(report: &CostReport) -> String {
    match report {
        CostReport::Usd(usd) => json!({ "usd_micros": usd.micros() }),
        CostReport::Units(units) => json!({ "units": units }),
        CostReport::Credits(credits) => json!({ "credits": credits }),
    }
    .to_string()
}

fn read_cost(text: &str) -> Option<CostReport> {
    let report: serde_json::Value = serde_json::from_str(text).ok()?;
    let usd = report["usd_micros"]
        .as_i64()
        .map(|micros| CostReport::Usd(Money::from_micros(micros)));
    let units = report["units"]
        .as_str()
        .map(|units| CostReport::Units(units.to_owned()));
    usd.or(units)
        .or_else(|| report["credits"].as_u64().map(CostReport::Credits))
}

/// A duration in whole milliseconds.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A time, or NULL.
pub(super) fn time_value(time: Option<Timestamp>) -> Value {
    time.map_or(Value::Null, |time| Value::Integer(time.as_millisecond()))
}
