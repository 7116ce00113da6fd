//! The conformance suite of the queue's ports: what every store must do, whatever it keeps its rows
//! in. Each test takes a [`Harness`] over any [`Store`]; `run_for_each_store!` runs it for all.
//!
//! What is true of SQLite files alone is in `sqlite`.

mod bills;
mod claims;
mod counters;
mod decisions;
mod findings;
mod gates;
mod leases;
mod limits;
mod loads;
mod lookups;
mod memory;
mod outcomes;
mod postgres;
mod reloads;
mod sqlite;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use overnight::catalog;
use overnight::clock::ManualClock;
use overnight::domain::{
    Catalog, Input, InputComparison, JobState, Location, Money, NewJob, Outcome, PoolId,
    PredictionHandle, ProviderName, ProviderSignal,
};
use overnight::queue::{
    BatchStatus, Capacity, Claim, ClaimRequest, ClaimResponse, Completed, JobRecord, LoadPlan,
    NewBatch, ProviderLimits, Queue, QueueError, Recorded, RemovedRows, RowChange, Step, Turn,
};

/// The price of a five-second clip.
const PRICE: i64 = 225_000;

/// A store under test.
pub(crate) trait Store {
    /// Creates an empty queue whose time is the clock's.
    fn create(clock: Arc<ManualClock>) -> Self;

    /// Opens the queue as another process does.
    fn open(&self) -> Arc<dyn Queue>;
}

/// Runs each test for every store.
macro_rules! run_for_each_store {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $test() {
                    type Store = crate::queue::sqlite::SqliteStore;
                    super::$test(crate::queue::Harness::<Store>::new().await).await;
                }
            )*
        }

        mod memory {
            $(
                #[tokio::test]
                async fn $test() {
                    type Store = crate::queue::memory::MemoryStore;
                    super::$test(crate::queue::Harness::<Store>::new().await).await;
                }
            )*
        }

        mod postgres {
            $(
                #[tokio::test]
                async fn $test() {
                    type Store = crate::queue::postgres::PostgresStore;
                    if crate::postgres_server::is_available() {
                        super::$test(crate::queue::Harness::<Store>::new().await).await;
                    }
                }
            )*
        }
    };
}
use run_for_each_store;

/// A queue with the empty batch `b`, and the pool `one` that works on it.
pub(crate) struct Harness<S> {
    store: S,
    queue: Arc<dyn Queue>,
    clock: Arc<ManualClock>,
    catalog: Arc<Catalog>,
    limits: ProviderLimits,
    budget: Option<Money>,
    /// The batch that claims are limited to.
    batch: Option<String>,
}

fn start_time() -> Timestamp {
    "2026-08-20T10:00:00Z".parse().expect("a time")
}

fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

fn pool(name: &str) -> PoolId {
    PoolId(name.into())
}

/// Returns the row with a number; rows with equal numbers have the same request.
pub(crate) fn row(row_key: &str, line: u64, number: usize, providers: &[ProviderName]) -> NewJob {
    let input = format!(r#"{{"image":"https://e.com/{number}.png","prompt":"{number}"}}"#);
    let input: Input = serde_json::from_str(&input).expect("an input");
    NewJob::new(
        input.fingerprint("kling-v1-standard"),
        row_key.into(),
        line,
        input,
        providers.to_vec(),
        Money::from_micros(PRICE),
    )
}

pub(crate) fn batch(name: &str) -> NewBatch {
    NewBatch {
        name: name.into(),
        model: "kling-v1-standard".into(),
        folder: Location::from("/renders").join(name),
        budget: None,
        comparison: InputComparison::default(),
        reuses_clips: false,
    }
}

fn count_submits(claims: &[Claim]) -> usize {
    claims
        .iter()
        .filter(|claim| claim.step == Step::Submit)
        .count()
}

fn lost_response(due_at: Timestamp) -> Outcome {
    Outcome::LostResponse {
        reason: "connection reset".into(),
        due_at,
    }
}

impl<S: Store> Harness<S> {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(start_time()));
        let store = S::create(Arc::clone(&clock));
        let queue = store.open();
        let harness = Self {
            store,
            queue,
            clock,
            catalog: Arc::new(catalog::load(&[]).expect("the catalogue")),
            limits: ProviderLimits {
                provider: ProviderName::Eachlabs,
                in_flight: 1000,
                creates_per_minute: 1000,
                history_delay: Duration::from_secs(900),
                has_storage: true,
            },
            budget: None,
            batch: None,
        };
        harness.load("b", &[]);
        harness.queue.join(pool("one")).await.expect("a pool");
        harness
    }

    /// Loads a batch with a row for each number, `r0`, `r1`, …
    fn load(&self, name: &str, numbers: &[usize]) -> LoadPlan {
        let mut staging = self.queue.stage(batch(name)).expect("a staging");
        for (index, number) in numbers.iter().enumerate() {
            let job = row(&format!("r{index}"), 1, *number, &[ProviderName::Eachlabs]);
            let changes = staging.add(&[job]).expect("added");
            assert!(!matches!(changes[0], RowChange::Duplicate { .. }));
        }
        staging.commit(RemovedRows::Keep).expect("committed")
    }

    /// Loads the batch `b` with rows that all differ.
    fn load_rows(&self, rows: usize) {
        self.load("b", &(0..rows).collect::<Vec<_>>());
    }

    /// Sets the queue's clock to a time after the start.
    fn at(&self, elapsed: SignedDuration) {
        self.clock.set(start_time() + elapsed);
    }

    fn now(&self) -> Timestamp {
        overnight::clock::Clock::now(self.clock.as_ref())
    }

    fn request(&self, steps: usize) -> ClaimRequest {
        ClaimRequest {
            batch: self.batch.clone(),
            budget: self.budget,
            capacity: Capacity::uniform(steps),
            providers: vec![self.limits],
            catalog: Arc::clone(&self.catalog),
        }
    }

    async fn try_claim(&self, pool_name: &str, steps: usize) -> Result<ClaimResponse, QueueError> {
        let turn = Turn {
            pool_id: pool(pool_name),
            completed: Vec::new(),
            holds_leases_at: Vec::new(),
            claim: Some(self.request(steps)),
        };
        Ok(self.queue.turn(Arc::new(turn)).await?.claimed)
    }

    async fn claim(&self, pool_name: &str, steps: usize) -> Vec<Claim> {
        let response = self.try_claim(pool_name, steps).await;
        response.expect("a claim").claims
    }

    /// Claims the next step, which must be of the given kind.
    async fn claim_step(&self, step: Step) -> Claim {
        let claim = self.claim("one", 1).await.pop().expect("a due step");
        assert_eq!(claim.step, step);
        claim
    }

    async fn complete(&self, completed: Vec<Completed>) -> Result<Vec<Recorded>, QueueError> {
        let turn = Turn {
            pool_id: pool("one"),
            completed,
            holds_leases_at: Vec::new(),
            claim: None,
        };
        Ok(self.queue.turn(Arc::new(turn)).await?.recorded)
    }

    async fn try_record(&self, claim: &Claim, outcome: Outcome) -> Result<Recorded, QueueError> {
        self.record_with_signal(claim, outcome, None).await
    }

    async fn record_with_signal(
        &self,
        claim: &Claim,
        outcome: Outcome,
        signal: Option<ProviderSignal>,
    ) -> Result<Recorded, QueueError> {
        let completed = Completed::Step {
            claim: Arc::new(claim.clone()),
            unrecorded_polls: 0,
            outcome,
            signal,
        };
        let mut recorded = self.complete(vec![completed]).await?;
        Ok(recorded.remove(0))
    }

    /// Records an outcome and holds the lease further. Returns the claim to poll with, if the job is
    /// running.
    async fn record_and_hold(&self, claim: &Claim, outcome: Outcome) -> Option<Arc<Claim>> {
        let turn = Turn {
            pool_id: pool("one"),
            completed: vec![Completed::Step {
                claim: Arc::new(claim.clone()),
                unrecorded_polls: 0,
                outcome,
                signal: None,
            }],
            holds_leases_at: vec![self.limits.provider],
            claim: None,
        };
        let mut result = self.queue.turn(Arc::new(turn)).await.expect("a turn");
        match result.recorded.remove(0) {
            Recorded::Job { held, .. } => held,
            other => panic!("not recorded: {other:?}"),
        }
    }

    /// Records an outcome and returns the job's new state.
    async fn record(&self, claim: &Claim, outcome: Outcome) -> JobState {
        match self.try_record(claim, outcome).await {
            Ok(Recorded::Job {
                state,
                instead: None,
                ..
            }) => state,
            other => panic!("not recorded: {other:?}"),
        }
    }

    /// Records that the provider accepted a submission, whose prediction is due at once.
    async fn accept(&self, claim: &Claim, prediction_id: &str) {
        let accepted = Outcome::Accepted {
            prediction: PredictionHandle::from_id(prediction_id),
            early_cost: None,
            due_at: self.now(),
        };
        assert_eq!(self.record(claim, accepted).await, JobState::Running);
    }

    async fn lose_response(&self, claim: &Claim) {
        let state = self.record(claim, lost_response(self.now())).await;
        assert_eq!(state, JobState::InDoubt);
    }

    async fn job(&self, id: &str) -> JobRecord {
        self.queue.find(id.into(), None).await.expect("the job")
    }

    async fn batch_status(&self, name: &str) -> BatchStatus {
        let status = self.queue.status(Some(name.into())).await;
        status.expect("a status").batches.remove(0)
    }
}
