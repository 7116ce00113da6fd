//! Records the outcome of a step in one transaction, fenced by its lease.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{
    AttemptState, Cost, CostSource, JobEvent, JobId, JobState, Lease, Money, Outcome,
    PredictionHandle, ProviderName, ProviderSignal,
};
use crate::queue::{QueueError, Result};

use super::row::{cost_to_json, execute, millis, nullable_millis, query_value, select};

/// A leased job, as its claim left it.
struct LeasedJob {
    job_id: i64,
    state: JobState,
    attempt_id: i64,
    /// Whether the provider has finished the clip, so that only its link or its bytes are missing.
    is_clip_finished: bool,
}

/// Records an outcome, ends the lease and returns the job's new state.
///
/// Fails with [`QueueError::LeaseLost`] if the lease has passed to another pool, and with
/// [`QueueError::IllegalTransition`] if the job's state does not allow the outcome. The transaction
/// must then be rolled back: the provider signal is written first.
pub(super) fn record_outcome(
    tx: &Connection,
    lease: &Lease,
    outcome: &Outcome,
    signal: Option<&(ProviderName, ProviderSignal)>,
    now: Timestamp,
) -> Result<JobState> {
    if let Some((provider, signal)) = signal {
        record_signal(tx, *provider, signal)?;
    }
    let job = leased_job(tx, lease)?;
    let state = job.state.after(outcome.event())?;
    record_attempt(tx, &job, outcome, now)?;
    record_job(tx, &job, outcome, state, now)?;
    Ok(state)
}

/// Releases a step that was not started; it is due again at once.
///
/// A submission that was not sent is recorded as refused, which frees its slot and its price.
pub(super) fn release(tx: &Connection, lease: &Lease, now: Timestamp) -> Result<()> {
    let job = leased_job(tx, lease)?;
    if job.state == JobState::Submitting {
        let outcome = Outcome::Refused {
            reason: "not sent".into(),
            due_at: now,
            counts_as_failure: false,
        };
        record_outcome(tx, lease, &outcome, None, now)?;
        return Ok(());
    }
    execute(
        tx,
        "UPDATE jobs SET lease_token = NULL, lease_pool = NULL,
                due_at = CASE WHEN due_at IS NULL THEN NULL ELSE ?2 END
         WHERE job_id = ?1",
        params![job.job_id, now.as_millisecond()],
    )?;
    Ok(())
}

/// Reads a job under its lease; fails with [`QueueError::LeaseLost`] if the token does not match.
fn leased_job(tx: &Connection, lease: &Lease) -> Result<LeasedJob> {
    let JobId(job_id) = lease.job_id;
    select(
        tx,
        "SELECT j.state, j.attempt_id, a.state = 'done' AS is_clip_finished
         FROM jobs j JOIN attempts a ON a.attempt_id = j.attempt_id
         WHERE j.job_id = ?1 AND j.lease_token = ?2",
        params![job_id, lease.token],
        |columns| {
            Ok(LeasedJob {
                job_id,
                state: columns.parse("state")?,
                attempt_id: columns.get("attempt_id")?,
                is_clip_finished: columns.get("is_clip_finished")?,
            })
        },
    )?
    .pop()
    .ok_or(QueueError::LeaseLost(lease.job_id))
}

fn record_job(
    tx: &Connection,
    job: &LeasedJob,
    outcome: &Outcome,
    state: JobState,
    now: Timestamp,
) -> Result<()> {
    let (due_at, error, is_failure) = match outcome {
        Outcome::Accepted { due_at, .. }
        | Outcome::Adopted { due_at, .. }
        | Outcome::ProvenAbsent { due_at } => (Some(*due_at), None, false),
        Outcome::Finished { due_at, .. } => (Some(*due_at), None, false),
        Outcome::Refused {
            reason,
            due_at,
            counts_as_failure,
        } => (Some(*due_at), Some(reason), *counts_as_failure),
        Outcome::LostResponse { reason, due_at } => (Some(*due_at), Some(reason), false),
        // Counts as a failure although the next poll may return a fresh link: a link that keeps
        // expiring must use up the retries.
        Outcome::LinkExpired { reason, due_at } => (Some(*due_at), Some(reason), true),
        Outcome::Wait { due_at, failure } => (*due_at, failure.as_ref(), failure.is_some()),
        Outcome::PredictionFailed {
            reason, retry_at, ..
        } => (*retry_at, Some(reason), false),
        Outcome::Rejected { reason } | Outcome::GaveUp { reason } => (None, Some(reason), false),
        Outcome::Saved { .. } => (None, None, false),
    };
    if let Outcome::Saved { file } = outcome {
        execute(
            tx,
            "UPDATE jobs SET output = ?2, bytes = ?3, sha256 = ?4 WHERE job_id = ?1",
            params![
                job.job_id,
                file.path.to_string_lossy(),
                i64::try_from(file.bytes).unwrap_or(i64::MAX),
                file.sha256
            ],
        )?;
    }
    // A fresh link is a success of its own, but must not reset the failures of a finished clip.
    let keeps_failures =
        job.is_clip_finished && matches!(state, JobState::Running | JobState::Downloading);
    execute(
        tx,
        "UPDATE jobs SET state = ?2,
                state_since = CASE WHEN state = ?2 THEN state_since ELSE ?3 END,
                due_at = ?4, error = ?5, lease_token = NULL, lease_pool = NULL,
                failures = CASE WHEN ?6 THEN failures + 1 WHEN ?7 THEN failures ELSE 0 END,
                refusals = refusals + ?8,
                attempts = attempts + ?9,
                crashes = 0,
                at_provider = CASE WHEN ?11 THEN at_provider END,
                finished_at = ?10
         WHERE job_id = ?1",
        params![
            job.job_id,
            state.as_str(),
            now.as_millisecond(),
            nullable_millis(due_at),
            error,
            is_failure,
            keeps_failures,
            matches!(outcome, Outcome::Refused { .. }),
            // A lost response counts as an attempt because it may have been paid for; proof of its
            // absence takes it off again.
            match outcome {
                Outcome::Accepted { .. } | Outcome::LostResponse { .. } => 1,
                Outcome::ProvenAbsent { .. } => -1,
                _ => 0,
            },
            nullable_millis(state.is_final().then_some(now)),
            state.is_in_progress(),
        ],
    )?;
    Ok(())
}

fn record_attempt(
    tx: &Connection,
    job: &LeasedJob,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<()> {
    let attempt_id = job.attempt_id;
    if let Some(state) = outcome.attempt_state() {
        if job.state == JobState::Submitting {
            let early_cost = if let Outcome::Accepted { early_cost, .. } = outcome {
                early_cost
            } else {
                &None
            };
            execute(
                tx,
                "UPDATE attempts SET answered_at = ?2, early_cost = ?3 WHERE attempt_id = ?1",
                params![
                    attempt_id,
                    now.as_millisecond(),
                    early_cost.as_ref().map(cost_to_json)
                ],
            )?;
        }
        match outcome {
            Outcome::Accepted { prediction, .. } | Outcome::Adopted { prediction, .. } => {
                store_prediction(tx, attempt_id, prediction)?;
            }
            Outcome::Refused { reason, .. } | Outcome::Rejected { reason } => {
                close_attempt(tx, attempt_id, state, None, Some(reason), now)?;
            }
            Outcome::LostResponse { reason, .. } => {
                execute(
                    tx,
                    "UPDATE attempts SET state = 'in_doubt', error = ?2 WHERE attempt_id = ?1",
                    params![attempt_id, reason],
                )?;
            }
            Outcome::Finished {
                output_url,
                cost,
                processing,
                ..
            } => {
                // Only the first result of a prediction has a processing time; a poll for a fresh
                // link must not replace it.
                execute(
                    tx,
                    "UPDATE attempts SET output_url = ?2, error = NULL,
                            processing_ms =
                                CASE WHEN state = 'accepted' THEN ?3 ELSE processing_ms END
                     WHERE attempt_id = ?1",
                    params![attempt_id, output_url, processing.map(millis)],
                )?;
                // A poll for a fresh link may report less about the cost than the first one did, so
                // a cost by rule does not replace the stored one.
                if !(job.is_clip_finished && cost.source == CostSource::Rule) {
                    close_attempt(tx, attempt_id, state, Some(*cost), None, now)?;
                }
            }
            Outcome::PredictionFailed { reason, cost, .. } => {
                close_attempt(tx, attempt_id, state, Some(*cost), Some(reason), now)?;
            }
            _ => close_attempt(tx, attempt_id, state, None, None, now)?,
        }
    } else if let Outcome::GaveUp { reason } = outcome {
        abandon_attempt(tx, attempt_id, reason, now)?;
    }
    Ok(())
}

/// Stores the prediction of an attempt and marks the attempt as accepted.
///
/// Fails with [`QueueError::Conflict`] if the prediction belongs to another attempt already: one
/// prediction, paid for once, never counts as two.
pub(super) fn store_prediction(
    tx: &Connection,
    attempt_id: i64,
    prediction: &PredictionHandle,
) -> Result<()> {
    let handle =
        serde_json::to_string(prediction).map_err(|error| QueueError::Store(error.to_string()))?;
    let stored = execute(
        tx,
        "UPDATE attempts
         SET state = 'accepted', prediction_id = ?2, prediction = ?3, error = NULL
         WHERE attempt_id = ?1",
        params![attempt_id, prediction.prediction_id, handle],
    );
    let Err(error) = stored else { return Ok(()) };
    let owner: Option<i64> = query_value(
        tx,
        "SELECT o.job_id FROM attempts a
         JOIN attempts o ON o.provider = a.provider AND o.prediction_id = ?2
         WHERE a.attempt_id = ?1 AND o.attempt_id <> a.attempt_id",
        params![attempt_id, prediction.prediction_id],
    )?;
    let Some(owner) = owner else {
        return Err(error);
    };
    let id = &prediction.prediction_id;
    Err(QueueError::Conflict(format!(
        "prediction {id} already belongs to job {owner}"
    )))
}

/// Closes an attempt: writes its state, cost and error. An attempt that is closed already, whose
/// finished clip got a fresh link, keeps its `finished_at`.
fn close_attempt(
    tx: &Connection,
    attempt_id: i64,
    state: AttemptState,
    cost: Option<Cost>,
    error: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    execute(
        tx,
        "UPDATE attempts SET state = ?2, cost = ?3, cost_source = ?4, error = ?5,
                finished_at = ifnull(finished_at, ?6)
         WHERE attempt_id = ?1",
        params![
            attempt_id,
            state.as_str(),
            cost.map_or(0, |cost| cost.amount.micros()),
            cost.map(|cost| cost.source.as_str()),
            error,
            now.as_millisecond(),
        ],
    )?;
    Ok(())
}

/// Closes an open attempt that is no longer followed; does nothing to one that is closed.
///
/// Its estimate is booked as its cost. Nothing proves that the provider did not bill it, and the
/// budget must cover what may have been billed.
pub(super) fn abandon_attempt(
    tx: &Connection,
    attempt_id: i64,
    reason: &str,
    now: Timestamp,
) -> Result<()> {
    let estimate: Option<i64> = query_value(
        tx,
        "SELECT estimate FROM attempts WHERE attempt_id = ?1 AND finished_at IS NULL",
        [attempt_id],
    )?;
    let Some(estimate) = estimate else {
        return Ok(());
    };
    let cost = Cost {
        amount: Money::from_micros(estimate),
        source: CostSource::Rule,
    };
    close_attempt(
        tx,
        attempt_id,
        AttemptState::Abandoned,
        Some(cost),
        Some(reason),
        now,
    )
}

/// Moves a job to its state after `event`, without a lease, and returns that state.
///
/// For the commands of the user, a changed manifest row, and jobs of a dead pool. Ends a lease
/// that exists, and resets the failures and crashes.
pub(super) fn move_job(
    tx: &Connection,
    job_id: i64,
    from: JobState,
    event: JobEvent,
    due_at: Option<Timestamp>,
    error: Option<&str>,
    now: Timestamp,
) -> Result<JobState> {
    let state = from.after(event)?;
    execute(
        tx,
        "UPDATE jobs SET state = ?2, state_since = ?3, due_at = ?4, error = ?5,
                failures = 0, crashes = 0,
                lease_token = NULL, lease_pool = NULL, finished_at = ?6,
                at_provider = CASE WHEN ?7 THEN
                    (SELECT a.provider FROM attempts a WHERE a.attempt_id = jobs.attempt_id) END
         WHERE job_id = ?1",
        params![
            job_id,
            state.as_str(),
            now.as_millisecond(),
            nullable_millis(due_at),
            error,
            nullable_millis(state.is_final().then_some(now)),
            state.is_in_progress(),
        ],
    )?;
    Ok(state)
}

/// Records what an answer means for the other calls to the same provider.
///
/// Holds are only ever extended here, never shortened.
pub(super) fn record_signal(
    tx: &Connection,
    provider: ProviderName,
    signal: &ProviderSignal,
) -> Result<()> {
    let provider = provider.as_str();
    // The row usually comes with the provider's first attempt, but an upload may fail before that.
    execute(
        tx,
        "INSERT INTO providers (provider) VALUES (?1) ON CONFLICT (provider) DO NOTHING",
        [provider],
    )?;
    match signal {
        ProviderSignal::Healthy => execute(
            tx,
            "UPDATE providers SET failures = 0 WHERE provider = ?1 AND failures > 0",
            [provider],
        )?,
        ProviderSignal::HoldSubmits { until } => execute(
            tx,
            "UPDATE providers SET failures = failures + 1, creates_from = max(creates_from, ?2)
             WHERE provider = ?1",
            params![provider, until.as_millisecond()],
        )?,
        ProviderSignal::HoldAll { until } => execute(
            tx,
            "UPDATE providers SET failures = failures + 1, calls_from = max(calls_from, ?2)
             WHERE provider = ?1",
            params![provider, until.as_millisecond()],
        )?,
        ProviderSignal::Suspend { reason, polls_too } => execute(
            tx,
            "UPDATE providers SET paused = ?2, refuses_looks = max(refuses_looks, ?3)
             WHERE provider = ?1",
            params![provider, reason, polls_too],
        )?,
    };
    Ok(())
}
