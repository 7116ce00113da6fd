//! Writes what the rules change in a job and its attempt.

use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use crate::domain::{
    Attempt, AttemptId, AttemptProgress, JobProgress, Lease, ProviderName, SavedFile,
};
use crate::policy::Change;
use crate::policy::tally::Tally;
use crate::queue::storage::StoredJob;
use crate::queue::{QueueError, Result};

use super::paths;
use super::row::{millis, nullable_millis, query_value};
use crate::queue::stored_cost::cost_to_json;

/// Writes a change of a job and ends its lease, if there is one. Adds the change to a tally, which
/// the caller writes.
pub(super) fn write(
    tx: &Connection,
    job: &StoredJob,
    change: &Change,
    tally: &mut Tally,
) -> Result<()> {
    let before = Before {
        job_id: job.job_id.0,
        batch: &job.batch,
        job: &job.progress,
        attempt: job.attempt.as_ref().map(BeforeAttempt::from),
    };
    let mut update = Update::new("jobs", NO_LEASE);
    set_job_columns(tx, &mut update, &before, &change.job);
    update.execute(tx, "job_id", before.job_id, None)?;
    write_current_attempt(tx, &before, change)?;
    before.add_to(tally, change);
    Ok(())
}

/// The values before a change. Only columns that differ are written, because a column that is
/// written again costs an update of each of its indexes.
pub(super) struct Before<'a> {
    pub(super) job_id: i64,
    /// The name of the job's batch.
    pub(super) batch: &'a str,
    pub(super) job: &'a JobProgress,
    pub(super) attempt: Option<BeforeAttempt<'a>>,
}

/// The current attempt of a job before a change.
#[derive(Clone, Copy)]
pub(super) struct BeforeAttempt<'a> {
    pub(super) attempt_id: AttemptId,
    pub(super) provider: ProviderName,
    pub(super) progress: &'a AttemptProgress,
}

impl<'a> From<&'a Attempt> for BeforeAttempt<'a> {
    fn from(attempt: &'a Attempt) -> Self {
        Self {
            attempt_id: attempt.attempt_id,
            provider: attempt.provider,
            progress: &attempt.progress,
        }
    }
}

impl Before<'_> {
    /// Adds a change, which has been written, to a tally.
    fn add_to(&self, tally: &mut Tally, change: &Change) {
        tally.add_job(self.batch, self.job.state, change.job.state);
        if let (Some(before), Some(after)) = (self.attempt, &change.attempt) {
            tally.add_attempt(self.batch, before.provider, Some(before.progress), after);
        }
    }
}

/// Writes a change of a leased job, and ends the lease unless it is `held` further. Returns whether
/// it was written: not if the lease is no longer current. Adds a written change to a tally, which
/// the caller writes.
pub(super) fn write_leased(
    tx: &Connection,
    before: &Before<'_>,
    change: &Change,
    lease: &Lease,
    held: bool,
    tally: &mut Tally,
) -> Result<bool> {
    // The token is written even if it stays, so that there is always something to write.
    let assignments = if held {
        "lease_token = lease_token"
    } else {
        NO_LEASE
    };
    let mut update = Update::new("jobs", assignments);
    set_job_columns(tx, &mut update, before, &change.job);
    let is_current = update.execute(tx, "job_id", before.job_id, Some(lease.token))?;
    if is_current {
        write_current_attempt(tx, before, change)?;
        before.add_to(tally, change);
    }
    Ok(is_current)
}

/// The assignments that end a lease.
const NO_LEASE: &str = "lease_token = NULL, lease_pool = NULL";

fn set_job_columns(tx: &Connection, update: &mut Update, before: &Before<'_>, new: &JobProgress) {
    let old = before.job;
    if old.state != new.state {
        update.set("state", new.state.as_str().to_owned().into());
        let provider = before.attempt.map(|attempt| attempt.provider);
        let at_provider = provider.filter(|_| new.state.is_in_progress());
        update.set(
            "at_provider",
            at_provider.map_or(Value::Null, |name| name.as_str().to_owned().into()),
        );
    }
    update.set_changed("state_since", &old.state_since, &new.state_since, |at| {
        nullable_millis(Some(*at))
    });
    update.set_changed("due_at", &old.due_at, &new.due_at, |at| {
        nullable_millis(*at)
    });
    update.set_changed("finished_at", &old.finished_at, &new.finished_at, |at| {
        nullable_millis(*at)
    });
    update.set_changed("error", &old.error, &new.error, text);
    for (column, old, new) in [
        ("failures", old.failures, new.failures),
        ("attempts", old.attempts, new.attempts),
        ("refusals", old.refusals, new.refusals),
        ("polls", old.polls, new.polls),
        ("downloads", old.downloads, new.downloads),
        ("crashes", old.crashes, new.crashes),
    ] {
        update.set_changed(column, &old, &new, |count| Value::from(*count));
    }
    if old.output != new.output {
        let file = new.output.as_ref();
        let path = |file: &SavedFile| Value::from(paths::to_stored(tx, &file.path));
        let bytes = |file: &SavedFile| Value::from(i64::try_from(file.bytes).unwrap_or(i64::MAX));
        update.set("output", file.map_or(Value::Null, path));
        update.set("bytes", file.map_or(Value::Null, bytes));
        update.set(
            "sha256",
            file.map_or(Value::Null, |file| file.sha256.clone().into()),
        );
    }
}

fn write_current_attempt(tx: &Connection, before: &Before<'_>, change: &Change) -> Result<()> {
    match (before.attempt, &change.attempt) {
        (Some(before), Some(new)) => write_attempt(tx, before, new),
        _ => Ok(()),
    }
}

/// Writes a change of an attempt.
pub(super) fn write_attempt<'a>(
    tx: &Connection,
    before: impl Into<BeforeAttempt<'a>>,
    new: &AttemptProgress,
) -> Result<()> {
    let before = before.into();
    let old = before.progress;
    if old == new {
        return Ok(());
    }
    let mut update = Update::new("attempts", "");
    update.set_changed("state", &old.state, &new.state, |state| {
        state.as_str().to_owned().into()
    });
    update.set_changed("answered_at", &old.answered_at, &new.answered_at, |at| {
        nullable_millis(*at)
    });
    if old.prediction != new.prediction {
        let prediction = new.prediction.as_ref();
        let handle = prediction.map(serde_json::to_string).transpose();
        let handle = handle.map_err(|error| QueueError::Fault(error.to_string()))?;
        update.set("prediction", handle.map_or(Value::Null, Value::from));
        update.set(
            "prediction_id",
            prediction.map_or(Value::Null, |handle| handle.prediction_id.clone().into()),
        );
    }
    update.set_changed("early_cost", &old.early_cost, &new.early_cost, |cost| {
        cost.as_ref()
            .map_or(Value::Null, |cost| cost_to_json(cost).into())
    });
    update.set_changed("output_url", &old.output_url, &new.output_url, text);
    update.set_changed("processing_ms", &old.processing, &new.processing, |took| {
        took.map_or(Value::Null, |took| millis(took).into())
    });
    if old.cost != new.cost {
        let cost = new.cost;
        update.set("cost", cost.map_or(0, |cost| cost.amount.micros()).into());
        update.set(
            "cost_source",
            cost.map_or(Value::Null, |cost| cost.source.as_str().to_owned().into()),
        );
    }
    update.set_changed("error", &old.error, &new.error, text);
    update.set_changed("finished_at", &old.finished_at, &new.finished_at, |at| {
        nullable_millis(*at)
    });
    update
        .execute(tx, "attempt_id", before.attempt_id.0, None)
        .map(drop)
}

fn text(text: &Option<String>) -> Value {
    text.clone().map_or(Value::Null, Value::from)
}

/// An `UPDATE` of one row. The statements that result are few, so all of them stay prepared.
struct Update {
    sql: String,
    values: Vec<Value>,
    is_empty: bool,
}

impl Update {
    /// Starts an update of a table; `assignments` are written in any case.
    fn new(table: &str, assignments: &str) -> Self {
        Self {
            sql: format!("UPDATE {table} SET {assignments}"),
            values: Vec::new(),
            is_empty: assignments.is_empty(),
        }
    }

    fn set(&mut self, column: &str, value: Value) {
        self.values.push(value);
        let separator = if self.is_empty { "" } else { ", " };
        self.is_empty = false;
        self.sql
            .push_str(&format!("{separator}{column} = ?{}", self.values.len()));
    }

    fn set_changed<T: PartialEq>(
        &mut self,
        column: &str,
        old: &T,
        new: &T,
        to_value: impl FnOnce(&T) -> Value,
    ) {
        if old != new {
            self.set(column, to_value(new));
        }
    }

    /// Updates the row with this key, if its lease has the given token. Returns whether there is
    /// one.
    fn execute(
        mut self,
        tx: &Connection,
        key_column: &str,
        key: i64,
        lease_token: Option<i64>,
    ) -> Result<bool> {
        self.values.push(key.into());
        self.sql
            .push_str(&format!(" WHERE {key_column} = ?{}", self.values.len()));
        if let Some(token) = lease_token {
            self.values.push(token.into());
            self.sql
                .push_str(&format!(" AND lease_token = ?{}", self.values.len()));
        }
        let changed = tx
            .prepare_cached(&self.sql)?
            .execute(params_from_iter(self.values))?;
        Ok(changed == 1)
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
