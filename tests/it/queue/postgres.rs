//! What is true of PostgreSQL alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use overnight::clock::ManualClock;
use overnight::domain::{JobState, NewJob, Outcome, PoolId, ProviderName};
use overnight::queue::postgres::{Database, PostgresQueue};
use overnight::queue::{Claim, Completed, Queue, RemovedRows, RowChange, Turn};

use super::{Harness, Store, batch, pool, row, seconds};
use crate::postgres_server;
use crate::support::wait_until;

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
async fn others_claim_while_a_load_adds_new_rows_and_it_sees_what_they_have_claimed() {
    if !postgres_server::is_available() {
        return;
    }
    let harness = Harness::<PostgresStore>::new().await;
    harness.load_rows(2);
    let new = |key: String, number| row(&key, 1, number, &[ProviderName::Eachlabs]);
    let mut staging = harness.queue.stage(batch("b")).expect("a staging");
    let rows = (0..50).map(|number| new(format!("new{number}"), 100 + number));
    let mut rows: Vec<NewJob> = rows.collect();
    rows.push(new("r0".into(), 0));
    let changes = staging.add(&rows).expect("added");
    assert_eq!(changes[..50], [RowChange::New; 50]);
    assert_eq!(changes[50], RowChange::Unchanged);

    let claim = harness.claim("one", 1);
    let claimed = tokio::time::timeout(Duration::from_secs(10), claim).await;
    assert_eq!(claimed.expect("nobody waits for the load").len(), 1);
    let (r1, r2) = (new("r1".into(), 7), new("r2".into(), 8));
    let changed = staging.add(&[new("r0".into(), 9), r1, r2]).expect("added");
    let repeated = RowChange::Duplicate { line: 1 };
    assert_eq!(changed, [repeated, RowChange::Changed, RowChange::New]);
    let plan = staging.commit(RemovedRows::Keep).expect("committed");
    assert_eq!((plan.new, plan.changed, plan.queued), (51, 1, 52));
    assert_eq!(harness.queue.verify_counters().await.expect("checked"), []);
}

#[tokio::test]
async fn a_load_leaves_a_changed_row_alone_that_was_claimed_since_it_began() {
    if !postgres_server::is_available() {
        return;
    }
    let harness = Harness::<PostgresStore>::new().await;
    harness.load_rows(1);
    let new = |key: &str, number| row(key, 1, number, &[ProviderName::Eachlabs]);
    let mut staging = harness.queue.stage(batch("b")).expect("a staging");
    staging.add(&[new("new", 5)]).expect("added");
    assert_eq!(harness.claim("one", 1).await.len(), 1);
    let changed = staging.add(&[new("r0", 9)]).expect("added");
    assert_eq!(changed, [RowChange::InProgress]);
    staging.commit(RemovedRows::Keep).expect("committed");
    assert_eq!(harness.job("r0").await.state, JobState::Submitting);
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

#[tokio::test]
async fn a_pool_hears_of_rows_that_were_loaded_and_of_slots_that_another_has_freed() {
    if !postgres_server::is_available() {
        return;
    }
    let mut harness = Harness::<PostgresStore>::new().await;
    harness.limits.in_flight = 1;
    let other = harness.store.open();
    other.join(pool("two")).await.expect("a pool");
    // It may have missed something before it listened.
    harness.queue.wait_for_change().await;
    assert!(is_quiet(&*harness.queue).await);
    let loader = Arc::clone(&harness.queue);
    harness.queue = harness.store.open();
    harness.load_rows(2);
    loader.wait_for_change().await;
    // What a process does itself is no news to it, nor that a slot was taken.
    let claims = claim_and_reject(&*other, &harness, Vec::new(), 1).await;
    assert_eq!(claims.len(), 1);
    assert!(is_quiet(&*loader).await);
    claim_and_reject(&*other, &harness, claims, 0).await;
    loader.wait_for_change().await;
}

/// Returns whether a queue hears of nothing for long enough that it would have.
async fn is_quiet(queue: &dyn Queue) -> bool {
    let heard = tokio::time::timeout(Duration::from_millis(300), queue.wait_for_change());
    heard.await.is_err()
}

/// Plans that were made while the tables were empty would be the worst later: they read whole tables.
#[tokio::test]
async fn statements_that_were_planned_in_an_empty_queue_read_a_few_pages_of_a_full_one() {
    const ROWS: usize = 12_000;
    const STEPS: usize = 10;
    const TURNS: usize = 6;
    if !postgres_server::is_available() {
        return;
    }
    let mut harness = Harness::<PostgresStore>::new().await;
    harness.limits.in_flight = 1000;
    harness.limits.creates_per_minute = 1000;
    let worker = harness.store.open();
    worker.join(pool("two")).await.expect("a pool");
    // Each number of steps is a statement of its own.
    harness.load("a", &[0]);
    let mut claims = claim_and_reject(&*worker, &harness, Vec::new(), 1).await;
    claims = claim_and_reject(&*worker, &harness, claims, 1).await;
    harness.load_rows(ROWS);
    // A connection counts its pages when it is closed.
    harness.queue = harness.store.open();
    let url = harness.store.url.clone();
    let count = |sql: &str| postgres_server::number(&url, sql);
    wait_until("the loaded rows are counted", || {
        count("SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'jobs'") > ROWS as i64
    });
    // The worker may have sent a notification of its own, and keeps that connection.
    wait_until("the connection of the load is closed", || {
        count(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'NOTIFY%COMMIT'",
        ) == 0
    });
    // The server counts rows when it likes, and then plans anew. It takes the queued jobs for millions.
    postgres_server::execute(
        &url,
        "ANALYZE;
         UPDATE pg_class SET reltuples = 1000 * reltuples
         WHERE relnamespace = 'overnight'::regnamespace AND relname = 'jobs'",
    );
    let pages = "SELECT sum(coalesce(heap_blks_read, 0) + coalesce(heap_blks_hit, 0) + coalesce(idx_blks_read, 0)
                          + coalesce(idx_blks_hit, 0)) FROM pg_statio_user_tables";
    let before = count(pages);
    for _ in 0..TURNS {
        claims = claim_and_reject(&*worker, &harness, claims, STEPS).await;
    }
    drop(worker);
    wait_until("the turns are counted", || {
        let written = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'attempts'";
        count(written) > (TURNS * STEPS) as i64
    });
    let per_job = (count(pages) - before) / (TURNS * STEPS) as i64;
    // Two tables, thirteen indexes, some of two levels; a table of so many rows has hundreds of pages.
    assert!(per_job < 64, "{per_job} pages a job");
}

/// Claims jobs, after the claims before it were recorded as rejected.
async fn claim_and_reject(
    queue: &dyn Queue,
    harness: &Harness<PostgresStore>,
    claims: Vec<Claim>,
    steps: usize,
) -> Vec<Claim> {
    let rejected = |claim| Completed::Step {
        claim: Arc::new(claim),
        unrecorded_polls: 0,
        outcome: Outcome::Rejected {
            reason: "the input was refused".into(),
        },
        signal: None,
    };
    let turn = Turn {
        pool_id: pool("two"),
        completed: claims.into_iter().map(rejected).collect(),
        holds_leases_at: Vec::new(),
        claim: Some(harness.request(steps)),
    };
    queue
        .turn(Arc::new(turn))
        .await
        .expect("a turn")
        .claimed
        .claims
}
