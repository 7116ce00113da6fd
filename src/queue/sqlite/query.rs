//! Read-only queries: lists of jobs, one job with its attempts, and what a pool looks up.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{Attempt, JobId, JobState, Money, OwnedPrediction, ProviderName};
use crate::queue::storage::{JobName, ProcessingTimes, RouteName};
use crate::queue::stored_row::StoredRow;
use crate::queue::stored_values::{read_absent_attempt, read_attempt, read_job_record};
use crate::queue::{AbsentAttempt, Completion, JobFilter, JobRecord, Result};

use super::job_row::attempt_columns;
use super::row::{Columns, query_value, select, sql_limit};

/// Returns the latest jobs of a batch that succeeded or failed, newest first. Jobs that failed
/// without a submission are left out.
pub(super) fn recent_completions(
    connection: &Connection,
    batch_id: i64,
    limit: usize,
) -> Result<Vec<Completion>> {
    let completions = select(
        connection,
        "SELECT submitted_at, finished_at FROM (
             SELECT * FROM (
                 SELECT submitted_at, finished_at FROM jobs
                 WHERE batch_id = ?1 AND state = 'succeeded' AND finished_at IS NOT NULL
                 ORDER BY finished_at DESC LIMIT ?2)
             UNION ALL
             SELECT * FROM (
                 SELECT submitted_at, finished_at FROM jobs
                 WHERE batch_id = ?1 AND state = 'failed' AND finished_at IS NOT NULL
                 ORDER BY finished_at DESC LIMIT ?2))
         ORDER BY finished_at DESC LIMIT ?2",
        params![batch_id, sql_limit(limit)],
        |columns| {
            let submitted_at = columns.optional_time("submitted_at")?;
            let finished_at = columns.time("finished_at")?;
            Ok(submitted_at.map(|submitted_at| Completion {
                submitted_at,
                finished_at,
            }))
        },
    )?;
    Ok(completions.into_iter().flatten().collect())
}

/// Returns the jobs that succeeded or failed most recently, newest first and at most `limit`.
pub(super) fn latest(
    connection: &Connection,
    batch: Option<&str>,
    limit: usize,
) -> Result<Vec<JobRecord>> {
    // Take at most `limit` of each batch and state, so that the index on finished jobs finds them.
    let ids = select(
        connection,
        "SELECT job_id FROM batches b JOIN jobs j ON j.job_id IN (
             SELECT job_id FROM (
                 SELECT job_id FROM jobs
                 WHERE batch_id = b.batch_id AND state = 'succeeded' AND finished_at IS NOT NULL
                 ORDER BY finished_at DESC LIMIT ?2)
             UNION ALL
             SELECT job_id FROM (
                 SELECT job_id FROM jobs
                 WHERE batch_id = b.batch_id AND state = 'failed' AND finished_at IS NOT NULL
                 ORDER BY finished_at DESC LIMIT ?2))
         WHERE ?1 IS NULL OR b.name = ?1
         ORDER BY j.finished_at DESC, j.job_id DESC LIMIT ?2",
        params![batch, sql_limit(limit)],
        |columns| columns.get::<i64>("job_id"),
    )?;
    let mut jobs = Vec::new();
    for job_id in ids {
        jobs.extend(select(
            connection,
            &format!("{JOB_RECORD} WHERE j.job_id = ?1"),
            [job_id],
            |columns| read_job_record(columns),
        )?);
    }
    Ok(jobs)
}

/// Selects jobs with the columns that [`read_job_record`] reads; a `WHERE` clause follows.
const JOB_RECORD: &str = "
    SELECT j.*, b.name AS batch, b.model, a.provider, a.prediction_id, a.state AS attempt_state,
           a.estimate AS attempt_estimate, a.number AS attempt_number,
           (SELECT json_group_array(json_object(
                       'number', number, 'output', output, 'bytes', bytes, 'sha256', sha256))
            FROM attempts WHERE job_id = j.job_id AND output IS NOT NULL) AS kept,
           (SELECT sum(cost) FROM attempts
            WHERE job_id = j.job_id AND cost_source IS NOT NULL) AS cost,
           (SELECT cost_source FROM attempts
            WHERE job_id = j.job_id AND cost_source IS NOT NULL
            ORDER BY number DESC LIMIT 1) AS cost_source
    FROM jobs j JOIN batches b USING (batch_id)
         LEFT JOIN attempts a ON a.attempt_id = j.attempt_id";

/// Returns the sum of the estimates of the queued jobs.
pub(super) fn queued_estimate(connection: &Connection, batch: Option<&str>) -> Result<Money> {
    let price: Option<i64> = query_value(
        connection,
        "SELECT sum(estimate) FROM jobs
         WHERE state = 'queued'
           AND (?1 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?1))",
        [batch],
    )?;
    Ok(Money::from_micros(price.unwrap_or(0)))
}

/// Returns the jobs that match a filter by ascending number: those after `after`, at most `limit`.
pub(super) fn jobs(
    connection: &Connection,
    filter: &JobFilter,
    after: JobId,
    limit: usize,
) -> Result<Vec<JobRecord>> {
    // Two indexes hold the few jobs in progress among many.
    let in_progress = if filter.state.is_some_and(JobState::is_in_progress) {
        "j.job_id IN (
             SELECT job_id FROM jobs
             WHERE state = ?3 AND at_provider IS NOT NULL AND lease_token IS NULL
             UNION ALL
             SELECT job_id FROM jobs WHERE lease_pool IS NOT NULL) AND"
    } else {
        ""
    };
    select(
        connection,
        &format!(
            "{JOB_RECORD}
             WHERE {in_progress} j.job_id > ?1 AND (?2 IS NULL OR b.name = ?2)
               AND (?3 IS NULL OR j.state = ?3)
             ORDER BY j.job_id LIMIT ?4"
        ),
        params![
            after.0,
            filter.batch,
            filter.state.map(JobState::as_str),
            sql_limit(limit)
        ],
        |columns| read_job_record(columns),
    )
}

/// Returns the jobs of this name, each with its batch.
pub(super) fn jobs_named(
    connection: &Connection,
    name: JobName<'_>,
    batch: Option<&str>,
) -> Result<Vec<(JobId, String)>> {
    let read =
        |columns: &Columns<'_, '_>| Ok((JobId(columns.get("job_id")?), columns.get("name")?));
    match name {
        JobName::Key(key) => select(
            connection,
            "SELECT j.job_id, b.name
             FROM batches b JOIN jobs j ON j.batch_id = b.batch_id AND j.row_key = ?1
             WHERE ?2 IS NULL OR b.name = ?2",
            params![key, batch],
            read,
        ),
        JobName::Number(JobId(number)) => select(
            connection,
            "SELECT j.job_id, b.name FROM jobs j JOIN batches b USING (batch_id)
             WHERE j.job_id = ?1 AND (?2 IS NULL OR b.name = ?2)",
            params![number, batch],
            read,
        ),
    }
}

/// Returns the row keys of the last jobs, of a batch or of every batch.
pub(super) fn row_keys(
    connection: &Connection,
    batch: Option<&str>,
    limit: usize,
) -> Result<Vec<String>> {
    select(
        connection,
        "SELECT row_key FROM jobs
         WHERE ?1 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?1)
         ORDER BY job_id DESC LIMIT ?2",
        params![batch, sql_limit(limit)],
        |columns| columns.get("row_key"),
    )
}

/// Returns the attempts of a job, oldest first.
pub(super) fn attempts(connection: &Connection, job_id: JobId) -> Result<Vec<Attempt>> {
    select(
        connection,
        concat!(
            "SELECT ",
            attempt_columns!(),
            " FROM attempts a WHERE a.job_id = ?1 ORDER BY a.number"
        ),
        [job_id.0],
        |columns| read_attempt(columns),
    )
}

/// Returns the attempts at a provider that are presumed absent, or absent, and were submitted at or after
/// `since`, oldest first.
pub(super) fn absent_attempts(
    connection: &Connection,
    provider: ProviderName,
    since: Timestamp,
) -> Result<Vec<AbsentAttempt>> {
    select(
        connection,
        concat!(
            "SELECT a.job_id, b.name AS batch, ",
            attempt_columns!(),
            " FROM attempts a JOIN batches b USING (batch_id) 
              WHERE a.provider = ?1 AND a.state IN ('presumed_absent', 'absent')
                AND a.submitted_at >= ?2 ORDER BY a.submitted_at"
        ),
        params![provider.as_str(), since.as_millisecond()],
        |columns| read_absent_attempt(columns),
    )
}

/// Returns the prediction ids of a route that became known at or after `since`, with when each was
/// submitted.
pub(super) fn owned_predictions(
    connection: &Connection,
    (provider, wire_model): RouteName<'_>,
    since: Timestamp,
) -> Result<BTreeMap<String, OwnedPrediction>> {
    let owned = select(
        connection,
        "SELECT prediction_id, submitted_at, nullif(request_digest, 0) AS digest FROM attempts
         WHERE provider = ?1 AND wire_model = ?2 AND prediction_id IS NOT NULL
           AND answered_at >= ?3",
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

/// Returns the processing times of a route's latest finished predictions, newest first and at most
/// `limit`, each with the clip's length in seconds.
pub(super) fn processing_times(
    connection: &Connection,
    (provider, wire_model): RouteName<'_>,
    limit: usize,
) -> Result<ProcessingTimes> {
    select(
        connection,
        "SELECT processing_ms, clip_s FROM attempts
         WHERE provider = ?1 AND wire_model = ?2 AND processing_ms IS NOT NULL
         ORDER BY finished_at DESC LIMIT ?3",
        params![provider.as_str(), wire_model, sql_limit(limit)],
        |columns| {
            let millis = u64::try_from(columns.get::<i64>("processing_ms")?).unwrap_or(0);
            Ok((columns.get("clip_s")?, Duration::from_millis(millis)))
        },
    )
}
