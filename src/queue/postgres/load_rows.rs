//! Reads and writes the rows of a load.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::connection::Connection;
use super::new_rows::{self, Common, NewRow};
use super::row::{bigint, params, values};
use super::{change, clips, job_row, lanes, write};
use crate::domain::{Fingerprint, Input, JobId, Money, NewJob, ProviderName, SavedFile};
use crate::policy::Change;
use crate::policy::tally::Tally;
use crate::queue::load::{KnownJob, LoadTransaction, MadeClip, Reuse, RowFields};
use crate::queue::storage::{JobSet, StoredJob};
use crate::queue::stored_row::StoredRow;
use crate::queue::stored_update::LeaseChange;
use crate::queue::{QueueError, Result};

/// Writes the rows of an open transaction.
pub(super) struct RowWriter {
    /// When the transaction began; the rows are queued at this time.
    pub(super) now: Timestamp,
    pub(super) batch_id: i64,
    /// Whether an added row names a local image.
    pub(super) has_local_images: bool,
    /// The lanes of the batch that rows were added to.
    pub(super) lanes: HashMap<Vec<ProviderName>, i64>,
    /// Whether only this load writes, until it is committed.
    pub(super) holds_queue: bool,
    /// What the restarted jobs change.
    pub(super) tally: Tally,
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

/// Number of rows from which they are copied: that takes some round trips more than the statement for one.
const MIN_COPIED: usize = 8;

/// The open transaction, as the shared script uses it.
pub(super) struct RowTransaction<'a> {
    pub(super) tx: &'a Connection,
    pub(super) writer: &'a mut RowWriter,
}

impl RowTransaction<'_> {
    /// Returns the job that the batch has for each row.
    fn find_jobs(&self, rows: &[NewJob]) -> Result<Vec<Option<KnownJob>>> {
        let keys = rows.iter().flat_map(|row| {
            let earlier_key = row.earlier_key.as_deref();
            std::iter::once(row.row_key.as_str()).chain(earlier_key)
        });
        let found = self.find_keys(&keys.collect::<Vec<&str>>())?;
        let jobs = rows.iter().map(|row| {
            let job = found.get(&row.row_key);
            let earlier = || found.get(row.earlier_key.as_ref()?);
            job.or_else(earlier).cloned()
        });
        Ok(jobs.collect())
    }

    /// Returns the jobs that the batch has for keys, by these.
    fn find_keys(&self, keys: &[&str]) -> Result<HashMap<String, KnownJob>> {
        let found = self.tx.select(
            "SELECT r.row_key, r.job_id, r.line, j.state, r.fingerprint, j.lane_id
             FROM rows r JOIN jobs j USING (job_id) WHERE r.batch_id = $1 AND r.row_key = ANY($2)",
            params![self.writer.batch_id, keys],
            |columns| {
                let fingerprint: &[u8] = columns.get("fingerprint")?;
                let fingerprint = Fingerprint::try_from(fingerprint);
                let job = KnownJob {
                    job_id: JobId(columns.get("job_id")?),
                    line: columns.number("line")?,
                    state: columns.parse("state")?,
                    fingerprint: fingerprint
                        .map_err(|error| QueueError::unparsable("fingerprint", error))?,
                    lane_id: columns.get("lane_id")?,
                };
                Ok((columns.get("row_key")?, job))
            },
        )?;
        Ok(found.into_iter().collect())
    }

    /// Keeps everything as it is from now on until the commit: only this load writes.
    pub(super) fn lock_queue(&mut self) -> Result<()> {
        if !self.writer.holds_queue {
            write::lock_queue(self.tx)?;
            self.writer.holds_queue = true;
        }
        Ok(())
    }

    /// Returns whether a job is as its row says, so that nothing of it is written.
    fn is_same(&mut self, row: &NewJob, job: &KnownJob) -> Result<bool> {
        let is_same = job.fingerprint == row.fingerprint
            && job.line == row.line
            && !row.has_local_images
            && job.lane_id == self.writer.lane(self.tx, row)?;
        Ok(is_same)
    }

    fn common(&self) -> Common {
        Common {
            batch_id: self.writer.batch_id,
            queued_at: self.writer.now.as_millisecond(),
        }
    }

    fn new_row<'a>(&mut self, row: &'a NewJob, stem: &'a str) -> Result<NewRow<'a>> {
        let lane_id = self.writer.lane(self.tx, row)?;
        Ok(NewRow::new(row, stem, lane_id))
    }
}

impl LoadTransaction for RowTransaction<'_> {
    fn find_all(&mut self, rows: &[NewJob]) -> Result<Vec<Option<KnownJob>>> {
        let known = self.find_jobs(rows)?;
        for (row, job) in rows.iter().zip(&known) {
            if let Some(job) = job
                && !self.writer.holds_queue
                && !self.is_same(row, job)?
            {
                // A run may have gone on with any of them until the lock was held.
                self.lock_queue()?;
                return self.find_jobs(rows);
            }
        }
        Ok(known)
    }

    fn find(&mut self, row_key: &str) -> Result<Option<KnownJob>> {
        Ok(self.find_keys(&[row_key])?.remove(row_key))
    }

    fn input(&mut self, job: JobId) -> Result<Input> {
        let sql = "SELECT input FROM rows WHERE job_id = $1";
        let mut input = self
            .tx
            .select(sql, params![job.0], |columns| columns.input("input"))?;
        input.pop().ok_or_else(|| gone(job))
    }

    fn queued_elsewhere(&mut self) -> Result<BTreeMap<String, u64>> {
        let elsewhere = self.tx.select(
            "SELECT b.name, count(DISTINCT mine.job_id) AS rows
             FROM rows mine JOIN jobs mj ON mj.job_id = mine.job_id
                  JOIN rows other ON other.fingerprint = mine.fingerprint
                  JOIN jobs oj ON oj.job_id = other.job_id
                  JOIN batches b ON b.batch_id = other.batch_id
             WHERE EXISTS (SELECT 1 FROM batches WHERE batch_id <> $1)
                   AND mine.batch_id = $1 AND mj.state = 'queued'
                   AND other.batch_id <> $1 AND oj.finished_at IS NULL
             GROUP BY b.name",
            params![self.writer.batch_id],
            |columns| Ok((columns.get("name")?, columns.number("rows")?)),
        )?;
        Ok(elsewhere.into_iter().collect())
    }

    fn for_each_queued(&mut self, visit: &mut dyn FnMut(JobId, Money)) -> Result<()> {
        self.tx.select(
            "SELECT job_id, r.estimate FROM jobs j JOIN rows r USING (job_id)
             WHERE j.batch_id = $1 AND j.state = 'queued' ORDER BY job_id",
            params![self.writer.batch_id],
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
        let new = rows.iter().map(|row| self.new_row(row, &row.stem));
        let new = new.collect::<Result<Vec<NewRow<'_>>>>()?;
        if new.len() >= MIN_COPIED && new_rows::copy(self.tx, self.common(), &new)? {
            return Ok(new.len());
        }
        for (index, row) in new.iter().enumerate() {
            if !new_rows::insert(self.tx, self.common(), row)? {
                return Ok(index);
            }
        }
        Ok(new.len())
    }

    fn insert_as(&mut self, row: &NewJob, stem: &str) -> Result<bool> {
        let new = self.new_row(row, stem)?;
        new_rows::insert(self.tx, self.common(), &new)
    }

    fn update(&mut self, job: &KnownJob, row: &NewJob, fields: RowFields) -> Result<()> {
        let JobId(job_id) = job.job_id;
        if fields.providers {
            let lane_id = self.writer.lane(self.tx, row)?;
            if job.lane_id != lane_id {
                self.tx.post(
                    "UPDATE jobs SET lane_id = $2 WHERE job_id = $1",
                    values![job_id, lane_id],
                )?;
                self.tx.post(
                    "UPDATE rows SET estimate = $2 WHERE job_id = $1",
                    values![job_id, row.estimate.micros()],
                )?;
            }
        }
        if fields.input {
            self.tx.post(
                "UPDATE rows SET input = $2 WHERE job_id = $1 AND input <> $2",
                values![job_id, row.input_text.clone()],
            )?;
        }
        if fields.fingerprint {
            let fingerprint = row.fingerprint.to_vec();
            self.tx.post(
                "UPDATE rows SET fingerprint = $2 WHERE job_id = $1",
                values![job_id, fingerprint.clone()],
            )?;
            self.tx.post(
                "UPDATE attempts SET fingerprint = $2
                 WHERE attempt_id = (SELECT attempt_id FROM jobs WHERE job_id = $1)",
                values![job_id, fingerprint],
            )?;
        }
        if job.line != row.line {
            self.tx.post(
                "UPDATE rows SET line = $2 WHERE job_id = $1",
                values![job_id, bigint(row.line)],
            )?;
        }
        Ok(())
    }

    fn replace(&mut self, job: JobId, row: &NewJob) -> Result<()> {
        let lane_id = self.writer.lane(self.tx, row)?;
        self.tx.post(
            "UPDATE jobs SET lane_id = $2, attempt_id = NULL WHERE job_id = $1",
            values![job.0, lane_id],
        )?;
        self.tx.post(
            "UPDATE rows SET line = $2, input = $3, fingerprint = $4, estimate = $5, queued_at = $6
             WHERE job_id = $1",
            values![
                job.0,
                bigint(row.line),
                row.input_text.clone(),
                row.fingerprint.to_vec(),
                row.estimate.micros(),
                self.writer.now.as_millisecond(),
            ],
        )?;
        Ok(())
    }

    fn write(&mut self, job: &StoredJob, change: &Change) -> Result<()> {
        let tally = &mut self.writer.tally;
        change::post(self.tx, &job.into(), change, LeaseChange::End, tally)
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
        // The one write that holds the queue numbers attempts.
        self.lock_queue()?;
        clips::reuse(self.tx, self.writer.batch_id, job, made, reuse)?;
        let tally = &mut self.writer.tally;
        tally.add_job(&job.batch, job.progress.state, reuse.job.state);
        Ok(())
    }
}

fn gone(job: JobId) -> QueueError {
    QueueError::corrupt(format!("job {job} is gone"))
}
