//! Records what a step found out: one transaction, fenced by the lease.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{
    AttemptState, Cost, CostSource, JobEvent, JobId, JobState, Lease, Money, Outcome,
    PredictionHandle, ProviderName, ProviderSignal,
};
use crate::queue::{QueueError, Result};

use super::row::{execute, millis, select, time_value, value, write_cost};

/// The job as the lease's holder left it.
struct LeasedJob {
    job_id: i64,
    state: JobState,
    attempt_id: i64,
    /// Whether the provider has finished the clip, and only its link or its bytes are missing.
    clip_is_made: bool,
}

/// Records an outcome, ends the lease, and tells the new state.
pub(super) fn record_outcome(
    tx: &Connection,
    lease: &Lease,
    outcome: &Outcome,
    gate: Option<&(ProviderName, ProviderSignal)>,
    now: Timestamp,
) -> Result<JobState> {
    if let Some((provider, gate)) = gate {
        record_gate(tx, *provider, gate)?;
    }
    let held = held(tx, lease)?;
    let state = held.state.after(outcome.event())?;
    record_attempt(tx, &held, outcome, now)?;
    record_job(tx, &held, outcome, state, now)?;
    Ok(state)
}

/// Gives a step that was not begun back. A create that was not sent is refused by ourselves, and costs nothing.
pub(super) fn release(tx: &Connection, lease: &Lease, now: Timestamp) -> Result<()> {
    let held = held(tx, lease)?;
    if held.state == JobState::Submitting {
        let outcome = Outcome::Refused {
            reason: "not sent".into(),
            due_at: now,
            counted: false,
        };
        record_outcome(tx, lease, &outcome, None, now)?;
        return Ok(());
    }
    execute(
        tx,
        "UPDATE jobs SET lease_token = NULL, lease_pool = NULL,
                due_at = CASE WHEN due_at IS NULL THEN NULL ELSE ?2 END WHERE job_id = ?1",
        params![held.job_id, now.as_millisecond()],
    )?;
    Ok(())
}

fn held(tx: &Connection, lease: &Lease) -> Result<LeasedJob> {
    let JobId(job_id) = lease.job_id;
    select(
        tx,
        "SELECT j.state, j.attempt_id, a.state = 'done' AS clip_is_made
         FROM jobs j JOIN attempts a ON a.attempt_id = j.attempt_id WHERE j.job_id = ?1 AND j.lease_token = ?2",
        params![job_id, lease.token],
        |columns| {
            let clip_is_made = columns.get("clip_is_made")?;
            Ok(LeasedJob { job_id, state: columns.word("state")?, attempt_id: columns.get("attempt_id")?, clip_is_made })
        },
    )?
    .pop()
    .ok_or(QueueError::LeaseLost(lease.job_id))
}

fn record_job(
    tx: &Connection,
    held: &LeasedJob,
    outcome: &Outcome,
    state: JobState,
    now: Timestamp,
) -> Result<()> {
    let (due_at, error, grows) = match outcome {
        Outcome::Accepted { due_at, .. }
        | Outcome::Adopted { due_at, .. }
        | Outcome::ProvenAbsent { due_at } => (Some(*due_at), None, false),
        Outcome::Finished { due_at, .. } => (Some(*due_at), None, false),
        Outcome::Refused {
            reason,
            due_at,
            counted,
        } => (Some(*due_at), Some(reason), *counted),
        Outcome::LostResponse { reason, due_at } | Outcome::LinkExpired { reason, due_at } => {
            (Some(*due_at), Some(reason), false)
        }
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
                held.job_id,
                file.path.to_string_lossy(),
                i64::try_from(file.bytes).unwrap_or(i64::MAX),
                file.sha256
            ],
        )?;
    }
    // A link that keeps expiring must come to an end although each fresh link is a success of its own.
    let keeps = held.clip_is_made && matches!(state, JobState::Running | JobState::Downloading);
    let expired = matches!(outcome, Outcome::LinkExpired { .. });
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
            held.job_id,
            state.as_str(),
            now.as_millisecond(),
            time_value(due_at),
            error,
            grows || expired,
            keeps,
            matches!(outcome, Outcome::Refused { .. }),
            // An unknown outcome counts: it may have been paid. It is taken back when it is proven absent.
            match outcome {
                Outcome::Accepted { .. } | Outcome::LostResponse { .. } => 1,
                Outcome::ProvenAbsent { .. } => -1,
                _ => 0,
            },
            time_value(state.is_final().then_some(now)),
            state.is_in_progress(),
        ],
    )?;
    Ok(())
}

fn record_attempt(
    tx: &Connection,
    held: &LeasedJob,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<()> {
    let attempt_id = held.attempt_id;
    if let Some(state) = outcome.attempt_state() {
        if held.state == JobState::Submitting {
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
                    early_cost.as_ref().map(write_cost)
                ],
            )?;
        }
        match outcome {
            Outcome::Accepted { prediction, .. } | Outcome::Adopted { prediction, .. } => {
                accept(tx, attempt_id, prediction)?;
            }
            Outcome::Refused { reason, .. } | Outcome::Rejected { reason } => {
                close(tx, attempt_id, state, None, Some(reason), now)?;
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
                // A link fetched anew must not move the end, nor count the processing time twice.
                execute(
                    tx,
                    "UPDATE attempts SET output_url = ?2, error = NULL,
                            processing_ms = CASE WHEN state = 'accepted' THEN ?3 ELSE processing_ms END
                     WHERE attempt_id = ?1",
                    params![attempt_id, output_url, processing.map(millis)],
                )?;
                // A look for a fresh link may say less of the cost than the first one did.
                if !(held.clip_is_made && cost.source == CostSource::Rule) {
                    close(tx, attempt_id, state, Some(*cost), None, now)?;
                }
            }
            Outcome::PredictionFailed { reason, cost, .. } => {
                close(tx, attempt_id, state, Some(*cost), Some(reason), now)?;
            }
            _ => close(tx, attempt_id, state, None, None, now)?,
        }
    } else if let Outcome::GaveUp { reason } = outcome {
        abandon(tx, attempt_id, reason, now)?;
    }
    Ok(())
}

/// Stores the handle; one prediction never belongs to two attempts.
pub(super) fn accept(
    tx: &Connection,
    attempt_id: i64,
    prediction: &PredictionHandle,
) -> Result<()> {
    let handle =
        serde_json::to_string(prediction).map_err(|error| QueueError::Store(error.to_string()))?;
    let accepted = execute(
        tx,
        "UPDATE attempts SET state = 'accepted', prediction_id = ?2, prediction = ?3, error = NULL WHERE attempt_id = ?1",
        params![attempt_id, prediction.prediction_id, handle],
    );
    let Err(error) = accepted else { return Ok(()) };
    let owner: Option<i64> = value(
        tx,
        "SELECT o.job_id FROM attempts a JOIN attempts o ON o.provider = a.provider AND o.prediction_id = ?2
         WHERE a.attempt_id = ?1 AND o.attempt_id <> a.attempt_id",
        params![attempt_id, prediction.prediction_id],
    )?;
    let Some(owner) = owner else {
        return Err(error);
    };
    let id = &prediction.prediction_id;
    Err(QueueError::Conflict(format!(
        "prediction {id} belongs to job {owner} already"
    )))
}

fn close(
    tx: &Connection,
    attempt_id: i64,
    state: AttemptState,
    cost: Option<Cost>,
    error: Option<&String>,
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

/// Ends an attempt nobody waits for any more. Its price stays booked: nobody said that it was not billed, and the
/// budget is a wall. An attempt that is over already stays as it is.
pub(super) fn abandon(
    tx: &Connection,
    attempt_id: i64,
    reason: &String,
    now: Timestamp,
) -> Result<()> {
    let estimate: Option<i64> = value(
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
    close(
        tx,
        attempt_id,
        AttemptState::Abandoned,
        Some(cost),
        Some(reason),
        now,
    )
}

/// Puts a job that nobody holds into another state, as a person or a dead pool's end requires.
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
        "UPDATE jobs SET state = ?2, state_since = ?3, due_at = ?4, error = ?5, failures = 0, crashes = 0,
                lease_token = NULL, lease_pool = NULL, finished_at = ?6,
                at_provider = CASE WHEN ?7 THEN (SELECT a.provider FROM attempts a WHERE a.attempt_id = jobs.attempt_id) END
         WHERE job_id = ?1",
        params![
            job_id,
            state.as_str(),
            now.as_millisecond(),
            time_value(due_at),
            error,
            time_value(state.is_final().then_some(now)),
            state.is_in_progress(),
        ],
    )?;
    Ok(state)
}

pub(super) fn record_gate(
    tx: &Connection,
    provider: ProviderName,
    gate: &ProviderSignal,
) -> Result<()> {
    let provider = provider.as_str();
    // An upload may be refused before the first attempt, whose booking enters the provider.
    execute(
        tx,
        "INSERT INTO providers (provider) VALUES (?1) ON CONFLICT (provider) DO NOTHING",
        [provider],
    )?;
    match gate {
        ProviderSignal::Healthy => execute(
            tx,
            "UPDATE providers SET failures = 0 WHERE provider = ?1 AND failures > 0",
            [provider],
        )?,
        ProviderSignal::HoldSubmits { until } => execute(
            tx,
            "UPDATE providers SET failures = failures + 1, creates_from = max(creates_from, ?2) WHERE provider = ?1",
            params![provider, until.as_millisecond()],
        )?,
        ProviderSignal::HoldAll { until } => execute(
            tx,
            "UPDATE providers SET failures = failures + 1, calls_from = max(calls_from, ?2) WHERE provider = ?1",
            params![provider, until.as_millisecond()],
        )?,
        ProviderSignal::Suspend { reason, polls_too } => execute(
            tx,
            "UPDATE providers SET paused = ?2, refuses_looks = max(refuses_looks, ?3) WHERE provider = ?1",
            params![provider, reason, polls_too],
        )?,
    };
    Ok(())
}
