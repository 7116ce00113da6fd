//! Read-only queries: status, lists of jobs, one job with its attempts, and what a pool looks up.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::suggest::nearest;
use crate::domain::{AttemptState, JobId, JobState, Money, ProviderName};
use crate::policy::operator;
use crate::queue::{
    AttemptRecord, BatchStatus, Completion, JobFilter, JobRecord, ProviderStatus, QueueError,
    Result, Status, throughput,
};

use super::health::count_held;
use super::row::{Columns, query_value, read_job_counts, select};

/// Maximum number of names that an unknown name is compared with. Comparing 50,000 takes a few
/// hundredths of a second.
const MAX_COMPARED_NAMES: i64 = 50_000;

/// Maximum number of batches that an error about an unknown batch lists.
const MAX_LISTED_BATCHES: usize = 10;

/// Returns the state of the batches and providers. The pools are left empty: whether one still runs
/// cannot be read from the file alone.
pub(super) fn status(connection: &Connection, batch: Option<&str>) -> Result<Status> {
    let mut batches = select(
        connection,
        "SELECT * FROM batches WHERE ?1 IS NULL OR name = ?1 ORDER BY batch_id",
        [batch],
        |columns| {
            let jobs = read_job_counts(columns)?;
            let status = BatchStatus {
                batch: columns.get("name")?,
                model: columns.get("model")?,
                folder: columns.get("folder")?,
                jobs: JobState::ALL
                    .into_iter()
                    .map(|state| (state, jobs.count(state)))
                    .collect(),
                spent: columns.money("spent")?,
                reserved: columns.money("reserved")?,
                at_risk: columns.money("at_risk")?,
                budget: columns
                    .get::<Option<i64>>("budget")?
                    .map(Money::from_micros),
                held: 0,
                recent_completions: Vec::new(),
            };
            Ok((columns.get::<i64>("batch_id")?, status))
        },
    )?;
    if batches.is_empty()
        && let Some(name) = batch
    {
        return Err(batch_not_found(connection, name));
    }
    for (batch_id, status) in &mut batches {
        if status.progressing_jobs() > 0 {
            status.recent_completions = recent_completions(connection, *batch_id)?;
        }
        if status.count(JobState::InDoubt) > 0 {
            status.held = count_held(connection, Some(&status.batch))?;
        }
    }
    let providers = select(
        connection,
        "SELECT * FROM providers ORDER BY provider",
        [],
        |columns| {
            Ok(ProviderStatus {
                provider: columns.parse("provider")?,
                in_flight: columns.get("in_flight")?,
                paused: columns.get("paused")?,
                submits_from: Some(
                    columns
                        .time("creates_from")?
                        .max(columns.time("calls_from")?),
                )
                .filter(|time| *time > Timestamp::UNIX_EPOCH),
            })
        },
    )?;
    let batches = batches.into_iter().map(|(_, status)| status).collect();
    Ok(Status {
        batches,
        providers,
        pools: Vec::new(),
    })
}

/// Returns the latest jobs of a batch that succeeded or failed, newest first. Jobs that failed
/// without a submission are left out.
fn recent_completions(connection: &Connection, batch_id: i64) -> Result<Vec<Completion>> {
    // One more than the samples: a measurement starts at the completion before them.
    let limit = i64::try_from(throughput::MAX_SAMPLES + 1).unwrap_or(i64::MAX);
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
        params![batch_id, limit],
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
    ensure_batch_exists(connection, batch)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
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
        params![batch, limit],
        |columns| columns.get::<i64>("job_id"),
    )?;
    let mut jobs = Vec::new();
    for job_id in ids {
        jobs.extend(select(
            connection,
            &format!("{JOB_RECORD} WHERE j.job_id = ?1"),
            [job_id],
            read_job_record,
        )?);
    }
    Ok(jobs)
}

/// Selects jobs with the columns that [`read_job_record`] reads; a `WHERE` clause follows.
const JOB_RECORD: &str = "
    SELECT j.*, b.name AS batch, b.model, a.provider, a.prediction_id, a.state AS attempt_state,
           a.estimate AS attempt_estimate,
           (SELECT sum(cost) FROM attempts
            WHERE job_id = j.job_id AND cost_source IS NOT NULL) AS cost,
           (SELECT cost_source FROM attempts
            WHERE job_id = j.job_id AND cost_source IS NOT NULL
            ORDER BY number DESC LIMIT 1) AS cost_source
    FROM jobs j JOIN batches b USING (batch_id)
         LEFT JOIN attempts a ON a.attempt_id = j.attempt_id";

/// Returns whether each of these jobs is in a final state or waits for the user's decision.
pub(super) fn all_settled(connection: &Connection, jobs: &[JobId]) -> Result<bool> {
    for JobId(job_id) in jobs {
        let unsettled: Option<i64> = query_value(
            connection,
            "SELECT job_id FROM jobs WHERE job_id = ?1 AND finished_at IS NULL
               AND (due_at IS NOT NULL OR lease_token IS NOT NULL)",
            [job_id],
        )?;
        if unsettled.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the sum of the estimates of the queued jobs.
pub(super) fn queued_estimate(connection: &Connection, batch: Option<&str>) -> Result<Money> {
    ensure_batch_exists(connection, batch)?;
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
    after: Option<JobId>,
    limit: usize,
) -> Result<Vec<JobRecord>> {
    ensure_batch_exists(connection, filter.batch.as_deref())?;
    select(
        connection,
        &format!(
            "{JOB_RECORD}
             WHERE j.job_id > ?1 AND (?2 IS NULL OR b.name = ?2) AND (?3 IS NULL OR j.state = ?3)
             ORDER BY j.job_id LIMIT ?4"
        ),
        params![
            after.map_or(0, |JobId(id)| id),
            filter.batch,
            filter.state.map(JobState::as_str),
            i64::try_from(limit).unwrap_or(i64::MAX)
        ],
        read_job_record,
    )
}

/// Returns the job with this row key or, if there is none, with this number.
pub(super) fn find(connection: &Connection, job: &str, batch: Option<&str>) -> Result<JobRecord> {
    let job_id = find_job_id(connection, job, batch)?;
    select(
        connection,
        &format!("{JOB_RECORD} WHERE j.job_id = ?1"),
        [job_id],
        read_job_record,
    )?
    .pop()
    .ok_or_else(|| QueueError::NoSuchJob {
        job: job.to_owned(),
        batch: batch.map(str::to_owned),
        nearest: None,
    })
}

/// Returns the number of the job with this row key or, if there is none, checks that it is a job's
/// number.
pub(super) fn find_job_id(connection: &Connection, job: &str, batch: Option<&str>) -> Result<i64> {
    let mut matches: Vec<(i64, String)> = select(
        connection,
        "SELECT j.job_id, b.name
         FROM batches b JOIN jobs j ON j.batch_id = b.batch_id AND j.row_key = ?1
         WHERE ?2 IS NULL OR b.name = ?2",
        params![job, batch],
        |columns| Ok((columns.get("job_id")?, columns.get("name")?)),
    )?;
    if matches.is_empty()
        && let Ok(number) = job.parse::<i64>()
    {
        matches = select(
            connection,
            "SELECT j.job_id, b.name FROM jobs j JOIN batches b USING (batch_id)
             WHERE j.job_id = ?1 AND (?2 IS NULL OR b.name = ?2)",
            params![number, batch],
            |columns| Ok((columns.get("job_id")?, columns.get("name")?)),
        )?;
    }
    match matches.as_slice() {
        [] => Err(job_not_found(connection, job, batch)),
        [(job_id, _)] => Ok(*job_id),
        _ => Err(QueueError::AmbiguousJob {
            job: job.to_owned(),
            batches: matches.into_iter().map(|(_, batch)| batch).collect(),
        }),
    }
}

/// Returns an error if there is no batch of this name. `None` stands for every batch and is valid.
pub(super) fn ensure_batch_exists(connection: &Connection, name: Option<&str>) -> Result<()> {
    let Some(name) = name else { return Ok(()) };
    match query_value::<i64>(
        connection,
        "SELECT batch_id FROM batches WHERE name = ?1",
        [name],
    )? {
        Some(_) => Ok(()),
        None => Err(batch_not_found(connection, name)),
    }
}

/// Returns the error for an unknown batch, with the most similar name and the latest batches.
pub(super) fn batch_not_found(connection: &Connection, name: &str) -> QueueError {
    let names = select(
        connection,
        "SELECT name FROM batches ORDER BY batch_id DESC LIMIT ?1",
        [MAX_COMPARED_NAMES],
        |columns| columns.get::<String>("name"),
    );
    let names = match names {
        Ok(names) => names,
        Err(error) => return error,
    };
    let nearest = nearest(name, names.iter().map(String::as_str)).map(str::to_owned);
    let mut existing = names;
    existing.truncate(MAX_LISTED_BATCHES);
    QueueError::NoSuchBatch {
        name: name.to_owned(),
        nearest,
        existing,
    }
}

/// Returns the error for an unknown job, with the most similar row key.
fn job_not_found(connection: &Connection, job: &str, batch: Option<&str>) -> QueueError {
    if let Err(error) = ensure_batch_exists(connection, batch) {
        return error;
    }
    let keys = select(
        connection,
        "SELECT row_key FROM jobs
         WHERE ?1 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?1)
         ORDER BY job_id DESC LIMIT ?2",
        params![batch, MAX_COMPARED_NAMES],
        |columns| columns.get::<String>("row_key"),
    );
    match keys {
        Ok(keys) => QueueError::NoSuchJob {
            job: job.to_owned(),
            batch: batch.map(str::to_owned),
            nearest: nearest(job, keys.iter().map(String::as_str)).map(str::to_owned),
        },
        Err(error) => error,
    }
}

/// Reads a job from a row of [`JOB_RECORD`].
fn read_job_record(columns: &Columns<'_, '_>) -> Result<JobRecord> {
    let attempt_state: Option<AttemptState> = columns.parse_optional("attempt_state")?;
    let at_risk = if attempt_state == Some(AttemptState::InDoubt) {
        columns.money("attempt_estimate")?
    } else {
        Money::ZERO
    };
    let estimate = columns.get::<Option<i64>>("attempt_estimate")?;
    let state = columns.parse("state")?;
    let prediction_id: Option<String> = columns.get("prediction_id")?;
    let due_at = columns.optional_time("due_at")?;
    let has_clip = prediction_id.is_some() && attempt_state.is_some_and(operator::may_have_clip);
    Ok(JobRecord {
        job_id: JobId(columns.get("job_id")?),
        batch: columns.get("batch")?,
        id: columns.get("row_key")?,
        line: columns.get("line")?,
        state,
        model: columns.get("model")?,
        provider: columns.parse_optional("provider")?,
        prediction_id,
        attempts: columns.get("attempts")?,
        estimate_usd: estimate.map_or(columns.money("estimate")?, Money::from_micros),
        cost_usd: columns.get::<Option<i64>>("cost")?.map(Money::from_micros),
        cost_source: columns.parse_optional("cost_source")?,
        output: columns.get("output")?,
        bytes: columns.get("bytes")?,
        sha256: columns.get("sha256")?,
        error: columns.get("error")?,
        queued_at: columns.time("queued_at")?,
        submitted_at: columns.optional_time("submitted_at")?,
        finished_at: columns.optional_time("finished_at")?,
        input: columns.json("input")?,
        due_at,
        at_risk,
        remedy: operator::remedy(state, due_at.is_some(), has_clip),
    })
}

/// Returns the attempts of a job, oldest first.
pub(super) fn attempts(connection: &Connection, job_id: JobId) -> Result<Vec<AttemptRecord>> {
    select(
        connection,
        "SELECT * FROM attempts WHERE job_id = ?1 ORDER BY number",
        [job_id.0],
        |columns| {
            let cost_source = columns.parse_optional("cost_source")?;
            Ok(AttemptRecord {
                number: columns.get("number")?,
                state: columns.parse("state")?,
                provider: columns.parse("provider")?,
                wire_model: columns.get("wire_model")?,
                client_token: columns.get("client_token")?,
                prediction_id: columns.get("prediction_id")?,
                estimate_usd: columns.money("estimate")?,
                cost_usd: if cost_source.is_some() {
                    Some(columns.money("cost")?)
                } else {
                    None
                },
                cost_source,
                error: columns.get("error")?,
                submitted_at: columns.time("submitted_at")?,
                finished_at: columns.optional_time("finished_at")?,
            })
        },
    )
}

/// Returns the known prediction ids of a provider whose attempts were submitted at or after
/// `since`.
pub(super) fn owned_predictions(
    connection: &Connection,
    provider: ProviderName,
    since: Timestamp,
) -> Result<Vec<String>> {
    select(
        connection,
        "SELECT prediction_id FROM attempts
         WHERE provider = ?1 AND prediction_id IS NOT NULL AND submitted_at >= ?2",
        params![provider.as_str(), since.as_millisecond()],
        |columns| columns.get("prediction_id"),
    )
}

/// Returns the processing times of a route's latest finished predictions, newest first and at most
/// `limit`, each with the clip's length in seconds.
pub(super) fn processing_times(
    connection: &Connection,
    provider: ProviderName,
    wire_model: &str,
    limit: usize,
) -> Result<Vec<(Option<u32>, Duration)>> {
    select(
        connection,
        "SELECT processing_ms, clip_s FROM attempts
         WHERE provider = ?1 AND wire_model = ?2 AND processing_ms IS NOT NULL
         ORDER BY finished_at DESC LIMIT ?3",
        params![
            provider.as_str(),
            wire_model,
            i64::try_from(limit).unwrap_or(i64::MAX)
        ],
        |columns| {
            let millis = u64::try_from(columns.get::<i64>("processing_ms")?).unwrap_or(0);
            Ok((columns.get("clip_s")?, Duration::from_millis(millis)))
        },
    )
}
