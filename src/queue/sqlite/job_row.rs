//! Reads jobs with their current attempts.

use rusqlite::{Connection, params};

use crate::domain::JobId;
use crate::queue::Result;
use crate::queue::storage::{JobSet, StoredJob};
use crate::queue::stored_values::read_stored_job;

use super::progress::{file_name_column, job_progress_columns};
use super::row::select;

/// The columns of an attempt that [`read_attempt`](crate::queue::stored_values::read_attempt) reads. Put in front of a `FROM` clause in which `a`
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

/// Selects a job by number, with the columns that [`read_job_and_attempt`](crate::queue::stored_values::read_job_and_attempt) reads.
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
            |columns| read_stored_job(columns),
        ),
        JobSet::InState(state, batch) => select(
            tx,
            select_stored_jobs!(
                "WHERE j.state = ?1
                   AND (?2 IS NULL OR j.batch_id = (SELECT batch_id FROM batches WHERE name = ?2))
                 ORDER BY j.job_id"
            ),
            params![state.as_str(), batch],
            |columns| read_stored_job(columns),
        ),
        JobSet::LeasedBy(pool) => select(
            tx,
            select_stored_jobs!("WHERE j.lease_pool = ?1"),
            [&pool.0],
            |columns| read_stored_job(columns),
        ),
    }
}
