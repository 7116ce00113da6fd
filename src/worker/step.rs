//! One step of one job: which call it makes, and how its result is recorded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::domain::{
    Catalog, Input, JobState, Outcome, PollPlan, ProviderName, ProviderSignal, RetryPolicy,
};
use crate::image::ImageSource;
use crate::output::{ClipSource, OutputStore};
use crate::provider::Provider;
use crate::queue::{Claim, Queue, QueueError, Step};

use super::processing_times::RouteKey;
use super::{Observer, PoolError, PoolEvent, ProcessingTimes};

/// Looks begin on a beat of so many milliseconds.
const POLL_GRID_MS: i64 = 50;

/// Where looks follow each other faster than this, a beat would be felt.
const MIN_WAIT_FOR_GRID: Duration = Duration::from_secs(1);

/// What a step works with.
pub struct StepContext {
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// The providers that can be called.
    pub providers: BTreeMap<ProviderName, Arc<dyn Provider>>,
    /// Where clips are kept.
    pub output: Arc<dyn OutputStore>,
    /// Where clips come from.
    pub clips: Arc<dyn ClipSource>,
    /// Where images on disk come from.
    pub images: Arc<dyn ImageSource>,
    /// The models.
    pub catalog: Arc<Catalog>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How often and how long to try.
    pub policy: RetryPolicy,
    /// When to look.
    pub processing_times: ProcessingTimes,
    /// Sees what happens.
    pub observer: Observer,
}

/// What a step found out, and what it means for the provider.
pub(super) struct StepOutcome {
    pub(super) outcome: Outcome,
    pub(super) provider_signal: Option<ProviderSignal>,
}

impl From<Outcome> for StepOutcome {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            provider_signal: None,
        }
    }
}

impl StepContext {
    /// Makes the step's call.
    pub(super) async fn take(&self, claim: &Claim) -> Result<StepOutcome, PoolError> {
        let provider = &claim.attempt.provider;
        let Some(provider) = self.providers.get(provider) else {
            // Claims are made for the providers in question only; downloads need no key and may be for any.
            return match claim.step {
                Step::Download => self.download(claim, false).await,
                _ => Err(PoolError::Fault(format!(
                    "a step was claimed for {provider}, which is not in use"
                ))),
            };
        };
        match claim.step {
            Step::Submit => Ok(self.submit(claim, provider.as_ref()).await),
            Step::Poll => Ok(self.poll(claim, provider.as_ref()).await),
            Step::Reconcile => self.reconcile(claim, provider.as_ref()).await,
            Step::Download => self.download(claim, provider.is_loopback()).await,
        }
    }

    /// Records what a step found out, and tells the observer.
    pub(super) async fn record(
        &self,
        claim: &Claim,
        finding: StepOutcome,
    ) -> Result<(), PoolError> {
        let StepOutcome {
            outcome,
            provider_signal,
        } = finding;
        let provider = claim.attempt.provider;
        let now = self.clock.now();
        let provider_signal = provider_signal.map(|provider_signal| (provider, provider_signal));
        let state = match self
            .queue
            .record_outcome(
                claim.lease.clone(),
                outcome.clone(),
                provider_signal.clone(),
                now,
            )
            .await
        {
            Ok(state) => state,
            Err(QueueError::Conflict(reason)) => {
                let due_at =
                    self.policy
                        .retry_at(now, claim.job.failures + 1, None, fastrand::f64());
                let again = if claim.step == Step::Submit {
                    // An id that another job has is no answer: the provider may have taken this one all the same.
                    Outcome::LostResponse { reason, due_at }
                } else {
                    // The prediction found in the history belongs to another job by now: look again, without it.
                    Outcome::Wait {
                        due_at: Some(due_at),
                        failure: Some(reason),
                    }
                };
                self.queue
                    .record_outcome(claim.lease.clone(), again, None, now)
                    .await?
            }
            Err(QueueError::LeaseLost(job_id)) => {
                // Somebody else has the job now, or a person took it back. Their record stands; ours is void.
                tracing::warn!(
                    job.id = job_id.0,
                    step = claim.step.as_str(),
                    "lease lost, result dropped"
                );
                return Ok(());
            }
            Err(error) => {
                if let Outcome::Accepted { prediction, .. } = &outcome {
                    // The job will be in doubt; where the history does not tell, this line does.
                    let (id, prediction_id) = (claim.job.job_id.0, &prediction.prediction_id);
                    tracing::warn!(job.id = id, %provider, prediction_id, "taken by the provider, but not recorded");
                }
                return Err(error.into());
            }
        };
        if let Outcome::Finished {
            processing: Some(took),
            ..
        } = &outcome
        {
            self.processing_times.learn(kind(claim), *took);
        }
        self.tell(claim, outcome, state);
        if let Some((provider, ProviderSignal::Suspend { reason, .. })) = provider_signal {
            self.tell_pause(provider, without_prompts(&reason, &claim.job.input));
        }
        Ok(())
    }

    /// Tells that a provider was paused.
    pub(super) fn tell_pause(&self, provider: ProviderName, reason: String) {
        tracing::warn!(%provider, "provider paused: {reason}");
        (self.observer)(PoolEvent::ProviderPaused { provider, reason });
    }

    fn tell(&self, claim: &Claim, outcome: Outcome, state: JobState) {
        let job = &claim.job;
        let reason = match outcome {
            Outcome::Refused { reason, .. }
            | Outcome::Rejected { reason }
            | Outcome::LostResponse { reason, .. }
            | Outcome::PredictionFailed { reason, .. }
            | Outcome::LinkExpired { reason, .. }
            | Outcome::GaveUp { reason } => Some(reason),
            Outcome::Wait { failure, .. } => failure,
            Outcome::Accepted { .. }
            | Outcome::Adopted { .. }
            | Outcome::ProvenAbsent { .. }
            | Outcome::Finished { .. }
            | Outcome::Saved { .. } => None,
        };
        // Logs travel further than the queue, which keeps the reason as it is.
        let reason = reason.map(|reason| without_prompts(&reason, &job.input));
        let (attempt, step) = (&claim.attempt, claim.step.as_str());
        let (id, number, provider, state_word) = (
            job.job_id.0,
            attempt.number,
            attempt.provider,
            state.as_str(),
        );
        match &reason {
            Some(reason) => {
                tracing::info!(job.id = id, attempt = number, %provider, step, state = state_word, "{reason}");
            }
            None => {
                tracing::debug!(job.id = id, attempt = number, %provider, step, state = state_word, "step done")
            }
        }
        (self.observer)(PoolEvent::Moved {
            row_key: job.row_key.clone(),
            batch: job.batch.clone(),
            state,
            reason,
        });
    }

    /// When to look at the claim's prediction.
    pub(super) fn plan(&self, claim: &Claim) -> Arc<PollPlan> {
        self.processing_times.plan(&self.catalog, &kind(claim))
    }

    /// How long ago the claim's attempt was submitted.
    pub(super) fn age(&self, claim: &Claim) -> Duration {
        span(claim.attempt.submitted_at, self.clock.now())
    }

    /// When to try again after one more failure of this step.
    pub(super) fn retry_at(&self, claim: &Claim, retry_after: Option<Duration>) -> Timestamp {
        self.policy.retry_at(
            self.clock.now(),
            claim.job.failures + 1,
            retry_after,
            fastrand::f64(),
        )
    }

    /// When to look at a prediction again: on the beat that is nearest, unless that is too soon after the last look. Those
    /// that are due on one beat are claimed together, and recorded in few commits.
    pub(super) fn schedule_poll(&self, last: Timestamp, wait: Duration) -> Timestamp {
        let at = last.saturating_add(wait).unwrap_or(Timestamp::MAX);
        let millis = at.as_millisecond();
        let beat =
            Timestamp::from_millisecond((millis + POLL_GRID_MS / 2) / POLL_GRID_MS * POLL_GRID_MS)
                .unwrap_or(at);
        if wait < MIN_WAIT_FOR_GRID || span(last, beat) < self.processing_times.poll_min {
            at
        } else {
            beat
        }
    }

    /// A time from now.
    pub(super) fn after(&self, delay: Duration) -> Timestamp {
        self.clock
            .now()
            .saturating_add(delay)
            .unwrap_or(Timestamp::MAX)
    }
}

/// Which predictions take as long as the claim's.
fn kind(claim: &Claim) -> RouteKey {
    let (provider, wire_model) = (claim.attempt.provider, claim.attempt.wire_model.clone());
    RouteKey {
        provider,
        wire_model,
        clip_s: claim.job.input.duration(),
    }
}

/// The time between two instants; none where the clock was set back between them.
pub(super) fn span(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from).max(SignedDuration::ZERO)).unwrap_or(Duration::ZERO)
}

/// A shorter prompt is not looked for in messages: it would be found in ordinary words.
const SHORTEST_PROMPT: usize = 8;

/// Takes a job's prompts out of what a provider said: it may quote what it refuses.
fn without_prompts(reason: &str, input: &Input) -> String {
    ["prompt", "negative_prompt"]
        .iter()
        .filter_map(|field| input.get(field)?.as_str())
        .fold(reason.to_owned(), |reason, prompt| {
            // As messages are cleaned: on one line, and cut where they are long, in the middle of a prompt perhaps.
            let prompt = prompt.trim().replace(char::is_control, " ");
            if prompt.len() < SHORTEST_PROMPT {
                return reason;
            }
            let reason = reason.replace(&prompt, "[prompt]");
            let beginnings = prompt.char_indices().map(|(at, _)| &prompt[..at]).rev();
            let mut beginnings =
                beginnings.take_while(|beginning| beginning.len() >= SHORTEST_PROMPT);
            match beginnings.find_map(|beginning| reason.strip_suffix(beginning)) {
                Some(rest) => format!("{rest}[prompt]"),
                None => reason,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_prompt_is_taken_out_whole_or_cut() {
        let input = r#"{"prompt":"Slow turntable,\nlinen","negative_prompt":"blur"}"#;
        let input: Input = serde_json::from_str(input).unwrap();
        for (said, left) in [
            (
                "`Slow turntable, linen` is refused, so is blur",
                "`[prompt]` is refused, so is blur",
            ),
            ("refused: Slow turntab", "refused: [prompt]"),
            ("refused: Slow tur", "refused: [prompt]"),
            ("refused: Slow tu", "refused: Slow tu"),
        ] {
            assert_eq!(without_prompts(said, &input), left);
        }
    }
}
