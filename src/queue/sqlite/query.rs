//! What is only read: status, lists, one job, and what a worker looks up.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::suggest::did_you_mean;
use crate::domain::{AttemptState, JobId, JobState, Money, ProviderName};
use crate::queue::{
    AttemptRecord, BatchStatus, Completion, JobFilter, JobRecord, ProviderStatus, QueueError,
    Result, Status, throughput,
};

use super::health::held;
use super::row::{Columns, JobCounts, select, value};

/// The names a mistyped one is held against, at most: comparing 50,000 takes some hundredths of a second.
const MOST_COMPARED: i64 = 50_000;

/// The batches a message names when none is near the one that was asked for.
const MOST_NAMED: usize = 10;

pub(super) fn status(connection: &Connection, batch: Option<&str>) -> Result<Status> {
    let mut batches = select(
        connection,
        "SELECT * FROM batches WHERE ?1 IS NULL OR name = ?1 ORDER BY batch_id",
        [batch],
        |columns| {
            let jobs = JobCounts::read(columns)?;
            let status = BatchStatus {
                batch: columns.get("name")?,
                model: columns.get("model")?,
                folder: columns.get("folder")?,
                jobs: JobState::ALL
                    .into_iter()
                    .map(|state| (state, jobs.of(state)))
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
        return Err(no_batch(connection, name));
    }
    for (batch_id, status) in &mut batches {
        if status.progressing() > 0 {
            status.recent_completions = recent_completions(connection, *batch_id)?;
        }
        if status.count(JobState::InDoubt) > 0 {
            status.held = held(connection, Some(&status.batch))?;
        }
    }
    let providers = select(
        connection,
        "SELECT * FROM providers ORDER BY provider",
        [],
        |columns| {
            Ok(ProviderStatus {
                provider: columns.word("provider")?,
                in_flight: columns.get("in_flight")?,
                paused: columns.get("paused")?,
                creates_from: Some(
                    columns
                        .time("creates_from")?
                        .max(columns.time("calls_from")?),
                )
                .filter(|from| *from > Timestamp::UNIX_EPOCH),
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

/// The jobs of a batch that ended last, newest first.
fn recent_completions(connection: &Connection, batch_id: i64) -> Result<Vec<Completion>> {
    let lately = i64::try_from(throughput::MAX_SAMPLES + 1).unwrap_or(i64::MAX);
    let ended = select(
        connection,
        "SELECT submitted_at, finished_at FROM (
             SELECT * FROM (SELECT submitted_at, finished_at FROM jobs WHERE batch_id = ?1 AND state = 'succeeded'
                                AND finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT ?2)
             UNION ALL
             SELECT * FROM (SELECT submitted_at, finished_at FROM jobs WHERE batch_id = ?1 AND state = 'failed'
                                AND finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT ?2))
         ORDER BY finished_at DESC LIMIT ?2",
        params![batch_id, lately],
        |columns| {
            let (submitted_at, finished_at) =
                (columns.time_or_null("submitted_at")?, columns.time("finished_at")?);
            Ok(submitted_at.map(|submitted_at| Completion { submitted_at, finished_at }))
        },
    )?;
    Ok(ended.into_iter().flatten().collect())
}

/// The jobs that succeeded or failed last, newest first.
pub(super) fn latest(
    connection: &Connection,
    batch: Option<&str>,
    most: usize,
) -> Result<Vec<JobRecord>> {
    check_batch(connection, batch)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    // Few of each batch and state, so that the index of what has ended finds them.
    let ids = select(
        connection,
        "SELECT job_id FROM batches b JOIN jobs j ON j.job_id IN (
             SELECT job_id FROM (SELECT job_id FROM jobs WHERE batch_id = b.batch_id AND state = 'succeeded'
                                     AND finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT ?2)
             UNION ALL
             SELECT job_id FROM (SELECT job_id FROM jobs WHERE batch_id = b.batch_id AND state = 'failed'
                                     AND finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT ?2))
         WHERE ?1 IS NULL OR b.name = ?1
         ORDER BY j.finished_at DESC, j.job_id DESC LIMIT ?2",
        params![batch, most],
        |columns| columns.get::<i64>("job_id"),
    )?;
    let mut jobs = Vec::new();
    for job_id in ids {
        jobs.extend(select(
            connection,
            &format!("{JOB_RECORD} WHERE j.job_id = ?1"),
            [job_id],
            job_record,
        )?);
    }
    Ok(jobs)
}

/// The columns [`job_record`] reads.
const JOB_RECORD: &str = "
    SELECT j.*, b.name AS batch, b.model, a.provider, a.prediction_id, a.state AS attempt_state, a.estimate AS attempt_estimate,
           (SELECT sum(cost) FROM attempts WHERE job_id = j.job_id AND cost_source IS NOT NULL) AS cost,
           (SELECT cost_source FROM attempts WHERE job_id = j.job_id AND cost_source IS NOT NULL
            ORDER BY number DESC LIMIT 1) AS cost_source
    FROM jobs j JOIN batches b USING (batch_id) LEFT JOIN attempts a ON a.attempt_id = j.attempt_id";

/// Tells whether these jobs have all come to an end, or wait for a person.
pub(super) fn all_settled(connection: &Connection, jobs: &[JobId]) -> Result<bool> {
    for JobId(job_id) in jobs {
        let open: Option<i64> = value(
            connection,
            "SELECT job_id FROM jobs WHERE job_id = ?1 AND finished_at IS NULL
               AND (due_at IS NOT NULL OR lease_token IS NOT NULL)",
            [job_id],
        )?;
        if open.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Sums the estimates of the jobs that wait.
pub(super) fn queued_price(connection: &Connection, batch: Option<&str>) -> Result<Money> {
    let price: Option<i64> = value(
        connection,
        "SELECT sum(estimate) FROM jobs
         WHERE state = 'queued' AND (?1 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?1))",
        [batch],
    )?;
    Ok(Money::from_micros(price.unwrap_or(0)))
}

pub(super) fn jobs(
    connection: &Connection,
    filter: &JobFilter,
    after: Option<JobId>,
    most: usize,
) -> Result<Vec<JobRecord>> {
    check_batch(connection, filter.batch.as_deref())?;
    select(
        connection,
        &format!(
            "{JOB_RECORD} WHERE j.job_id > ?1 AND (?2 IS NULL OR b.name = ?2) AND (?3 IS NULL OR j.state = ?3)
             ORDER BY j.job_id LIMIT ?4"
        ),
        params![
            after.map_or(0, |JobId(id)| id),
            filter.batch,
            filter.state.map(JobState::as_str),
            i64::try_from(most).unwrap_or(i64::MAX)
        ],
        job_record,
    )
}

pub(super) fn find(connection: &Connection, job: &str, batch: Option<&str>) -> Result<JobRecord> {
    let job_id = find_ids(connection, job, batch)?;
    select(
        connection,
        &format!("{JOB_RECORD} WHERE j.job_id = ?1"),
        [job_id],
        job_record,
    )?
    .pop()
    .ok_or_else(|| QueueError::NotFound(format!("there is no job `{job}`")))
}

/// Finds a job by row key, else by number.
pub(super) fn find_ids(connection: &Connection, job: &str, batch: Option<&str>) -> Result<i64> {
    let mut found: Vec<(i64, String)> = select(
        connection,
        "SELECT j.job_id, b.name FROM batches b JOIN jobs j ON j.batch_id = b.batch_id AND j.row_key = ?1
         WHERE ?2 IS NULL OR b.name = ?2",
        params![job, batch],
        |columns| Ok((columns.get("job_id")?, columns.get("name")?)),
    )?;
    if found.is_empty()
        && let Ok(number) = job.parse::<i64>()
    {
        found = select(
            connection,
            "SELECT j.job_id, b.name FROM jobs j JOIN batches b USING (batch_id)
             WHERE j.job_id = ?1 AND (?2 IS NULL OR b.name = ?2)",
            params![number, batch],
            |columns| Ok((columns.get("job_id")?, columns.get("name")?)),
        )?;
    }
    match found.as_slice() {
        [] => Err(no_job(connection, job, batch)),
        [(job_id, _)] => Ok(*job_id),
        several => {
            let batches: Vec<&str> = several.iter().map(|(_, batch)| batch.as_str()).collect();
            Err(QueueError::Conflict(format!(
                "`{job}` is in several batches: {}\nhint: say which with --batch",
                batches.join(", ")
            )))
        }
    }
}

/// Refuses the name of a batch that is not there.
pub(super) fn check_batch(connection: &Connection, name: Option<&str>) -> Result<()> {
    let Some(name) = name else { return Ok(()) };
    match value::<i64>(
        connection,
        "SELECT batch_id FROM batches WHERE name = ?1",
        [name],
    )? {
        Some(_) => Ok(()),
        None => Err(no_batch(connection, name)),
    }
}

pub(super) fn no_batch(connection: &Connection, name: &str) -> QueueError {
    let names = select(
        connection,
        "SELECT name FROM batches ORDER BY batch_id DESC LIMIT ?1",
        [MOST_COMPARED],
        |columns| columns.get::<String>("name"),
    );
    let names = match names {
        Ok(names) => names,
        Err(error) => return error,
    };
    let meant = did_you_mean(name, names.iter().map(String::as_str));
    QueueError::NotFound(match names.as_slice() {
        [] => format!("there is no batch `{name}`: the queue is empty"),
        _ if !meant.is_empty() => format!("there is no batch `{name}`{meant}"),
        names => {
            let latest = &names[..names.len().min(MOST_NAMED)];
            format!("there is no batch `{name}`; there is {}", latest.join(", "))
        }
    })
}

fn no_job(connection: &Connection, job: &str, batch: Option<&str>) -> QueueError {
    if let Err(error) = check_batch(connection, batch) {
        return error;
    }
    let keys = select(
        connection,
        "SELECT row_key FROM jobs WHERE ?1 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?1)
         ORDER BY job_id DESC LIMIT ?2",
        params![batch, MOST_COMPARED],
        |columns| columns.get::<String>("row_key"),
    );
    match keys {
        Ok(keys) => QueueError::NotFound(format!(
            "there is no job `{job}`{}{}\nhint: `overnight jobs` lists them",
            batch.map_or(String::new(), |batch| format!(" in batch {batch}")),
            did_you_mean(job, keys.iter().map(String::as_str))
        )),
        Err(error) => error,
    }
}

fn job_record(columns: &Columns<'_, '_>) -> Result<JobRecord> {
    let attempt_state: Option<AttemptState> = columns.word_or_null("attempt_state")?;
    let at_risk = if attempt_state == Some(AttemptState::InDoubt) {
        columns.money("attempt_estimate")?
    } else {
        Money::ZERO
    };
    let estimate = columns.get::<Option<i64>>("attempt_estimate")?;
    Ok(JobRecord {
        job_id: JobId(columns.get("job_id")?),
        batch: columns.get("batch")?,
        id: columns.get("row_key")?,
        line: columns.get("line")?,
        state: columns.word("state")?,
        model: columns.get("model")?,
        provider: columns.word_or_null("provider")?,
        prediction_id: columns.get("prediction_id")?,
        attempts: columns.get("attempts")?,
        estimate_usd: estimate.map_or(columns.money("estimate")?, Money::from_micros),
        cost_usd: columns.get::<Option<i64>>("cost")?.map(Money::from_micros),
        cost_source: columns.word_or_null("cost_source")?,
        output: columns.get("output")?,
        bytes: columns.get("bytes")?,
        sha256: columns.get("sha256")?,
        error: columns.get("error")?,
        queued_at: columns.time("queued_at")?,
        submitted_at: columns.time_or_null("submitted_at")?,
        finished_at: columns.time_or_null("finished_at")?,
        input: columns.json("input")?,
        due_at: columns.time_or_null("due_at")?,
        at_risk,
    })
}

pub(super) fn attempts(connection: &Connection, job_id: JobId) -> Result<Vec<AttemptRecord>> {
    select(
        connection,
        "SELECT * FROM attempts WHERE job_id = ?1 ORDER BY number",
        [job_id.0],
        |columns| {
            let cost_source = columns.word_or_null("cost_source")?;
            Ok(AttemptRecord {
                number: columns.get("number")?,
                state: columns.word("state")?,
                provider: columns.word("provider")?,
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
                finished_at: columns.time_or_null("finished_at")?,
            })
        },
    )
}

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

pub(super) fn processing_times(
    connection: &Connection,
    provider: ProviderName,
    wire_model: &str,
    most: usize,
) -> Result<Vec<(Option<u32>, Duration)>> {
    select(
        connection,
        "SELECT processing_ms, clip_s FROM attempts
         WHERE provider = ?1 AND wire_model = ?2 AND processing_ms IS NOT NULL
         ORDER BY finished_at DESC LIMIT ?3",
        params![
            provider.as_str(),
            wire_model,
            i64::try_from(most).unwrap_or(i64::MAX)
        ],
        |columns| {
            let millis = u64::try_from(columns.get::<i64>("processing_ms")?).unwrap_or(0);
            Ok((columns.get("clip_s")?, Duration::from_millis(millis)))
        },
    )
}
