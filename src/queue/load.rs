//! A load as every store makes it: each row is compared with the job that the batch has for its key,
//! and the difference is written. The rules are in [`policy::load`](load); a store only reads and
//! writes.

use std::collections::{BTreeMap, HashSet};
use std::slice;

use jiff::Timestamp;

use crate::domain::{
    Attempt, AttemptProgress, Fingerprint, Input, InputComparison, InputDiff, JobId, JobProgress,
    JobState, Money, NewJob, SavedFile, file_name,
};
use crate::policy::load::{self, RowEffect};
use crate::policy::{Change, operator};

use super::commands::not_applicable;
use super::storage::StoredJob;
use super::{LoadPlan, NewBatch, QueueError, Result, RowChange};

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
    /// The input, which asks for the same, but may name its images by other paths or links.
    pub input: bool,
    /// The fingerprint.
    pub fingerprint: bool,
    /// The providers that may run the job, and with them its estimate.
    pub providers: bool,
}

/// The open transaction of a load into one batch.
pub trait LoadTransaction {
    /// Returns the job that the batch has for a row's key.
    fn find(&mut self, row_key: &str) -> Result<Option<KnownJob>>;

    /// Returns the input of a job.
    fn input(&mut self, job: JobId) -> Result<Input>;

    /// Returns how many queued jobs of the batch ask for what is queued or in progress in another batch,
    /// by its name.
    fn queued_elsewhere(&mut self) -> Result<BTreeMap<String, u64>>;

    /// Visits the queued jobs of the batch, with their estimates.
    fn for_each_queued(&mut self, visit: &mut dyn FnMut(JobId, Money)) -> Result<()>;

    /// Returns a job that exists.
    fn stored(&mut self, job: JobId) -> Result<StoredJob>;

    /// Queues rows as new jobs, in order, under the file names that they prefer. Stops at the first
    /// whose key or file name another job of the batch has, and returns how many were queued.
    fn insert(&mut self, rows: &[NewJob]) -> Result<usize>;

    /// Queues a row as a new job under another file name. Returns `false` if another job of the batch
    /// has that, too.
    fn insert_as(&mut self, row: &NewJob, stem: &str) -> Result<bool>;

    /// Writes the line of a row, and the given fields, to its job.
    fn update(&mut self, job: &KnownJob, row: &NewJob, fields: RowFields) -> Result<()>;

    /// Writes everything of a row to its job, which has no attempt at the new input.
    fn replace(&mut self, job: JobId, row: &NewJob) -> Result<()>;

    /// Writes a change of a job.
    fn write(&mut self, job: &StoredJob, change: &Change) -> Result<()>;

    /// Keeps the clip of a job's current attempt with that attempt.
    fn keep_clip(&mut self, job: JobId, clip: &SavedFile) -> Result<()>;

    /// Returns whether any clip was made in this queue.
    fn has_made_clips(&mut self) -> Result<bool>;

    /// Returns the attempt that made a clip for what a fingerprint stands for and that no other job of
    /// this batch has taken; one of the given job before others. `None` if there is none.
    fn find_made(&mut self, fingerprint: &Fingerprint, job: JobId) -> Result<Option<MadeClip>>;

    /// Gives a queued job a new attempt, which takes a clip, and writes the progress of both.
    fn reuse(&mut self, job: &StoredJob, made: &MadeClip, reuse: &Reuse) -> Result<()>;
}

/// A clip that was paid for.
#[derive(Clone, Debug)]
pub struct MadeClip {
    /// The batch of its job.
    pub batch: String,
    /// The attempt that made it.
    pub attempt: Attempt,
}

/// A job after it has taken a clip, and its attempt at that.
#[derive(Clone, Debug)]
pub struct Reuse {
    /// The job.
    pub job: JobProgress,
    /// The attempt.
    pub attempt: AttemptProgress,
}

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
            queued: self.plan.new,
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

    fn add_row(&mut self, tx: &mut impl LoadTransaction, row: &NewJob) -> Result<RowChange> {
        let mut known = tx.find(&row.row_key)?;
        if let Some(earlier_key) = row.earlier_key.as_ref().filter(|_| known.is_none()) {
            known = tx.find(earlier_key)?;
        }
        let Some(job) = known else {
            return add_new(tx, row);
        };
        if job.job_id > self.last_job || !self.mark_seen(job.job_id) {
            return Ok(RowChange::Duplicate { line: job.line });
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
                tx.update(&job, row, fields)?;
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
                tx.update(&job, row, RowFields::default())?;
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
