//! Inserts new jobs, many with one statement: SQLite then seeks the end of each index once for all
//! of them.

use std::sync::LazyLock;

use jiff::Timestamp;
use rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE;
use rusqlite::{CachedStatement, Connection, Error, ToSql};

use crate::domain::{NewJob, file_name};

use super::paths;

/// Number of jobs that one statement inserts.
pub(super) const CHUNK_SIZE: usize = 64;

/// Number of parameters for each job. The batch and the time are two more, shared by all jobs of a
/// statement.
const PARAMETERS_PER_JOB: usize = 8;

static INSERT_ONE: LazyLock<String> = LazyLock::new(|| insert_sql(1));
static INSERT_CHUNK: LazyLock<String> = LazyLock::new(|| insert_sql(CHUNK_SIZE));

fn insert_sql(jobs: usize) -> String {
    let values: Vec<String> = (0..jobs)
        .map(|index| {
            let parameters: Vec<String> = (0..PARAMETERS_PER_JOB)
                .map(|offset| format!("?{}", first_parameter(index) + offset))
                .collect();
            format!("(?1, {}, 'queued', ?2, ?2)", parameters.join(", "))
        })
        .collect();
    format!(
        "INSERT OR FAIL INTO jobs (batch_id, row_key, line, input, fingerprint, lane_id, estimate,
                                   file_stem, file_key, state, due_at, queued_at)
         VALUES {}",
        values.join(", ")
    )
}

/// Returns the number of the first parameter of the job at `index`; 1 and 2 are the batch and the
/// time.
fn first_parameter(index: usize) -> usize {
    3 + index * PARAMETERS_PER_JOB
}

/// Inserts [`CHUNK_SIZE`] jobs under the file names that they ask for, up to the first that conflicts
/// with another job, and returns the number of inserted jobs. `lanes` are the jobs' lanes, in the
/// same order.
pub(super) fn insert_chunk(
    tx: &Connection,
    batch_id: i64,
    jobs: &[NewJob],
    lanes: &[i64],
    now: Timestamp,
) -> rusqlite::Result<usize> {
    let mut statement = tx.prepare_cached(&INSERT_CHUNK)?;
    for (index, (job, lane_id)) in jobs.iter().zip(lanes).enumerate() {
        bind(tx, &mut statement, index, job, *lane_id, &job.stem)?;
    }
    let all_inserted = execute(statement, batch_id, now)?;
    // With `OR FAIL` the rows before the conflict stay inserted, so no savepoint is needed.
    Ok(if all_inserted {
        CHUNK_SIZE
    } else {
        usize::try_from(tx.changes()).unwrap_or(CHUNK_SIZE)
    })
}

/// Inserts one job. Returns whether it was inserted; `false` if it conflicts with another job.
pub(super) fn insert_one(
    tx: &Connection,
    batch_id: i64,
    job: &NewJob,
    lane_id: i64,
    stem: &str,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let mut statement = tx.prepare_cached(&INSERT_ONE)?;
    bind(tx, &mut statement, 0, job, lane_id, stem)?;
    execute(statement, batch_id, now)
}

fn bind(
    tx: &Connection,
    statement: &mut CachedStatement<'_>,
    index: usize,
    job: &NewJob,
    lane_id: i64,
    stem: &str,
) -> rusqlite::Result<()> {
    // Most names follow from the row key and are not stored: see `file_stem` and `file_key` in the
    // schema.
    let file_key = file_name::case_folded(stem);
    let file_key = Some(file_key).filter(|key| *key != job.row_key.to_ascii_lowercase());
    let values: [&dyn ToSql; PARAMETERS_PER_JOB] = [
        &job.row_key,
        &line_number(job),
        &paths::input_to_stored(tx, job),
        &job.fingerprint,
        &lane_id,
        &job.estimate.micros(),
        &Some(stem).filter(|stem| *stem != job.row_key),
        &file_key,
    ];
    let parameters = first_parameter(index)..;
    parameters
        .zip(values)
        .try_for_each(|(parameter, value)| statement.raw_bind_parameter(parameter, value))
}

/// Executes an insert statement. Returns whether every row was inserted; `false` if one conflicts
/// with another job.
fn execute(
    mut statement: CachedStatement<'_>,
    batch_id: i64,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    statement.raw_bind_parameter(1, batch_id)?;
    statement.raw_bind_parameter(2, now.as_millisecond())?;
    match statement.raw_execute() {
        Err(Error::SqliteFailure(failure, _))
            if failure.extended_code == SQLITE_CONSTRAINT_UNIQUE =>
        {
            Ok(false)
        }
        other => other.map(|_| true),
    }
}

/// Returns the value to store for the manifest line of a job.
pub(super) fn line_number(job: &NewJob) -> i64 {
    i64::try_from(job.line).unwrap_or(i64::MAX)
}
