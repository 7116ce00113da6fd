//! A load as every store makes it: each row is compared with the job that the batch has for its key,
//! and the difference is written. The rules are in [`policy::load`](load); a store only reads and
//! writes.

use std::slice;

use crate::domain::{Fingerprint, JobId, JobState, NewJob, file_name};
use crate::policy::load::{self, RowEffect};

use super::{LoadPlan, QueueError, Result, RowChange};

/// The job that a batch has for a row's key.
#[derive(Clone, Debug)]
pub struct KnownJob {
    /// The job's number.
    pub job_id: JobId,
    /// The manifest line it was last loaded from.
    pub line: u64,
    /// Its state.
    pub state: JobState,
    /// The fingerprint of its input.
    pub fingerprint: Fingerprint,
    /// The number of its lane in the store.
    pub lane_id: i64,
}

/// What a row changes in its job beside the line.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowFields {
    /// The input, which asks for the same, but may name its local images by other paths.
    pub input: bool,
    /// The providers that may run the job, and with them its estimate.
    pub providers: bool,
}

/// The open transaction of a load into one batch.
pub trait LoadTransaction {
    /// Returns the job that the batch has for a row's key.
    fn find(&mut self, row_key: &str) -> Result<Option<KnownJob>>;

    /// Queues rows as new jobs, in order, under the file names that they prefer. Stops at the first
    /// whose key or file name another job of the batch has, and returns how many were queued.
    fn insert(&mut self, rows: &[NewJob]) -> Result<usize>;

    /// Queues a row as a new job under another file name. Returns `false` if another job of the batch
    /// has that, too.
    fn insert_as(&mut self, row: &NewJob, stem: &str) -> Result<bool>;

    /// Writes the line of a row, and the given fields, to its job.
    fn update(&mut self, job: &KnownJob, row: &NewJob, fields: RowFields) -> Result<()>;

    /// Replaces a job's input with that of its row, and queues the job again from the start.
    fn restart(&mut self, job: &KnownJob, row: &NewJob) -> Result<()>;
}

/// The rows of one load transaction so far.
#[derive(Clone, Debug)]
pub struct Load {
    /// The highest job number of the queue before the transaction.
    last_job: JobId,
    /// Number of jobs of the batch before the transaction.
    jobs_before: u64,
    /// A bit set, indexed by job number, of those jobs for which a row was added.
    seen_jobs: Vec<u64>,
    /// The plan so far, without `removed`.
    plan: LoadPlan,
}

impl Load {
    /// Starts a load into a batch that has `jobs_before` jobs, in a queue whose highest job number is
    /// `last_job`.
    pub fn new(last_job: JobId, jobs_before: u64) -> Self {
        Self {
            last_job,
            jobs_before,
            seen_jobs: Vec::new(),
            plan: LoadPlan::default(),
        }
    }

    /// Adds rows, and returns the effect of each, in the same order.
    ///
    /// # Errors
    ///
    /// [`QueueError::FileNameTaken`] if a row would save its clip under the name of another job's.
    pub fn add(
        &mut self,
        tx: &mut impl LoadTransaction,
        rows: &[NewJob],
    ) -> Result<Vec<RowChange>> {
        let mut changes = Vec::with_capacity(rows.len());
        while let Some(row) = rows.get(changes.len()) {
            if self.jobs_before == 0 {
                // The batch has a job for none of the rows, unless a key occurs twice.
                let inserted = tx.insert(&rows[changes.len()..])?;
                changes.resize(changes.len() + inserted, RowChange::New);
                if inserted > 0 {
                    continue;
                }
            }
            changes.push(self.add_row(tx, row)?);
        }
        for (row, change) in rows.iter().zip(&changes) {
            self.plan.count(*change, row.estimate);
        }
        Ok(changes)
    }

    /// Returns the difference that the added rows make.
    pub fn plan(&self) -> LoadPlan {
        let with_row = self.plan.changed + self.plan.in_progress + self.plan.unchanged;
        LoadPlan {
            removed: self.jobs_before.saturating_sub(with_row),
            ..self.plan
        }
    }

    fn add_row(&mut self, tx: &mut impl LoadTransaction, row: &NewJob) -> Result<RowChange> {
        let Some(job) = tx.find(&row.row_key)? else {
            return add_new(tx, row);
        };
        if job.job_id > self.last_job || !self.mark_seen(job.job_id) {
            return Ok(RowChange::Duplicate { line: job.line });
        }
        match load::row_effect(job.state, job.fingerprint == row.fingerprint) {
            RowEffect::Unchanged => {
                let fields = RowFields {
                    input: row.has_local_images,
                    providers: load::may_change_providers(job.state),
                };
                tx.update(&job, row, fields)?;
                Ok(RowChange::Unchanged)
            }
            RowEffect::Restart => {
                tx.restart(&job, row)?;
                Ok(RowChange::Changed)
            }
            RowEffect::LeaveInProgress => {
                tx.update(&job, row, RowFields::default())?;
                Ok(RowChange::InProgress)
            }
        }
    }

    /// Records that a row was added for a job. Returns whether it is the first one.
    fn mark_seen(&mut self, job: JobId) -> bool {
        let index = usize::try_from(job.0).unwrap_or(0);
        let word = index / 64;
        let bit = 1 << (index % 64);
        if self.seen_jobs.len() <= word {
            self.seen_jobs.resize(word + 1, 0);
        }
        let is_first = self.seen_jobs[word] & bit == 0;
        self.seen_jobs[word] |= bit;
        is_first
    }
}

fn add_new(tx: &mut impl LoadTransaction, row: &NewJob) -> Result<RowChange> {
    if tx.insert(slice::from_ref(row))? == 0 {
        // The file name is taken by another key that differs only in case or in replaced
        // characters.
        let stem = file_name::disambiguated_file_stem(&row.stem, &row.row_key);
        if !tx.insert_as(row, &stem)? {
            return Err(QueueError::FileNameTaken {
                file_name: format!("{stem}.mp4"),
            });
        }
    }
    Ok(RowChange::New)
}
