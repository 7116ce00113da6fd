//! What is true of PostgreSQL alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use overnight::clock::ManualClock;
use overnight::domain::{JobState, PoolId};
use overnight::queue::postgres::{Database, PostgresQueue};
use overnight::queue::{Claim, Completed, Queue, Turn};

use super::{Harness, Store, pool, seconds};
use crate::postgres_server;

/// A queue in a database of its own.
pub(crate) struct PostgresStore {
    url: String,
    clock: Arc<ManualClock>,
}

impl Store for PostgresStore {
    fn create(clock: Arc<ManualClock>) -> Self {
        Self {
            url: postgres_server::create_database(),
            clock,
        }
    }

    fn open(&self) -> Arc<dyn Queue> {
        let clock = Arc::clone(&self.clock) as _;
        Arc::new(PostgresQueue::with_clock(self.database(), clock).expect("a queue"))
    }
}

impl PostgresStore {
    fn database(&self) -> Database {
        let url = self.url.clone().into();
        Database::new(&url, &BTreeMap::new()).expect("a URL")
    }

    /// Ends all connections to the database, as an administrator does.
    fn end_connections(&self) {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        postgres_server::execute(&self.url, sql);
    }
}

#[tokio::test]
async fn many_connections_that_claim_at_once_never_hold_more_slots_than_there_are() {
    if !postgres_server::is_available() {
        return;
    }
    let mut harness = Harness::<PostgresStore>::new().await;
    harness.load_rows(400);
    harness.limits.in_flight = 7;
    let queues: Vec<Arc<dyn Queue>> = (0..16).map(|_| harness.store.open()).collect();
    let names = (0..16).map(|number| pool(&format!("p{number}")));
    let pools: Vec<PoolId> = names.collect();
    for (queue, pool) in queues.iter().zip(&pools) {
        queue.join(pool.clone()).await.expect("a pool");
    }
    for round in 0..10 {
        let claim = |number: usize| {
            let turn = Turn {
                pool_id: pools[number].clone(),
                completed: Vec::new(),
                holds_leases_at: Vec::new(),
                claim: Some(harness.request(3)),
            };
            queues[number].turn(Arc::new(turn))
        };
        let turns = futures_util::future::join_all((0..16).map(claim)).await;
        let claims: Vec<Claim> = turns
            .into_iter()
            .flat_map(|turn| turn.expect("a turn").claimed.claims)
            .collect();
        assert_eq!(claims.len(), 7, "round {round}");
        let not_started = claims.into_iter().map(|claim| Completed::NotStarted {
            claim: Arc::new(claim),
        });
        harness
            .complete(not_started.collect())
            .await
            .expect("a turn");
    }
    assert_eq!(harness.queue.verify_counters().await.expect("checked"), []);
}

#[tokio::test]
async fn the_jobs_of_a_pool_whose_process_is_gone_are_taken_over_long_before_its_leases_end() {
    if !postgres_server::is_available() {
        return;
    }
    let harness = Harness::<PostgresStore>::new().await;
    harness.load_rows(1);
    let other = harness.store.open();
    other.join(pool("two")).await.expect("a pool");
    assert_eq!(harness.claim("two", 1).await.len(), 1);
    // It lives: however often it is checked, nothing is taken from it.
    for _ in 0..20 {
        assert_eq!(harness.queue.take_over().await.expect("a check"), 0);
    }
    drop(other);
    while harness.queue.take_over().await.expect("a check") == 0 {}
    assert_eq!(harness.job("r0").await.state, JobState::InDoubt);
}

#[tokio::test]
async fn a_pool_whose_connections_were_ended_works_on_and_is_not_taken_over() {
    if !postgres_server::is_available() {
        return;
    }
    let harness = Harness::<PostgresStore>::new().await;
    harness.load_rows(2);
    let other = harness.store.open();
    other.join(pool("two")).await.expect("a pool");
    let claim = harness.claim("one", 1).await.remove(0);
    harness.store.end_connections();
    // What was under way is an error, and the next operation connects again.
    while harness.queue.heartbeat(pool("one")).await.is_err() {}
    while other.take_over().await.is_err() {}
    while harness.queue.take_over().await.is_err() {}
    harness.accept(&claim, "p").await;
    harness.at(seconds(5));
    // Longer than a lock must be free.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1500) {
        assert_eq!(other.take_over().await.expect("a check"), 0);
        assert_eq!(harness.queue.take_over().await.expect("a check"), 0);
    }
    assert_eq!(harness.job("r0").await.state, JobState::Running);
}
