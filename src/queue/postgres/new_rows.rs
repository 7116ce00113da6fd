//! Writes new rows and their jobs: many by `COPY`, and one by a statement.

use std::pin::pin;

use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

use super::connection::Connection;
use super::row::{bigint, params};
use crate::domain::{NewJob, file_name};
use crate::queue::{QueueError, Result};

/// A row that is written.
pub(super) struct NewRow<'a> {
    row: &'a NewJob,
    line: i64,
    fingerprint: &'a [u8],
    estimate: i64,
    stem: &'a str,
    file_key: String,
    lane_id: i64,
}

/// What the new rows of a load have in common.
#[derive(Clone, Copy)]
pub(super) struct Common {
    pub(super) batch_id: i64,
    /// When they are queued, in milliseconds.
    pub(super) queued_at: i64,
}

impl<'a> NewRow<'a> {
    /// Returns a row whose clip has this name, without its ending.
    pub(super) fn new(row: &'a NewJob, stem: &'a str, lane_id: i64) -> Self {
        Self {
            row,
            line: bigint(row.line),
            fingerprint: row.fingerprint.as_slice(),
            estimate: row.estimate.micros(),
            stem,
            file_key: file_name::case_folded(stem),
            lane_id,
        }
    }

    /// Returns the values of its columns.
    fn values<'v>(&'v self, common: &'v Common) -> [&'v (dyn ToSql + Sync); 9] {
        [
            &common.batch_id,
            &common.queued_at,
            &self.row.row_key,
            &self.line,
            &self.row.input_text,
            &self.fingerprint,
            &self.estimate,
            &self.stem,
            &self.file_key,
        ]
    }
}

/// The columns of a row apart from its number.
macro_rules! columns {
    () => {
        "batch_id, queued_at, row_key, line, input, fingerprint, estimate, file_stem, file_key"
    };
}

/// Writes a row that conflicts with none: that is, with no key and no file name of its batch.
const INSERT: &str = concat!(
    "WITH added AS (
        INSERT INTO rows (",
    columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING job_id
     )
     INSERT INTO jobs (job_id, batch_id, lane_id, state, due_at)
     SELECT job_id, $1, $10, 'queued', $2 FROM added"
);

const COPY_ROWS: &str = concat!("COPY rows (job_id, ", columns!(), ") FROM STDIN BINARY");

const ROW_TYPES: [Type; 10] = [
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::TEXT,
    Type::INT8,
    Type::TEXT,
    Type::BYTEA,
    Type::INT8,
    Type::TEXT,
    Type::TEXT,
];

const COPY_JOBS: &str = "COPY jobs (job_id, batch_id, lane_id, state, due_at) FROM STDIN BINARY";

const JOB_TYPES: [Type; 5] = [Type::INT8, Type::INT8, Type::INT8, Type::TEXT, Type::INT8];

/// Takes the numbers of new jobs. Loads follow each other, and nothing else takes any.
const TAKE_NUMBERS: &str = "
    SELECT setval(sequence, nextval(sequence) + $1 - 1)
    FROM (SELECT pg_get_serial_sequence('rows', 'job_id')::REGCLASS AS sequence) AS s";

/// Writes a row. Returns whether it was written; `false` if another has its key or its file name.
pub(super) fn insert(tx: &Connection, common: Common, new: &NewRow<'_>) -> Result<bool> {
    let mut values = new.values(&common).to_vec();
    values.push(&new.lane_id);
    let inserted = tx.execute(INSERT, &values)?;
    Ok(inserted > 0)
}

/// Writes rows in order. Returns whether they were written; `false` if one of them conflicts with another, or
/// with one that is there.
pub(super) fn copy(tx: &Connection, common: Common, new: &[NewRow<'_>]) -> Result<bool> {
    let last: Option<i64> = tx.value(TAKE_NUMBERS, params![bigint(new.len())])?;
    let last = last.ok_or_else(|| QueueError::corrupt("the numbers of new jobs"))?;
    let numbers = last - bigint(new.len()) + 1..;
    let copy_rows = tx.prepare(COPY_ROWS)?;
    let copy_jobs = tx.prepare(COPY_JOBS)?;
    tx.is_unique(async |client| {
        let sink = client.copy_in(&copy_rows).await?;
        let mut rows = pin!(BinaryCopyInWriter::new(sink, &ROW_TYPES));
        for (job_id, new) in numbers.clone().zip(new) {
            let mut values: Vec<&(dyn ToSql + Sync)> = vec![&job_id];
            values.extend(new.values(&common));
            rows.as_mut().write(&values).await?;
        }
        rows.finish().await?;
        let sink = client.copy_in(&copy_jobs).await?;
        let mut jobs = pin!(BinaryCopyInWriter::new(sink, &JOB_TYPES));
        for (job_id, NewRow { lane_id, .. }) in numbers.zip(new) {
            let state = "queued";
            let values = params![job_id, common.batch_id, lane_id, state, common.queued_at];
            jobs.as_mut().write(values).await?;
        }
        jobs.finish().await
    })
}
