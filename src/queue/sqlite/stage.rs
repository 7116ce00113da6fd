//! Loads a manifest, in one transaction on a connection of its own that writes each row directly to
//! the tables.
//!
//! A million rows load in seconds and in constant memory: an existing job is found by its row key,
//! a duplicate row by the uniqueness of that key, and a load with an error is rolled back as a
//! whole.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::clock::Clock;
use crate::domain::{Fingerprint, JobId, JobState, Money, NewJob, ProviderName, file_name};
use crate::failpoint::fail_point;
use crate::policy::Change;
use crate::policy::claim::BatchView;
use crate::policy::load::{self, RowEffect};
use crate::policy::tally::Tally;
use crate::queue::storage::JobSet;
use crate::queue::{LoadPlan, Loader, NewBatch, QueueError, Result, RowChange, Staging};

use super::SqliteQueue;
use super::change;
use super::claim_reads;
use super::insert::{self, line_number};
use super::job_row;
use super::lanes;
use super::open;
use super::row::{execute, query_value, select};
use super::{tallies, uploads};

/// The page cache of a load, in KiB. Large enough that a page which is being filled is written
/// once.
const CACHE_KIB: i64 = 16 << 10;

/// A manifest that is being loaded into a SQLite queue.
pub(super) struct SqliteStaging {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    connection: Connection,
    batch: NewBatch,
    /// The open transaction; `None` before the first row and after a commit.
    transaction: Option<LoadTransaction>,
}

/// The state of an open load transaction.
struct LoadTransaction {
    /// When it was begun; the rows are queued as of this time.
    now: Timestamp,
    batch_id: i64,
    /// The highest job number of the queue before the transaction; 0 if the batch is new.
    last_job_id: i64,
    /// Number of jobs of the batch before the transaction.
    jobs_before: u64,
    /// A bit set, indexed by job number, of the existing jobs for which a row was added.
    seen_jobs: Vec<u64>,
    /// Whether an added row names a local image.
    has_local_images: bool,
    /// The lanes of the batch that rows were added to.
    lanes: HashMap<Vec<ProviderName>, i64>,
    /// What the restarted jobs change.
    tally: Tally,
    /// The plan so far, without `removed`.
    plan: LoadPlan,
}

/// The job that the batch has for a row's key.
struct ExistingJob {
    job_id: i64,
    line: u64,
    state: JobState,
    fingerprint: Fingerprint,
    lane_id: i64,
}

impl SqliteStaging {
    /// Opens a connection and checks that the batch is compatible with an existing one of its name.
    /// The queue is not locked before the first row.
    pub(super) fn open(path: &Path, clock: Arc<dyn Clock>, batch: NewBatch) -> Result<Self> {
        let connection = open::open_for_writing(path)?;
        let prepare = || {
            connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
            // The only row that a new job refers to is its batch, whose existence the transaction
            // ensures.
            connection.pragma_update(None, "foreign_keys", false)?;
            find_batch(&connection, &batch)
        };
        prepare().map_err(|error| open::add_path(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            clock,
            connection,
            batch,
            transaction: None,
        })
    }

    fn add_rows(&mut self, jobs: &[NewJob]) -> Result<Vec<RowChange>> {
        let Self {
            clock,
            connection,
            batch,
            transaction,
            ..
        } = self;
        LoadTransaction::get_or_begin(transaction, connection, batch, clock.as_ref())?
            .add_rows(connection, jobs)
    }

    fn commit_transaction(&mut self) -> Result<LoadPlan> {
        let Self {
            clock,
            connection,
            batch,
            transaction,
            ..
        } = self;
        let LoadTransaction {
            batch_id,
            has_local_images,
            ref tally,
            ..
        } = *LoadTransaction::get_or_begin(transaction, connection, batch, clock.as_ref())?;
        tallies::write(connection, tally)?;
        let plan = self.plan();
        execute(
            &self.connection,
            "UPDATE batches SET queued = queued + ?2, has_files = max(has_files, ?3)
             WHERE batch_id = ?1",
            params![
                batch_id,
                i64::try_from(plan.new).unwrap_or(i64::MAX),
                has_local_images
            ],
        )?;
        if has_local_images {
            uploads::clear_rejected(&self.connection)?;
        }
        fail_point!("load written");
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        fail_point!("load committed");
        self.transaction = None;
        Ok(plan)
    }
}

impl Loader for SqliteQueue {
    fn stage(&self, batch: NewBatch) -> Result<Box<dyn Staging>> {
        if self.writer.is_inline() {
            return Err(QueueError::OpenForRehearsal);
        }
        Ok(Box::new(SqliteStaging::open(
            &self.path,
            Arc::clone(&self.clock),
            batch,
        )?))
    }
}

impl Staging for SqliteStaging {
    fn add(&mut self, jobs: &[NewJob]) -> Result<Vec<RowChange>> {
        self.add_rows(jobs)
            .map_err(|error| open::add_path(&self.path, error))
    }

    fn plan(&self) -> LoadPlan {
        self.transaction
            .as_ref()
            .map_or_else(LoadPlan::default, LoadTransaction::plan)
    }

    fn commit(&mut self) -> Result<LoadPlan> {
        self.commit_transaction()
            .map_err(|error| open::add_path(&self.path, error))
    }
}

impl LoadTransaction {
    /// Returns the open transaction, or begins one.
    fn get_or_begin<'a>(
        transaction: &'a mut Option<Self>,
        connection: &Connection,
        batch: &NewBatch,
        clock: &dyn Clock,
    ) -> Result<&'a mut Self> {
        match transaction {
            Some(transaction) => Ok(transaction),
            none => {
                connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
                Ok(none.insert(Self::new(connection, batch, clock.now())?))
            }
        }
    }

    /// Creates the batch, or sets the budget of an existing one. The batch is looked up again,
    /// because another load may have created it in the meantime.
    fn new(tx: &Connection, batch: &NewBatch, now: Timestamp) -> Result<Self> {
        let Some(known) = find_batch(tx, batch)? else {
            execute(
                tx,
                "INSERT INTO batches (name, model, folder, budget, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    batch.name,
                    batch.model,
                    batch.folder.to_string_lossy(),
                    batch.budget.map(Money::micros),
                    now.as_millisecond(),
                ],
            )?;
            return Ok(Self {
                now,
                batch_id: tx.last_insert_rowid(),
                last_job_id: 0,
                jobs_before: 0,
                seen_jobs: Vec::new(),
                has_local_images: false,
                lanes: HashMap::new(),
                tally: Tally::default(),
                plan: LoadPlan::default(),
            });
        };
        if let Some(budget) = batch.budget {
            execute(
                tx,
                "UPDATE batches SET budget = ?2 WHERE batch_id = ?1",
                params![known.batch_id, budget.micros()],
            )?;
        }
        let last_job_id = query_value(tx, "SELECT max(job_id) FROM jobs", [])?.unwrap_or(0);
        Ok(Self {
            now,
            batch_id: known.batch_id,
            last_job_id,
            jobs_before: known.totals.jobs.total(),
            seen_jobs: Vec::new(),
            has_local_images: false,
            lanes: HashMap::new(),
            tally: Tally::default(),
            plan: LoadPlan::default(),
        })
    }

    fn plan(&self) -> LoadPlan {
        let LoadPlan {
            changed,
            in_progress,
            unchanged,
            ..
        } = self.plan;
        LoadPlan {
            removed: self
                .jobs_before
                .saturating_sub(changed + in_progress + unchanged),
            ..self.plan
        }
    }

    fn add_rows(&mut self, tx: &Connection, jobs: &[NewJob]) -> Result<Vec<RowChange>> {
        let mut changes = Vec::with_capacity(jobs.len());
        self.has_local_images |= jobs.iter().any(|job| job.has_local_images);
        for chunk in jobs.chunks(insert::CHUNK_SIZE) {
            // A new batch has no job for any of the rows, unless a key occurs twice.
            let is_new_batch = self.last_job_id == 0;
            let inserted = if is_new_batch {
                let lanes = chunk.iter().map(|job| self.lane(tx, job));
                let lanes = lanes.collect::<Result<Vec<i64>>>()?;
                insert::insert_chunk(tx, self.batch_id, chunk, &lanes, self.now)?
            } else {
                0
            };
            let (inserted, others) = chunk.split_at(inserted);
            changes.extend(inserted.iter().map(|_| RowChange::New));
            for job in others {
                changes.push(self.add_row(tx, job)?);
            }
        }
        for (job, change) in jobs.iter().zip(&changes) {
            self.plan.count(*change, job.estimate);
        }
        Ok(changes)
    }

    fn add_row(&mut self, tx: &Connection, job: &NewJob) -> Result<RowChange> {
        let existing = if self.last_job_id > 0 {
            self.find_existing(tx, job)?
        } else {
            None
        };
        let Some(existing) = existing else {
            return self.add_new(tx, job);
        };
        if existing.job_id > self.last_job_id || !self.mark_seen(existing.job_id) {
            return Ok(RowChange::Duplicate {
                line: existing.line,
            });
        }
        match load::row_effect(existing.state, existing.fingerprint == job.fingerprint) {
            RowEffect::Unchanged => {
                self.update_unchanged(tx, &existing, job)?;
                Ok(RowChange::Unchanged)
            }
            RowEffect::Restart => {
                self.restart(tx, &existing, job)?;
                Ok(RowChange::Changed)
            }
            RowEffect::LeaveInProgress => {
                update_line(tx, &existing, job)?;
                Ok(RowChange::InProgress)
            }
        }
    }

    fn add_new(&mut self, tx: &Connection, job: &NewJob) -> Result<RowChange> {
        let lane_id = self.lane(tx, job)?;
        if insert::insert_one(tx, self.batch_id, job, lane_id, &job.stem, self.now)? {
            return Ok(RowChange::New);
        }
        if let Some(existing) = self.find_existing(tx, job)? {
            return Ok(RowChange::Duplicate {
                line: existing.line,
            });
        }
        // The file name is taken by another key that differs only in case or in replaced
        // characters.
        let stem = file_name::disambiguated_file_stem(&job.stem, &job.row_key);
        if !insert::insert_one(tx, self.batch_id, job, lane_id, &stem, self.now)? {
            return Err(QueueError::FileNameTaken {
                file_name: format!("{stem}.mp4"),
            });
        }
        Ok(RowChange::New)
    }

    fn find_existing(&self, tx: &Connection, job: &NewJob) -> Result<Option<ExistingJob>> {
        let existing = select(
            tx,
            "SELECT job_id, line, state, fingerprint, lane_id FROM jobs
             WHERE batch_id = ?1 AND row_key = ?2",
            params![self.batch_id, job.row_key],
            |columns| {
                Ok(ExistingJob {
                    job_id: columns.get("job_id")?,
                    line: columns.get("line")?,
                    state: columns.parse("state")?,
                    fingerprint: columns.get("fingerprint")?,
                    lane_id: columns.get("lane_id")?,
                })
            },
        )?;
        Ok(existing.into_iter().next())
    }

    /// Records that a row was added for an existing job. Returns whether it is the first one.
    fn mark_seen(&mut self, job_id: i64) -> bool {
        let index = usize::try_from(job_id).unwrap_or(0);
        let word = index / 64;
        let bit = 1 << (index % 64);
        if self.seen_jobs.len() <= word {
            self.seen_jobs.resize(word + 1, 0);
        }
        let is_first = self.seen_jobs[word] & bit == 0;
        self.seen_jobs[word] |= bit;
        is_first
    }
    /// Updates what a fingerprint does not cover: the line, the paths of local images and, if the
    /// job is still queued, the providers that may run it.
    fn update_unchanged(
        &mut self,
        tx: &Connection,
        existing: &ExistingJob,
        job: &NewJob,
    ) -> Result<()> {
        if load::may_change_providers(existing.state) {
            let lane_id = self.lane(tx, job)?;
            if existing.lane_id != lane_id {
                execute(
                    tx,
                    "UPDATE jobs SET lane_id = ?2, estimate = ?3 WHERE job_id = ?1",
                    params![existing.job_id, lane_id, job.estimate.micros()],
                )?;
            }
        }
        if job.has_local_images {
            // The same image files may have moved to another folder.
            execute(
                tx,
                "UPDATE jobs SET input = ?2 WHERE job_id = ?1 AND input <> ?2",
                params![existing.job_id, job.input_text],
            )?;
        }
        update_line(tx, existing, job)
    }

    /// Replaces a job's input with that of the changed row, and queues the job again from the
    /// start.
    fn restart(&mut self, tx: &Connection, existing: &ExistingJob, job: &NewJob) -> Result<()> {
        let job_id = JobId(existing.job_id);
        let stored = job_row::stored_jobs(tx, JobSet::Number(job_id))?.pop();
        let stored = stored.ok_or_else(|| QueueError::corrupt(format!("job {job_id} is gone")))?;
        let change = Change {
            job: load::restart(&stored.progress, self.now)?,
            attempt: None,
        };
        change::write(tx, &stored, &change, &mut self.tally)?;
        let lane_id = self.lane(tx, job)?;
        execute(
            tx,
            "UPDATE jobs SET line = ?2, input = ?3, fingerprint = ?4, lane_id = ?5, estimate = ?6,
                    queued_at = ?7, attempt_id = NULL
             WHERE job_id = ?1",
            params![
                existing.job_id,
                line_number(job),
                job.input_text,
                job.fingerprint,
                lane_id,
                job.estimate.micros(),
                self.now.as_millisecond(),
            ],
        )?;
        Ok(())
    }

    /// Returns the lane of a job, which is created if the batch does not have it.
    fn lane(&mut self, tx: &Connection, job: &NewJob) -> Result<i64> {
        if let Some(lane_id) = self.lanes.get(&job.providers) {
            return Ok(*lane_id);
        }
        let lane_id = lanes::get_or_create(tx, self.batch_id, &job.providers)?;
        self.lanes.insert(job.providers.clone(), lane_id);
        Ok(lane_id)
    }
}

fn update_line(tx: &Connection, existing: &ExistingJob, job: &NewJob) -> Result<()> {
    if existing.line != job.line {
        execute(
            tx,
            "UPDATE jobs SET line = ?2 WHERE job_id = ?1",
            params![existing.job_id, line_number(job)],
        )?;
    }
    Ok(())
}

/// Returns the batch; `None` if it does not exist yet. Returns an error if it exists with another
/// model or folder, or if another batch uses its folder.
fn find_batch(connection: &Connection, batch: &NewBatch) -> Result<Option<BatchView>> {
    let batches = claim_reads::read_batches(connection, &Tally::default())?;
    Ok(batch.find(&batches)?.cloned())
}
