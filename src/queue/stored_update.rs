//! The updates that write what the rules change in a job and its attempt, for every store.
//!
//! Only columns that differ are written: a column of an index that is written again costs an update of that
//! index.

use jiff::Timestamp;

use crate::domain::{Attempt, AttemptProgress, JobProgress, ProviderName, SavedFile};
use crate::policy::Change;
use crate::policy::tally::Tally;

use super::storage::StoredJob;
use super::stored_cost::cost_to_json;
use super::{Claim, QueueError, Result};

/// A value as a store keeps it.
#[derive(Clone, Debug)]
pub(super) enum StoredValue {
    Integer(Option<i64>),
    Text(Option<String>),
}

impl StoredValue {
    fn text(text: Option<impl Into<String>>) -> Self {
        Self::Text(text.map(Into::into))
    }

    fn integer(number: Option<impl TryInto<i64>>) -> Self {
        Self::Integer(number.map(|number| number.try_into().unwrap_or(i64::MAX)))
    }

    fn time(time: Option<Timestamp>) -> Self {
        Self::integer(time.map(Timestamp::as_millisecond))
    }
}

/// A job before a change.
pub(super) struct Before<'a> {
    pub(super) job_id: i64,
    /// The name of its batch.
    batch: &'a str,
    job: &'a JobProgress,
    /// Its current attempt.
    attempt: Option<&'a Attempt>,
}

impl<'a> From<&'a StoredJob> for Before<'a> {
    fn from(stored: &'a StoredJob) -> Self {
        Self {
            job_id: stored.job_id.0,
            batch: &stored.batch,
            job: &stored.progress,
            attempt: stored.attempt.as_ref(),
        }
    }
}

impl<'a> From<&'a Claim> for Before<'a> {
    fn from(claim: &'a Claim) -> Self {
        Self {
            job_id: claim.job.job_id.0,
            batch: &claim.job.batch,
            job: &claim.job.progress,
            attempt: Some(&claim.attempt),
        }
    }
}

/// What becomes of a job's lease when it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseChange {
    /// It ends, if there is one.
    End,
    /// The lease with this token ends, or the job is not written.
    EndIf(i64),
    /// The lease with this token stays, or the job is not written.
    KeepIf(i64),
}

impl LeaseChange {
    /// Returns what becomes of the lease of a claim that was worked on: it ends, unless it is `held` further.
    pub(super) fn after(claim: &Claim, held: bool) -> Self {
        let token = claim.lease.token;
        if held {
            Self::KeepIf(token)
        } else {
            Self::EndIf(token)
        }
    }
}

impl Before<'_> {
    /// Returns the update of the job's progress, without its clip.
    pub(super) fn update_job(&self, new: &JobProgress, lease: LeaseChange) -> Update {
        let old = self.job;
        let mut update = Update::of_job(self.job_id, lease);
        if old.state != new.state {
            update.set("state", StoredValue::text(Some(new.state.as_str())));
            let provider = self.attempt.map(|attempt| attempt.provider);
            let at_provider = provider.filter(|_| new.state.is_in_progress());
            update.set(
                "at_provider",
                StoredValue::text(at_provider.map(ProviderName::as_str)),
            );
        }
        for (column, old, new) in [
            ("state_since", Some(old.state_since), Some(new.state_since)),
            ("due_at", old.due_at, new.due_at),
            ("finished_at", old.finished_at, new.finished_at),
        ] {
            if old != new {
                update.set(column, StoredValue::time(new));
            }
        }
        if old.error != new.error {
            update.set("error", StoredValue::text(new.error.as_deref()));
        }
        for (column, old, new) in [
            ("failures", old.failures, new.failures),
            ("attempts", old.attempts, new.attempts),
            ("refusals", old.refusals, new.refusals),
            ("polls", old.polls, new.polls),
            ("downloads", old.downloads, new.downloads),
            ("crashes", old.crashes, new.crashes),
        ] {
            if old != new {
                update.set(column, StoredValue::integer(Some(new)));
            }
        }
        update
    }

    /// Adds the job's clip to an update, if it differs. `to_stored` converts its path.
    pub(super) fn update_clip(
        &self,
        update: &mut Update,
        new: &JobProgress,
        to_stored: impl Fn(&SavedFile) -> String,
    ) {
        if self.job.output == new.output {
            return;
        }
        let file = new.output.as_ref();
        update.set("output", StoredValue::text(file.map(to_stored)));
        update.set("bytes", StoredValue::integer(file.map(|file| file.bytes)));
        update.set(
            "sha256",
            StoredValue::text(file.map(|file| file.sha256.as_str())),
        );
    }

    /// Returns the update of the job's attempt; `None` if nothing of it differs.
    ///
    /// # Errors
    /// Returns an error if its prediction cannot be stored.
    pub(super) fn update_attempt(&self, change: &Change) -> Result<Option<Update>> {
        match (self.attempt, &change.attempt) {
            (Some(before), Some(new)) => update_attempt(before, new),
            _ => Ok(None),
        }
    }

    /// Adds a change, which has been written, to a tally.
    pub(super) fn add_to(&self, tally: &mut Tally, change: &Change) {
        tally.add_job(self.batch, self.job.state, change.job.state);
        if let (Some(before), Some(after)) = (self.attempt, &change.attempt) {
            tally.add_attempt(self.batch, before.provider, Some(&before.progress), after);
        }
    }
}

/// Returns the update of an attempt; `None` if nothing of it differs.
///
/// # Errors
/// Returns an error if its prediction cannot be stored.
pub(super) fn update_attempt(attempt: &Attempt, new: &AttemptProgress) -> Result<Option<Update>> {
    let old = &attempt.progress;
    if old == new {
        return Ok(None);
    }
    let key = ("attempt_id", attempt.attempt_id.0);
    let mut update = Update::new("attempts", key);
    if old.state != new.state {
        update.set("state", StoredValue::text(Some(new.state.as_str())));
    }
    if old.answered_at != new.answered_at {
        update.set("answered_at", StoredValue::time(new.answered_at));
    }
    if old.prediction != new.prediction {
        let prediction = new.prediction.as_ref();
        let handle = prediction.map(serde_json::to_string).transpose();
        let handle = handle.map_err(|error| QueueError::Fault(error.to_string()))?;
        update.set("prediction", StoredValue::text(handle));
        let id = prediction.map(|handle| handle.prediction_id.as_str());
        update.set("prediction_id", StoredValue::text(id));
    }
    if old.early_cost != new.early_cost {
        let cost = new.early_cost.as_ref().map(cost_to_json);
        update.set("early_cost", StoredValue::text(cost));
    }
    if old.output_url != new.output_url {
        update.set("output_url", StoredValue::text(new.output_url.as_deref()));
    }
    if old.processing != new.processing {
        let millis = new.processing.map(|took| took.as_millis());
        update.set("processing_ms", StoredValue::integer(millis));
    }
    if old.cost != new.cost {
        let amount = new.cost.map_or(0, |cost| cost.amount.micros());
        update.set("cost", StoredValue::integer(Some(amount)));
        let source = new.cost.map(|cost| cost.source.as_str());
        update.set("cost_source", StoredValue::text(source));
    }
    if old.error != new.error {
        update.set("error", StoredValue::text(new.error.as_deref()));
    }
    if old.finished_at != new.finished_at {
        update.set("finished_at", StoredValue::time(new.finished_at));
    }
    Ok(Some(update).filter(|update| !update.is_empty()))
}

/// An `UPDATE` of one row. The statements that result are few, so that all of them stay prepared.
pub(super) struct Update {
    pub(super) table: &'static str,
    /// The column that identifies the row, and its value.
    pub(super) key: (&'static str, i64),
    pub(super) lease: Option<LeaseChange>,
    pub(super) values: Vec<(&'static str, StoredValue)>,
}

/// Length of a statement that writes a few columns, in bytes.
const STATEMENT_BYTES: usize = 256;

impl Update {
    /// Starts an update of the row of a table with this key.
    pub(super) fn new(table: &'static str, key: (&'static str, i64)) -> Self {
        Self {
            table,
            key,
            lease: None,
            values: Vec::with_capacity(8),
        }
    }

    /// Starts an update of a job and its lease.
    fn of_job(job_id: i64, lease: LeaseChange) -> Self {
        Self {
            lease: Some(lease),
            ..Self::new("jobs", ("job_id", job_id))
        }
    }

    /// Returns whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.lease.is_none()
    }

    pub(super) fn set(&mut self, column: &'static str, value: StoredValue) {
        self.values.push((column, value));
    }

    /// Returns the token of the lease without which the row is not written.
    pub(super) fn needed_token(&self) -> Option<i64> {
        match self.lease {
            Some(LeaseChange::EndIf(token) | LeaseChange::KeepIf(token)) => Some(token),
            Some(LeaseChange::End) | None => None,
        }
    }

    /// Returns the statement. `value` writes the value of the column with this index: those of `values`, then
    /// the key, then the token that is needed.
    pub(super) fn statement(
        &self,
        from: &str,
        mut value: impl FnMut(&mut String, usize),
    ) -> String {
        let mut sql = String::with_capacity(STATEMENT_BYTES);
        sql.push_str("UPDATE ");
        sql.push_str(self.table);
        sql.push_str(" SET ");
        sql.push_str(match self.lease {
            Some(LeaseChange::End | LeaseChange::EndIf(_)) => {
                "lease_token = NULL, lease_pool = NULL"
            }
            // Written even if it stays, so that there is always something to write.
            Some(LeaseChange::KeepIf(_)) => "lease_token = lease_token",
            None => "",
        });
        for (index, (column, _)) in self.values.iter().enumerate() {
            if index > 0 || self.lease.is_some() {
                sql.push_str(", ");
            }
            sql.push_str(column);
            sql.push_str(" = ");
            value(&mut sql, index);
        }
        sql.push_str(from);
        sql.push_str(" WHERE ");
        sql.push_str(self.key.0);
        sql.push_str(" = ");
        value(&mut sql, self.values.len());
        if self.needed_token().is_some() {
            sql.push_str(" AND lease_token = ");
            value(&mut sql, self.values.len() + 1);
        }
        sql
    }
}
