//! What a person decides: retry, cancel, resolve, budget.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{AttemptState, JobEvent, JobId, JobState, Money};
use crate::queue::{CancelResult, Decision, QueueError, Result, Selection};

use super::query::{check_batch, find_ids, no_batch};
use super::record::{abandon, accept, move_job};
use super::row::{Columns, JOB_AND_ATTEMPT, execute, job_and_attempt, select, value};
use super::uploads;

/// Makes failed and cancelled jobs go on.
pub(super) fn retry(tx: &Connection, selection: &Selection, now: Timestamp) -> Result<usize> {
    let jobs = selected(tx, selection, &[JobState::Failed])?;
    for job in &jobs {
        if !matches!(job.state, JobState::Failed | JobState::Cancelled) {
            return Err(job.conflict("there is nothing to retry"));
        }
        let known: Option<i64> = match job.attempt_id {
            Some(attempt_id) => value(
                tx,
                "SELECT attempt_id FROM attempts
                 WHERE attempt_id = ?1 AND prediction_id IS NOT NULL AND state IN ('accepted', 'done', 'abandoned')",
                [attempt_id],
            )?,
            None => None,
        };
        if let Some(attempt_id) = known {
            // The prediction is paid, or may be: look at it again. An abandoned one takes its slot and price back.
            execute(
                tx,
                "UPDATE attempts SET state = 'accepted', cost = 0, cost_source = NULL, error = NULL, finished_at = NULL
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
    uploads::forget_refused(tx)?;
    Ok(jobs.len())
}

/// Sends jobs whose files are lost back to fetch them again. The attempt stays done and its cost booked: the link is
/// tried, and where that has expired the prediction is asked for a fresh one.
pub(super) fn requeue_downloads(tx: &Connection, jobs: &[JobId], now: Timestamp) -> Result<usize> {
    let mut lost = 0;
    for JobId(job_id) in jobs {
        // What was changed since its file was looked at has no file to lose any more.
        let state: Option<String> =
            value(tx, "SELECT state FROM jobs WHERE job_id = ?1", [job_id])?;
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
            lost += 1;
        }
    }
    Ok(lost)
}

/// Takes jobs back. One whose prediction is under way keeps its price booked, and `retry` looks at it again.
pub(super) fn cancel(
    tx: &Connection,
    selection: &Selection,
    now: Timestamp,
) -> Result<CancelResult> {
    let jobs = selected(tx, selection, &[JobState::Queued])?;
    let mut in_progress = Vec::new();
    for job in &jobs {
        match job.state {
            JobState::Queued | JobState::Running | JobState::Downloading => {}
            JobState::Submitting => {
                return Err(job.conflict("it is being submitted just now, try again in a minute"));
            }
            JobState::InDoubt => {
                return Err(
                    job.conflict("it may be paid already, `overnight resolve` decides about it")
                );
            }
            _ => return Err(job.conflict("there is nothing to cancel")),
        }
        if job.state == JobState::Running {
            let found = select(tx, JOB_AND_ATTEMPT, [job.job_id], job_and_attempt)?;
            in_progress.extend(found.into_iter().map(|(_, attempt)| attempt));
        }
        move_job(
            tx,
            job.job_id,
            job.state,
            JobEvent::Cancel,
            None,
            Some("cancelled by a person"),
            now,
        )?;
        if let Some(attempt_id) = job.attempt_id {
            abandon(tx, attempt_id, &"cancelled by a person".to_owned(), now)?;
        }
    }
    Ok(CancelResult {
        jobs: jobs.len(),
        in_progress,
    })
}

/// Settles a job in doubt.
pub(super) fn resolve(
    tx: &Connection,
    job_id: JobId,
    decision: &Decision,
    now: Timestamp,
) -> Result<JobState> {
    // By its number alone: another row's key may look like it.
    let job = select(tx, SELECTED, [job_id.0], Selected::read)?
        .pop()
        .ok_or_else(|| QueueError::NotFound(format!("there is no job {job_id}")))?;
    if job.state != JobState::InDoubt {
        return Err(QueueError::Conflict(format!(
            "job {job_id} is {}, not in_doubt: there is nothing to resolve\nhint: `overnight show {job_id}` tells more",
            job.state
        )));
    }
    let attempt_id = job
        .attempt_id
        .ok_or_else(|| QueueError::Corrupt(format!("job {job_id} has no attempt")))?;
    match decision {
        Decision::Adopt(prediction) => {
            accept(tx, attempt_id, prediction)?;
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
            let reason = "given up by a person while in doubt";
            abandon(tx, attempt_id, &reason.to_owned(), now)?;
            move_job(
                tx,
                job.job_id,
                job.state,
                JobEvent::GiveUp,
                None,
                Some(reason),
                now,
            )
        }
    }
}

/// Sets a batch's budget.
pub(super) fn set_budget(tx: &Connection, batch: &str, budget: Option<Money>) -> Result<()> {
    let changed = execute(
        tx,
        "UPDATE batches SET budget = ?2 WHERE name = ?1",
        params![batch, budget.map(Money::micros)],
    )?;
    if changed == 1 {
        Ok(())
    } else {
        Err(no_batch(tx, batch))
    }
}

struct Selected {
    job_id: i64,
    state: JobState,
    attempt_id: Option<i64>,
}

const SELECTED: &str = "SELECT job_id, state, attempt_id FROM jobs WHERE job_id = ?1";

impl Selected {
    fn read(columns: &Columns<'_, '_>) -> Result<Self> {
        Ok(Self {
            job_id: columns.get("job_id")?,
            state: columns.word("state")?,
            attempt_id: columns.get("attempt_id")?,
        })
    }

    fn conflict(&self, why: &str) -> QueueError {
        QueueError::Conflict(format!(
            "job {} is {}: {why}; nothing was changed",
            self.job_id, self.state
        ))
    }
}

/// Finds the jobs a selection means. `usual` are the states it takes when it names neither states nor jobs.
fn selected(tx: &Connection, selection: &Selection, usual: &[JobState]) -> Result<Vec<Selected>> {
    if !selection.jobs.is_empty() {
        let mut jobs = Vec::new();
        for job in &selection.jobs {
            let job_id = find_ids(tx, job, selection.batch.as_deref())?;
            jobs.extend(select(tx, SELECTED, [job_id], Selected::read)?);
        }
        jobs.retain(|job| selection.states.is_empty() || selection.states.contains(&job.state));
        return Ok(jobs);
    }
    // `retry --batch sprnig` must not say that it made nothing go on.
    check_batch(tx, selection.batch.as_deref())?;
    let states = if selection.states.is_empty() {
        usual
    } else {
        &selection.states
    };
    let mut jobs = Vec::new();
    for state in states {
        jobs.extend(select(
            tx,
            "SELECT job_id, state, attempt_id FROM jobs
             WHERE state = ?1 AND (?2 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?2))
             ORDER BY job_id",
            params![state.as_str(), selection.batch],
            Selected::read,
        )?);
    }
    Ok(jobs)
}
