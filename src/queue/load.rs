//! A load as every store makes it: each row is compared with the job that the batch has for its key,
//! and the difference is written. The rules are in [`policy::load`](load); a store only reads and
//! writes.

use std::collections::HashSet;
use std::slice;

use jiff::Timestamp;

use crate::domain::{
    Fingerprint, InputComparison, InputDiff, JobId, JobState, Money, NewJob, file_name,
};
use crate::policy::load::{self, RowEffect};
use crate::policy::{Change, operator};

use super::commands::not_applicable;
use super::load_pictures;
pub use super::load_store::{KnownJob, LoadTransaction, MadeClip, Reuse, RowFields};
use super::{LoadPlan, NewBatch, QueueError, Result, RowChange};

/// The rows of one load transaction so far.
#[derive(Clone, Debug)]
pub struct Load {
    /// The time of the transaction.
    now: Timestamp,
    comparison: InputComparison,
    /// Whether rows may take clips that were made already; `None` before the first row.
    reuses: Option<bool>,
    /// The highest job number of the queue before the transaction.
    last_job: JobId,
    /// Number of jobs of the batch before the transaction.
    jobs_before: u64,
    /// What the rows so far ask for: eight bytes of the fingerprint of each.
    requests: HashSet<u64>,
    /// A bit set, indexed by job number, of those jobs for which a row was added.
    seen_jobs: Vec<u64>,
    /// The plan so far, without what was removed.
    plan: LoadPlan,
}

impl Load {
    /// Starts a load into a batch that has `jobs_before` jobs, in a queue whose highest job number is
    /// `last_job`.
    pub fn new(batch: &NewBatch, now: Timestamp, last_job: JobId, jobs_before: u64) -> Self {
        Self {
            now,
            comparison: batch.comparison.clone(),
            reuses: Some(false).filter(|_| !batch.reuses_clips),
            last_job,
            jobs_before,
            requests: HashSet::new(),
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
        let placed;
        let (own, mut rows) = (rows, rows);
        if self.jobs_before > 0 && rows.iter().any(|row| row.product.is_some()) {
            let is_seen = |job| self.is_seen(job);
            placed = load_pictures::place(tx, &self.comparison, rows, is_seen)?;
            rows = &placed;
        }
        let known = match self.jobs_before {
            0 => vec![None; rows.len()],
            _ => tx.find_all(rows)?,
        };
        let mut changes = Vec::with_capacity(rows.len());
        while let Some(row) = rows.get(changes.len()) {
            if let Some(job) = &known[changes.len()] {
                changes.push(self.add_known(tx, row, job)?);
                continue;
            }
            let known = known[changes.len()..].iter();
            let new = known.take_while(|job| job.is_none()).count();
            let inserted = tx.insert(&rows[changes.len()..][..new])?;
            changes.resize(changes.len() + inserted, RowChange::New);
            if inserted < new {
                changes.push(self.add_conflicting(tx, &rows[changes.len()])?);
            }
        }
        for (row, change) in rows.iter().zip(&mut changes) {
            self.take_file(tx, row, change)?;
        }
        if self.reuses(tx)? {
            for (row, change) in rows.iter().zip(&mut changes) {
                self.take_clip(tx, row, change)?;
            }
        }
        for (row, change) in rows.iter().zip(&changes) {
            self.plan.count(*change, row.estimate);
            let is_paid = matches!(change, RowChange::New | RowChange::Changed);
            let is_repeated = !self.requests.insert(short_hash(&row.fingerprint));
            self.plan.identical += u64::from(is_paid && is_repeated);
        }
        for ((own, row), change) in own.iter().zip(rows).zip(&mut changes) {
            if *change == RowChange::New && own.row_key != row.row_key {
                *change = RowChange::NewPicture;
            }
        }
        Ok(changes)
    }

    /// Returns whether rows may take clips that were made already.
    fn reuses(&mut self, tx: &mut impl LoadTransaction) -> Result<bool> {
        match self.reuses {
            Some(reuses) => Ok(reuses),
            None => Ok(*self.reuses.insert(tx.has_made_clips()?)),
        }
    }

    /// Lets the queued job of a new row take the file that the row came with.
    fn take_file(
        &mut self,
        tx: &mut impl LoadTransaction,
        row: &NewJob,
        change: &mut RowChange,
    ) -> Result<()> {
        let Some(file) = row.found_clip.clone().filter(|_| *change == RowChange::New) else {
            return Ok(());
        };
        if let Some(job) = tx.find(&row.row_key)? {
            let stored = tx.stored(job.job_id)?;
            let taken = Change {
                job: load::take_file(&stored.progress, file, self.now)?,
                attempt: None,
            };
            tx.write(&stored, &taken)?;
            *change = RowChange::FileTaken;
        }
        Ok(())
    }

    /// Lets the queued job of a new or changed row take a clip that was made for the same request.
    fn take_clip(
        &mut self,
        tx: &mut impl LoadTransaction,
        row: &NewJob,
        change: &mut RowChange,
    ) -> Result<()> {
        if !matches!(change, RowChange::New | RowChange::Changed) {
            return Ok(());
        }
        let Some(job) = tx.find(&row.row_key)? else {
            return Ok(());
        };
        let Some(made) = tx.find_made(&row.fingerprint, job.job_id)? else {
            return Ok(());
        };
        let stored = tx.stored(job.job_id)?;
        let (job, attempt) = load::reuse(&stored.progress, &made.attempt.progress, self.now)?;
        tx.reuse(&stored, &made, &Reuse { job, attempt })?;
        *change = RowChange::Reused {
            is_new: *change == RowChange::New,
        };
        self.plan.reused_from.insert(made.batch);
        Ok(())
    }

    /// Returns the difference that the added rows make.
    pub fn plan(&self, tx: &mut impl LoadTransaction) -> Result<LoadPlan> {
        let with_row = self.plan.changed + self.plan.in_progress + self.plan.unchanged;
        let mut plan = LoadPlan {
            removed: self.jobs_before.saturating_sub(with_row),
            queued: self.plan.queues(),
            queued_estimate: self.plan.estimate,
            elsewhere: tx.queued_elsewhere()?,
            ..self.plan.clone()
        };
        if self.jobs_before > 0 {
            plan.queued = 0;
            plan.queued_estimate = Money::ZERO;
            tx.for_each_queued(&mut |job, estimate| {
                plan.queued += 1;
                plan.queued_estimate += estimate;
                if job <= self.last_job && !self.is_seen(job) {
                    plan.removed_queued.push(job);
                    plan.removed_estimate += estimate;
                }
            })?;
        }
        Ok(plan)
    }

    /// Cancels the queued jobs that have no row any more.
    pub fn cancel_removed(&self, tx: &mut impl LoadTransaction, plan: &mut LoadPlan) -> Result<()> {
        for job in &plan.removed_queued {
            let stored = tx.stored(*job)?;
            let attempt = stored.attempt.as_ref().map(|attempt| &attempt.progress);
            let change = operator::cancel(&stored.progress, attempt, self.now);
            let change = change.map_err(|reason| not_applicable(&stored, reason))?;
            tx.write(&stored, &change)?;
        }
        plan.queued -= plan.removed_queued.len() as u64;
        plan.queued_estimate = plan.queued_estimate - plan.removed_estimate;
        Ok(())
    }

    /// Adds a row whose key or file name another job of the batch has.
    fn add_conflicting(
        &mut self,
        tx: &mut impl LoadTransaction,
        row: &NewJob,
    ) -> Result<RowChange> {
        if let Some(job) = find(tx, row)? {
            return self.add_known(tx, row, &job);
        }
        // The file name is taken by another key that differs only in case or in replaced
        // characters.
        let stem = file_name::disambiguated_file_stem(&row.stem, &row.row_key);
        if tx.insert_as(row, &stem)? {
            return Ok(RowChange::New);
        }
        Err(QueueError::FileNameTaken {
            file_name: format!("{stem}.mp4"),
        })
    }

    /// Adds a row for which the batch has a job.
    fn add_known(
        &mut self,
        tx: &mut impl LoadTransaction,
        row: &NewJob,
        job: &KnownJob,
    ) -> Result<RowChange> {
        if job.job_id > self.last_job || !self.mark_seen(job.job_id) {
            // The earlier row may have moved the job to another line.
            let line = find(tx, row)?.map_or(job.line, |job| job.line);
            return Ok(RowChange::Duplicate { line });
        }
        let diff = if job.fingerprint == row.fingerprint {
            InputDiff::default()
        } else {
            let before = tx.input(job.job_id)?;
            self.comparison.diff(&before, &row.input)
        };
        let is_ignored = self.comparison.ignores(&diff);
        match load::row_effect(job.state, is_ignored) {
            RowEffect::Unchanged => {
                let takes_links = !diff.is_empty() && load::takes_links(job.state);
                let fields = RowFields {
                    input: row.has_local_images || takes_links,
                    fingerprint: job.fingerprint != row.fingerprint
                        && (diff.is_empty() || takes_links),
                    providers: load::may_change_providers(job.state),
                };
                tx.update(job, row, fields)?;
                if !diff.is_empty() {
                    self.plan.differences.ignored.count(diff);
                }
                Ok(RowChange::Unchanged)
            }
            RowEffect::Restart => {
                let stored = tx.stored(job.job_id)?;
                // The clip of any other job is that of an earlier attempt, which has it already.
                let current = stored.progress.output.as_ref();
                if let Some(clip) = current.filter(|_| job.state == JobState::Succeeded) {
                    tx.keep_clip(job.job_id, clip)?;
                }
                let change = Change {
                    job: load::restart(&stored.progress, self.now)?,
                    attempt: None,
                };
                tx.write(&stored, &change)?;
                tx.replace(job.job_id, row)?;
                self.plan.differences.count(diff);
                Ok(RowChange::Changed)
            }
            RowEffect::LeaveInProgress => {
                tx.update(job, row, RowFields::default())?;
                Ok(RowChange::InProgress)
            }
        }
    }

    /// Returns the word and the bit of a job in `seen_jobs`.
    fn place(job: JobId) -> (usize, u64) {
        let index = usize::try_from(job.0).unwrap_or(0);
        (index / 64, 1 << (index % 64))
    }

    fn is_seen(&self, job: JobId) -> bool {
        let (word, bit) = Self::place(job);
        self.seen_jobs.get(word).is_some_and(|seen| seen & bit != 0)
    }

    /// Records that a row was added for a job. Returns whether it is the first one.
    fn mark_seen(&mut self, job: JobId) -> bool {
        let is_first = !self.is_seen(job);
        let (word, bit) = Self::place(job);
        if self.seen_jobs.len() <= word {
            self.seen_jobs.resize(word + 1, 0);
        }
        self.seen_jobs[word] |= bit;
        is_first
    }
}

/// Returns the first eight bytes of a fingerprint, a hash already.
fn short_hash(fingerprint: &Fingerprint) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *fingerprint;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Returns the job that the batch has for a row now.
fn find(tx: &mut impl LoadTransaction, row: &NewJob) -> Result<Option<KnownJob>> {
    Ok(tx.find_all(slice::from_ref(row))?.pop().flatten())
}
