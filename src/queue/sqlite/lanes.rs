//! Reads the queued jobs of a batch, by their list of providers.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{Input, JobId, ProviderName};
use crate::policy::claim::{BatchView, LaneView, QueuedJob, Reads};
use crate::queue::{QueueError, Result};

use super::change::{file_name_column, job_progress_columns, read_job_progress};
use super::row::{execute, query_value, select, sql_limit};

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
    let waiting = if batch.has_queued_jobs() {
        waiting_lanes(tx, batch.batch_id)?
    } else {
        Vec::new()
    };
    for WaitingLane { lane_id, providers } in waiting {
        let mut lane = LaneView {
            lane_id,
            providers,
            rows: Vec::new(),
            is_complete: false,
            upcoming: Vec::new(),
        };
        read_rows(tx, &mut lane, now, reads.rows)?;
        if batch.has_local_images && reads.upcoming > 0 {
            lane.upcoming = select(
                tx,
                "SELECT input FROM jobs
                 WHERE state = 'queued' AND lane_id = ?1
                 ORDER BY due_at, job_id LIMIT ?2",
                params![lane_id, sql_limit(reads.upcoming)],
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
    let lane = batch.lanes.as_mut().and_then(|lanes| lanes.get_mut(lane));
    lane.map_or(Ok(()), |lane| {
        let rows = (lane.rows.len() * 2).max(MIN_EXTENDED_ROWS);
        read_rows(tx, lane, now, rows)
    })
}

/// Reads the first `limit` due jobs of a lane.
fn read_rows(tx: &Connection, lane: &mut LaneView, now: Timestamp, limit: usize) -> Result<()> {
    lane.rows = select(
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
                         WHERE a.job_id = j.job_id AND a.state = 'absent')) AS absent_attempts, ",
            job_progress_columns!(),
            " FROM jobs j
             WHERE state = 'queued' AND lane_id = ?1 AND due_at <= ?2
             ORDER BY due_at, job_id LIMIT ?3"
        ),
        params![lane.lane_id, now.as_millisecond(), sql_limit(limit)],
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

/// A lane with queued jobs.
pub(super) struct WaitingLane {
    pub(super) lane_id: i64,
    pub(super) providers: Vec<ProviderName>,
}

/// Lists the lanes of a batch that have queued jobs, with one index lookup each.
pub(super) fn waiting_lanes(tx: &Connection, batch_id: i64) -> Result<Vec<WaitingLane>> {
    select(
        tx,
        "SELECT lane_id, providers FROM lanes l
         WHERE batch_id = ?1
           AND EXISTS (SELECT 1 FROM jobs j WHERE j.state = 'queued' AND j.lane_id = l.lane_id)
         ORDER BY providers",
        [batch_id],
        |columns| {
            let providers: String = columns.get("providers")?;
            let names = providers.split(',');
            let names = names.map(|name| name.parse().map_err(QueueError::corrupt));
            Ok(WaitingLane {
                lane_id: columns.get("lane_id")?,
                providers: names.collect::<Result<_>>()?,
            })
        },
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
