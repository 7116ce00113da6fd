//! What is presumed absent is settled by what the provider's history shows later.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::domain::{LaterSubmissions, OwnedPrediction, ProviderName};
use crate::policy::claim::attempt_digest;
use crate::policy::late_match::LateFinding;
use crate::provider::{Provider, Reconciliation, Submission};
use crate::queue::{AbsentAttempt, HistoryFinding};

use super::options::stopped;
use super::unknown::accepted_until;
use super::{Pool, PoolError, StepContext};

/// Longest time between the first and the last of the attempts that are searched for at once.
const MAX_GROUP_PERIOD: SignedDuration = SignedDuration::from_mins(10);

/// Time between two searches of a pool that waits for more work.
const SEARCH_INTERVAL: Duration = Duration::from_secs(60);

impl Pool {
    /// Reads the histories of the providers at which something is presumed absent. Returns whether
    /// they have settled any of it, so that there may be more to do. A pool that waits for more work
    /// does this once a minute.
    pub(super) async fn settle_presumed(&mut self, is_waiting: bool) -> Result<bool, PoolError> {
        let is_recent = |at: Instant| at.elapsed() < SEARCH_INTERVAL;
        if is_waiting && self.presumed_searched_at.is_some_and(is_recent) {
            return Ok(false);
        }
        self.presumed_searched_at = Some(Instant::now());
        let mut findings = Vec::new();
        for (name, provider) in &self.context.providers {
            let absent = self.context.queue.absent_attempts(*name, Timestamp::MIN);
            let mut presumed = absent.await?;
            presumed.retain(AbsentAttempt::is_presumed);
            for presumed in group(presumed) {
                let mut stop = self.stop.clone();
                tokio::select! {
                    found = self.context.search_late(*name, provider, presumed) => {
                        findings.extend(found?);
                    }
                    // The next run searches again.
                    () = stopped(&mut stop) => return Ok(false),
                }
            }
        }
        if findings.is_empty() {
            return Ok(false);
        }
        let pool_id = self.pool_id.clone();
        let news = self
            .context
            .queue
            .record_findings(pool_id, findings)
            .await?;
        Ok(news > 0)
    }
}

/// Groups attempts, oldest first, that are searched for in one part of a history: those of a model and of
/// one period. A busy account has too many predictions to read more than is needed.
fn group(presumed: Vec<AbsentAttempt>) -> Vec<Vec<AbsentAttempt>> {
    let mut groups: Vec<Vec<AbsentAttempt>> = Vec::new();
    for presumed in presumed {
        let is_near = |group: &&mut Vec<AbsentAttempt>| {
            group.first().is_some_and(|AbsentAttempt { attempt, .. }| {
                let gap = presumed
                    .attempt
                    .submitted_at
                    .duration_since(attempt.submitted_at);
                attempt.wire_model == presumed.attempt.wire_model && gap <= MAX_GROUP_PERIOD
            })
        };
        match groups.iter_mut().find(is_near) {
            Some(group) => group.push(presumed),
            None => groups.push(vec![presumed]),
        }
    }
    groups
}

impl StepContext {
    /// Searches a history for attempts of one model and period that are presumed absent, oldest first.
    async fn search_late(
        &self,
        name: ProviderName,
        provider: &Arc<dyn Provider>,
        presumed: Vec<AbsentAttempt>,
    ) -> Result<Vec<HistoryFinding>, PoolError> {
        let (Some(oldest), Some(newest)) = (presumed.first(), presumed.last()) else {
            return Ok(Vec::new());
        };
        let (oldest, newest) = (&oldest.attempt, &newest.attempt);
        let key_changed_at = self.queue.key_changed_at(name).await?;
        let submission = Submission::from(oldest);
        let (mut lost, _) = self.lost_submission(submission, oldest).await?;
        let mut query = lost.query();
        // What was accepted later is another's, and later ones of ours are among those until then.
        let history_delay = self.processing_times.history_delay(name);
        query.to = query.to.min(accepted_until(newest, history_delay));
        let history = match provider.history(&query).await {
            Ok(history) => history,
            Err(failure) => {
                tracing::info!(provider = %name, "what is presumed absent stays at risk: {failure}");
                return Ok(Vec::new());
            }
        };
        let mut findings = Vec::new();
        for AbsentAttempt { job, attempt, .. } in presumed {
            lost.submission = Submission::from(&attempt);
            lost.submitted_at = attempt.submitted_at;
            lost.call_ended_at = attempt.call_ended_at();
            lost.request_digest = attempt_digest(&attempt);
            let finding = match lost.find_in(&history, name) {
                Ok(Reconciliation::Found(prediction)) => {
                    let owned = OwnedPrediction {
                        submitted_at: attempt.submitted_at,
                        request_digest: Some(lost.request_digest),
                    };
                    lost.owned.insert(prediction.prediction_id.clone(), owned);
                    LateFinding::Accepted(prediction)
                }
                Ok(Reconciliation::Absent(evidence))
                    if evidence.later == LaterSubmissions::Listed
                        && key_changed_at.is_none_or(|at| at < attempt.submitted_at) =>
                {
                    LateFinding::Absent
                }
                _ => continue,
            };
            findings.push(HistoryFinding::Absent {
                job,
                attempt: attempt.attempt_id,
                finding,
            });
        }
        Ok(findings)
    }
}
