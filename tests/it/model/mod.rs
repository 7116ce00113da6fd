//! Random operations on a real SQLite queue and on a small model of it, compared after every one.
//!
//! `PROPTEST_CASES=5000 cargo test --test it model` looks longer than the usual run does.

mod claims;
mod decisions;
mod operation;
mod reference;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use overnight::catalog;
use overnight::domain::{
    AttemptState, Catalog, Cost, CostSource, Input, JobId, JobState, Lease, Money, NewJob, Outcome,
    PoolId, ProviderName, ProviderSignal, SavedFile,
};
use overnight::queue::sqlite::SqliteQueue;
use overnight::queue::{JobFilter, NewBatch, Queue, QueueError, Selection};
use proptest::prelude::*;
use proptest::sample::Index;
use rusqlite::Connection;
use tempfile::TempDir;

use operation::{BATCHES, Choice, Operation, VIAS, operation, prediction_of, start};
use reference::{Attempt, Job, Model, Pool, Refusal, Row, price};

/// Enough to find what a one-line slip breaks, few enough for every run of the suite.
const CASES: u32 = 30;

/// Two processes on one queue file, and the model of it.
struct World {
    model: Model,
    now: Timestamp,
    leases: Vec<Lease>,
    /// Every pool that ever joined, also when it was taken for dead since; not those whose process died.
    pools: Vec<(PoolId, usize)>,
    joined: usize,
    catalog: Arc<Catalog>,
    /// For what the port does not tell: who holds which lease, and every attempt of every job at once.
    reader: Connection,
    processes: [Option<SqliteQueue>; 2],
    dir: TempDir,
}

fn refusal<T>(result: Result<T, QueueError>) -> Result<T, Refusal> {
    result.map_err(|error| match error {
        QueueError::LeaseLost(_) => Refusal::LeaseLost,
        QueueError::PoolLost(_) => Refusal::PoolLost,
        QueueError::Illegal(_) => Refusal::Illegal,
        QueueError::Conflict(_) => Refusal::Conflict,
        QueueError::NotFound(_) => Refusal::NotFound,
        fault => panic!("{fault}"),
    })
}

impl World {
    async fn new(catalog: Arc<Catalog>) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("q.db");
        let open = || Some(SqliteQueue::open_or_create(&path).expect("a queue"));
        let processes = [open(), open()];
        let reader = Connection::open(&path).expect("a connection");
        let (model, leases, pools) = (Model::default(), Vec::new(), Vec::new());
        let mut world = Self {
            model,
            now: start(),
            leases,
            pools,
            joined: 0,
            catalog,
            reader,
            processes,
            dir,
        };
        world.load(0, 5, 0, VIAS[2], None);
        for process in [0, 1] {
            world.join(process).await;
        }
        world
    }

    fn queue(&self, process: usize) -> &SqliteQueue {
        self.processes[process].as_ref().expect("a process")
    }

    fn lease(&self, lease: Index, is_late: bool) -> Option<Lease> {
        let holds = |lease: &&Lease| {
            let held = self.model.jobs[&lease.job_id].lease.as_ref();
            held.is_some_and(|(token, _)| *token == lease.token)
        };
        let leases: Vec<&Lease> = self
            .leases
            .iter()
            .filter(|lease| is_late || holds(lease))
            .collect();
        (!leases.is_empty()).then(|| leases[lease.index(leases.len())].clone())
    }

    fn in_45_seconds(&self) -> Timestamp {
        self.now + SignedDuration::from_secs(45)
    }

    async fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Load {
                batch,
                rows,
                prompts,
                via,
                budget,
            } => {
                self.load(batch, rows, prompts, VIAS[via], budget);
            }
            Operation::Claim(ask) => self.claim(ask).await,
            Operation::Advance {
                lease,
                is_late,
                outcome,
                chance,
                fits,
                due_in,
                gate,
            } => {
                let Some(lease) = self.lease(lease, is_late) else {
                    return;
                };
                let mut outcomes = self.outcomes(&lease, chance, due_in);
                let is_legal = |outcome: &Outcome| {
                    let advanced = self
                        .model
                        .clone()
                        .record_outcome(&lease, outcome, None, self.now);
                    advanced != Err(Refusal::Illegal)
                };
                if fits && outcomes.iter().any(is_legal) {
                    outcomes.retain(is_legal);
                }
                self.record_outcome(lease, outcome.get(&outcomes).clone(), gate)
                    .await;
            }
            Operation::Release { lease, is_late } => {
                let Some(lease) = self.lease(lease, is_late) else {
                    return;
                };
                let released = refusal(self.queue(1).release(lease.clone(), self.now).await);
                assert_eq!(released, self.model.release(&lease, self.now).map(drop));
            }
            Operation::Join { process } => self.join(process).await,
            Operation::Renew { pool } => {
                let Some((pool, process)) = self.pool(pool) else {
                    return;
                };
                let expires_at = self.in_45_seconds();
                let renewed = refusal(
                    self.queue(process)
                        .heartbeat(pool.clone(), self.now, expires_at)
                        .await,
                );
                let known = self.model.pools.get_mut(&pool);
                let expected = known
                    .map(|known| known.expires_at = expires_at)
                    .ok_or(Refusal::PoolLost);
                assert_eq!(renewed, expected);
            }
            Operation::Leave { pool } => {
                let Some((pool, process)) = self.pool(pool) else {
                    return;
                };
                self.queue(process)
                    .leave(pool.clone(), self.now)
                    .await
                    .expect("left");
                self.pools.retain(|(other, _)| *other != pool);
                self.model.remove_pool(&pool, self.now);
            }
            Operation::Reap { process } => {
                let freed = self
                    .queue(process)
                    .take_over(self.now)
                    .await
                    .expect("reaped");
                assert_eq!(freed, self.model.take_over(process, self.now));
            }
            Operation::Unpause => {
                self.queue(0).reopen_providers().await.expect("unpaused");
                self.model.reopen_providers();
            }
            Operation::Reopen { process } => {
                self.processes[process] = None;
                let queue = SqliteQueue::open(&self.dir.path().join("q.db")).expect("the queue");
                self.processes[process] = Some(queue);
                self.pools.retain(|(_, of)| *of != process);
                self.model.suspects[process].clear();
                for pool in self.model.pools.values_mut() {
                    pool.is_dead |= pool.process == process;
                }
            }
            Operation::Retry(choice) => {
                let (selection, job_ids) = self.choose(&choice, JobState::Failed);
                let retried = refusal(self.queue(0).retry(selection, self.now).await);
                assert_eq!(
                    retried,
                    job_ids.and_then(|ids| self.model.retry(&ids, self.now))
                );
            }
            Operation::Redownload { job } => {
                let job_id = *job.get(&self.model.jobs.keys().copied().collect::<Vec<_>>());
                let lost = self
                    .queue(0)
                    .requeue_downloads(vec![job_id], self.now)
                    .await
                    .expect("lost");
                assert_eq!(lost, self.model.lose_file(job_id, self.now));
            }
            Operation::Cancel(choice) => {
                let (selection, job_ids) = self.choose(&choice, JobState::Queued);
                let cancelled = refusal(self.queue(0).cancel(selection, self.now).await);
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
                let settled = refusal(
                    self.queue(0)
                        .resolve(job_id, decision.clone(), self.now)
                        .await,
                );
                assert_eq!(settled, self.model.resolve(job_id, &decision, self.now));
            }
            Operation::SetBudget { batch, budget } => {
                let money = budget.map(Money::from_micros);
                let set = self.queue(0).set_budget(BATCHES[batch].into(), money).await;
                match self.model.batches.get_mut(BATCHES[batch]) {
                    Some(known) => *known = budget,
                    None => assert!(matches!(set, Err(QueueError::NotFound(_))), "{set:?}"),
                }
            }
            Operation::Pass { millis } => self.now += SignedDuration::from_millis(millis),
        }
    }

    fn load(
        &mut self,
        batch: usize,
        rows: u8,
        prompts: u8,
        via: &[ProviderName],
        budget: Option<i64>,
    ) {
        let name = BATCHES[batch];
        let new = NewBatch {
            name: name.into(),
            model: "kling-v1-standard".into(),
            folder: PathBuf::from("/renders").join(name),
            budget: budget.map(Money::from_micros),
        };
        let mut staging = self.queue(0).stage(new).expect("a staging");
        let mut expected = Vec::new();
        for row in 0..rows {
            let (prompt, seconds) = (prompts >> row & 1, if row % 3 == 2 { 10 } else { 5 });
            let input = format!(
                r#"{{"image":"https://e.com/{batch}/{row}.png","prompt":"{prompt}","duration":{seconds}}}"#
            );
            let input: Input = serde_json::from_str(&input).expect("an input");
            let (row_key, providers) = (format!("r{row}"), via.to_vec());
            let estimate = Money::from_micros(price(via[0], seconds));
            let job = NewJob::new(
                "kling-v1-standard",
                row_key.clone(),
                1,
                input,
                providers.clone(),
                estimate,
            );
            staging.add(&[job], self.now).expect("added");
            expected.push(Row {
                row_key,
                prompt,
                seconds,
                providers,
            });
        }
        let plan = staging.commit(self.now).expect("committed");
        let counts = [
            plan.new,
            plan.changed,
            plan.in_progress,
            plan.unchanged,
            plan.removed,
        ]
        .map(|count| count as usize);
        assert_eq!(counts, self.model.load(name, expected, self.now));
        let known = self.model.batches.entry(name).or_default();
        *known = budget.or(*known);
    }

    async fn join(&mut self, process: usize) {
        let pool = PoolId(format!("pool-{}", self.joined));
        self.joined += 1;
        let expires_at = self.in_45_seconds();
        self.queue(process)
            .join(pool.clone(), self.now, expires_at)
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

    fn pool(&self, pool: Index) -> Option<(PoolId, usize)> {
        (!self.pools.is_empty()).then(|| pool.get(&self.pools).clone())
    }

    /// Every outcome there is, whether the job's state allows it or not.
    fn outcomes(&self, lease: &Lease, chance: u8, due_in: i64) -> Vec<Outcome> {
        let due_at = self.now + SignedDuration::from_millis(due_in);
        let reason = || "it was so".to_owned();
        let prediction = prediction_of(chance);
        let attempt = self.model.jobs[&lease.job_id]
            .attempt
            .map(|attempt| &self.model.attempts[attempt]);
        // What the provider bills is its own word, but here never more than was reserved, nor later another sum.
        let billed = attempt.map_or(0, |attempt| match attempt.state {
            AttemptState::Done => attempt.cost,
            _ => attempt.price / 2 * i64::from(chance % 3),
        });
        let cost = Cost {
            amount: Money::from_micros(billed),
            source: CostSource::Reported,
        };
        let file = SavedFile {
            path: "/renders/clip.mp4".into(),
            bytes: 1,
            sha256: "00".into(),
        };
        vec![
            // The way to a clip is long: what leads there comes more often.
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
                output_url: "https://e.com/clip".into(),
                cost,
                processing: None,
                due_at,
            },
            Outcome::Finished {
                output_url: "https://e.com/clip".into(),
                cost,
                processing: None,
                due_at,
            },
            Outcome::Refused {
                reason: reason(),
                due_at,
                counted: true,
            },
            Outcome::Rejected { reason: reason() },
            Outcome::LostResponse {
                reason: reason(),
                due_at,
            },
            Outcome::Adopted { prediction, due_at },
            Outcome::ProvenAbsent { due_at },
            Outcome::Wait {
                due_at: Some(due_at),
                failure: Some(reason()),
            },
            Outcome::Wait {
                due_at: None,
                failure: None,
            },
            Outcome::Finished {
                output_url: "https://e.com/clip".into(),
                cost,
                processing: None,
                due_at,
            },
            Outcome::PredictionFailed {
                reason: reason(),
                cost,
                retry_at: Some(due_at),
            },
            Outcome::PredictionFailed {
                reason: reason(),
                cost,
                retry_at: None,
            },
            Outcome::LinkExpired {
                reason: reason(),
                due_at,
            },
            Outcome::Saved { file },
            Outcome::GaveUp { reason: reason() },
        ]
    }

    async fn record_outcome(
        &mut self,
        lease: Lease,
        outcome: Outcome,
        gate: Option<ProviderSignal>,
    ) {
        let attempt = self.model.jobs[&lease.job_id]
            .attempt
            .map(|attempt| &self.model.attempts[attempt]);
        let provider = attempt.map_or(ProviderName::Fal, |attempt| attempt.provider);
        let told = gate.clone().map(|gate| (provider, gate));
        let advanced = self
            .queue(1)
            .record_outcome(lease.clone(), outcome.clone(), told, self.now)
            .await;
        let expected = self
            .model
            .record_outcome(&lease, &outcome, gate.as_ref(), self.now);
        assert_eq!(refusal(advanced), expected, "{outcome:?}");
    }

    /// Makes a person's choice, and tells which jobs it means.
    fn choose(&self, choice: &Choice, usual: JobState) -> (Selection, Result<Vec<JobId>, Refusal>) {
        let batch = choice.batch.map(|batch| BATCHES[batch]);
        let mut selection = Selection {
            states: choice.state.into_iter().collect(),
            ..Selection::default()
        };
        let jobs = &self.model.jobs;
        if let Some(job) = &choice.job {
            let job_id = *job.get(&jobs.keys().copied().collect::<Vec<_>>());
            selection.jobs = vec![job_id.to_string()];
            let is_meant = choice
                .state
                .is_none_or(|state| jobs[&job_id].state == state);
            return (
                selection,
                Ok(is_meant.then_some(job_id).into_iter().collect()),
            );
        }
        selection.batch = batch.map(str::to_owned);
        if batch.is_some_and(|batch| !self.model.batches.contains_key(batch)) {
            return (selection, Err(Refusal::NotFound));
        }
        let state = choice.state.unwrap_or(usual);
        let meant = jobs
            .iter()
            .filter(|(_, job)| job.state == state && batch.is_none_or(|batch| job.batch == batch));
        (selection, Ok(meant.map(|(job_id, _)| *job_id).collect()))
    }
}

impl World {
    /// Compares all that the two can tell, after every operation.
    async fn compare(&self) {
        let (queue, model) = (self.queue(0), &self.model);
        let leases = self.leases();
        let jobs = queue
            .jobs(JobFilter::default(), None, 100)
            .await
            .expect("the jobs");
        assert_eq!(jobs.len(), model.jobs.len());
        for told in jobs {
            let job = &model.jobs[&told.job_id];
            assert_eq!(
                (told.batch.as_str(), &told.id),
                (job.batch, &job.row.row_key)
            );
            assert_eq!(
                (told.state, told.attempts, told.due_at),
                (job.state, job.paid, job.due_at),
                "{told:?}"
            );
            assert_eq!(leases.get(&told.job_id), job.lease.as_ref(), "{told:?}");
        }
        let attempts = self.attempts();
        assert_eq!(attempts.len(), model.attempts.len());
        for (told, attempt) in attempts.iter().zip(&model.attempts) {
            let (job_id, provider, state) = (
                attempt.job_id,
                attempt.provider.as_str(),
                attempt.state.as_str(),
            );
            let expected = (
                job_id.0,
                provider.into(),
                state.into(),
                attempt.cost,
                attempt.prediction.clone(),
            );
            assert_eq!(told, &expected);
        }
        for job_id in model.jobs.keys() {
            let is_open = |attempt: &&Attempt| attempt.job_id == *job_id && attempt.state.is_open();
            assert!(
                model.attempts.iter().filter(is_open).count() <= 1,
                "job {job_id} has two attempts open"
            );
        }
        let status = queue.status(None).await.expect("a status");
        assert_eq!(status.batches.len(), model.batches.len());
        for told in status.batches {
            let batch = told.batch.as_str();
            let at_risk = |attempt: &Attempt| {
                if attempt.state == AttemptState::InDoubt {
                    attempt.price
                } else {
                    0
                }
            };
            assert_eq!(
                told.spent.micros(),
                model.sum(batch, |attempt| attempt.cost)
            );
            assert_eq!(told.reserved.micros(), model.sum(batch, Attempt::reserved));
            assert_eq!(told.at_risk.micros(), model.sum(batch, at_risk));
            assert_eq!(told.budget.map(Money::micros), model.batches[batch]);
            for (state, count) in &told.jobs {
                let is = |job: &&Job| job.batch == batch && job.state == *state;
                assert_eq!(
                    *count,
                    model.jobs.values().filter(is).count() as u64,
                    "{state}"
                );
            }
        }
        assert_eq!(status.providers.len(), model.gates.len());
        for told in status.providers {
            assert_eq!(told.in_flight, model.in_flight(told.provider));
            assert_eq!(told.paused.is_some(), model.gates[&told.provider].paused);
        }
    }

    fn leases(&self) -> BTreeMap<JobId, (i64, PoolId)> {
        let sql = "SELECT job_id, lease_token, lease_pool FROM jobs WHERE lease_token IS NOT NULL";
        let read =
            |row: &rusqlite::Row<'_>| Ok((JobId(row.get(0)?), (row.get(1)?, PoolId(row.get(2)?))));
        let mut leases = self.reader.prepare_cached(sql).expect("a query");
        leases
            .query_map([], read)
            .expect("the leases")
            .collect::<Result<_, _>>()
            .expect("the leases")
    }

    fn attempts(&self) -> Vec<(i64, String, String, i64, Option<String>)> {
        let sql =
            "SELECT job_id, provider, state, cost, prediction_id FROM attempts ORDER BY attempt_id";
        let mut attempts = self.reader.prepare_cached(sql).expect("a query");
        let rows = attempts
            .query_map([], |row| row.try_into())
            .expect("the attempts");
        rows.collect::<Result<_, _>>().expect("the attempts")
    }

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
    let usual = ProptestConfig {
        failure_persistence: None,
        max_shrink_time: 30_000,
        ..ProptestConfig::default()
    };
    let is_set = std::env::var_os("PROPTEST_CASES").is_some();
    let config = ProptestConfig {
        cases: if is_set { usual.cases } else { CASES },
        ..usual
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let catalog = Arc::new(catalog::load(&[]).expect("the catalogue"));
    proptest!(config, |(operations in prop::collection::vec(operation(), 1..250))| {
        runtime.block_on(async {
            let mut world = World::new(Arc::clone(&catalog)).await;
            for operation in operations {
                let before = world.committed();
                world.apply(operation).await;
                world.compare().await;
                // A budget that was lowered below what is committed stands only in the way of more.
                for (batch, committed) in world.committed() {
                    let budget = world.model.batches[batch].unwrap_or(i64::MAX);
                    assert!(committed <= budget.max(*before.get(batch).unwrap_or(&0)), "{batch}");
                }
            }
        });
    });
}
