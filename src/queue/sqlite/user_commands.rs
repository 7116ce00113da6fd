//! The user's commands: retry, requeue downloads, cancel, resolve and set a budget.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{AttemptState, JobEvent, JobId, JobState, Money};
use crate::queue::{CancelResult, Decision, QueueError, Result, Selection};

use super::query::{batch_not_found, ensure_batch_exists, find_job_id};
use super::record::{abandon_attempt, move_job, store_prediction};
use super::row::{Columns, JOB_AND_ATTEMPT, execute, query_value, read_job_and_attempt, select};
use super::uploads;

/// The error of a job and its attempt after `cancel`.
const CANCELLED: &str = "cancelled by the user";

/// The error of a job and its attempt after `resolve --fail`.
const GIVEN_UP: &str = "given up by the user while in doubt";

/// Retries the selected failed and cancelled jobs; without states, only failed ones. Returns how
/// many.
///
/// A job with a known prediction that did not fail at the provider is polled again, which costs
/// nothing. Any other job starts again from the queue.
pub(super) fn retry(tx: &Connection, selection: &Selection, now: Timestamp) -> Result<usize> {
    let jobs = select_jobs(tx, selection, &[JobState::Failed])?;
    for job in &jobs {
        if !matches!(job.state, JobState::Failed | JobState::Cancelled) {
            return Err(job.conflict("there is nothing to retry"));
        }
        let attempt_with_prediction: Option<i64> = match job.attempt_id {
            Some(attempt_id) => query_value(
                tx,
                "SELECT attempt_id FROM attempts
                 WHERE attempt_id = ?1 AND prediction_id IS NOT NULL
                   AND state IN ('accepted', 'done', 'abandoned')",
                [attempt_id],
            )?,
            None => None,
        };
        if let Some(attempt_id) = attempt_with_prediction {
            // The prediction may have been paid for, so poll it rather than submit again. An
            // abandoned attempt is reopened: it occupies a slot and reserves its price again.
            execute(
                tx,
                "UPDATE attempts SET state = 'accepted', cost = 0, cost_source = NULL,
                        error = NULL, finished_at = NULL
                 WHERE attempt_id = ?1 AND state = 'abandoned'",
                [attempt_id],
            )?;
            move_job(
                tx,
                job.job_id,
                job.state,
                JobEvent::ResumePolling,
                Some(now),
                None,
                now,
            )?;
        } else {
            move_job(
                tx,
                job.job_id,
                job.state,
                JobEvent::Restart,
                Some(now),
                None,
                now,
            )?;
        }
    }
    uploads::clear_rejected(tx)?;
    Ok(jobs.len())
}

/// Requeues the downloads of succeeded jobs whose files are lost. Returns how many.
///
/// The attempt stays done and its cost booked. The stored link is tried first; if it has expired,
/// the prediction is polled for a fresh one.
pub(super) fn requeue_downloads(tx: &Connection, jobs: &[JobId], now: Timestamp) -> Result<usize> {
    let mut requeued = 0;
    for JobId(job_id) in jobs {
        // A job that has changed since its file was checked no longer has that file.
        let state: Option<String> =
            query_value(tx, "SELECT state FROM jobs WHERE job_id = ?1", [job_id])?;
        if state.as_deref() == Some(JobState::Succeeded.as_str()) {
            move_job(
                tx,
                *job_id,
                JobState::Succeeded,
                JobEvent::Redownload,
                Some(now),
                None,
                now,
            )?;
            execute(
                tx,
                "UPDATE jobs SET output = NULL, bytes = NULL, sha256 = NULL WHERE job_id = ?1",
                [job_id],
            )?;
            requeued += 1;
        }
    }
    Ok(requeued)
}

/// Cancels the selected jobs; without states, only queued ones.
///
/// An open attempt is abandoned and its price stays booked; `retry` polls its prediction again.
pub(super) fn cancel(
    tx: &Connection,
    selection: &Selection,
    now: Timestamp,
) -> Result<CancelResult> {
    let jobs = select_jobs(tx, selection, &[JobState::Queued])?;
    let mut in_progress = Vec::new();
    for job in &jobs {
        match job.state {
            JobState::Queued | JobState::Running | JobState::Downloading => {}
            JobState::Submitting => {
                return Err(job.conflict("it is being submitted, try again in a minute"));
            }
            JobState::InDoubt => {
                return Err(
                    job.conflict("it may be paid for already, use `overnight resolve` to decide")
                );
            }
            _ => return Err(job.conflict("there is nothing to cancel")),
        }
        if job.state == JobState::Running {
            let found = select(tx, JOB_AND_ATTEMPT, [job.job_id], read_job_and_attempt)?;
            in_progress.extend(found.into_iter().map(|(_, attempt)| attempt));
        }
        move_job(
            tx,
            job.job_id,
            job.state,
            JobEvent::Cancel,
            None,
            Some(CANCELLED),
            now,
        )?;
        if let Some(attempt_id) = job.attempt_id {
            abandon_attempt(tx, attempt_id, CANCELLED, now)?;
        }
    }
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
    let job = select(tx, SELECT_JOB, [job_id.0], SelectedJob::read)?
        .pop()
        .ok_or_else(|| QueueError::NotFound(format!("there is no job {job_id}")))?;
    if job.state != JobState::InDoubt {
        return Err(QueueError::Conflict(format!(
            "job {job_id} is {}, not in_doubt: there is nothing to resolve\n\
             hint: `overnight show {job_id}` shows its attempts",
            job.state
        )));
    }
    let attempt_id = job
        .attempt_id
        .ok_or_else(|| QueueError::Corrupt(format!("job {job_id} has no attempt")))?;
    match decision {
        Decision::Adopt(prediction) => {
            store_prediction(tx, attempt_id, prediction)?;
            move_job(
                tx,
                job.job_id,
                job.state,
                JobEvent::Adopt,
                Some(now),
                None,
                now,
            )
        }
        Decision::Resubmit => {
            execute(
                tx,
                "UPDATE attempts SET state = ?2, finished_at = ?3 WHERE attempt_id = ?1",
                params![
                    attempt_id,
                    AttemptState::Absent.as_str(),
                    now.as_millisecond()
                ],
            )?;
            execute(
                tx,
                "UPDATE jobs SET attempts = max(0, attempts - 1) WHERE job_id = ?1",
                [job.job_id],
            )?;
            move_job(
                tx,
                job.job_id,
                job.state,
                JobEvent::ProveAbsent,
                Some(now),
                None,
                now,
            )
        }
        Decision::Fail => {
            abandon_attempt(tx, attempt_id, GIVEN_UP, now)?;
            move_job(
                tx,
                job.job_id,
                job.state,
                JobEvent::GiveUp,
                None,
                Some(GIVEN_UP),
                now,
            )
        }
    }
}

/// Sets the budget of a batch; `None` removes it.
///
/// Fails with [`QueueError::NotFound`] if there is no such batch.
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

/// A job that a command of the user applies to.
struct SelectedJob {
    job_id: i64,
    state: JobState,
    /// The attempt in progress or the last one; `None` before the first.
    attempt_id: Option<i64>,
}

const SELECT_JOB: &str = "SELECT job_id, state, attempt_id FROM jobs WHERE job_id = ?1";

impl SelectedJob {
    fn read(columns: &Columns<'_, '_>) -> Result<Self> {
        Ok(Self {
            job_id: columns.get("job_id")?,
            state: columns.parse("state")?,
            attempt_id: columns.get("attempt_id")?,
        })
    }

    fn conflict(&self, reason: &str) -> QueueError {
        QueueError::Conflict(format!(
            "job {} is {}: {reason}; nothing was changed",
            self.job_id, self.state
        ))
    }
}

/// Finds the jobs of a selection.
///
/// `default_states` apply if the selection names neither states nor jobs.
fn select_jobs(
    tx: &Connection,
    selection: &Selection,
    default_states: &[JobState],
) -> Result<Vec<SelectedJob>> {
    if !selection.jobs.is_empty() {
        let mut jobs = Vec::new();
        for job in &selection.jobs {
            let job_id = find_job_id(tx, job, selection.batch.as_deref())?;
            jobs.extend(select(tx, SELECT_JOB, [job_id], SelectedJob::read)?);
        }
        jobs.retain(|job| selection.states.is_empty() || selection.states.contains(&job.state));
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
            "SELECT job_id, state, attempt_id FROM jobs
             WHERE state = ?1
               AND (?2 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?2))
             ORDER BY job_id",
            params![state.as_str(), selection.batch],
            SelectedJob::read,
        )?);
    }
    Ok(jobs)
}
