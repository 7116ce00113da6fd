//! Read-only queries: lists of jobs, and what a pool searches for.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::connection::Connection;
use super::progress::attempt_columns;
use super::row::{Columns, bigint, params};
use crate::domain::{JobId, JobState, Money, OwnedPrediction, ProviderName};
use crate::queue::storage::{JobName, ProcessingTimes, RouteName};
use crate::queue::stored_row::StoredRow;
use crate::queue::stored_values::{read_absent_attempt, read_job_record};
use crate::queue::{AbsentAttempt, JobFilter, JobRecord, Result};

/// Selects jobs with the columns that [`read_job_record`] reads; a `WHERE` clause follows.
const JOB_RECORD: &str = "
    SELECT j.job_id, j.state, j.due_at, j.attempts, j.error, j.submitted_at, j.finished_at,
           r.row_key, r.line, r.input, r.estimate, r.output, r.bytes, r.sha256, r.queued_at,
           b.name AS batch, b.model, a.provider, a.prediction_id, a.state AS attempt_state,
           a.estimate AS attempt_estimate, a.number AS attempt_number,
           (SELECT coalesce(json_agg(json_build_object('number', number, 'output', output,
                       'bytes', bytes, 'sha256', sha256) ORDER BY number), '[]')::TEXT
            FROM attempts WHERE job_id = j.job_id AND output IS NOT NULL) AS kept,
           (SELECT sum(cost)::BIGINT FROM attempts
            WHERE job_id = j.job_id AND cost_source IS NOT NULL) AS cost,
           (SELECT cost_source FROM attempts
            WHERE job_id = j.job_id AND cost_source IS NOT NULL
            ORDER BY number DESC LIMIT 1) AS cost_source
    FROM jobs j JOIN rows r USING (job_id) JOIN batches b ON b.batch_id = j.batch_id
         LEFT JOIN attempts a ON a.attempt_id = j.attempt_id";

/// Returns the jobs that succeeded or failed most recently, newest first and at most `limit`.
pub(super) fn latest(tx: &Connection, batch: Option<&str>, limit: usize) -> Result<Vec<JobRecord>> {
    // At most `limit` of each batch and state, so that the index on finished jobs finds them.
    let sql = format!(
        "{JOB_RECORD} WHERE j.job_id IN (
             SELECT l.job_id FROM batches c, (VALUES ('succeeded'), ('failed')) AS s (state),
                 LATERAL (SELECT job_id FROM jobs
                          WHERE batch_id = c.batch_id AND state = s.state AND finished_at IS NOT NULL
                          ORDER BY finished_at DESC LIMIT $2) AS l
             WHERE $1::TEXT IS NULL OR c.name = $1)
         ORDER BY j.finished_at DESC, j.job_id DESC LIMIT $2"
    );
    tx.select(&sql, params![batch, bigint(limit)], |columns| {
        read_job_record(columns)
    })
}

/// Returns the sum of the estimates of the queued jobs.
pub(super) fn queued_estimate(tx: &Connection, batch: Option<&str>) -> Result<Money> {
    let price: Option<i64> = tx.value(
        "SELECT sum(r.estimate)::BIGINT FROM jobs j JOIN rows r USING (job_id)
         WHERE j.state = 'queued'
           AND ($1::TEXT IS NULL OR j.batch_id = (SELECT batch_id FROM batches WHERE name = $1))",
        params![batch],
    )?;
    Ok(Money::from_micros(price.unwrap_or(0)))
}

/// Returns the jobs that match a filter by ascending number: those after `after`, at most `limit`.
pub(super) fn jobs(
    tx: &Connection,
    filter: &JobFilter,
    after: JobId,
    limit: usize,
) -> Result<Vec<JobRecord>> {
    // Two indexes hold the few jobs in progress among many.
    let in_progress = if filter.state.is_some_and(JobState::is_in_progress) {
        "j.job_id IN (
             SELECT job_id FROM jobs
             WHERE state = $3 AND at_provider IS NOT NULL AND lease_token IS NULL
             UNION ALL
             SELECT job_id FROM jobs WHERE lease_pool IS NOT NULL) AND"
    } else {
        ""
    };
    tx.select(
        &format!(
            "{JOB_RECORD}
             WHERE {in_progress} j.job_id > $1 AND ($2::TEXT IS NULL OR b.name = $2)
               AND ($3::TEXT IS NULL OR j.state = $3)
             ORDER BY j.job_id LIMIT $4"
        ),
        params![
            after.0,
            filter.batch,
            filter.state.map(JobState::as_str),
            bigint(limit)
        ],
        |columns| read_job_record(columns),
    )
}

/// Returns the jobs of this name, each with its batch.
pub(super) fn jobs_named(
    tx: &Connection,
    name: JobName<'_>,
    batch: Option<&str>,
) -> Result<Vec<(JobId, String)>> {
    let read = |columns: &Columns<'_>| Ok((JobId(columns.get("job_id")?), columns.get("name")?));
    match name {
        JobName::Key(key) => tx.select(
            "SELECT r.job_id, b.name
             FROM batches b JOIN rows r ON r.batch_id = b.batch_id AND r.row_key = $1
             WHERE $2::TEXT IS NULL OR b.name = $2",
            params![key, batch],
            read,
        ),
        JobName::Number(JobId(number)) => tx.select(
            "SELECT r.job_id, b.name FROM rows r JOIN batches b USING (batch_id)
             WHERE r.job_id = $1 AND ($2::TEXT IS NULL OR b.name = $2)",
            params![number, batch],
            read,
        ),
    }
}

/// Returns the row keys of the last jobs, of a batch or of every batch.
pub(super) fn row_keys(tx: &Connection, batch: Option<&str>, limit: usize) -> Result<Vec<String>> {
    tx.select(
        "SELECT row_key FROM rows
         WHERE $1::TEXT IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = $1)
         ORDER BY job_id DESC LIMIT $2",
        params![batch, bigint(limit)],
        |columns| columns.get("row_key"),
    )
}

/// Returns the attempts at a provider that are presumed absent, or absent, and were submitted at or after
/// `since`, oldest first.
pub(super) fn absent_attempts(
    tx: &Connection,
    provider: ProviderName,
    since: Timestamp,
) -> Result<Vec<AbsentAttempt>> {
    tx.select(
        concat!(
            "SELECT a.job_id, b.name AS batch, ",
            attempt_columns!(),
            " FROM attempts a JOIN batches b USING (batch_id)
              WHERE a.provider = $1 AND a.state IN ('presumed_absent', 'absent')
                AND a.submitted_at >= $2 ORDER BY a.submitted_at, a.attempt_id"
        ),
        params![provider.as_str(), since.as_millisecond()],
        |columns| read_absent_attempt(columns),
    )
}

/// Returns the prediction ids of a route that became known at or after `since`, with when each was submitted.
pub(super) fn owned_predictions(
    tx: &Connection,
    (provider, wire_model): RouteName<'_>,
    since: Timestamp,
) -> Result<BTreeMap<String, OwnedPrediction>> {
    let owned = tx.select(
        "SELECT prediction_id, submitted_at, nullif(request_digest, 0) AS digest FROM attempts
         WHERE provider = $1 AND wire_model = $2 AND prediction_id IS NOT NULL
           AND answered_at >= $3",
        params![provider.as_str(), wire_model, since.as_millisecond()],
        |columns| {
            let owned = OwnedPrediction {
                submitted_at: columns.time("submitted_at")?,
                request_digest: columns.get("digest")?,
            };
            Ok((columns.get("prediction_id")?, owned))
        },
    )?;
    Ok(owned.into_iter().collect())
}

/// Returns the processing times of a route's latest finished predictions, newest first and at most `limit`, each
/// with the clip's length in seconds.
pub(super) fn processing_times(
    tx: &Connection,
    (provider, wire_model): RouteName<'_>,
    limit: usize,
) -> Result<ProcessingTimes> {
    tx.select(
        "SELECT processing_ms, clip_s FROM attempts
         WHERE provider = $1 AND wire_model = $2 AND processing_ms IS NOT NULL
         ORDER BY finished_at DESC LIMIT $3",
        params![provider.as_str(), wire_model, bigint(limit)],
        |columns| {
            let millis = columns.number("processing_ms")?;
            Ok((
                columns.optional_number("clip_s")?,
                Duration::from_millis(millis),
            ))
        },
    )
}
