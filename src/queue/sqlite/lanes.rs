//! The jobs of a batch that wait for a create, in order, read a few at a time.
//!
//! Jobs are indexed by who may run them; there are only as many such words as orders of the providers. Each word has a
//! line of its own, so that a job whose providers are all taken keeps only its like waiting.

use std::collections::VecDeque;

use rusqlite::{Connection, params};

use crate::domain::Input;
use crate::queue::Result;

use super::row::{select, value};

/// A waiting job.
pub(super) struct QueuedJob {
    pub(super) due_at: i64,
    pub(super) job_id: i64,
    pub(super) row_key: String,
    pub(super) input: Input,
    pub(super) file_name: String,
    /// Paid submissions so far.
    pub(super) attempts: u32,
    /// All submissions so far.
    pub(super) submissions: u32,
    pub(super) failures: u32,
    pub(super) polls: u32,
}

/// The waiting jobs of a batch that the same providers may run.
pub(super) struct Lane {
    /// Who may run them, in order of preference.
    pub(super) providers: String,
    read: VecDeque<QueuedJob>,
    is_exhausted: bool,
}

impl Lane {
    /// Finds the lines of a batch.
    pub(super) fn all(tx: &Connection, batch_id: i64) -> Result<Vec<Self>> {
        let line = |providers| Self {
            providers,
            read: VecDeque::new(),
            is_exhausted: false,
        };
        Ok(words(tx, batch_id)?.into_iter().map(line).collect())
    }

    /// Reads on, so that the next due jobs are there: so many at once, where there are.
    pub(super) fn fill(
        &mut self,
        tx: &Connection,
        batch_id: i64,
        now: i64,
        at_once: usize,
    ) -> Result<()> {
        if !self.read.is_empty() || self.is_exhausted {
            return Ok(());
        }
        // What was claimed or put behind since is due no more, so the first are always the next.
        let next = select(
            tx,
            "SELECT due_at, job_id, row_key, input, file_name, attempts, failures, polls,
                    (SELECT ifnull(max(number), 0) FROM attempts a WHERE a.job_id = j.job_id) AS tries
             FROM jobs j WHERE state = 'queued' AND batch_id = ?1 AND providers = ?2 AND due_at <= ?3
             ORDER BY due_at, job_id LIMIT ?4",
            params![batch_id, self.providers, now, i64::try_from(at_once).unwrap_or(i64::MAX)],
            |columns| {
                Ok(QueuedJob {
                    due_at: columns.get("due_at")?,
                    job_id: columns.get("job_id")?,
                    row_key: columns.get("row_key")?,
                    input: columns.json("input")?,
                    file_name: columns.get("file_name")?,
                    attempts: columns.get("attempts")?,
                    submissions: columns.get("tries")?,
                    failures: columns.get("failures")?,
                    polls: columns.get("polls")?,
                })
            },
        )?;
        self.is_exhausted = next.len() < at_once;
        self.read = next.into();
        Ok(())
    }

    /// The first of what is read and not taken.
    pub(super) fn first(&self) -> Option<&QueuedJob> {
        self.read.front()
    }

    /// Takes the first.
    pub(super) fn take(&mut self) -> Option<QueuedJob> {
        self.read.pop_front()
    }
}

/// Lists the different `providers` of a batch's waiting jobs, one index look-up each.
pub(super) fn words(tx: &Connection, batch_id: i64) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut last = String::new();
    while let Some(next) = value::<String>(
        tx,
        "SELECT providers FROM jobs WHERE state = 'queued' AND batch_id = ?1 AND providers > ?2
         ORDER BY providers LIMIT 1",
        params![batch_id, last],
    )? {
        last.clone_from(&next);
        words.push(next);
    }
    Ok(words)
}
