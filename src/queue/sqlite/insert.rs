//! Inserts new jobs, many with one statement: SQLite then looks for the ends of its indexes once for all of them.

use std::sync::LazyLock;

use jiff::Timestamp;
use rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE;
use rusqlite::{CachedStatement, Connection, Error, ToSql};

use crate::domain::{NewJob, file_name};

/// How many jobs one statement inserts.
pub(super) const TOGETHER: usize = 64;

/// What each job brings; the batch and the time are the same for all.
const OWN_COLUMNS: usize = 8;

static ONE: LazyLock<String> = LazyLock::new(|| sql(1));
static MANY: LazyLock<String> = LazyLock::new(|| sql(TOGETHER));

fn sql(jobs: usize) -> String {
    let values: Vec<String> = (0..jobs)
        .map(|job| {
            let own: Vec<String> = (0..OWN_COLUMNS)
                .map(|column| format!("?{}", place(job) + column))
                .collect();
            format!("(?1, {}, 'queued', ?2, ?2, ?2)", own.join(", "))
        })
        .collect();
    format!(
        "INSERT OR FAIL INTO jobs (batch_id, row_key, line, input, fingerprint, providers, estimate, file_name,
                                   file_name_key, state, state_since, due_at, queued_at)
         VALUES {}",
        values.join(", ")
    )
}

/// The number of a job's first parameter.
fn place(job: usize) -> usize {
    3 + job * OWN_COLUMNS
}

/// Inserts jobs with the file names they ask for, up to the first that clashes with another job; tells how many.
/// Fewer than the statement takes are left alone.
pub(super) fn together(
    tx: &Connection,
    batch_id: i64,
    jobs: &[NewJob],
    now: Timestamp,
) -> rusqlite::Result<usize> {
    if jobs.len() != TOGETHER {
        return Ok(0);
    }
    let mut statement = tx.prepare_cached(&MANY)?;
    for (number, job) in jobs.iter().enumerate() {
        bind(&mut statement, number, job, &job.stem)?;
    }
    let all_fit = run(statement, batch_id, now)?;
    // `OR FAIL` leaves the rows before the one that failed, and so needs no way back from them.
    Ok(if all_fit {
        TOGETHER
    } else {
        usize::try_from(tx.changes()).unwrap_or(TOGETHER)
    })
}

/// Inserts one job; `false` where it clashes with another.
pub(super) fn one(
    tx: &Connection,
    batch_id: i64,
    job: &NewJob,
    stem: &str,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let mut statement = tx.prepare_cached(&ONE)?;
    bind(&mut statement, 0, job, stem)?;
    run(statement, batch_id, now)
}

fn bind(
    statement: &mut CachedStatement<'_>,
    number: usize,
    job: &NewJob,
    stem: &str,
) -> rusqlite::Result<()> {
    let file_name = format!("{stem}.mp4");
    let values: [&dyn ToSql; OWN_COLUMNS] = [
        &job.row_key,
        &line(job),
        &job.input_text,
        &job.fingerprint,
        &providers(job),
        &job.estimate.micros(),
        &file_name,
        &file_name::case_folded(&file_name),
    ];
    let places = place(number)..;
    places
        .zip(values)
        .try_for_each(|(place, value)| statement.raw_bind_parameter(place, value))
}

fn run(
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

/// The line of the manifest it comes from.
pub(super) fn line(job: &NewJob) -> i64 {
    i64::try_from(job.line).unwrap_or(i64::MAX)
}

/// Its providers as they are kept.
pub(super) fn providers(job: &NewJob) -> String {
    let words: Vec<&str> = job
        .providers
        .iter()
        .map(|provider| provider.as_str())
        .collect();
    words.join(",")
}
