//! Writes what the rules change in a job and its attempt.

use tokio_postgres::types::ToSql;

use super::connection::Connection;
use super::row::{bigint, nullable_millis, params};
use crate::domain::{
    Attempt, AttemptId, AttemptProgress, JobProgress, Lease, ProviderName, SavedFile,
};
use crate::policy::Change;
use crate::policy::tally::Tally;
use crate::queue::storage::StoredJob;
use crate::queue::stored_cost::cost_to_json;
use crate::queue::{Claim, QueueError, Result};

/// A job before a change. Only columns that differ are written: a column of an index that is written again
/// costs an update of that index.
struct Before<'a> {
    job_id: i64,
    /// The name of its batch.
    batch: &'a str,
    job: &'a JobProgress,
    attempt: Option<(AttemptId, ProviderName, &'a AttemptProgress)>,
}

fn attempt_before(attempt: &Attempt) -> (AttemptId, ProviderName, &AttemptProgress) {
    (attempt.attempt_id, attempt.provider, &attempt.progress)
}

/// Writes a change of a job and ends its lease, if there is one. Adds the change to a tally, which the caller
/// writes.
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
        attempt: job.attempt.as_ref().map(attempt_before),
    };
    let mut update = Update::new("jobs", NO_LEASE);
    before.set_job_columns(&mut update, &change.job);
    update.execute(tx, "job_id", before.job_id, None)?;
    before.write_rest(tx, change, tally)
}

/// Writes a change of a leased job, and ends the lease unless it is `held` further. Returns whether it was
/// written: not if the lease is no longer current. Adds a written change to a tally.
pub(super) fn write_leased(
    tx: &Connection,
    claim: &Claim,
    change: &Change,
    held: bool,
    tally: &mut Tally,
) -> Result<bool> {
    let before = Before {
        job_id: claim.job.job_id.0,
        batch: &claim.job.batch,
        job: &claim.job.progress,
        attempt: Some(attempt_before(&claim.attempt)),
    };
    // The token is written even if it stays, so that there is always something to write.
    let assignments = if held {
        "lease_token = lease_token"
    } else {
        NO_LEASE
    };
    let mut update = Update::new("jobs", assignments);
    before.set_job_columns(&mut update, &change.job);
    let Lease { token, .. } = claim.lease;
    let is_current = update.execute(tx, "job_id", before.job_id, Some(token))?;
    if is_current {
        before.write_rest(tx, change, tally)?;
    }
    Ok(is_current)
}

/// The assignments that end a lease.
const NO_LEASE: &str = "lease_token = NULL, lease_pool = NULL";

impl Before<'_> {
    fn set_job_columns(&self, update: &mut Update, new: &JobProgress) {
        let old = self.job;
        if old.state != new.state {
            update.set("state", new.state.as_str().to_owned());
            let provider = self.attempt.map(|(_, provider, _)| provider);
            let at_provider = provider.filter(|_| new.state.is_in_progress());
            update.set(
                "at_provider",
                at_provider.map(|name| name.as_str().to_owned()),
            );
        }
        if old.state_since != new.state_since {
            update.set("state_since", new.state_since.as_millisecond());
        }
        for (column, old, new) in [
            ("due_at", old.due_at, new.due_at),
            ("finished_at", old.finished_at, new.finished_at),
        ] {
            update.set_changed(column, &nullable_millis(old), nullable_millis(new));
        }
        update.set_changed("error", &old.error, new.error.clone());
        for (column, old, new) in [
            ("failures", old.failures, new.failures),
            ("attempts", old.attempts, new.attempts),
            ("refusals", old.refusals, new.refusals),
            ("polls", old.polls, new.polls),
            ("downloads", old.downloads, new.downloads),
            ("crashes", old.crashes, new.crashes),
        ] {
            update.set_changed(column, &i64::from(old), i64::from(new));
        }
    }

    /// Writes the clip and the attempt of a job that was written, and adds all of it to a tally.
    fn write_rest(&self, tx: &Connection, change: &Change, tally: &mut Tally) -> Result<()> {
        if self.job.output != change.job.output {
            write_output(tx, self.job_id, change.job.output.as_ref())?;
        }
        tally.add_job(self.batch, self.job.state, change.job.state);
        if let (Some((attempt_id, provider, before)), Some(after)) = (self.attempt, &change.attempt)
        {
            write_attempt(tx, attempt_id, before, after)?;
            tally.add_attempt(self.batch, provider, Some(before), after);
        }
        Ok(())
    }
}

fn write_output(tx: &Connection, job_id: i64, file: Option<&SavedFile>) -> Result<()> {
    let path = file.map(|file| file.path.to_string_lossy().into_owned());
    let bytes = file.map(|file| bigint(file.bytes));
    let sha256 = file.map(|file| file.sha256.clone());
    tx.execute(
        "UPDATE rows SET output = $2, bytes = $3, sha256 = $4 WHERE job_id = $1",
        params![job_id, path, bytes, sha256],
    )?;
    Ok(())
}

/// Writes a change of an attempt.
pub(super) fn write_attempt(
    tx: &Connection,
    attempt_id: AttemptId,
    old: &AttemptProgress,
    new: &AttemptProgress,
) -> Result<()> {
    if old == new {
        return Ok(());
    }
    let mut update = Update::new("attempts", "");
    if old.state != new.state {
        update.set("state", new.state.as_str().to_owned());
    }
    for (column, old, new) in [
        ("answered_at", old.answered_at, new.answered_at),
        ("finished_at", old.finished_at, new.finished_at),
    ] {
        update.set_changed(column, &nullable_millis(old), nullable_millis(new));
    }
    if old.prediction != new.prediction {
        let prediction = new.prediction.as_ref();
        let handle = prediction.map(serde_json::to_string).transpose();
        let handle = handle.map_err(|error| QueueError::Fault(error.to_string()))?;
        update.set("prediction", handle);
        update.set(
            "prediction_id",
            prediction.map(|handle| handle.prediction_id.clone()),
        );
    }
    if old.early_cost != new.early_cost {
        update.set("early_cost", new.early_cost.as_ref().map(cost_to_json));
    }
    update.set_changed("output_url", &old.output_url, new.output_url.clone());
    if old.processing != new.processing {
        update.set(
            "processing_ms",
            new.processing.map(|took| bigint(took.as_millis())),
        );
    }
    if old.cost != new.cost {
        update.set("cost", new.cost.map_or(0, |cost| cost.amount.micros()));
        update.set(
            "cost_source",
            new.cost.map(|cost| cost.source.as_str().to_owned()),
        );
    }
    update.set_changed("error", &old.error, new.error.clone());
    update
        .execute(tx, "attempt_id", attempt_id.0, None)
        .map(drop)
}

/// An `UPDATE` of one row. The statements that result are few, so all of them stay prepared.
struct Update {
    sql: String,
    values: Vec<Box<dyn ToSql + Sync>>,
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

    fn set(&mut self, column: &str, value: impl ToSql + Sync + 'static) {
        self.values.push(Box::new(value));
        let separator = if self.is_empty { "" } else { ", " };
        self.is_empty = false;
        let number = self.values.len();
        self.sql
            .push_str(&format!("{separator}{column} = ${number}"));
    }

    fn set_changed<T: PartialEq + ToSql + Sync + 'static>(
        &mut self,
        column: &str,
        old: &T,
        new: T,
    ) {
        if *old != new {
            self.set(column, new);
        }
    }

    /// Updates the row with this key, if its lease has the given token. Returns whether there is one.
    fn execute(
        mut self,
        tx: &Connection,
        key_column: &str,
        key: i64,
        lease_token: Option<i64>,
    ) -> Result<bool> {
        self.values.push(Box::new(key));
        let number = self.values.len();
        self.sql
            .push_str(&format!(" WHERE {key_column} = ${number}"));
        if let Some(token) = lease_token {
            self.values.push(Box::new(token));
            self.sql
                .push_str(&format!(" AND lease_token = ${}", number + 1));
        }
        let values: Vec<&(dyn ToSql + Sync)> =
            self.values.iter().map(|value| value.as_ref()).collect();
        Ok(tx.execute(&self.sql, &values)? == 1)
    }
}
