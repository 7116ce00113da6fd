//! Reads what the steps of a job have changed in it and in its attempt.

use crate::domain::{AttemptProgress, Cost, JobProgress, PredictionHandle, SavedFile};
use crate::queue::{QueueError, Result};

use super::row::Columns;
use crate::queue::stored_cost::parse_cost;

/// The columns of a job that [`read_job_progress`] reads. Put in front of a `FROM` clause in which
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

/// The columns of an attempt that [`read_attempt_progress`] reads. Put in front of a `FROM` clause
/// in which `a` is the attempt.
macro_rules! attempt_progress_columns {
    () => {
        "a.state AS attempt_state, a.estimate AS attempt_estimate, a.answered_at, a.prediction,
         a.early_cost, a.output_url, a.processing_ms, a.cost, a.cost_source,
         a.error AS attempt_error, a.finished_at AS closed_at"
    };
}
pub(super) use attempt_progress_columns;

/// Reads the columns of [`job_progress_columns`].
pub(super) fn read_job_progress(columns: &Columns<'_, '_>) -> Result<JobProgress> {
    let state = columns.parse("state")?;
    let state_since = columns.time("state_since")?;
    let due_at = columns.optional_time("due_at")?;
    let failures = columns.get("failures")?;
    let attempts = columns.get("attempts")?;
    let refusals = columns.get("refusals")?;
    let polls = columns.get("polls")?;
    let downloads = columns.get("downloads")?;
    let crashes = columns.get("crashes")?;
    let output = read_output(columns)?;
    Ok(JobProgress {
        state,
        state_since,
        due_at,
        failures,
        attempts,
        refusals,
        polls,
        downloads,
        crashes,
        output,
        error: columns.get("error")?,
        finished_at: columns.optional_time("finished_at")?,
    })
}

/// Reads the clip of a job.
pub(super) fn read_output(columns: &Columns<'_, '_>) -> Result<Option<SavedFile>> {
    let path = columns.optional_path("output")?;
    let bytes: Option<u64> = columns.get("bytes")?;
    let sha256: Option<String> = columns.get("sha256")?;
    Ok(match (path, bytes, sha256) {
        (Some(path), Some(bytes), Some(sha256)) => Some(SavedFile {
            path,
            bytes,
            sha256,
        }),
        _ => None,
    })
}

/// Reads the columns of [`attempt_progress_columns`].
pub(super) fn read_attempt_progress(columns: &Columns<'_, '_>) -> Result<AttemptProgress> {
    let state = columns.parse("attempt_state")?;
    let estimate = columns.money("attempt_estimate")?;
    let answered_at = columns.optional_time("answered_at")?;
    let prediction: Option<String> = columns.get("prediction")?;
    let early_cost: Option<String> = columns.get("early_cost")?;
    let output_url = columns.get("output_url")?;
    let processing = columns.optional_duration("processing_ms")?;
    let amount = columns.money("cost")?;
    let source = columns.parse_optional("cost_source")?;
    Ok(AttemptProgress {
        state,
        estimate,
        answered_at,
        prediction: prediction
            .map(|text| {
                serde_json::from_str::<PredictionHandle>(&text)
                    .map_err(|error| QueueError::unparsable("prediction", error))
            })
            .transpose()?,
        early_cost: early_cost.as_deref().and_then(parse_cost),
        output_url,
        processing,
        cost: source.map(|source| Cost { amount, source }),
        error: columns.get("attempt_error")?,
        finished_at: columns.optional_time("closed_at")?,
    })
}
