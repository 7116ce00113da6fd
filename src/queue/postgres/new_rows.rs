//! Writes new rows and their jobs: many by `COPY`, and one by a statement.

use std::pin::pin;

use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;

use super::connection::Connection;
use super::row::{bigint, params};
use crate::domain::{NewJob, file_name};
use crate::queue::{QueueError, Result};

/// A row that is written.
pub(super) struct NewRow<'a> {
    pub(super) row: &'a NewJob,
    /// The name of its clip, without its ending.
    pub(super) stem: &'a str,
    pub(super) lane_id: i64,
}

/// What the new rows of a load have in common.
#[derive(Clone, Copy)]
pub(super) struct Common {
    pub(super) batch_id: i64,
    /// When they are queued, in milliseconds.
    pub(super) queued_at: i64,
}

/// Writes a row that conflicts with none: that is, with no key and no file name of its batch.
const INSERT: &str = "
    WITH added AS (
        INSERT INTO rows (batch_id, queued_at, row_key, line, input, fingerprint, estimate, file_stem, file_key)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING job_id
    )
    INSERT INTO jobs (job_id, batch_id, lane_id, state, due_at)
    SELECT job_id, $1, $10, 'queued', $2 FROM added";

const COPY_ROWS: &str = "
    COPY rows (job_id, batch_id, queued_at, row_key, line, input, fingerprint, estimate, file_stem, file_key)
    FROM STDIN BINARY";

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
    let NewRow { row, stem, lane_id } = new;
    let inserted = tx.execute(
        INSERT,
        params![
            common.batch_id,
            common.queued_at,
            row.row_key,
            bigint(row.line),
            row.input_text,
            row.fingerprint.as_slice(),
            row.estimate.micros(),
            stem,
            file_name::case_folded(stem),
            lane_id
        ],
    )?;
    Ok(inserted > 0)
}

/// Writes rows in order. Returns whether they were written; `false` if one of them conflicts with another, or
/// with one that is there.
pub(super) fn copy(tx: &Connection, common: Common, new: &[NewRow<'_>]) -> Result<bool> {
    let last: Option<i64> = tx.value(TAKE_NUMBERS, params![bigint(new.len())])?;
    let last = last.ok_or_else(|| QueueError::corrupt("the numbers of new jobs"))?;
    let numbers = last - bigint(new.len()) + 1..;
    let (copy_rows, copy_jobs) = (tx.prepare(COPY_ROWS)?, tx.prepare(COPY_JOBS)?);
    tx.is_unique(async |client| {
        let sink = client.copy_in(&copy_rows).await?;
        let mut rows = pin!(BinaryCopyInWriter::new(sink, &ROW_TYPES));
        for (job_id, NewRow { row, stem, .. }) in numbers.clone().zip(new) {
            let values = params![
                job_id,
                common.batch_id,
                common.queued_at,
                row.row_key,
                bigint(row.line),
                row.input_text,
                row.fingerprint.as_slice(),
                row.estimate.micros(),
                stem,
                file_name::case_folded(stem)
            ];
            rows.as_mut().write(values).await?;
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
