//! Compares the providers' histories with the queue before a run submits anything: a copy of the queue,
//! or the queue that this one is a backup of, may have paid for what is still queued here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};

use crate::domain::{Catalog, JobState, ProviderName};
use crate::policy::reconcile;
use crate::provider::{EntryContent, HistoryEntry, HistoryQuery, WINDOW_MARGIN};
use crate::queue::job_reader::JobReader;
use crate::queue::{self, AbsentAttempt, HistoryFinding, JobFilter, Queue, Status};

use super::StepContext;
use super::pool::new_pool_id;
use super::processing_times::RouteKey;
use super::unknown::Unknown;

/// Longest period that is read of a history.
const MAX_PERIOD: SignedDuration = SignedDuration::from_hours(48);

/// Longest time that a history is given to list a prediction whose submit call has ended.
const MAX_LISTING_DELAY: Duration = Duration::from_secs(60);

/// Returns from when on a history is read at the earliest.
pub fn earliest_read(now: Timestamp) -> Timestamp {
    now.saturating_sub(MAX_PERIOD).unwrap_or(Timestamp::MIN)
}

/// What a comparison found.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Number of predictions that the queue did not know and now continues or has booked.
    pub found: usize,
    /// Number of those that jobs continue: a copy of the queue has submitted them.
    pub continued: usize,
    /// Number of jobs that were freed of a run that ended unexpectedly.
    pub taken_over: usize,
    /// The providers whose history could not be read, and why.
    pub unread: BTreeMap<ProviderName, String>,
    /// How long after it was submitted elsewhere the histories list a prediction at the latest.
    pub listed_within: Duration,
}

/// Compares the histories of the context's providers since a time with the queue, as far as queued jobs
/// could be submitted to them. A queued job continues a prediction that asked for the same, and so does one
/// in doubt, if it is another provider's; one that was taken to be absent is booked.
///
/// No more than 48 hours are read, for no longer than `patience`. Of the providers that were `used`, one
/// that the context does not have cannot be read.
///
/// # Errors
/// Returns the error of the queue.
pub async fn compare_histories(
    queue: &dyn Queue,
    context: &StepContext,
    used: &BTreeSet<ProviderName>,
    since: Timestamp,
    patience: Duration,
) -> queue::Result<Comparison> {
    let status = queue.status(None).await?;
    let mut comparison = Comparison::default();
    let mut routes = Vec::new();
    for name in ProviderName::ALL {
        let models = queued_models(&status, &context.catalog, name);
        if context.providers.contains_key(&name) {
            routes.extend(models.into_iter().map(|wire_model| (name, wire_model)));
        } else if !models.is_empty() && used.contains(&name) {
            // What was submitted to it would be paid for at another provider again.
            let reason = format!("{} is not set", name.key_variable());
            comparison.unread.insert(name, reason);
        }
    }
    let reads = routes.into_iter().map(|(name, wire_model)| async move {
        let read = context.read_unknown(name, &wire_model, since);
        match tokio::time::timeout(patience, read).await {
            Ok(read) => read.map(|read| (name, read)),
            Err(_) => Ok((name, Err("its history takes too long to read".into()))),
        }
    });
    let mut unknown = Vec::new();
    for read in join_all(reads).await {
        match read? {
            (_, Ok(read)) => {
                let listed_within = context.listed_within(&read);
                comparison.listed_within = comparison.listed_within.max(listed_within);
                unknown.push(read);
            }
            (name, Err(reason)) => {
                comparison.unread.insert(name, reason);
            }
        }
    }
    unknown.retain(|unknown| !unknown.entries.is_empty());
    if unknown.is_empty() {
        return Ok(comparison);
    }
    // The submissions of a killed run are in doubt from now on.
    comparison.taken_over = queue.take_over().await?;
    let findings = take_findings(queue, context, &mut unknown).await?;
    let is_unknown = |finding: &&HistoryFinding| matches!(finding, HistoryFinding::Unknown(_));
    let continued = findings.iter().filter(is_unknown).count();
    if !findings.is_empty() {
        // Only a pool may start attempts.
        let pool = new_pool_id();
        queue.join(pool.clone()).await?;
        let recorded = queue.record_findings(pool.clone(), findings).await;
        queue.leave(pool).await?;
        comparison.found = recorded?;
        comparison.continued = continued.min(comparison.found);
    }
    Ok(comparison)
}

/// Takes the predictions of attempts that were taken to be absent, and those that jobs ask for.
async fn take_findings(
    queue: &dyn Queue,
    context: &StepContext,
    unknown: &mut [Unknown],
) -> queue::Result<Vec<HistoryFinding>> {
    let mut findings = Vec::new();
    for unknown in &mut *unknown {
        for absent in std::mem::take(&mut unknown.absent) {
            findings.extend(unknown.take_absent(&absent));
        }
    }
    let fresh = queue.lineage().await?.fresh;
    for state in [JobState::InDoubt, JobState::Queued] {
        let filter = JobFilter {
            batch: None,
            state: Some(state),
        };
        let mut jobs = JobReader::new(queue, filter);
        while unknown.iter().any(|unknown| !unknown.entries.is_empty())
            && let Some(job) = jobs.next().await?
        {
            let fresh_at = fresh.get(&job.batch).copied();
            for unknown in &mut *unknown {
                let found = unknown.take_asked(&context.catalog, &job, fresh_at);
                // What a job in doubt has submitted itself is found by its own search.
                let is_own = state == JobState::InDoubt && job.provider == Some(unknown.provider);
                if let Some(found) = found.filter(|_| !is_own) {
                    findings.push(found);
                    break;
                }
            }
        }
    }
    Ok(findings)
}

/// Returns the provider's names of the models that queued jobs ask for.
fn queued_models(status: &Status, catalog: &Catalog, provider: ProviderName) -> BTreeSet<String> {
    let batches = status.batches.iter();
    let queued = batches.filter(|batch| batch.count(JobState::Queued) > 0);
    let routes = queued.filter_map(|batch| catalog.model(&batch.model)?.route(provider));
    routes.map(|route| route.wire_model.clone()).collect()
}

impl StepContext {
    /// Reads the predictions of a route that the queue does not know: those since a time and those of the
    /// time of the attempts that were taken to be absent. The inner error is why its history cannot be
    /// read.
    async fn read_unknown(
        &self,
        provider: ProviderName,
        wire_model: &str,
        since: Timestamp,
    ) -> queue::Result<Result<Unknown, String>> {
        let now = self.clock.now();
        let earliest = earliest_read(now);
        let absent = self.queue.absent_attempts(provider, earliest).await?;
        let oldest = absent.first().map(|absent| absent.attempt.submitted_at);
        let oldest = oldest.filter(|oldest| *oldest < since);
        if let Some(oldest) = oldest {
            let period = (oldest.max(earliest), since, now);
            let read = self.read_period(provider, wire_model, period, absent.clone());
            if let Ok(read) = read.await? {
                return Ok(Ok(read));
            }
            // There may be too many since then.
        }
        let period = (since.max(earliest), since, now);
        self.read_period(provider, wire_model, period, absent).await
    }

    /// Reads the predictions from one time to another that the queue does not know. No queued job takes one
    /// from before `since`.
    async fn read_period(
        &self,
        provider: ProviderName,
        wire_model: &str,
        (from, since, to): (Timestamp, Timestamp, Timestamp),
        absent: Vec<AbsentAttempt>,
    ) -> queue::Result<Result<Unknown, String>> {
        let from = from.saturating_sub(WINDOW_MARGIN).unwrap_or(Timestamp::MIN);
        let owned = self
            .queue
            .owned_predictions(provider, wire_model.to_owned(), from)
            .await?;
        let query = HistoryQuery {
            wire_model: wire_model.to_owned(),
            from,
            to: to.saturating_add(WINDOW_MARGIN).unwrap_or(Timestamp::MAX),
            known: owned.into_keys().collect(),
        };
        let Some(adapter) = self.providers.get(&provider) else {
            return Ok(Err("it is not used in this run".into()));
        };
        let mut history = match adapter.history(&query).await {
            Ok(history) => history,
            Err(failure) => return Ok(Err(failure.to_string())),
        };
        // What cannot be recognised may be what this queue asks for.
        let is_unknown = |entry: &HistoryEntry| {
            let shows_nothing = entry.content == EntryContent::Input(None);
            entry.prediction_id.is_none() && shows_nothing && !entry.is_unbilled
        };
        if history.entries.iter().any(is_unknown) {
            return Ok(Err("it lists a prediction without a usable id".into()));
        }
        history.entries.retain(|entry| {
            let id = entry.prediction_id.as_ref();
            id.is_some_and(|id| !query.known.contains(id))
        });
        // How far our clock is ahead is known to the second.
        let ahead = history.clock_ahead.unwrap_or_default() + SignedDuration::from_secs(2);
        Ok(Ok(Unknown {
            since: since.saturating_sub(ahead).ok(),
            provider,
            wire_model: query.wire_model,
            entries: history.entries,
            lists_running: history.lists_running,
            absent,
            history_delay: self.processing_times.history_delay(provider),
        }))
    }

    /// Returns how long after it was submitted elsewhere a history lists a prediction at the latest. Its
    /// call had ended, unlike that of a lost submission, so a minute is enough for the provider.
    fn listed_within(&self, read: &Unknown) -> Duration {
        let route = RouteKey {
            provider: read.provider,
            wire_model: read.wire_model.clone(),
            clip_s: None,
        };
        let processing = self.processing_times.prior(&self.catalog, &route);
        let history_delay = self.processing_times.history_delay(read.provider);
        let history_delay = history_delay.min(MAX_LISTING_DELAY);
        reconcile::listed_within(history_delay, read.lists_running, processing)
    }
}
