//! Applies random operations to a SQLite queue and to a reference model, and compares the two after
//! every operation.
//!
//! `PROPTEST_CASES=5000 cargo test --test it model` runs more cases than the default.

mod claims;
mod decisions;
mod operation;
mod reference;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use overnight::catalog;
use overnight::clock::ManualClock;
use overnight::domain::{
    AttemptState, Catalog, Cost, CostSource, Input, InputComparison, JobId, JobState, Lease,
    Location, Money, NewJob, Outcome, PoolId, ProviderName, ProviderSignal, SavedFile,
};
use overnight::queue::sqlite::SqliteQueue;
use overnight::queue::{
    Claim, Completed, JobFilter, LEASE_DURATION, LiveSetting, Loader, NewBatch, Operator,
    QueueError, Recorded, RemovedRows, Reports, Selection, Turn, WorkQueue,
};
use proptest::prelude::*;
use proptest::sample::Index;
use rusqlite::Connection;
use tempfile::TempDir;

use operation::{
    BATCHES, Operation, PROVIDER_LISTS, SelectionParams, operation, prediction, start_time,
};
use reference::{Attempt, Job, Model, ModelError, Pool, Row, price};

/// Number of cases: enough to find a one-line mistake, few enough for every run of the suite.
const DEFAULT_CASES: u32 = 30;

/// Two processes on one queue file, and the model of the queue.
struct Harness {
    model: Model,
    now: Timestamp,
    /// The clock of both processes, which shows `now`.
    clock: Arc<ManualClock>,
    /// Every claim that was ever granted.
    claims: Vec<Arc<Claim>>,
    /// The pools that joined and whose process is alive, with that process, including pools that
    /// were taken over since.
    pools: Vec<(PoolId, usize)>,
    /// Number of pools that ever joined; numbers the next one.
    joined_pools: usize,
    catalog: Arc<Catalog>,
    /// Reads what the port does not return: lease holders, and the attempts of all jobs.
    reader: Connection,
    processes: [Option<SqliteQueue>; 2],
    dir: TempDir,
}

/// Maps an error of the queue to the one that the model returns. Panics on any other error.
fn to_model_error<T>(result: Result<T, QueueError>) -> Result<T, ModelError> {
    result.map_err(|error| match error {
        QueueError::PoolLost(_) => ModelError::PoolLost,
        QueueError::IllegalTransition(_) => ModelError::Illegal,
        QueueError::NotApplicable { .. }
        | QueueError::AmbiguousJob { .. }
        | QueueError::PredictionTaken { .. }
        | QueueError::BatchHasOtherModel { .. }
        | QueueError::BatchHasOtherFolder { .. } => ModelError::Conflict,
        QueueError::NoSuchBatch { .. } | QueueError::NoSuchJob { .. } => ModelError::NotFound,
        unexpected => panic!("{unexpected}"),
    })
}

impl Harness {
    async fn new(catalog: Arc<Catalog>) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("q.db");
        let clock = Arc::new(ManualClock::new(start_time()));
        let open =
            || Some(SqliteQueue::open_or_create(&path, Arc::clone(&clock) as _).expect("a queue"));
        let processes = [open(), open()];
        let reader = Connection::open(&path).expect("a connection");
        let mut harness = Self {
            model: Model::default(),
            now: start_time(),
            clock: Arc::clone(&clock),
            claims: Vec::new(),
            pools: Vec::new(),
            joined_pools: 0,
            catalog,
            reader,
            processes,
            dir,
        };
        harness.load(0, 5, 0, PROVIDER_LISTS[2], None);
        for process in [0, 1] {
            harness.join(process).await;
        }
        harness
    }

    fn queue(&self, process: usize) -> &SqliteQueue {
        self.processes[process].as_ref().expect("a process")
    }

    /// Picks a claim whose lease is held, or with `allow_lost` any claim that was ever granted.
    fn granted(&self, claim: Index, allow_lost: bool) -> Option<Arc<Claim>> {
        let is_held = |claim: &&Arc<Claim>| {
            let current = self.model.jobs[&claim.lease.job_id].lease.as_ref();
            current.is_some_and(|(token, _)| *token == claim.lease.token)
        };
        let claims: Vec<&Arc<Claim>> = self
            .claims
            .iter()
            .filter(|claim| allow_lost || is_held(claim))
            .collect();
        (!claims.is_empty()).then(|| Arc::clone(claims[claim.index(claims.len())]))
    }

    /// Returns when a pool that joins or renews now expires.
    fn pool_expiry(&self) -> Timestamp {
        self.now + LEASE_DURATION
    }

    /// Takes a turn that only records one completed step, in the second process.
    async fn record(
        &mut self,
        completed: Completed,
        holds_leases: bool,
    ) -> Result<JobState, ModelError> {
        let turn = Turn {
            pool_id: PoolId("any".into()),
            completed: vec![completed],
            holds_leases_at: if holds_leases {
                ProviderName::ALL.to_vec()
            } else {
                Vec::new()
            },
            claim: None,
        };
        let mut result = to_model_error(self.queue(1).turn(Arc::new(turn)).await)?;
        match result.recorded.pop().expect("a record") {
            Recorded::Job { state, held, .. } => {
                if let Some(held) = held {
                    self.claims.retain(|claim| claim.lease != held.lease);
                    self.claims.push(held);
                }
                Ok(state)
            }
            Recorded::LeaseLost => Err(ModelError::LeaseLost),
            Recorded::Upload => panic!("no upload was recorded"),
        }
    }

    async fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Load {
                batch,
                rows,
                prompts,
                providers,
                budget,
            } => {
                self.load(batch, rows, prompts, PROVIDER_LISTS[providers], budget);
            }
            Operation::Claim(params) => self.claim(params).await,
            Operation::RecordOutcome {
                lease,
                allow_lost,
                outcome,
                variant,
                is_legal,
                due_in_ms,
                signal,
                holds_leases,
            } => {
                let Some(claim) = self.granted(lease, allow_lost) else {
                    return;
                };
                let mut outcomes = self.outcomes(&claim.lease, variant, due_in_ms);
                let is_allowed = |outcome: &Outcome| {
                    let result = self
                        .model
                        .clone()
                        .record_outcome(&claim, outcome, None, self.now);
                    result != Err(ModelError::Illegal)
                };
                if is_legal && outcomes.iter().any(is_allowed) {
                    outcomes.retain(is_allowed);
                }
                self.record_outcome(claim, outcome.get(&outcomes).clone(), signal, holds_leases)
                    .await;
            }
            Operation::Release { lease, allow_lost } => {
                let Some(claim) = self.granted(lease, allow_lost) else {
                    return;
                };
                let not_started = Completed::NotStarted {
                    claim: Arc::clone(&claim),
                };
                let released = self.record(not_started, false).await;
                assert_eq!(released, self.model.release(&claim, self.now));
            }
            Operation::Join { process } => self.join(process).await,
            Operation::Heartbeat { pool } => {
                let Some((pool, process)) = self.pool(pool) else {
                    return;
                };
                let expires_at = self.pool_expiry();
                let renewed = to_model_error(self.queue(process).heartbeat(pool.clone()).await);
                let model_pool = self.model.pools.get_mut(&pool);
                let expected = model_pool
                    .map(|pool| pool.expires_at = expires_at)
                    .ok_or(ModelError::PoolLost);
                assert_eq!(renewed, expected);
            }
            Operation::Leave { pool } => {
                let Some((pool, process)) = self.pool(pool) else {
                    return;
                };
                self.queue(process).leave(pool.clone()).await.expect("left");
                self.pools.retain(|(other, _)| *other != pool);
                self.model.remove_pool(&pool, self.now);
            }
            Operation::TakeOver { process } => {
                let released = self.queue(process).take_over().await.expect("taken over");
                assert_eq!(released, self.model.take_over(process, self.now));
            }
            Operation::ReopenProviders => {
                self.queue(0).reopen_providers().await.expect("reopened");
                self.model.reopen_providers();
            }
            Operation::RestartProcess { process } => {
                self.processes[process] = None;
                let path = self.dir.path().join("q.db");
                let clock = Arc::clone(&self.clock) as _;
                let queue = SqliteQueue::open(&path, clock).expect("the queue");
                self.processes[process] = Some(queue);
                self.pools
                    .retain(|(_, pool_process)| *pool_process != process);
                self.model.suspects[process].clear();
                for pool in self.model.pools.values_mut() {
                    pool.is_dead |= pool.process == process;
                }
            }
            Operation::Retry(params) => {
                let (selection, job_ids) = self.select(&params, JobState::Failed);
                let retried = to_model_error(self.queue(0).retry(selection).await);
                assert_eq!(
                    retried,
                    job_ids.and_then(|ids| self.model.retry(&ids, self.now))
                );
            }
            Operation::RequeueDownload { job } => {
                let job_id = *job.get(&self.model.jobs.keys().copied().collect::<Vec<_>>());
                let requeued = self
                    .queue(0)
                    .requeue_downloads(vec![job_id])
                    .await
                    .expect("requeued");
                assert_eq!(requeued, self.model.requeue_download(job_id, self.now));
            }
            Operation::Cancel(params) => {
                let (selection, job_ids) = self.select(&params, JobState::Queued);
                let cancelled = to_model_error(self.queue(0).cancel(selection).await);
                let expected = job_ids.and_then(|ids| self.model.cancel(&ids));
                assert_eq!(cancelled.map(|cancelled| cancelled.jobs), expected);
            }
            Operation::Resolve { job, decision } => {
                let in_doubt = |id: &&JobId| self.model.jobs[id].state == JobState::InDoubt;
                let mut job_ids: Vec<JobId> =
                    self.model.jobs.keys().filter(in_doubt).copied().collect();
                if job_ids.is_empty() {
                    job_ids = self.model.jobs.keys().copied().collect();
                }
                let job_id = *job.get(&job_ids);
                let resolved =
                    to_model_error(self.queue(0).resolve(job_id, decision.clone()).await);
                assert_eq!(resolved, self.model.resolve(job_id, &decision, self.now));
            }
            Operation::SetBudget { batch, budget } => {
                let money = budget.map(Money::from_micros);
                let setting = LiveSetting::BatchBudget(BATCHES[batch].into(), money);
                let result = self
                    .queue(0)
                    .set_live_settings(vec![setting], "test".into())
                    .await;
                match self.model.batches.get_mut(BATCHES[batch]) {
                    Some(model_budget) => *model_budget = budget,
                    None => assert!(
                        matches!(result, Err(QueueError::NoSuchBatch { .. })),
                        "{result:?}"
                    ),
                }
            }
            Operation::AdvanceClock { millis } => {
                self.now += SignedDuration::from_millis(millis);
                self.clock.set(self.now);
            }
        }
    }

    fn load(
        &mut self,
        batch: usize,
        rows: u8,
        prompts: u8,
        providers: &[ProviderName],
        budget: Option<i64>,
    ) {
        let name = BATCHES[batch];
        let new_batch = NewBatch {
            name: name.into(),
            model: "kling-v1-standard".into(),
            folder: Location::from("/renders").join(name),
            budget: budget.map(Money::from_micros),
            comparison: InputComparison::default(),
            reuses_clips: false,
        };
        let mut staging = self.queue(0).stage(new_batch).expect("a staging");
        let mut model_rows = Vec::new();
        for row in 0..rows {
            let prompt = prompts >> row & 1;
            let seconds = if row % 3 == 2 { 10 } else { 5 };
            let input = serde_json::json!({
                "image": format!("https://e.com/{batch}/{row}.png"),
                "prompt": prompt.to_string(),
                "duration": seconds,
            });
            let input: Input = serde_json::from_value(input).expect("an input");
            let row_key = format!("r{row}");
            let estimate = Money::from_micros(price(providers[0], seconds));
            let job = NewJob::new(
                input.fingerprint("kling-v1-standard"),
                row_key.clone(),
                1,
                input,
                providers.to_vec(),
                estimate,
            );
            staging.add(&[job]).expect("added");
            model_rows.push(Row {
                row_key,
                prompt,
                seconds,
                providers: providers.to_vec(),
            });
        }
        let plan = staging.commit(RemovedRows::Keep).expect("committed");
        let counts = [
            plan.new,
            plan.changed,
            plan.in_progress,
            plan.unchanged,
            plan.removed,
        ]
        .map(|count| count as usize);
        assert_eq!(counts, self.model.load(name, model_rows, self.now));
        let model_budget = self.model.batches.entry(name).or_default();
        *model_budget = budget.or(*model_budget);
    }

    async fn join(&mut self, process: usize) {
        let pool = PoolId(format!("pool-{}", self.joined_pools));
        self.joined_pools += 1;
        let expires_at = self.pool_expiry();
        self.queue(process)
            .join(pool.clone())
            .await
            .expect("joined");
        self.model.pools.insert(
            pool.clone(),
            Pool {
                process,
                expires_at,
                is_dead: false,
            },
        );
        self.pools.push((pool, process));
    }

    /// Picks a pool and its process.
    fn pool(&self, pool: Index) -> Option<(PoolId, usize)> {
        (!self.pools.is_empty()).then(|| pool.get(&self.pools).clone())
    }

    /// Lists every kind of outcome, whether or not the job's state allows it.
    fn outcomes(&self, lease: &Lease, variant: u8, due_in_ms: i64) -> Vec<Outcome> {
        let due_at = self.now + SignedDuration::from_millis(due_in_ms);
        let reason = || "test".to_owned();
        let prediction = prediction(variant);
        let attempt = self.model.jobs[&lease.job_id]
            .attempt
            .map(|attempt| &self.model.attempts[attempt]);
        // A provider may bill any amount; here never more than was reserved, and always the same:
        // nothing, or so near to the estimate that no price is learned, which `queue::gates` tests.
        let billed = attempt.map_or(0, |attempt| match attempt.state {
            AttemptState::Done => attempt.cost,
            _ => [0, attempt.price / 10 * 9, attempt.price][usize::from(variant % 3)],
        });
        let cost = Cost {
            amount: Money::from_micros(billed),
            source: CostSource::Reported,
        };
        let file = SavedFile {
            location: "/renders/clip.mp4".into(),
            bytes: 1,
            sha256: "00".into(),
        };
        vec![
            // Outcomes on the path to a clip are listed repeatedly to make them more likely.
            Outcome::Accepted {
                prediction: prediction.clone(),
                early_cost: None,
                due_at,
            },
            Outcome::Accepted {
                prediction: prediction.clone(),
                early_cost: None,
                due_at,
            },
            Outcome::Accepted {
                prediction: prediction.clone(),
                early_cost: None,
                due_at,
            },
            Outcome::Finished {
                output_url: Some("https://e.com/clip".into()),
                cost,
                processing: None,
                due_at,
            },
            Outcome::Finished {
                output_url: Some("https://e.com/clip".into()),
                cost,
                processing: None,
                due_at,
            },
            Outcome::Refused {
                reason: reason(),
                due_at,
                counts_as_failure: true,
            },
            Outcome::Rejected { reason: reason() },
            Outcome::LostResponse {
                reason: reason(),
                due_at,
            },
            Outcome::Adopted { prediction, due_at },
            Outcome::Absent {
                due_at,
                is_proven: true,
            },
            Outcome::Absent {
                due_at,
                is_proven: false,
            },
            Outcome::Wait {
                due_at: Some(due_at),
                failure: Some(reason()),
            },
            Outcome::Wait {
                due_at: None,
                failure: None,
            },
            Outcome::Finished {
                output_url: Some("https://e.com/clip".into()),
                cost,
                processing: None,
                due_at,
            },
            Outcome::FailedUnbilled {
                reason: reason(),
                source: cost.source,
                due_at,
            },
            Outcome::PredictionFailed {
                reason: reason(),
                cost,
            },
            Outcome::LinkExpired {
                reason: reason(),
                due_at,
                counts_as_failure: true,
            },
            Outcome::Saved { file },
            Outcome::GaveUp { reason: reason() },
        ]
    }

    async fn record_outcome(
        &mut self,
        claim: Arc<Claim>,
        outcome: Outcome,
        signal: Option<ProviderSignal>,
        holds_leases: bool,
    ) {
        let completed = Completed::Step {
            claim: Arc::clone(&claim),
            unrecorded_polls: 0,
            outcome: outcome.clone(),
            signal: signal.clone(),
        };
        let lease = self.model.jobs[&claim.lease.job_id].lease.clone();
        let recorded = self.record(completed, holds_leases).await;
        let expected = self
            .model
            .record_outcome(&claim, &outcome, signal.as_ref(), self.now);
        // Also a step whose lease was lost may be recorded; the lease is then another's.
        if let (true, Ok(_), Some((token, pool))) = (holds_leases, &expected, lease)
            && token == claim.lease.token
        {
            self.model.hold(&claim, pool);
        }
        assert_eq!(recorded, expected, "{outcome:?}");
    }

    /// Builds the selection of an operator's decision, and finds the jobs it selects in the model.
    fn select(
        &self,
        params: &SelectionParams,
        default_state: JobState,
    ) -> (Selection, Result<Vec<JobId>, ModelError>) {
        let batch = params.batch.map(|batch| BATCHES[batch]);
        let mut selection = Selection {
            states: params.state.into_iter().collect(),
            ..Selection::default()
        };
        let jobs = &self.model.jobs;
        if let Some(job) = &params.job {
            let job_id = *job.get(&jobs.keys().copied().collect::<Vec<_>>());
            selection.jobs = vec![job_id.to_string()];
            let is_selected = params
                .state
                .is_none_or(|state| jobs[&job_id].state == state);
            return (
                selection,
                Ok(is_selected.then_some(job_id).into_iter().collect()),
            );
        }
        selection.batch = batch.map(str::to_owned);
        if batch.is_some_and(|batch| !self.model.batches.contains_key(batch)) {
            return (selection, Err(ModelError::NotFound));
        }
        let state = params.state.unwrap_or(default_state);
        let selected = jobs
            .iter()
            .filter(|(_, job)| job.state == state && batch.is_none_or(|batch| job.batch == batch));
        (selection, Ok(selected.map(|(job_id, _)| *job_id).collect()))
    }
}

impl Harness {
    /// Compares everything that both the queue and the model know.
    async fn compare(&self) {
        let queue = self.queue(0);
        let model = &self.model;
        let leases = self.leases();
        let records = queue
            .jobs(JobFilter::default(), None, 100)
            .await
            .expect("the jobs");
        assert_eq!(records.len(), model.jobs.len());
        for record in records {
            let job = &model.jobs[&record.job_id];
            assert_eq!(
                (record.batch.as_str(), &record.id),
                (job.batch, &job.row.row_key)
            );
            assert_eq!(
                (record.state, record.attempts, record.due_at),
                (job.state, job.paid_attempts, job.due_at),
                "{record:?}"
            );
            assert_eq!(leases.get(&record.job_id), job.lease.as_ref(), "{record:?}");
        }
        let attempts = self.attempts();
        assert_eq!(attempts.len(), model.attempts.len());
        for (stored, attempt) in attempts.iter().zip(&model.attempts) {
            let expected = (
                attempt.job_id.0,
                attempt.provider.to_string(),
                attempt.state.to_string(),
                attempt.cost,
                attempt.prediction.clone(),
            );
            assert_eq!(stored, &expected);
        }
        for job_id in model.jobs.keys() {
            let is_open = |attempt: &&Attempt| attempt.job_id == *job_id && attempt.state.is_open();
            assert!(
                model.attempts.iter().filter(is_open).count() <= 1,
                "job {job_id} has two open attempts"
            );
        }
        let status = queue.status(None).await.expect("a status");
        assert_eq!(status.batches.len(), model.batches.len());
        for batch_status in status.batches {
            let batch = batch_status.batch.as_str();
            let at_risk = |attempt: &Attempt| {
                if matches!(
                    attempt.state,
                    AttemptState::InDoubt | AttemptState::PresumedAbsent
                ) {
                    attempt.price
                } else {
                    0
                }
            };
            assert_eq!(
                batch_status.spent.micros(),
                model.sum(batch, |attempt| attempt.cost)
            );
            assert_eq!(
                batch_status.reserved.micros(),
                model.sum(batch, Attempt::reserved)
            );
            assert_eq!(batch_status.at_risk.micros(), model.sum(batch, at_risk));
            assert_eq!(batch_status.budget.map(Money::micros), model.batches[batch]);
            for (state, count) in &batch_status.jobs {
                let matches = |job: &&Job| job.batch == batch && job.state == *state;
                assert_eq!(
                    *count,
                    model.jobs.values().filter(matches).count() as u64,
                    "{state}"
                );
            }
        }
        assert_eq!(status.providers.len(), model.providers.len());
        for provider in status.providers {
            let name = provider.provider;
            assert_eq!(provider.in_flight, model.in_flight(name));
            assert_eq!(
                provider.paused.is_some(),
                model.providers[&name].is_suspended
            );
        }
    }

    /// Reads the token and the pool of every lease.
    fn leases(&self) -> BTreeMap<JobId, (i64, PoolId)> {
        let sql = "SELECT job_id, lease_token, lease_pool FROM jobs WHERE lease_token IS NOT NULL";
        let read =
            |row: &rusqlite::Row<'_>| Ok((JobId(row.get(0)?), (row.get(1)?, PoolId(row.get(2)?))));
        let mut statement = self.reader.prepare_cached(sql).expect("a query");
        statement
            .query_map([], read)
            .expect("the leases")
            .collect::<Result<_, _>>()
            .expect("the leases")
    }

    /// Reads the job, provider, state, cost and prediction of every attempt.
    fn attempts(&self) -> Vec<(i64, String, String, i64, Option<String>)> {
        let sql =
            "SELECT job_id, provider, state, cost, prediction_id FROM attempts ORDER BY attempt_id";
        let mut statement = self.reader.prepare_cached(sql).expect("a query");
        let rows = statement
            .query_map([], |row| row.try_into())
            .expect("the attempts");
        rows.collect::<Result<_, _>>().expect("the attempts")
    }

    /// Returns what each batch has spent and reserved.
    fn committed(&self) -> BTreeMap<&'static str, i64> {
        self.model
            .batches
            .keys()
            .map(|batch| (*batch, self.model.committed(batch)))
            .collect()
    }
}

#[test]
fn the_queue_agrees_with_a_small_model_after_every_operation() {
    let base = ProptestConfig {
        failure_persistence: None,
        max_shrink_time: 30_000,
        ..ProptestConfig::default()
    };
    let is_set = std::env::var_os("PROPTEST_CASES").is_some();
    let config = ProptestConfig {
        cases: if is_set { base.cases } else { DEFAULT_CASES },
        ..base
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let catalog = Arc::new(catalog::load(&[]).expect("the catalogue"));
    proptest!(config, |(operations in prop::collection::vec(operation(), 1..250))| {
        runtime.block_on(async {
            let mut harness = Harness::new(Arc::clone(&catalog)).await;
            for operation in operations {
                let before = harness.committed();
                harness.apply(operation.clone()).await;
                harness.compare().await;
                // A budget may be lowered below what is committed; then nothing more is committed.
                for (batch, committed) in harness.committed() {
                    let budget = harness.model.batches[batch].unwrap_or(i64::MAX);
                    let allowed = budget.max(*before.get(batch).unwrap_or(&0));
                    let late = harness.model.late.remove(batch).unwrap_or(0);
                    assert!(
                        committed <= allowed.saturating_add(late),
                        "{batch}: {committed} of {allowed}, {late} late: {operation:?}"
                    );
                }
            }
        });
    });
}
