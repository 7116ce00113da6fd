//! Reads the queued jobs of a batch, by their list of providers.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{Input, JobId, ProviderName};
use crate::policy::claim::{BatchView, LaneView, QueuedJob, Reads};
use crate::queue::{QueueError, Result};

use super::change::{job_progress_columns, read_job_progress};
use super::row::{query_value, select, sql_limit};

/// Minimum number of jobs that a lane is extended to.
const MIN_EXTENDED_ROWS: usize = 8;

/// Reads the lanes of a batch into its view.
pub(super) fn read_lanes(
    tx: &Connection,
    batch: &mut BatchView,
    now: Timestamp,
    reads: &Reads,
) -> Result<()> {
    let mut lanes = Vec::new();
    let orders = if batch.has_queued_jobs() {
        provider_orders(tx, batch.batch_id)?
    } else {
        Vec::new()
    };
    for text in orders {
        let mut lane = LaneView {
            providers: parse_providers(&text)?,
            rows: Vec::new(),
            is_complete: false,
            upcoming: Vec::new(),
        };
        read_rows(tx, &mut lane, batch.batch_id, now, reads.rows)?;
        if batch.has_local_images && reads.upcoming > 0 {
            lane.upcoming = select(
                tx,
                "SELECT input FROM jobs
                 WHERE state = 'queued' AND batch_id = ?1 AND providers = ?2
                 ORDER BY due_at, job_id LIMIT ?3",
                params![batch.batch_id, text, sql_limit(reads.upcoming)],
                |columns| columns.json::<Input>("input"),
            )?;
        }
        lanes.push(lane);
    }
    batch.lanes = Some(lanes);
    Ok(())
}

/// Reads twice as many due jobs of a lane, given by its index, as were read before.
pub(super) fn extend_lane(
    tx: &Connection,
    batch: &mut BatchView,
    lane: usize,
    now: Timestamp,
) -> Result<()> {
    let batch_id = batch.batch_id;
    let lane = batch.lanes.as_mut().and_then(|lanes| lanes.get_mut(lane));
    lane.map_or(Ok(()), |lane| {
        let rows = (lane.rows.len() * 2).max(MIN_EXTENDED_ROWS);
        read_rows(tx, lane, batch_id, now, rows)
    })
}

/// Reads the first `limit` due jobs of a lane.
fn read_rows(
    tx: &Connection,
    lane: &mut LaneView,
    batch_id: i64,
    now: Timestamp,
    limit: usize,
) -> Result<()> {
    lane.rows = select(
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
            batch_id,
            ProviderName::join(&lane.providers),
            now.as_millisecond(),
            sql_limit(limit)
        ],
        |columns| {
            Ok(QueuedJob {
                job_id: JobId(columns.get("job_id")?),
                row_key: columns.get("row_key")?,
                input: columns.json("input")?,
                file_name: columns.get("file_name")?,
                last_attempt_number: columns.get("last_attempt_number")?,
                absent_attempts: columns.get("absent_attempts")?,
                progress: read_job_progress(columns)?,
            })
        },
    )?;
    lane.is_complete = lane.rows.len() < limit;
    Ok(())
}

/// Lists the distinct `providers` values of a batch's queued jobs, with one index lookup each.
pub(super) fn provider_orders(tx: &Connection, batch_id: i64) -> Result<Vec<String>> {
    let mut orders = Vec::new();
    let mut last = String::new();
    while let Some(next) = query_value::<String>(
        tx,
        "SELECT providers FROM jobs WHERE state = 'queued' AND batch_id = ?1 AND providers > ?2
         ORDER BY providers LIMIT 1",
        params![batch_id, last],
    )? {
        last.clone_from(&next);
        orders.push(next);
    }
    Ok(orders)
}

/// Parses a list of providers as [`ProviderName::join`] writes it.
pub(super) fn parse_providers(text: &str) -> Result<Vec<ProviderName>> {
    text.split(',')
        .map(|name| name.parse().map_err(QueueError::corrupt))
        .collect()
}
