//! Recording what a provider's history has shown beside the searches for lost submissions. The rules are
//! in [`policy`](crate::policy).

use jiff::Timestamp;
use serde_json::Value;

use crate::domain::client_token::client_token;
use crate::domain::{
    Attempt, AttemptId, Input, JobId, JobState, Money, Outcome, PoolId, PredictionHandle,
    ProviderName,
};
use crate::policy::claim::{self, attempt_digest, request_digest};
use crate::policy::late_match::{self, LateChange, LateFinding};
use crate::policy::outcome;

use super::lease::new_lease;
use super::storage::{JobSet, NewAttempt, StoredJob, Transaction};
use super::{JobFilter, QueueError, Result, lookup};

/// What a provider's history has shown beside the searches for lost submissions.
#[derive(Clone, Debug, PartialEq)]
pub enum HistoryFinding {
    /// It settles an attempt that was taken to be absent.
    Absent {
        /// The attempt's job.
        job: JobId,
        /// The attempt.
        attempt: AttemptId,
        /// What it shows.
        finding: LateFinding,
    },
    /// It lists a prediction that this queue does not know and that a job asks for: a queued one, or one
    /// in doubt about a submission to another provider.
    Unknown(Box<UnknownPrediction>),
}

/// A prediction that this queue does not know, and the job that asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct UnknownPrediction {
    /// The job.
    pub job: JobId,
    /// Its input, which must not have changed since.
    pub input: Input,
    /// The provider.
    pub provider: ProviderName,
    /// The provider's id of the model.
    pub wire_model: String,
    /// The prediction.
    pub prediction: PredictionHandle,
    /// The request that the job would send.
    pub request: Value,
    /// Its price, to reserve.
    pub estimate: Money,
    /// The length of the clip, in seconds; `None` if the input leaves it to the provider.
    pub clip_s: Option<u32>,
}

/// Records findings, and returns how many of them were news.
pub(super) fn record(
    tx: &mut dyn Transaction,
    pool: &PoolId,
    findings: &[HistoryFinding],
    now: Timestamp,
) -> Result<usize> {
    if !tx.is_registered(pool)? {
        return Err(QueueError::PoolLost(pool.clone()));
    }
    let mut news = 0;
    for finding in findings {
        let is_news = match finding {
            HistoryFinding::Absent {
                job,
                attempt,
                finding,
            } => settle(tx, *job, *attempt, finding, now)?,
            HistoryFinding::Unknown(unknown) => adopt(tx, pool, unknown, now)?,
        };
        news += usize::from(is_news);
    }
    Ok(news)
}

/// Settles an attempt that was taken to be absent. Returns `false` if it is not, or not any more.
fn settle(
    tx: &mut dyn Transaction,
    job: JobId,
    attempt: AttemptId,
    finding: &LateFinding,
    now: Timestamp,
) -> Result<bool> {
    let Some(stored) = tx.stored_jobs(JobSet::Number(job))?.pop() else {
        return Ok(false);
    };
    let mut attempts = tx.attempts(job)?.into_iter();
    let Some(attempt) = attempts.find(|known| known.attempt_id == attempt) else {
        return Ok(false);
    };
    if let LateFinding::Accepted(prediction) = finding {
        // What a search for the job's last submission, or for one that asked for the same, has to find.
        let is_searched = matches!(
            stored.progress.state,
            JobState::Submitting | JobState::InDoubt
        );
        let id = &prediction.prediction_id;
        if is_searched
            || is_identical_unresolved(tx, &attempt)?
            || tx.prediction_owner(id, &attempt)?.is_some()
        {
            return Ok(false);
        }
    }
    let current = stored.attempt.as_ref();
    let is_current = current.is_some_and(|current| current.attempt_id == attempt.attempt_id);
    let progress = &attempt.progress;
    match late_match::settle(&stored.progress, is_current, progress, finding, now)? {
        None => return Ok(false),
        Some(LateChange::Adopt(change)) => tx.write(&stored, &change)?,
        Some(LateChange::Attempt(after)) => {
            tx.write_attempt(&stored, &attempt, &after)?;
        }
    }
    Ok(true)
}

/// Returns whether it is unknown what became of a submission that asked a provider for the same.
fn is_identical_unresolved(tx: &dyn Transaction, attempt: &Attempt) -> Result<bool> {
    let digest = attempt_digest(attempt);
    let unresolved = tx.unresolved()?;
    Ok(unresolved.iter().any(|other| {
        (other.provider, other.wire_model.as_str(), other.digest)
            == (attempt.provider, attempt.wire_model.as_str(), digest)
    }))
}

/// Lets a job poll a prediction that it would otherwise pay for again. Returns `false` if it is neither
/// queued nor in doubt any more, or if the prediction has an owner.
///
/// A submission in doubt is presumed absent: it stays at risk until its provider's history shows what
/// became of it. The attempt is started and accepted as if this queue had submitted it, even if no slot
/// is free or the budget is used up.
fn adopt(
    tx: &mut dyn Transaction,
    pool: &PoolId,
    unknown: &UnknownPrediction,
    now: Timestamp,
) -> Result<bool> {
    let Some(stored) = tx.stored_jobs(JobSet::Number(unknown.job))?.pop() else {
        return Ok(false);
    };
    let Some(batch) = lookup::find_batches(tx, Some(&stored.batch))?.pop() else {
        return Ok(false);
    };
    let before = JobId(unknown.job.0 - 1);
    let record = tx.jobs(&JobFilter::default(), before, 1)?.pop();
    if record.is_none_or(|record| record.input != unknown.input) {
        // The row was changed since the history was read.
        return Ok(false);
    }
    let absent = match stored.progress.state {
        JobState::Queued => None,
        JobState::InDoubt if stored.lease.is_none() => {
            let absent = Outcome::Absent {
                due_at: now,
                is_proven: false,
            };
            let in_doubt = &stored.current_attempt()?.progress;
            Some(outcome::apply(&stored.progress, in_doubt, &absent, now)?)
        }
        _ => return Ok(false),
    };
    let queued = absent
        .as_ref()
        .map_or(&stored.progress, |absent| &absent.job);
    let (job, progress) = claim::submit(queued, unknown.estimate, now)?;
    let last = tx.attempts(unknown.job)?.pop();
    let number = last.map_or(0, |last| last.number) + 1;
    let request_text = unknown.request.to_string();
    let request_digest = request_digest(&request_text);
    let queue_id = tx.queue_id()?;
    let mut attempt = Attempt {
        attempt_id: AttemptId(0),
        number,
        provider: unknown.provider,
        wire_model: unknown.wire_model.clone(),
        request: unknown.request.clone(),
        client_token: client_token(&queue_id, unknown.job, number, request_digest),
        submitted_at: now,
        progress,
    };
    let id = &unknown.prediction.prediction_id;
    if tx.prediction_owner(id, &attempt)?.is_some() {
        return Ok(false);
    }
    if let Some(absent) = &absent {
        tx.write(&stored, absent)?;
    }
    let lease = new_lease(unknown.job);
    let new = NewAttempt {
        pool,
        lease: &lease,
        batch_id: batch.batch_id,
        batch: &batch.name,
        job: &job,
        clip_s: unknown.clip_s,
        attempt: &attempt,
        request_text: &request_text,
        request_digest,
    };
    attempt.attempt_id = tx.start_attempt(&new)?;
    let accepted = Outcome::Accepted {
        prediction: unknown.prediction.clone(),
        early_cost: None,
        due_at: now,
    };
    let change = outcome::apply(&job, &attempt.progress, &accepted, now)?;
    let submitting = StoredJob {
        progress: job,
        attempt: Some(attempt),
        lease: Some(lease),
        ..stored
    };
    tx.write(&submitting, &change)?;
    Ok(true)
}
