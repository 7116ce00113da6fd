//! The ports to the queue, built on a [`Storage`].

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::{
    JobId, JobState, Lease, Location, Money, OwnedPrediction, PoolId, ProviderName,
};
use crate::failpoint::fail_point;
use crate::policy::claim::Step;
use crate::policy::operator::Decision;

use super::storage::{JobSet, Storage, StoredJob};
use super::throughput::MAX_SAMPLES;
use super::{
    AbsentAttempt, AttemptRecord, BatchClips, BatchStatus, BillGrouping, BillLine, CancelResult,
    Completed, CounterMismatch, Gates, Health, HistoryFinding, JobFilter, JobRecord, KeyNote,
    Lineage, LiveSetting, Operator, PoolLookups, PoolRecord, ProviderStatus, QueueError, Reports,
    Result, RouteStatus, RunSetup, Selection, SettingChange, Status, Turn, TurnResult, WorkQueue,
    commands, findings, lookup, pools, turn, turn_reads,
};

#[async_trait]
impl<S: Storage> WorkQueue for S {
    async fn join(&self, pool: PoolId) -> Result<()> {
        let lock = self.lock_pool(&pool)?;
        let host = self.host();
        let pool_id = pool.clone();
        self.write(move |tx, now| pools::join(tx, &pool_id, &host, now))
            .await?;
        fail_point!("join committed");
        self.process().locks().insert(pool, lock);
        Ok(())
    }

    async fn heartbeat(&self, pool: PoolId) -> Result<()> {
        self.write(move |tx, now| pools::heartbeat(tx, &pool, now))
            .await
    }

    async fn turn(&self, turn: Arc<Turn>) -> Result<TurnResult> {
        let last_counts = self.process().rate_counts().clone();
        let taken = Arc::clone(&turn);
        let take = self.write_turn(turn_reads::of(&turn), move |tx, now| {
            let mut rate_counts = last_counts.clone();
            let result = turn::take(tx, &taken, now, &mut rate_counts)?;
            Ok((result, rate_counts))
        });
        let (result, rate_counts) = take.await?;
        *self.process().rate_counts() = rate_counts;
        for completed in &turn.completed {
            match completed {
                Completed::Step { outcome, .. } => {
                    let event = outcome.event();
                    fail_point!("{event:?} committed");
                }
                Completed::Upload { .. } => fail_point!("upload committed"),
                Completed::NotStarted { .. }
                | Completed::Panicked { .. }
                | Completed::Released { .. } => {}
            }
        }
        let claims = &result.claimed.claims;
        if claims.iter().any(|claim| claim.step == Step::Submit) {
            fail_point!("Submit committed");
        }
        Ok(result)
    }

    async fn leave(&self, pool: PoolId) -> Result<()> {
        let pool_id = pool.clone();
        self.write(move |tx, now| pools::remove(tx, &pool_id, now))
            .await?;
        self.process().locks().remove(&pool);
        Ok(())
    }

    async fn take_over(&self) -> Result<usize> {
        let read = self.read(|snapshot, now| Ok((snapshot.pools()?, now)));
        let (mut known, now) = read.await?;
        known.retain(|(pool, _)| !self.process().locks().contains_key(pool));
        let locked = known.into_iter().map(|(pool, record)| {
            let lock = self.lock_dead_pool(&pool, &record);
            (pool, record.expires_at, lock)
        });
        let dead = locked.filter(|(_, expires_at, lock)| lock.is_some() || *expires_at <= now);
        let mut removed: Vec<_> = dead.collect();
        {
            let suspects: HashSet<(PoolId, Timestamp)> = removed
                .iter()
                .map(|(pool, expires_at, _)| (pool.clone(), *expires_at))
                .collect();
            let before = std::mem::replace(&mut *self.process().suspects(), suspects);
            removed.retain(|(pool, expires_at, lock)| {
                lock.is_some() || before.contains(&(pool.clone(), *expires_at))
            });
        }
        let mut released = 0;
        for (pool, _, lock) in removed {
            released += self
                .write(move |tx, now| pools::remove(tx, &pool, now))
                .await?;
            fail_point!("takeover committed");
            // Until here, so that no other process takes the same pool over.
            drop(lock);
        }
        Ok(released)
    }

    async fn record_findings(&self, pool: PoolId, findings: Vec<HistoryFinding>) -> Result<usize> {
        self.write(move |tx, now| findings::record(tx, &pool, &findings, now))
            .await
    }

    async fn record_clock_change(&self) -> Result<()> {
        self.write(pools::record_clock_change).await
    }
}

#[async_trait]
impl<S: Storage> PoolLookups for S {
    async fn wait_for_change(&self) {
        Storage::wait_for_change(self).await;
    }

    async fn leases_unless(&self, pool: PoolId, expected: usize) -> Result<Option<Vec<Lease>>> {
        self.read(move |snapshot, _| snapshot.leases_unless(&pool, expected))
            .await
    }

    async fn gates(&self) -> Result<Gates> {
        self.read(|snapshot, _| {
            let used = snapshot.providers()?.into_iter();
            Ok(used.map(|(provider, used)| (provider, used.gate)).collect())
        })
        .await
    }

    async fn last_clock_change(&self) -> Result<Option<Timestamp>> {
        self.read(|snapshot, _| snapshot.last_clock_change()).await
    }

    async fn key_changed_at(&self, provider: ProviderName) -> Result<Option<Timestamp>> {
        self.read(move |snapshot, _| Ok(snapshot.key_mark(provider)?.and_then(|(_, at)| at)))
            .await
    }

    async fn is_key_known(&self, provider: ProviderName, mark: String) -> Result<bool> {
        self.read(move |snapshot, _| {
            let is_known = commands::is_key_known(snapshot, provider, &mark)?;
            Ok(is_known.unwrap_or(true))
        })
        .await
    }

    async fn owned_predictions(
        &self,
        provider: ProviderName,
        wire_model: String,
        since: Timestamp,
    ) -> Result<BTreeMap<String, OwnedPrediction>> {
        self.read(move |snapshot, _| snapshot.owned_predictions((provider, &wire_model), since))
            .await
    }

    async fn absent_attempts(
        &self,
        provider: ProviderName,
        since: Timestamp,
    ) -> Result<Vec<AbsentAttempt>> {
        self.read(move |snapshot, _| snapshot.absent_attempts(provider, since))
            .await
    }

    async fn all_settled(&self, jobs: Vec<JobId>) -> Result<bool> {
        self.read(move |snapshot, _| {
            for job in &jobs {
                let stored = snapshot.stored_jobs(JobSet::Number(*job))?;
                if !stored.iter().all(StoredJob::is_settled) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }

    async fn processing_times(
        &self,
        provider: ProviderName,
        wire_model: String,
        limit: usize,
    ) -> Result<Vec<(Option<u32>, Duration)>> {
        self.read(move |snapshot, _| snapshot.processing_times((provider, &wire_model), limit))
            .await
    }

    async fn live_settings(&self) -> Result<Vec<SettingChange>> {
        self.read(|snapshot, _| pools::live_settings(snapshot))
            .await
    }
}

#[async_trait]
impl<S: Storage> Operator for S {
    async fn verify_counters(&self) -> Result<Vec<CounterMismatch>> {
        // Compare in a read first: that may take longer than other processes should wait for a
        // write.
        let mismatches = self.read(|snapshot, _| snapshot.counter_mismatches());
        if mismatches.await?.is_empty() {
            return Ok(Vec::new());
        }
        self.write(|tx, _| {
            let mismatches = tx.counter_mismatches()?;
            tx.correct_counters()?;
            Ok(mismatches)
        })
        .await
    }

    async fn note_key(&self, provider: ProviderName, mark: String) -> Result<KeyNote> {
        let host = self.host();
        self.write(move |tx, now| commands::note_key(tx, provider, &mark, &host, now))
            .await
    }

    async fn note_setup(&self, setup: RunSetup) -> Result<RunSetup> {
        let host = self.host();
        self.write(move |tx, now| commands::note_setup(tx, &setup, &host, now))
            .await
    }

    async fn add_key(&self, provider: ProviderName, mark: String) -> Result<()> {
        self.write(move |tx, _| commands::add_key(tx, provider, &mark))
            .await
    }

    async fn note_doubt(&self, since: Timestamp) -> Result<()> {
        self.write(move |tx, _| tx.set_doubt(Some(since))).await
    }

    async fn begin_run(&self, after: u64, settled_since: Option<Timestamp>) -> Result<()> {
        self.write(move |tx, now| {
            pools::record_heartbeat(tx, now)?;
            if settled_since.is_some() {
                tx.set_doubt(None)?;
                tx.set_unclaimed(settled_since)?;
            }
            // Other runs may have been counted while this one was compared.
            let last = tx.lineage()?.generation.max(after);
            tx.set_generation(last + 1)
        })
        .await?;
        fail_point!("run counted");
        Ok(())
    }

    async fn accept_price(&self, provider: ProviderName, wire_model: String) -> Result<bool> {
        self.write(move |tx, _| commands::accept_price(tx, provider, &wire_model))
            .await
    }

    async fn reopen_providers(&self) -> Result<()> {
        self.write(|tx, _| commands::reopen_providers(tx)).await
    }

    async fn retry(&self, selection: Selection) -> Result<usize> {
        self.write(move |tx, now| commands::retry(tx, &selection, now))
            .await
    }

    async fn requeue_downloads(&self, jobs: Vec<JobId>) -> Result<usize> {
        self.write(move |tx, now| commands::requeue_downloads(tx, &jobs, now))
            .await
    }

    async fn cancel(&self, selection: Selection) -> Result<CancelResult> {
        self.write(move |tx, now| commands::cancel(tx, &selection, now))
            .await
    }

    async fn cancel_queued(&self, jobs: Vec<JobId>) -> Result<usize> {
        self.write(move |tx, now| commands::cancel_queued(tx, &jobs, now))
            .await
    }

    async fn resolve(&self, job_id: JobId, decision: Decision) -> Result<JobState> {
        self.write(move |tx, now| commands::resolve(tx, job_id, &decision, now))
            .await
    }

    async fn forget_clip(&self, job: JobId, attempt: u32) -> Result<()> {
        self.write(move |tx, _| tx.forget_clip(job, attempt)).await
    }

    async fn clips_to_move(&self, batch: String, folder: Location) -> Result<BatchClips> {
        let host = self.host();
        self.read(move |snapshot, now| {
            commands::clips_to_move(snapshot, &batch, &folder, &host, now)
        })
        .await
    }

    async fn set_folder(&self, batch: String, moved: BatchClips, folder: Location) -> Result<()> {
        let host = self.host();
        self.write(move |tx, now| commands::set_folder(tx, &batch, &moved, &folder, &host, now))
            .await
    }

    async fn set_live_settings(
        &self,
        settings: Vec<LiveSetting>,
        set_by: String,
    ) -> Result<Vec<PoolRecord>> {
        let host = self.host();
        self.write(move |tx, now| commands::set_live_settings(tx, &settings, &set_by, &host, now))
            .await
    }
}

#[async_trait]
impl<S: Storage> Reports for S {
    async fn status(&self, batch: Option<String>) -> Result<Status> {
        self.read(move |snapshot, _| {
            let mut status = Status {
                pools: pools::list_running(snapshot)?,
                ..Status::default()
            };
            for view in lookup::find_batches(snapshot, batch.as_deref())? {
                let mut batch = BatchStatus::new(view.clone());
                if batch.progressing_jobs() > 0 {
                    // One more than the samples: a measurement starts at the completion before
                    // them.
                    batch.recent_completions =
                        snapshot.recent_completions(&view, MAX_SAMPLES + 1)?;
                }
                if batch.count(JobState::InDoubt) > 0 {
                    batch.held = snapshot.count_held(Some(&batch.batch))?;
                }
                status.batches.push(batch);
            }
            if status
                .batches
                .iter()
                .any(|batch| batch.at_risk > Money::ZERO)
            {
                for provider in ProviderName::ALL {
                    for presumed in snapshot.absent_attempts(provider, Timestamp::MIN)? {
                        if !presumed.is_presumed() {
                            continue;
                        }
                        let mut batches = status.batches.iter_mut();
                        let batch = batches.find(|batch| batch.batch == presumed.batch);
                        if let Some(batch) = batch {
                            batch.presumed += presumed.attempt.progress.estimate;
                        }
                    }
                }
            }
            let used = snapshot.providers()?.into_iter();
            status.providers = used
                .map(|(provider, used)| ProviderStatus::new(provider, used.in_flight, used.gate))
                .collect();
            status
                .providers
                .sort_by_key(|status| status.provider.as_str());
            let routes = snapshot.routes()?.into_iter();
            status.routes = routes
                .map(|((provider, wire_model), gate)| RouteStatus {
                    provider,
                    wire_model,
                    gate,
                })
                .collect();
            Ok(status)
        })
        .await
    }

    async fn bill(&self, by: BillGrouping, batch: Option<String>) -> Result<Vec<BillLine>> {
        self.read(move |snapshot, _| {
            lookup::find_batches(snapshot, batch.as_deref())?;
            snapshot.bill(by, batch.as_deref())
        })
        .await
    }

    async fn queued_estimate(&self, batch: Option<String>) -> Result<Money> {
        self.read(move |snapshot, _| {
            lookup::find_batches(snapshot, batch.as_deref())?;
            snapshot.queued_estimate(batch.as_deref())
        })
        .await
    }

    async fn jobs(
        &self,
        filter: JobFilter,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<JobRecord>> {
        self.read(move |snapshot, _| {
            let jobs = snapshot.jobs(&filter, after.unwrap_or(JobId(0)), limit)?;
            if jobs.is_empty() {
                lookup::find_batches(snapshot, filter.batch.as_deref())?;
            }
            Ok(jobs)
        })
        .await
    }

    async fn latest(&self, batch: Option<String>, limit: usize) -> Result<Vec<JobRecord>> {
        self.read(move |snapshot, _| {
            lookup::find_batches(snapshot, batch.as_deref())?;
            snapshot.latest(batch.as_deref(), limit)
        })
        .await
    }

    async fn find(&self, job: String, batch: Option<String>) -> Result<JobRecord> {
        self.read(move |snapshot, _| {
            let JobId(number) = lookup::find_job(snapshot, &job, batch.as_deref())?;
            let before = JobId(number - 1);
            let found = snapshot.jobs(&JobFilter::default(), before, 1)?.pop();
            found.ok_or_else(|| QueueError::NoSuchJob {
                job: job.clone(),
                batch: batch.clone(),
                nearest: None,
            })
        })
        .await
    }

    async fn attempts(&self, job_id: JobId) -> Result<Vec<AttemptRecord>> {
        self.read(move |snapshot, _| {
            let attempts = snapshot.attempts(job_id)?.into_iter();
            Ok(attempts.map(AttemptRecord::from).collect())
        })
        .await
    }

    async fn health(&self) -> Result<Health> {
        self.read(|snapshot, now| {
            let (version, supported_version) = snapshot.check()?;
            let health = Health {
                version,
                supported_version,
                ..Health::default()
            };
            if !health.is_current() {
                return Ok(health);
            }
            let dead_pools = pools::list_dead(snapshot, now)?;
            let mut orphaned_jobs = 0;
            for pool in &dead_pools {
                let leases = snapshot.leases_unless(pool, 0)?;
                orphaned_jobs += leases.map_or(0, |leases| leases.len() as u64);
            }
            Ok(Health {
                counter_mismatches: snapshot.counter_mismatches()?,
                held: snapshot.count_held(None)?,
                dead_pools: dead_pools.len(),
                orphaned_jobs,
                ..health
            })
        })
        .await
    }

    async fn lineage(&self) -> Result<Lineage> {
        self.read(|snapshot, _| snapshot.lineage()).await
    }

    async fn settings(&self) -> Result<Vec<SettingChange>> {
        self.live_settings().await
    }
}
