//! The queued jobs of a batch in submit order, read a few at a time.
//!
//! Jobs are indexed by their list of providers, and a batch has only a few distinct lists. Each
//! list has a lane of its own, so a job whose providers are all full blocks only the jobs with the
//! same list.

use std::collections::VecDeque;

use rusqlite::{Connection, params};

use crate::domain::{Input, JobProgress};
use crate::queue::Result;

use super::change::{job_progress_columns, read_job_progress};
use super::row::{query_value, select};

/// A queued job that is due.
pub(super) struct QueuedJob {
    /// When it became due, in milliseconds.
    pub(super) due_at: i64,
    pub(super) job_id: i64,
    pub(super) row_key: String,
    pub(super) input: Input,
    pub(super) file_name: String,
    /// Number of its last attempt, including refused ones; 0 before the first.
    pub(super) last_attempt_number: u32,
    /// Number of its attempts that were taken to be absent.
    pub(super) absent_attempts: u32,
    pub(super) progress: JobProgress,
}

/// The queued jobs of a batch that have the same list of providers.
pub(super) struct Lane {
    /// The providers, comma-separated, in order of preference.
    pub(super) providers: String,
    buffer: VecDeque<QueuedJob>,
    /// Whether no due job remains outside the buffer.
    is_exhausted: bool,
}

impl Lane {
    /// Returns the lanes of a batch, with empty buffers.
    pub(super) fn for_batch(tx: &Connection, batch_id: i64) -> Result<Vec<Self>> {
        let empty = |providers| Self {
            providers,
            buffer: VecDeque::new(),
            is_exhausted: false,
        };
        Ok(provider_orders(tx, batch_id)?
            .into_iter()
            .map(empty)
            .collect())
    }

    /// Reads the next due jobs into an empty buffer, at most `limit`.
    pub(super) fn fill(
        &mut self,
        tx: &Connection,
        batch_id: i64,
        now: i64,
        limit: usize,
    ) -> Result<()> {
        if !self.buffer.is_empty() || self.is_exhausted {
            return Ok(());
        }
        // Jobs that were claimed or deferred since the last read are no longer due, so the first
        // due jobs are always the next ones.
        let due = select(
            tx,
            concat!(
                "SELECT j.job_id, j.row_key, j.input, j.file_name,
                    (SELECT ifnull(max(number), 0) FROM attempts a WHERE a.job_id = j.job_id)
                        AS last_attempt_number,
                    (SELECT count(*) FROM attempts a
                     WHERE a.job_id = j.job_id AND a.state = 'absent') AS absent_attempts, ",
                job_progress_columns!(),
                " FROM jobs j
             WHERE state = 'queued' AND batch_id = ?1 AND providers = ?2 AND due_at <= ?3
             ORDER BY due_at, job_id LIMIT ?4"
            ),
            params![
                batch_id,
                self.providers,
                now,
                i64::try_from(limit).unwrap_or(i64::MAX)
            ],
            |columns| {
                let job_id = columns.get("job_id")?;
                let row_key = columns.get("row_key")?;
                let input = columns.json("input")?;
                let file_name = columns.get("file_name")?;
                let last_attempt_number = columns.get("last_attempt_number")?;
                let absent_attempts = columns.get("absent_attempts")?;
                let progress = read_job_progress(columns)?;
                Ok(QueuedJob {
                    due_at: progress.due_at.map_or(0, |at| at.as_millisecond()),
                    job_id,
                    row_key,
                    input,
                    file_name,
                    last_attempt_number,
                    absent_attempts,
                    progress,
                })
            },
        )?;
        self.is_exhausted = due.len() < limit;
        self.buffer = due.into();
        Ok(())
    }

    /// Returns the first job of the buffer.
    pub(super) fn front(&self) -> Option<&QueuedJob> {
        self.buffer.front()
    }

    /// Removes and returns the first job of the buffer.
    pub(super) fn pop(&mut self) -> Option<QueuedJob> {
        self.buffer.pop_front()
    }
}

/// Lists the distinct `providers` values of a batch's queued jobs, with one index lookup each.
pub(super) fn provider_orders(tx: &Connection, batch_id: i64) -> Result<Vec<String>> {
    let mut orders = Vec::new();
    let mut last = String::new();
    while let Some(next) = query_value::<String>(
        tx,
        "SELECT providers FROM jobs WHERE state = 'queued' AND batch_id = ?1 AND providers > ?2
         ORDER BY providers LIMIT 1",
        params![batch_id, last],
    )? {
        last.clone_from(&next);
        orders.push(next);
    }
    Ok(orders)
}
