//! Reads the queued jobs of a batch, by their list of providers, and the jobs whose next step is due.

use jiff::Timestamp;

use super::connection::Connection;
use super::read_ahead::ReadAhead;
use super::row::{Columns, bigint, params};
use super::usual_reads::Read;
use crate::domain::{Input, Job, JobId, ProviderName};
use crate::policy::claim::{DueQuery, DueStep, QueuedJob, Step};
use crate::queue::claim_reads::{Lane, WaitingLane};
use crate::queue::stored_row::StoredRow;
use crate::queue::stored_values::read_job_progress;
use crate::queue::{QueueError, Result};

/// Reads a row of [`Read::Lanes`]; `None` if the lane has no queued jobs.
pub(super) fn read_lane(columns: &Columns<'_>) -> Result<Option<WaitingLane>> {
    let Some(due_at) = columns.optional_time("due_at")? else {
        return Ok(None);
    };
    let providers: &str = columns.get("providers")?;
    let names = providers.split(',');
    let names = names.map(|name| name.parse().map_err(QueueError::corrupt));
    Ok(Some(WaitingLane {
        lane_id: columns.get("lane_id")?,
        providers: names.collect::<Result<_>>()?,
        due_at,
    }))
}

/// Reads a row of [`Read::Queued`].
pub(super) fn read_queued(columns: &Columns<'_>, lane: Lane<'_>) -> Result<QueuedJob> {
    let job = Job {
        job_id: JobId(columns.get("job_id")?),
        batch: lane.batch.name.clone(),
        row_key: columns.get("row_key")?,
        model: lane.batch.model.clone(),
        input: columns.input("input")?,
        folder: lane.batch.folder.as_str().into(),
        file_name: columns.get("file_name")?,
        absent_attempts: columns.number("absent_attempts")?,
        progress: read_job_progress(columns)?,
    };
    Ok(QueuedJob {
        job,
        last_attempt_number: columns.number("last_attempt_number")?,
    })
}

/// Returns the inputs of the first jobs of a lane, due or not.
pub(super) fn upcoming_inputs(tx: &Connection, lane: Lane<'_>, limit: usize) -> Result<Vec<Input>> {
    let (due_at, job_id) = tx.usual().heads.of(lane.lane_id);
    tx.select(
        "SELECT input FROM (SELECT job_id, due_at FROM jobs WHERE state = 'queued' AND lane_id = $1
                                AND (due_at, job_id) >= ($3, $4)
                            ORDER BY due_at, job_id LIMIT $2) AS j,
              LATERAL (SELECT * FROM rows WHERE rows.job_id = j.job_id LIMIT 1) AS r
         ORDER BY j.due_at, j.job_id",
        params![lane.lane_id, bigint(limit), due_at, job_id],
        |columns| columns.input("input"),
    )
}

/// Returns the lane of a batch with these providers, which is created if there is none.
pub(super) fn get_or_create(
    tx: &Connection,
    batch_id: i64,
    providers: &[ProviderName],
) -> Result<i64> {
    let providers = ProviderName::join(providers);
    let find = "SELECT lane_id FROM lanes WHERE batch_id = $1 AND providers = $2";
    if let Some(lane_id) = tx.value(find, params![batch_id, providers])? {
        return Ok(lane_id);
    }
    let insert = "INSERT INTO lanes (batch_id, providers) VALUES ($1, $2) RETURNING lane_id";
    let lane_id = tx.value(insert, params![batch_id, providers])?;
    lane_id.ok_or_else(|| QueueError::corrupt("a new lane without a number"))
}

/// Returns the jobs that each query finds, earliest first.
pub(super) fn find_due(
    tx: &Connection,
    ahead: &ReadAhead,
    queries: &[DueQuery<'_>],
) -> Result<Vec<DueStep>> {
    let queries: Vec<(&DueQuery<'_>, &str)> = queries
        .iter()
        .filter_map(|query| Some((query, state_before(query.step)?)))
        .collect();
    // What is due already is asked for by every claim.
    if queries
        .iter()
        .all(|(query, _)| query.after == Timestamp::MIN && query.batch.is_none())
    {
        let mut found = Vec::new();
        for (query, state) in queries {
            let read = Read::Due(state, query.provider.as_str());
            found.extend(ahead.read(tx, read, query.limit, |columns| {
                let due_at = columns.time("due_at")?;
                let step = query.found(JobId(columns.get("job_id")?), due_at);
                Ok(Some(step).filter(|_| due_at <= query.until))
            })?);
        }
        return Ok(found.into_iter().flatten().collect());
    }
    // All are of one claim, and so of the same batch.
    let Some((DueQuery { batch, .. }, _)) = queries.first().copied() else {
        return Ok(Vec::new());
    };
    let states: Vec<&str> = queries.iter().map(|(_, state)| *state).collect();
    let providers: Vec<&str> = queries
        .iter()
        .map(|(query, _)| query.provider.as_str())
        .collect();
    let from: Vec<i64> = queries
        .iter()
        .map(|(query, _)| query.after.as_millisecond().saturating_add(1))
        .collect();
    let until: Vec<i64> = queries
        .iter()
        .map(|(query, _)| query.until.as_millisecond())
        .collect();
    let limits: Vec<i64> = queries
        .iter()
        .map(|(query, _)| bigint(query.limit))
        .collect();
    tx.select(
        "SELECT q.number, found.due_at, found.job_id
         FROM unnest($1::TEXT[], $2::TEXT[], $3::BIGINT[], $4::BIGINT[], $5::BIGINT[]) WITH ORDINALITY
                  AS q (state, provider, due_from, due_until, max, number),
              LATERAL (SELECT due_at, job_id FROM jobs j
                       WHERE j.state = q.state AND j.at_provider = q.provider AND j.lease_token IS NULL
                         AND j.due_at BETWEEN q.due_from AND q.due_until
                         AND ($6::TEXT IS NULL OR j.batch_id = (SELECT batch_id FROM batches WHERE name = $6))
                       ORDER BY j.due_at, j.job_id LIMIT q.max) AS found
         ORDER BY q.number, found.due_at, found.job_id",
        params![states, providers, from, until, limits, *batch],
        |columns| {
            let number: usize = columns.number("number")?;
            let due_at = columns.time("due_at")?;
            let (query, _) = queries[number - 1];
            Ok(query.found(JobId(columns.get("job_id")?), due_at))
        },
    )
}

/// Returns the state of the jobs that wait for a step; `None` for the first.
fn state_before(step: Step) -> Option<&'static str> {
    match step {
        Step::Poll => Some("running"),
        Step::Reconcile => Some("in_doubt"),
        Step::Download => Some("downloading"),
        Step::Submit => None,
    }
}
