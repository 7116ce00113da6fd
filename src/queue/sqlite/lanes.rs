//! Reads the queued jobs of a batch, by their list of providers.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{Input, Job, JobId, ProviderName};
use crate::policy::claim::QueuedJob;
use crate::queue::claim_reads::{Lane, WaitingLane};
use crate::queue::stored_row::StoredRow;
use crate::queue::stored_values::read_job_progress;
use crate::queue::{QueueError, Result};

use super::progress::{file_name_column, job_progress_columns};
use super::row::{execute, query_value, select, sql_limit};

/// Lists the lanes of a batch that have queued jobs, with one index lookup each.
pub(super) fn list(tx: &Connection, batch_id: i64) -> Result<Vec<WaitingLane>> {
    let lanes = select(
        tx,
        "SELECT lane_id, providers,
                (SELECT due_at FROM jobs j WHERE j.state = 'queued' AND j.lane_id = l.lane_id
                 ORDER BY due_at LIMIT 1) AS due_at
         FROM lanes l WHERE batch_id = ?1 ORDER BY providers",
        [batch_id],
        |columns| {
            let lane_id = columns.get("lane_id")?;
            let providers: String = columns.get("providers")?;
            let Some(due_at) = columns.optional_time("due_at")? else {
                return Ok(None);
            };
            let names = providers.split(',');
            let names = names.map(|name| name.parse().map_err(QueueError::corrupt));
            Ok(Some(WaitingLane {
                lane_id,
                providers: names.collect::<Result<_>>()?,
                due_at,
            }))
        },
    )?;
    Ok(lanes.into_iter().flatten().collect())
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
            "SELECT j.job_id, j.row_key, j.input, ",
            file_name_column!(),
            ",
                    iif(j.submitted_at IS NULL, 0,
                        (SELECT ifnull(max(number), 0) FROM attempts a WHERE a.job_id = j.job_id))
                        AS last_attempt_number,
                    iif(j.submitted_at IS NULL, 0,
                        (SELECT count(*) FROM attempts a
                         WHERE a.job_id = j.job_id AND a.state IN ('presumed_absent', 'absent'))) AS absent_attempts, ",
            job_progress_columns!(),
            " FROM jobs j
             WHERE state = 'queued' AND lane_id = ?1 AND due_at <= ?2
             ORDER BY due_at, job_id LIMIT ?3"
        ),
        params![lane.lane_id, now.as_millisecond(), sql_limit(limit)],
        |columns| {
            let job_id = JobId(columns.get("job_id")?);
            let row_key = columns.get("row_key")?;
            let input = columns.input("input")?;
            let file_name = columns.get("file_name")?;
            let last_attempt_number = columns.get("last_attempt_number")?;
            let job = Job {
                job_id,
                batch: lane.batch.name.clone(),
                row_key,
                model: lane.batch.model.clone(),
                input,
                folder: lane.batch.folder.as_str().into(),
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
         WHERE state = 'queued' AND lane_id = ?1
         ORDER BY due_at, job_id LIMIT ?2",
        params![lane.lane_id, sql_limit(limit)],
        |columns| columns.input("input"),
    )
}

/// Returns the lane of a batch with these providers, which is created if there is none.
pub(super) fn get_or_create(
    tx: &Connection,
    batch_id: i64,
    providers: &[ProviderName],
) -> Result<i64> {
    let lane = params![batch_id, ProviderName::join(providers)];
    let find = "SELECT lane_id FROM lanes WHERE batch_id = ?1 AND providers = ?2";
    if let Some(lane_id) = query_value(tx, find, lane)? {
        return Ok(lane_id);
    }
    execute(
        tx,
        "INSERT INTO lanes (batch_id, providers) VALUES (?1, ?2)",
        lane,
    )?;
    Ok(tx.last_insert_rowid())
}
