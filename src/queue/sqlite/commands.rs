//! The user's commands: retry, requeue downloads, cancel, resolve and set a budget.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{JobId, JobState, Money};
use crate::policy::operator::{self, Decision, NotApplicable};
use crate::policy::tally::Tally;
use crate::queue::{CancelResult, QueueError, Result, Selection};

use super::change::{self, StoredJob, select_stored_jobs};
use super::job_row::{JOB_AND_ATTEMPT, read_job_and_attempt};
use super::query::{batch_not_found, ensure_batch_exists, find_job_id};
use super::row::{execute, select};
use super::{tallies, uploads};

/// Retries the selected failed and cancelled jobs; without states, only failed ones. Returns how
/// many.
pub(super) fn retry(tx: &Connection, selection: &Selection, now: Timestamp) -> Result<usize> {
    let jobs = select_jobs(tx, selection, &[JobState::Failed])?;
    let mut tally = Tally::default();
    for job in &jobs {
        let change = operator::retry(&job.progress, job.attempt_progress(), now)
            .map_err(|reason| not_applicable(job, reason))?;
        job.write(tx, &change, &mut tally)?;
    }
    tallies::write(tx, &tally)?;
    uploads::clear_rejected(tx)?;
    Ok(jobs.len())
}

/// Requeues the downloads of succeeded jobs whose files are lost, and skips the others. Returns how
/// many.
pub(super) fn requeue_downloads(tx: &Connection, jobs: &[JobId], now: Timestamp) -> Result<usize> {
    let mut requeued = 0;
    let mut tally = Tally::default();
    for JobId(job_id) in jobs {
        let Some(job) = StoredJob::find(tx, *job_id)? else {
            continue;
        };
        if let Ok(change) = operator::download_again(&job.progress, job.attempt_progress(), now) {
            job.write(tx, &change, &mut tally)?;
            requeued += 1;
        }
    }
    tallies::write(tx, &tally)?;
    Ok(requeued)
}

/// Cancels the selected jobs; without states, only queued ones.
pub(super) fn cancel(
    tx: &Connection,
    selection: &Selection,
    now: Timestamp,
) -> Result<CancelResult> {
    let jobs = select_jobs(tx, selection, &[JobState::Queued])?;
    let mut in_progress = Vec::new();
    let mut tally = Tally::default();
    for job in &jobs {
        let change = operator::cancel(&job.progress, job.attempt_progress(), now)
            .map_err(|reason| not_applicable(job, reason))?;
        if job.progress.state == JobState::Running {
            let found = select(tx, JOB_AND_ATTEMPT, [job.job_id], read_job_and_attempt)?;
            in_progress.extend(found.into_iter().map(|(_, attempt)| attempt));
        }
        job.write(tx, &change, &mut tally)?;
    }
    tallies::write(tx, &tally)?;
    Ok(CancelResult {
        jobs: jobs.len(),
        in_progress,
    })
}

/// Resolves a job in doubt and returns its new state.
pub(super) fn resolve(
    tx: &Connection,
    job_id: JobId,
    decision: &Decision,
    now: Timestamp,
) -> Result<JobState> {
    // By number only: another row may have this number as its key.
    let job = StoredJob::find(tx, job_id.0)?.ok_or_else(|| QueueError::NoSuchJob {
        job: job_id.to_string(),
        batch: None,
        nearest: None,
    })?;
    if job.progress.state != JobState::InDoubt {
        return Err(not_applicable(&job, NotApplicable::NotInDoubt));
    }
    let attempt = job.current_attempt()?;
    if let Decision::Adopt(prediction) = decision {
        let id = &prediction.prediction_id;
        let owner = change::prediction_owner(tx, attempt.provider, id, attempt.attempt_id)?;
        if let Some(owner) = owner {
            return Err(QueueError::PredictionTaken {
                prediction_id: id.clone(),
                job: JobId(owner),
            });
        }
    }
    let change = operator::resolve(&job.progress, &attempt.progress, decision, now)
        .map_err(|reason| not_applicable(&job, reason))?;
    let mut tally = Tally::default();
    job.write(tx, &change, &mut tally)?;
    tallies::write(tx, &tally)?;
    Ok(change.job.state)
}

/// Sets the budget of a batch; `None` removes it.
///
/// Fails with [`QueueError::NoSuchBatch`] if there is no such batch.
pub(super) fn set_budget(tx: &Connection, batch: &str, budget: Option<Money>) -> Result<()> {
    let changed = execute(
        tx,
        "UPDATE batches SET budget = ?2 WHERE name = ?1",
        params![batch, budget.map(Money::micros)],
    )?;
    if changed == 1 {
        Ok(())
    } else {
        Err(batch_not_found(tx, batch))
    }
}

/// Returns the error for a command that does not apply to a job.
fn not_applicable(job: &StoredJob, reason: NotApplicable) -> QueueError {
    QueueError::NotApplicable {
        job: JobId(job.job_id),
        state: job.progress.state,
        reason,
    }
}

/// Finds the jobs of a selection.
///
/// `default_states` apply if the selection names neither states nor jobs.
fn select_jobs(
    tx: &Connection,
    selection: &Selection,
    default_states: &[JobState],
) -> Result<Vec<StoredJob>> {
    if !selection.jobs.is_empty() {
        let mut jobs = Vec::new();
        for job in &selection.jobs {
            let job_id = find_job_id(tx, job, selection.batch.as_deref())?;
            jobs.extend(StoredJob::find(tx, job_id)?);
        }
        jobs.retain(|job| {
            selection.states.is_empty() || selection.states.contains(&job.progress.state)
        });
        return Ok(jobs);
    }
    // A misspelled batch is an error; without this check `retry --batch sprnig` would report
    // that it retried no jobs.
    ensure_batch_exists(tx, selection.batch.as_deref())?;
    let states = if selection.states.is_empty() {
        default_states
    } else {
        &selection.states
    };
    let mut jobs = Vec::new();
    for state in states {
        jobs.extend(select(
            tx,
            select_stored_jobs!(
                "WHERE j.state = ?1
                   AND (?2 IS NULL OR j.batch_id = (SELECT batch_id FROM batches WHERE name = ?2))
                 ORDER BY j.job_id"
            ),
            params![state.as_str(), selection.batch],
            StoredJob::read,
        )?);
    }
    Ok(jobs)
}
