//! Reads and writes the rows of a load.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use tokio_postgres::types::ToSql;

use super::connection::Connection;
use super::row::{bigint, params, values};
use super::{change, clips, job_row, lanes};
use crate::domain::{Fingerprint, Input, JobId, Money, NewJob, ProviderName, SavedFile, file_name};
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
    /// The jobs of the rows that are next, by their keys; `None` if there is no job.
    pub(super) expected: HashMap<String, Option<KnownJob>>,
    /// What the restarted jobs change.
    pub(super) tally: Tally,
}

impl RowWriter {
    pub(super) fn batch_name(&self, tx: &Connection) -> Result<String> {
        let name = tx.value(
            "SELECT name FROM batches WHERE batch_id = $1",
            params![self.batch_id],
        )?;
        name.ok_or_else(|| QueueError::corrupt(format!("batch {} is gone", self.batch_id)))
    }

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
pub(super) struct RowTransaction<'a> {
    pub(super) tx: &'a Connection,
    pub(super) writer: &'a mut RowWriter,
}

/// Inserts rows and their jobs, which get the numbers that are next, in order.
const INSERT: &str = "
    WITH wanted AS (
        SELECT * FROM unnest($3::TEXT[], $4::BIGINT[], $5::TEXT[], $6::BYTEA[], $7::BIGINT[],
                             $8::BIGINT[], $9::TEXT[], $10::TEXT[])
            WITH ORDINALITY AS w (row_key, line, input, fingerprint, lane_id, estimate, file_stem,
                                  file_key, position)
    ), added AS (
        INSERT INTO rows (batch_id, row_key, line, input, fingerprint, estimate, file_stem, file_key,
                          queued_at)
        SELECT $1, row_key, line, input, fingerprint, estimate, file_stem, file_key, $2
        FROM wanted ORDER BY position RETURNING job_id, row_key
    )
    INSERT INTO jobs (job_id, batch_id, lane_id, state, due_at)
    SELECT job_id, $1, lane_id, 'queued', $2 FROM added JOIN wanted USING (row_key)";

impl RowTransaction<'_> {
    /// Returns the jobs that the batch has for keys, with these.
    fn find_all(&self, keys: &[impl AsRef<str> + ToSql + Sync]) -> Result<Vec<(String, KnownJob)>> {
        self.tx.select(
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
        )
    }

    /// Inserts rows under the given names. Returns whether they were; `false` if one of them conflicts with
    /// another job, or with another of them.
    fn insert_all(&mut self, rows: &[(&NewJob, &str)]) -> Result<bool> {
        let lanes = rows.iter().map(|(row, _)| self.writer.lane(self.tx, row));
        let lanes = lanes.collect::<Result<Vec<i64>>>()?;
        let keys: Vec<&str> = rows.iter().map(|(row, _)| row.row_key.as_str()).collect();
        let lines: Vec<i64> = rows.iter().map(|(row, _)| bigint(row.line)).collect();
        let inputs: Vec<&str> = rows
            .iter()
            .map(|(row, _)| row.input_text.as_str())
            .collect();
        let fingerprints: Vec<&[u8]> = rows
            .iter()
            .map(|(row, _)| row.fingerprint.as_slice())
            .collect();
        let estimates: Vec<i64> = rows.iter().map(|(row, _)| row.estimate.micros()).collect();
        let stems: Vec<&str> = rows.iter().map(|(_, stem)| *stem).collect();
        let file_keys: Vec<String> = stems
            .iter()
            .map(|stem| file_name::case_folded(stem))
            .collect();
        let RowWriter { batch_id, now, .. } = *self.writer;
        self.tx.is_unique(
            INSERT,
            params![
                batch_id,
                now.as_millisecond(),
                keys,
                lines,
                inputs,
                fingerprints,
                lanes,
                estimates,
                stems,
                file_keys
            ],
        )
    }
}

/// Number of rows that one statement inserts.
const CHUNK_SIZE: usize = 1000;

impl LoadTransaction for RowTransaction<'_> {
    fn expect(&mut self, rows: &[NewJob]) -> Result<()> {
        let keys = rows.iter().map(|row| Some(&row.row_key));
        let keys = keys.chain(rows.iter().map(|row| row.earlier_key.as_ref()));
        let keys: Vec<&String> = keys.flatten().collect();
        let found = self.find_all(&keys)?;
        let expected = &mut self.writer.expected;
        *expected = keys.iter().map(|key| ((*key).clone(), None)).collect();
        expected.extend(found.into_iter().map(|(key, job)| (key, Some(job))));
        Ok(())
    }

    fn find(&mut self, row_key: &str) -> Result<Option<KnownJob>> {
        // The job is changed next.
        match self.writer.expected.remove(row_key) {
            Some(known) => Ok(known),
            None => Ok(self.find_all(&[row_key])?.pop().map(|(_, job)| job)),
        }
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
             WHERE mine.batch_id = $1 AND mj.state = 'queued'
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
        let mut inserted = 0;
        for chunk in rows.chunks(CHUNK_SIZE) {
            let named: Vec<(&NewJob, &str)> =
                chunk.iter().map(|row| (row, row.stem.as_str())).collect();
            if self.insert_all(&named)? {
                inserted += chunk.len();
                continue;
            }
            // One of them conflicts: those before it are inserted one by one.
            for row in chunk {
                if !self.insert_as(row, &row.stem)? {
                    return Ok(inserted);
                }
                inserted += 1;
            }
        }
        Ok(inserted)
    }

    fn insert_as(&mut self, row: &NewJob, stem: &str) -> Result<bool> {
        self.insert_all(&[(row, stem)])
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
        clips::reuse(self.tx, self.writer.batch_id, job, made, reuse)?;
        let tally = &mut self.writer.tally;
        tally.add_job(&job.batch, job.progress.state, reuse.job.state);
        Ok(())
    }
}

fn gone(job: JobId) -> QueueError {
    QueueError::corrupt(format!("job {job} is gone"))
}
