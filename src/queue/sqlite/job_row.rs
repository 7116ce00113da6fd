//! Reads jobs with their current attempts.

use rusqlite::{Connection, params};

use crate::domain::{Attempt, AttemptId, Job, JobId, Lease};
use crate::queue::Result;
use crate::queue::storage::{JobSet, StoredJob};

use super::progress::{
    file_name_column, job_progress_columns, read_attempt_progress, read_job_progress,
};
use super::row::{Columns, select};

/// The columns of an attempt that [`read_attempt`] reads. Put in front of a `FROM` clause in which `a`
/// is the attempt.
macro_rules! attempt_columns {
    () => {
        concat!(
            "a.attempt_id, a.number, a.provider, a.wire_model, a.request, a.client_token,
             a.submitted_at, ",
            $crate::queue::sqlite::progress::attempt_progress_columns!()
        )
    };
}
pub(super) use attempt_columns;

/// Selects a job by number, with the columns that [`read_job_and_attempt`] reads.
pub(super) const JOB_AND_ATTEMPT: &str = concat!(
    "SELECT j.job_id, b.name AS batch, j.row_key, b.model, j.input, b.folder, ",
    file_name_column!(),
    ", (SELECT count(*) FROM attempts p WHERE p.job_id = j.job_id AND p.state IN ('presumed_absent', 'absent'))
                AS absent_attempts, ",
    job_progress_columns!(),
    ", ",
    attempt_columns!(),
    " FROM jobs j JOIN batches b USING (batch_id) JOIN attempts a ON a.attempt_id = j.attempt_id
      WHERE j.job_id = ?1"
);

/// Reads a job and its current attempt from a row of [`JOB_AND_ATTEMPT`].
pub(super) fn read_job_and_attempt(columns: &Columns<'_, '_>) -> Result<(Job, Attempt)> {
    let job = Job {
        job_id: JobId(columns.get("job_id")?),
        batch: columns.get("batch")?,
        row_key: columns.get("row_key")?,
        model: columns.get("model")?,
        input: columns.input("input")?,
        folder: columns.path("folder")?,
        file_name: columns.get("file_name")?,
        absent_attempts: columns.get("absent_attempts")?,
        progress: read_job_progress(columns)?,
    };
    Ok((job, read_attempt(columns)?))
}

/// Reads the columns of [`attempt_columns`].
pub(super) fn read_attempt(columns: &Columns<'_, '_>) -> Result<Attempt> {
    Ok(Attempt {
        attempt_id: AttemptId(columns.get("attempt_id")?),
        number: columns.get("number")?,
        provider: columns.parse("provider")?,
        wire_model: columns.get("wire_model")?,
        request: columns.json("request")?,
        client_token: columns.get("client_token")?,
        submitted_at: columns.time("submitted_at")?,
        progress: read_attempt_progress(columns)?,
    })
}

/// Selects jobs as [`read_stored_job`] reads them; a condition on `j` follows.
macro_rules! select_stored_jobs {
    ($condition:literal) => {
        concat!(
            "SELECT j.job_id, b.name AS batch, j.lease_token, ",
            job_progress_columns!(),
            ", ",
            attempt_columns!(),
            " FROM jobs j JOIN batches b USING (batch_id)
                   LEFT JOIN attempts a ON a.attempt_id = j.attempt_id ",
            $condition
        )
    };
}

/// Reads the jobs of a set.
pub(super) fn stored_jobs(tx: &Connection, set: JobSet<'_>) -> Result<Vec<StoredJob>> {
    match set {
        JobSet::Number(JobId(job_id)) => select(
            tx,
            select_stored_jobs!("WHERE j.job_id = ?1"),
            [job_id],
            read_stored_job,
        ),
        JobSet::InState(state, batch) => select(
            tx,
            select_stored_jobs!(
                "WHERE j.state = ?1
                   AND (?2 IS NULL OR j.batch_id = (SELECT batch_id FROM batches WHERE name = ?2))
                 ORDER BY j.job_id"
            ),
            params![state.as_str(), batch],
            read_stored_job,
        ),
        JobSet::LeasedBy(pool) => select(
            tx,
            select_stored_jobs!("WHERE j.lease_pool = ?1"),
            [&pool.0],
            read_stored_job,
        ),
    }
}

fn read_stored_job(columns: &Columns<'_, '_>) -> Result<StoredJob> {
    let job_id = JobId(columns.get("job_id")?);
    let batch = columns.get("batch")?;
    let token: Option<i64> = columns.get("lease_token")?;
    let progress = read_job_progress(columns)?;
    let attempt = match columns.get::<Option<i64>>("attempt_id")? {
        None => None,
        Some(_) => Some(read_attempt(columns)?),
    };
    Ok(StoredJob {
        job_id,
        batch,
        lease: token.map(|token| Lease { job_id, token }),
        progress,
        attempt,
    })
}
