//! The columns of what the steps of a job change in it and in its attempt, as
//! [`stored_values`](crate::queue::stored_values) reads them.

/// The columns of a job of its progress. Put in front of a `FROM` clause in which
/// `j` is the job.
macro_rules! job_progress_columns {
    () => {
        "j.state, ifnull(j.state_since, j.queued_at) AS state_since, j.due_at, j.failures,
         j.attempts, j.refusals, j.polls, j.downloads, j.crashes, j.output, j.bytes, j.sha256,
         j.error, j.finished_at"
    };
}
pub(super) use job_progress_columns;

/// The column `file_name`, the name of the clip in the batch's folder. Put in front of a `FROM`
/// clause in which `j` is the job.
macro_rules! file_name_column {
    () => {
        "ifnull(j.file_stem, j.row_key) || '.mp4' AS file_name"
    };
}
pub(super) use file_name_column;

/// The columns of an attempt's progress. Put in front of a `FROM` clause
/// in which `a` is the attempt.
macro_rules! attempt_progress_columns {
    () => {
        "a.state AS attempt_state, a.estimate AS attempt_estimate, a.answered_at, a.prediction,
         a.early_cost, a.output_url, a.processing_ms, a.cost, a.cost_source,
         a.error AS attempt_error, a.finished_at AS closed_at"
    };
}
pub(super) use attempt_progress_columns;
