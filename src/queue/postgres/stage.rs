//! Loads a manifest, in one transaction on a connection of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Row;

use super::connection::Connection;
use super::connector::Connector;
use super::load_rows::{RowTransaction, RowWriter};
use super::row::{Columns, nullable_millis, params, values};
use super::session::Session;
use super::time::{Started, Time};
use super::{schema, tallies, uploads, usual_reads, wake_up, write};
use crate::domain::{JobId, Money, NewJob};
use crate::failpoint::fail_point;
use crate::policy::claim::BatchView;
use crate::policy::tally::Tally;
use crate::queue::load::Load;
use crate::queue::stored_values::read_batch;
use crate::queue::{LoadPlan, NewBatch, QueueError, RemovedRows, Result, RowChange, Staging};

/// The connection of the last load, for the next one.
pub(super) type IdleSession = Arc<Mutex<Option<Session>>>;

/// A manifest that is being loaded into a queue.
pub(super) struct PostgresStaging {
    /// `Some` until the drop.
    session: Option<Session>,
    /// Where the connection is put after the load.
    idle: IdleSession,
    time: Time,
    batch: NewBatch,
    /// What the open transaction has loaded; `None` before the first row, and after a commit or a discard. Only
    /// commands of the session use it, one after another.
    open: Arc<Mutex<Option<OpenLoad>>>,
}

struct OpenLoad {
    load: Load,
    rows: RowWriter,
}

impl PostgresStaging {
    /// Checks that the batch is compatible with an existing one of its name. The queue is not locked before the
    /// first row.
    pub(super) fn open(
        connector: &Connector,
        idle: &IdleSession,
        time: Time,
        batch: NewBatch,
    ) -> Result<Self> {
        let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let session = kept.unwrap_or_else(|| Session::spawn(connector.clone(), |_| Ok(())));
        let new = batch.clone();
        session.run_blocking(move |tx| {
            let begin = format!("BEGIN READ ONLY; {}", schema::SEARCH_PATH);
            let read = tx.begin(&begin, vec![(usual_reads::BATCHES, Vec::new())]);
            let found = read.and_then(|(_, rows)| find_batch(&rows, &new).map(drop));
            tx.roll_back()?;
            found
        })?;
        Ok(Self {
            session: Some(session),
            idle: Arc::clone(idle),
            time,
            batch,
            open: Arc::default(),
        })
    }

    fn run_on_connection<T: Send + 'static>(
        &self,
        command: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let session = self.session.as_ref();
        let session = session.ok_or_else(|| QueueError::Fault("the load has ended".into()))?;
        session.run_blocking(command)
    }

    /// Runs a command inside the transaction, which is opened if there is none.
    fn run<T: Send + 'static>(
        &self,
        command: impl FnOnce(&Connection, &mut OpenLoad) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let open = Arc::clone(&self.open);
        let batch = self.batch.clone();
        let time = self.time.clone();
        self.run_on_connection(move |tx| {
            let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
            let open = match &mut *open {
                Some(open) => open,
                none => {
                    let reads = [usual_reads::BATCHES, LAST_JOB].map(|sql| (sql, Vec::new()));
                    let read = time.of_started_and_read(tx, &write::begin_load(), reads.into());
                    let opened = read.and_then(|started| OpenLoad::new(tx, &batch, &started));
                    let opened = opened.inspect_err(|_| {
                        let _ = tx.roll_back();
                    });
                    none.insert(opened?)
                }
            };
            command(tx, open)
        })
    }
}

impl Drop for PostgresStaging {
    /// Discards what was added since the last commit, and keeps the connection for the next load.
    fn drop(&mut self) {
        // A connection that is lost has ended its transaction.
        let discarded = self.discard();
        let session = self.session.take().filter(|_| discarded.is_ok());
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }
}

impl Staging for PostgresStaging {
    fn discard(&mut self) -> Result<()> {
        let open = Arc::clone(&self.open);
        self.run_on_connection(move |tx| {
            let open = open.lock().unwrap_or_else(PoisonError::into_inner).take();
            if open.is_none() {
                return Ok(());
            }
            tx.roll_back()
        })
    }

    fn add(&mut self, jobs: &[NewJob]) -> Result<Vec<RowChange>> {
        let jobs = jobs.to_vec();
        self.run(move |tx, open| {
            open.rows.has_local_images |= jobs.iter().any(|row| row.has_local_images);
            let writer = &mut open.rows;
            open.load.add(&mut RowTransaction { tx, writer }, &jobs)
        })
    }

    fn plan(&mut self) -> Result<LoadPlan> {
        let is_open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if is_open.is_none() {
            return Ok(LoadPlan::default());
        }
        drop(is_open);
        self.run(|tx, open| {
            let writer = &mut open.rows;
            open.load.plan(&mut RowTransaction { tx, writer })
        })
    }

    fn commit(&mut self, removed: RemovedRows) -> Result<LoadPlan> {
        let batch = self.batch.clone();
        let plan = self.run(move |tx, open| {
            let writer = &mut open.rows;
            let mut rows = RowTransaction { tx, writer };
            rows.lock_queue()?;
            let mut plan = open.load.plan(&mut rows)?;
            if removed == RemovedRows::Cancel {
                open.load.cancel_removed(&mut rows, &mut plan)?;
            }
            let OpenLoad { rows, .. } = open;
            let fresh_at = (!batch.reuses_clips).then_some(rows.now);
            tx.post(
                "UPDATE batches SET budget = coalesce($2, budget), fresh_at = coalesce($3, fresh_at),
                        has_files = has_files OR $4
                 WHERE batch_id = $1",
                values![
                    rows.batch_id,
                    batch.budget.map(Money::micros),
                    nullable_millis(fresh_at),
                    rows.has_local_images
                ],
            )?;
            if rows.has_local_images {
                uploads::clear_rejected(tx)?;
            }
            let mut tally = rows.tally.clone();
            tally.add_new_jobs(&batch.name, plan.new);
            tallies::write(tx, &tally)?;
            fail_point!("load written");
            tx.batch(&format!("{}; COMMIT", wake_up::statement("load")))?;
            fail_point!("load committed");
            Ok(plan)
        })?;
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(plan)
    }
}

impl OpenLoad {
    /// Creates the batch if it does not exist. It is looked up again, because another load may have created it in
    /// the meantime.
    fn new(tx: &Connection, batch: &NewBatch, Started { now, rows, .. }: &Started) -> Result<Self> {
        let now = *now;
        let new_load = |last_job, jobs_before| Load::new(batch, now, last_job, jobs_before);
        let (batch_id, load) = match find_batch(rows, batch)? {
            None => {
                let batch_id = tx.value(
                    "INSERT INTO batches (name, model, folder, budget, created_at)
                     VALUES ($1, $2, $3, $4, $5) RETURNING batch_id",
                    params![
                        batch.name,
                        batch.model,
                        batch.folder.to_string(),
                        batch.budget.map(Money::micros),
                        now.as_millisecond(),
                    ],
                )?;
                let batch_id = batch_id.ok_or_else(|| QueueError::corrupt("a new batch"))?;
                (batch_id, new_load(JobId(0), 0))
            }
            Some(known) => {
                let last_job = rows.get(1).and_then(|rows| rows.first());
                let last_job = last_job.map(|row| Columns(row).get("last")).transpose()?;
                let last_job = last_job.flatten().unwrap_or(0);
                let jobs_before = known.totals.jobs.total();
                (known.batch_id, new_load(JobId(last_job), jobs_before))
            }
        };
        let rows = RowWriter {
            now,
            batch_id,
            has_local_images: false,
            lanes: HashMap::new(),
            holds_queue: false,
            tally: Tally::default(),
        };
        Ok(Self { load, rows })
    }
}

/// The highest number of a job.
const LAST_JOB: &str = "SELECT max(job_id) AS last FROM rows";

/// Returns the batch among those that were read first; `None` if it does not exist yet. Returns an error if it
/// exists with another model or folder, or if another batch uses its folder.
fn find_batch(read: &[Vec<Row>], batch: &NewBatch) -> Result<Option<BatchView>> {
    let batches = read.first().into_iter().flatten();
    let batches = batches.map(|row| read_batch(&Columns(row), &Tally::default()));
    let batches = batches.collect::<Result<Vec<BatchView>>>()?;
    Ok(batch.find(&batches)?.cloned())
}
