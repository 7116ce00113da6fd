//! Reads jobs with their current attempts.

use super::connection::Connection;
use super::progress::{attempt_columns, job_progress_columns};
use super::row::params;
use crate::domain::JobId;
use crate::queue::Result;
use crate::queue::storage::{JobSet, StoredJob};
use crate::queue::stored_values::read_stored_job;

/// Selects a job by number, with the columns that [`read_job_and_attempt`](crate::queue::stored_values::read_job_and_attempt) reads.
pub(super) const JOB_AND_ATTEMPT: &str = concat!(
    "SELECT j.job_id, b.name AS batch, r.row_key, b.model, r.input, b.folder,
            r.file_stem || '.mp4' AS file_name,
            (SELECT count(*) FROM attempts p WHERE p.job_id = j.job_id
                AND p.state IN ('presumed_absent', 'absent')) AS absent_attempts, ",
    job_progress_columns!(),
    ", ",
    attempt_columns!(),
    " FROM jobs j JOIN rows r USING (job_id) JOIN batches b ON b.batch_id = j.batch_id
           JOIN attempts a ON a.attempt_id = j.attempt_id
      WHERE j.job_id = $1"
);

/// Selects jobs as [`read_stored_job`] reads them; a condition on `j` follows.
macro_rules! select_stored_jobs {
    ($condition:literal) => {
        concat!(
            "SELECT j.job_id, b.name AS batch, j.lease_token, ",
            job_progress_columns!(),
            ", ",
            attempt_columns!(),
            " FROM jobs j JOIN rows r USING (job_id) JOIN batches b ON b.batch_id = j.batch_id
                   LEFT JOIN attempts a ON a.attempt_id = j.attempt_id ",
            $condition
        )
    };
}

/// Reads the jobs of a set.
pub(super) fn stored_jobs(tx: &Connection, set: JobSet<'_>) -> Result<Vec<StoredJob>> {
    match set {
        JobSet::Number(JobId(job_id)) => tx.select(
            select_stored_jobs!("WHERE j.job_id = $1"),
            params![job_id],
            |columns| read_stored_job(columns),
        ),
        JobSet::InState(state, batch) => tx.select(
            select_stored_jobs!(
                "WHERE j.state = $1 AND ($2::TEXT IS NULL OR b.name = $2) ORDER BY j.job_id"
            ),
            params![state.as_str(), batch],
            |columns| read_stored_job(columns),
        ),
        JobSet::LeasedBy(pool) => tx.select(
            select_stored_jobs!("WHERE j.lease_pool = $1"),
            params![pool.0],
            |columns| read_stored_job(columns),
        ),
    }
}
