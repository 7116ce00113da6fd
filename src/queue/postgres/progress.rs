//! Reads what the steps of a job have changed in it and in its attempt.

use super::row::Columns;
use crate::domain::{
    Attempt, AttemptId, AttemptProgress, Cost, JobProgress, PredictionHandle, SavedFile,
};
use crate::queue::stored_cost::parse_cost;
use crate::queue::{QueueError, Result};

/// The columns of a job that [`read_job_progress`] reads, of the job `j` and its row `r`.
macro_rules! job_progress_columns {
    () => {
        "j.state, coalesce(j.state_since, r.queued_at) AS state_since, j.due_at, j.failures,
         j.attempts, j.refusals, j.polls, j.downloads, j.crashes, r.output, r.bytes, r.sha256,
         j.error, j.finished_at"
    };
}
pub(super) use job_progress_columns;

/// The columns of an attempt that [`read_attempt`] reads, of the attempt `a`.
macro_rules! attempt_columns {
    () => {
        "a.attempt_id, a.number, a.provider, a.wire_model, a.request, a.client_token,
         a.submitted_at, a.state AS attempt_state, a.estimate AS attempt_estimate, a.answered_at,
         a.prediction, a.early_cost, a.output_url, a.processing_ms, a.cost, a.cost_source,
         a.error AS attempt_error, a.finished_at AS closed_at"
    };
}
pub(super) use attempt_columns;

/// Reads the columns of [`job_progress_columns`].
pub(super) fn read_job_progress(columns: &Columns<'_>) -> Result<JobProgress> {
    Ok(JobProgress {
        state: columns.parse("state")?,
        state_since: columns.time("state_since")?,
        due_at: columns.optional_time("due_at")?,
        failures: columns.number("failures")?,
        attempts: columns.number("attempts")?,
        refusals: columns.number("refusals")?,
        polls: columns.number("polls")?,
        downloads: columns.number("downloads")?,
        crashes: columns.number("crashes")?,
        output: read_output(columns)?,
        error: columns.get("error")?,
        finished_at: columns.optional_time("finished_at")?,
    })
}

/// Reads the clip of a job.
pub(super) fn read_output(columns: &Columns<'_>) -> Result<Option<SavedFile>> {
    let path = columns.optional_path("output")?;
    let bytes = columns.optional_number("bytes")?;
    let sha256 = columns.get("sha256")?;
    Ok(match (path, bytes, sha256) {
        (Some(path), Some(bytes), Some(sha256)) => Some(SavedFile {
            path,
            bytes,
            sha256,
        }),
        _ => None,
    })
}

/// Reads the columns of [`attempt_columns`].
pub(super) fn read_attempt(columns: &Columns<'_>) -> Result<Attempt> {
    Ok(Attempt {
        attempt_id: AttemptId(columns.get("attempt_id")?),
        number: columns.number("number")?,
        provider: columns.parse("provider")?,
        wire_model: columns.get("wire_model")?,
        request: columns.json("request")?,
        client_token: columns.get("client_token")?,
        submitted_at: columns.time("submitted_at")?,
        progress: read_attempt_progress(columns)?,
    })
}

fn read_attempt_progress(columns: &Columns<'_>) -> Result<AttemptProgress> {
    let prediction: Option<&str> = columns.get("prediction")?;
    let early_cost: Option<&str> = columns.get("early_cost")?;
    let amount = columns.money("cost")?;
    let source = columns.parse_optional("cost_source")?;
    Ok(AttemptProgress {
        state: columns.parse("attempt_state")?,
        estimate: columns.money("attempt_estimate")?,
        answered_at: columns.optional_time("answered_at")?,
        prediction: prediction
            .map(|text| {
                serde_json::from_str::<PredictionHandle>(text)
                    .map_err(|error| QueueError::unparsable("prediction", error))
            })
            .transpose()?,
        early_cost: early_cost.and_then(parse_cost),
        output_url: columns.get("output_url")?,
        processing: columns.optional_duration("processing_ms")?,
        cost: source.map(|source| Cost { amount, source }),
        error: columns.get("attempt_error")?,
        finished_at: columns.optional_time("closed_at")?,
    })
}
