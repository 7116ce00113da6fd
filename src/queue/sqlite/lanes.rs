//! Reads the queued jobs of a batch, by their list of providers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::domain::{Input, Job, JobId, ProviderName};
use crate::policy::claim::QueuedJob;
use crate::queue::claim_reads::Lane;
use crate::queue::{QueueError, Result};

use super::change::{job_progress_columns, read_job_progress};
use super::row::{select, sql_limit, timestamp_from_millis};

/// Lists the distinct lists of providers of a batch's queued jobs, with one index lookup each, and
/// when the first job of each is due.
pub(super) fn list(
    tx: &Connection,
    batch_id: i64,
) -> Result<BTreeMap<Vec<ProviderName>, Timestamp>> {
    let mut lanes = BTreeMap::new();
    let mut statement = tx.prepare_cached(
        "SELECT providers, due_at FROM jobs
         WHERE state = 'queued' AND batch_id = ?1 AND providers > ?2
         ORDER BY providers, due_at LIMIT 1",
    )?;
    let mut last = String::new();
    while let Some((providers, due_at)) = statement
        .query_row(params![batch_id, last], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
        })
        .optional()?
    {
        lanes.insert(parse_providers(&providers)?, timestamp_from_millis(due_at)?);
        last = providers;
    }
    Ok(lanes)
}

/// Returns the first jobs of a lane that are due.
pub(super) fn queued_jobs(
    tx: &Connection,
    lane: Lane<'_>,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<QueuedJob>> {
    select(
        tx,
        concat!(
            "SELECT j.job_id, j.row_key, j.input, j.file_name,
                    iif(j.submitted_at IS NULL, 0,
                        (SELECT ifnull(max(number), 0) FROM attempts a WHERE a.job_id = j.job_id))
                        AS last_attempt_number,
                    iif(j.submitted_at IS NULL, 0,
                        (SELECT count(*) FROM attempts a
                         WHERE a.job_id = j.job_id AND a.state = 'absent')) AS absent_attempts, ",
            job_progress_columns!(),
            " FROM jobs j
             WHERE state = 'queued' AND batch_id = ?1 AND providers = ?2 AND due_at <= ?3
             ORDER BY due_at, job_id LIMIT ?4"
        ),
        params![
            lane.batch.batch_id,
            ProviderName::join(lane.providers),
            now.as_millisecond(),
            sql_limit(limit)
        ],
        |columns| {
            let job_id = JobId(columns.get("job_id")?);
            let row_key = columns.get("row_key")?;
            let input = columns.json("input")?;
            let file_name = columns.get("file_name")?;
            let last_attempt_number = columns.get("last_attempt_number")?;
            let job = Job {
                job_id,
                batch: lane.batch.name.clone(),
                row_key,
                model: lane.batch.model.clone(),
                input,
                folder: lane.batch.folder.clone().into(),
                file_name,
                absent_attempts: columns.get("absent_attempts")?,
                progress: read_job_progress(columns)?,
            };
            Ok(QueuedJob {
                job,
                last_attempt_number,
            })
        },
    )
}

/// Returns the inputs of the first jobs of a lane, due or not.
pub(super) fn upcoming_inputs(tx: &Connection, lane: Lane<'_>, limit: usize) -> Result<Vec<Input>> {
    select(
        tx,
        "SELECT input FROM jobs
         WHERE state = 'queued' AND batch_id = ?1 AND providers = ?2
         ORDER BY due_at, job_id LIMIT ?3",
        params![
            lane.batch.batch_id,
            ProviderName::join(lane.providers),
            sql_limit(limit)
        ],
        |columns| columns.json("input"),
    )
}

/// Parses a list of providers as [`ProviderName::join`] writes it.
fn parse_providers(text: &str) -> Result<Vec<ProviderName>> {
    text.split(',')
        .map(|name| name.parse().map_err(QueueError::corrupt))
        .collect()
}
