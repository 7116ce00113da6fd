//! The columns of what the steps of a job change in it and in its attempt, as
//! [`stored_values`](crate::queue::stored_values) reads them.

/// The columns of a job's progress, of the job `j` and its row `r`.
macro_rules! job_progress_columns {
    () => {
        "j.state, coalesce(j.state_since, r.queued_at) AS state_since, j.due_at, j.failures,
         j.attempts, j.refusals, j.polls, j.downloads, j.crashes, r.output, r.bytes, r.sha256,
         j.error, j.finished_at"
    };
}
pub(super) use job_progress_columns;

/// The columns of an attempt, of the attempt `a`.
macro_rules! attempt_columns {
    () => {
        "a.attempt_id, a.number, a.provider, a.wire_model, a.request, a.client_token,
         a.submitted_at, a.state AS attempt_state, a.estimate AS attempt_estimate, a.answered_at,
         a.prediction, a.early_cost, a.output_url, a.processing_ms, a.cost, a.cost_source,
         a.error AS attempt_error, a.finished_at AS closed_at"
    };
}
pub(super) use attempt_columns;
