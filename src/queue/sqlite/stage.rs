//! Loads a manifest, in one transaction on a connection of its own that writes each row directly to
//! the tables.
//!
//! A million rows load in seconds and in constant memory: an existing job is found by its row key,
//! a duplicate row by the uniqueness of that key, and a load with an error is rolled back as a
//! whole.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::clock::Clock;
use crate::domain::{Fingerprint, Input, JobId, Money, NewJob, ProviderName, SavedFile};
use crate::failpoint::fail_point;
use crate::policy::Change;
use crate::policy::claim::BatchView;
use crate::policy::tally::Tally;
use crate::queue::load::{KnownJob, Load, LoadTransaction, MadeClip, Reuse, RowFields};
use crate::queue::storage::{JobSet, StoredJob};
use crate::queue::stored_row::StoredRow;
use crate::queue::stored_update::LeaseChange;
use crate::queue::{
    LoadPlan, Loader, NewBatch, QueueError, RemovedRows, Result, RowChange, Staging,
};

use super::SqliteQueue;
use super::change;
use super::claim_reads;
use super::clips;
use super::insert::{self, line_number};
use super::job_row;
use super::lanes;
use super::open;
use super::paths;
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
    /// What the open transaction has loaded; `None` before the first row, and after a commit or a discard.
    open: Option<OpenLoad>,
}

struct OpenLoad {
    load: Load,
    rows: RowWriter,
}

/// Writes the rows of an open transaction.
struct RowWriter {
    /// When the transaction began; the rows are queued at this time.
    now: Timestamp,
    batch_id: i64,
    /// Whether an added row names a local image.
    has_local_images: bool,
    /// The lanes of the batch that rows were added to.
    lanes: HashMap<Vec<ProviderName>, i64>,
    /// What the restarted jobs change.
    tally: Tally,
}

impl SqliteStaging {
    /// Opens a connection and checks that the batch is compatible with an existing one of its name.
    /// The queue is not locked before the first row.
    pub(super) fn open(path: &Path, clock: Arc<dyn Clock>, mut batch: NewBatch) -> Result<Self> {
        let connection = open::open_for_writing(path)?;
        batch.folder = paths::normalize_folder(&connection, &batch.folder);
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
            open: None,
        })
    }

    /// Begins a transaction, unless one is open.
    fn begin(&mut self) -> Result<(&Connection, &mut OpenLoad)> {
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let begin = self.connection.prepare_cached("BEGIN IMMEDIATE");
                begin?.execute([])?;
                let opened = open::ensure_not_newer(&self.connection, &self.path)
                    .and_then(|()| OpenLoad::new(&self.connection, &self.batch, self.clock.now()));
                none.insert(opened.inspect_err(|_| {
                    // The error of what failed before is what matters.
                    let _ = self.connection.execute_batch("ROLLBACK");
                })?)
            }
        };
        Ok((&self.connection, open))
    }

    fn add_rows(&mut self, rows: &[NewJob]) -> Result<Vec<RowChange>> {
        let (tx, open) = self.begin()?;
        open.rows.has_local_images |= rows.iter().any(|row| row.has_local_images);
        let writer = &mut open.rows;
        open.load.add(&mut RowTransaction { tx, writer }, rows)
    }

    fn plan_transaction(&mut self) -> Result<LoadPlan> {
        if self.open.is_none() {
            return Ok(LoadPlan::default());
        }
        let (tx, open) = self.begin()?;
        let writer = &mut open.rows;
        open.load.plan(&mut RowTransaction { tx, writer })
    }

    fn commit_transaction(&mut self, removed: RemovedRows) -> Result<LoadPlan> {
        let (tx, open) = self.begin()?;
        let writer = &mut open.rows;
        let mut rows = RowTransaction { tx, writer };
        let mut plan = open.load.plan(&mut rows)?;
        if removed == RemovedRows::Cancel {
            open.load.cancel_removed(&mut rows, &mut plan)?;
        }
        tallies::write(tx, &open.rows.tally)?;
        execute(
            tx,
            "UPDATE batches SET queued = queued + ?2, has_files = max(has_files, ?3)
             WHERE batch_id = ?1",
            params![
                open.rows.batch_id,
                i64::try_from(plan.new).unwrap_or(i64::MAX),
                open.rows.has_local_images
            ],
        )?;
        if open.rows.has_local_images {
            uploads::clear_rejected(tx)?;
        }
        fail_point!("load written");
        tx.prepare_cached("COMMIT")?.execute([])?;
        fail_point!("load committed");
        self.open = None;
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
    fn discard(&mut self) -> Result<()> {
        if self.open.take().is_none() {
            return Ok(());
        }
        let discarded = self.connection.execute_batch("ROLLBACK");
        discarded.map_err(|error| open::add_path(&self.path, error.into()))
    }

    fn add(&mut self, jobs: &[NewJob]) -> Result<Vec<RowChange>> {
        self.add_rows(jobs)
            .map_err(|error| open::add_path(&self.path, error))
    }

    fn plan(&mut self) -> Result<LoadPlan> {
        self.plan_transaction()
            .map_err(|error| open::add_path(&self.path, error))
    }

    fn commit(&mut self, removed: RemovedRows) -> Result<LoadPlan> {
        self.commit_transaction(removed)
            .map_err(|error| open::add_path(&self.path, error))
    }
}

impl OpenLoad {
    /// Creates the batch, or sets the budget of an existing one. The batch is looked up again,
    /// because another load may have created it in the meantime.
    fn new(tx: &Connection, batch: &NewBatch, now: Timestamp) -> Result<Self> {
        let new_load = |last_job, jobs_before| Load::new(batch, now, last_job, jobs_before);
        let (batch_id, load) = match find_batch(tx, batch)? {
            None => {
                execute(
                    tx,
                    "INSERT INTO batches (name, model, folder, budget, created_at)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![
                        batch.name,
                        batch.model,
                        paths::to_stored(tx, &batch.folder),
                        batch.budget.map(Money::micros),
                        now.as_millisecond(),
                    ],
                )?;
                (tx.last_insert_rowid(), new_load(JobId(0), 0))
            }
            Some(known) => {
                if let Some(budget) = batch.budget {
                    execute(
                        tx,
                        "UPDATE batches SET budget = ?2 WHERE batch_id = ?1",
                        params![known.batch_id, budget.micros()],
                    )?;
                }
                let last_job = query_value(tx, "SELECT max(job_id) FROM jobs", [])?.unwrap_or(0);
                let jobs_before = known.totals.jobs.total();
                (known.batch_id, new_load(JobId(last_job), jobs_before))
            }
        };
        if !batch.reuses_clips {
            execute(
                tx,
                "UPDATE batches SET fresh_at = ?2 WHERE batch_id = ?1",
                params![batch_id, now.as_millisecond()],
            )?;
        }
        let rows = RowWriter {
            now,
            batch_id,
            has_local_images: false,
            lanes: HashMap::new(),
            tally: Tally::default(),
        };
        Ok(Self { load, rows })
    }
}

impl RowWriter {
    /// Returns the lane of a row, which is created if the batch does not have it.
    fn lane(&mut self, tx: &Connection, row: &NewJob) -> Result<i64> {
        if let Some(lane_id) = self.lanes.get(&row.providers) {
            return Ok(*lane_id);
        }
        let lane_id = lanes::get_or_create(tx, self.batch_id, &row.providers)?;
        self.lanes.insert(row.providers.clone(), lane_id);
        Ok(lane_id)
    }
}

/// The open transaction, as the shared script uses it.
struct RowTransaction<'a> {
    tx: &'a Connection,
    writer: &'a mut RowWriter,
}

impl LoadTransaction for RowTransaction<'_> {
    fn find(&mut self, row_key: &str) -> Result<Option<KnownJob>> {
        let found = select(
            self.tx,
            "SELECT job_id, line, state, fingerprint, lane_id FROM jobs
             WHERE batch_id = ?1 AND row_key = ?2",
            params![self.writer.batch_id, row_key],
            |columns| {
                Ok(KnownJob {
                    job_id: JobId(columns.get("job_id")?),
                    line: columns.get("line")?,
                    state: columns.parse("state")?,
                    fingerprint: columns.get("fingerprint")?,
                    lane_id: columns.get("lane_id")?,
                })
            },
        )?;
        Ok(found.into_iter().next())
    }

    fn input(&mut self, job: JobId) -> Result<Input> {
        let sql = "SELECT input FROM jobs WHERE job_id = ?1";
        let input = select(self.tx, sql, [job.0], |columns| columns.input("input"))?.pop();
        input.ok_or_else(|| gone(job))
    }

    fn queued_elsewhere(&mut self) -> Result<BTreeMap<String, u64>> {
        let batch_id = self.writer.batch_id;
        let sql = "SELECT EXISTS (
                       SELECT 1 FROM batches WHERE batch_id <> ?1
                       AND queued + submitting + in_doubt + running + downloading > 0)";
        if !query_value(self.tx, sql, [batch_id])?.unwrap_or(false) {
            return Ok(BTreeMap::new());
        }
        // The index that SQLite makes for this join is worth its time: it has only what is not finished.
        let elsewhere = select(
            self.tx,
            "SELECT b.name, count(DISTINCT mine.job_id) AS rows
             FROM jobs mine JOIN jobs other ON other.fingerprint = mine.fingerprint
                  JOIN batches b ON b.batch_id = other.batch_id
             WHERE mine.batch_id = ?1 AND mine.state = 'queued'
                   AND other.batch_id <> ?1 AND other.finished_at IS NULL
             GROUP BY b.name",
            [batch_id],
            |columns| Ok((columns.get("name")?, columns.get("rows")?)),
        )?;
        Ok(elsewhere.into_iter().collect())
    }

    fn for_each_queued(&mut self, visit: &mut dyn FnMut(JobId, Money)) -> Result<()> {
        select(
            self.tx,
            "SELECT job_id, estimate FROM jobs
             WHERE lane_id IN (SELECT lane_id FROM lanes WHERE batch_id = ?1)
                   AND state = 'queued'",
            [self.writer.batch_id],
            |columns| {
                visit(JobId(columns.get("job_id")?), columns.money("estimate")?);
                Ok(())
            },
        )?;
        Ok(())
    }

    fn stored(&mut self, job: JobId) -> Result<StoredJob> {
        let stored = job_row::stored_jobs(self.tx, JobSet::Number(job))?.pop();
        stored.ok_or_else(|| gone(job))
    }

    fn insert(&mut self, rows: &[NewJob]) -> Result<usize> {
        let RowWriter { batch_id, now, .. } = *self.writer;
        let mut chunks = rows.chunks_exact(insert::CHUNK_SIZE);
        let mut inserted = 0;
        for chunk in &mut chunks {
            let lanes = chunk.iter().map(|row| self.writer.lane(self.tx, row));
            let lanes = lanes.collect::<Result<Vec<i64>>>()?;
            let count = insert::insert_chunk(self.tx, batch_id, chunk, &lanes, now)?;
            inserted += count;
            if count < chunk.len() {
                return Ok(inserted);
            }
        }
        for row in chunks.remainder() {
            if !self.insert_as(row, &row.stem)? {
                break;
            }
            inserted += 1;
        }
        Ok(inserted)
    }

    fn insert_as(&mut self, row: &NewJob, stem: &str) -> Result<bool> {
        let lane_id = self.writer.lane(self.tx, row)?;
        let RowWriter { batch_id, now, .. } = *self.writer;
        Ok(insert::insert_one(
            self.tx, batch_id, row, lane_id, stem, now,
        )?)
    }

    fn update(&mut self, job: &KnownJob, row: &NewJob, fields: RowFields) -> Result<()> {
        let JobId(job_id) = job.job_id;
        if fields.providers {
            let lane_id = self.writer.lane(self.tx, row)?;
            if job.lane_id != lane_id {
                execute(
                    self.tx,
                    "UPDATE jobs SET lane_id = ?2, estimate = ?3 WHERE job_id = ?1",
                    params![job_id, lane_id, row.estimate.micros()],
                )?;
            }
        }
        if fields.input {
            execute(
                self.tx,
                "UPDATE jobs SET input = ?2 WHERE job_id = ?1 AND input <> ?2",
                params![job_id, paths::input_to_stored(self.tx, row)],
            )?;
        }
        if fields.fingerprint {
            execute(
                self.tx,
                "UPDATE jobs SET fingerprint = ?2 WHERE job_id = ?1",
                params![job_id, row.fingerprint],
            )?;
            execute(
                self.tx,
                "UPDATE attempts SET fingerprint = ?2
                 WHERE attempt_id = (SELECT attempt_id FROM jobs WHERE job_id = ?1)",
                params![job_id, row.fingerprint],
            )?;
        }
        if job.line != row.line {
            execute(
                self.tx,
                "UPDATE jobs SET line = ?2 WHERE job_id = ?1",
                params![job_id, line_number(row)],
            )?;
        }
        Ok(())
    }

    fn replace(&mut self, job: JobId, row: &NewJob) -> Result<()> {
        let lane_id = self.writer.lane(self.tx, row)?;
        execute(
            self.tx,
            "UPDATE jobs SET line = ?2, input = ?3, fingerprint = ?4, lane_id = ?5, estimate = ?6,
                    queued_at = ?7, attempt_id = NULL
             WHERE job_id = ?1",
            params![
                job.0,
                line_number(row),
                paths::input_to_stored(self.tx, row),
                row.fingerprint,
                lane_id,
                row.estimate.micros(),
                self.writer.now.as_millisecond(),
            ],
        )?;
        Ok(())
    }

    fn write(&mut self, job: &StoredJob, change: &Change) -> Result<()> {
        let tally = &mut self.writer.tally;
        change::write(self.tx, &job.into(), change, LeaseChange::End, tally).map(drop)
    }

    fn keep_clip(&mut self, job: JobId, clip: &SavedFile) -> Result<()> {
        clips::keep(self.tx, job, clip)
    }

    fn has_made_clips(&mut self) -> Result<bool> {
        clips::any(self.tx)
    }

    fn find_made(&mut self, fingerprint: &Fingerprint, job: JobId) -> Result<Option<MadeClip>> {
        clips::find(self.tx, fingerprint, self.writer.batch_id, job)
    }

    fn reuse(&mut self, job: &StoredJob, made: &MadeClip, reuse: &Reuse) -> Result<()> {
        clips::reuse(self.tx, self.writer.batch_id, job, made, reuse)?;
        let tally = &mut self.writer.tally;
        tally.add_job(&job.batch, job.progress.state, reuse.job.state);
        Ok(())
    }
}

/// Returns the batch; `None` if it does not exist yet. Returns an error if it exists with another
/// model or folder, or if another batch uses its folder.
fn find_batch(connection: &Connection, batch: &NewBatch) -> Result<Option<BatchView>> {
    let batches = claim_reads::read_batches(connection, &Tally::default())?;
    Ok(batch.find(&batches)?.cloned())
}

fn gone(job: JobId) -> QueueError {
    QueueError::corrupt(format!("job {job} is gone"))
}
