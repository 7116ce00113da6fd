//! Measures apalis on PostgreSQL: how many jobs per second it enqueues one by one, and how many it
//! claims and completes with 1 and with 10 workers. Prints the rates as one line of JSON.
//!
//! Arguments: the URL of a PostgreSQL database, and the number of jobs.
//!
//! The setting that matters is `Config::batch_size`, from the documentation of `apalis-postgres`.
//! A worker writes the completions of a batch in one transaction once it has run the whole batch,
//! even if its concurrency is 1. Only with batches of 1 is each job completed by a commit of its
//! own.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use apalis::prelude::*;
use apalis_postgres::{Config, PgPool, PostgresStorage};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use tokio::sync::watch;
use tokio::task::JoinSet;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Returns the payload of a job.
fn payload(number: u32) -> Value {
    let prompt =
        format!("Slow turntable of product {number} on a linen cloth, soft light from the left");
    json!({
        "image": format!("https://images.example.com/catalogue/{number}.jpg"),
        "prompt": prompt,
        "duration": 5,
    })
}

/// Returns connections to a database in which apalis has just been installed.
async fn open(url: &str, connections: u32) -> Result<PgPool, AnyError> {
    let pool = PgPoolOptions::new()
        .min_connections(connections)
        .max_connections(connections)
        // It would cost a round trip for each transaction.
        .test_before_acquire(false)
        .connect(url)
        .await?;
    sqlx::query("DROP SCHEMA IF EXISTS apalis CASCADE")
        .execute(&pool)
        .await?;
    PostgresStorage::setup(&pool).await?;
    Ok(pool)
}

/// Returns the rate of enqueueing one job at a time.
async fn enqueue(url: &str, jobs: u32) -> Result<f64, AnyError> {
    let pool = open(url, 2).await?;
    let mut storage: PostgresStorage<Value> = PostgresStorage::new(&pool);
    let started_at = Instant::now();
    for number in 0..jobs {
        storage.push(payload(number)).await?;
    }
    let rate = f64::from(jobs) / started_at.elapsed().as_secs_f64();
    pool.close().await;
    Ok(rate)
}

/// Returns the rate of claiming and completing jobs.
async fn work(url: &str, workers: u32, jobs: u32) -> Result<f64, AnyError> {
    let pool = open(url, workers + 2).await?;
    let config = Config::default()
        .queue(std::any::type_name::<Value>())
        .batch_size(1);
    let mut storage: PostgresStorage<Value> = PostgresStorage::new(&pool).with_config(config);
    storage
        .push_stream(&mut futures::stream::iter((0..jobs).map(payload)))
        .await?;
    // Autovacuum would do this, but not within the first minute of a queue.
    sqlx::query("ANALYZE").execute(&pool).await?;
    let remaining = Arc::new(AtomicU32::new(jobs));
    let (done, _) = watch::channel(false);
    let started_at = Instant::now();
    // Each worker claims and completes on a connection of its own. One worker with a concurrency of
    // 10 would do so on one connection, and is slower.
    let mut runs = JoinSet::new();
    for number in 0..workers {
        let remaining = Arc::clone(&remaining);
        let handled = done.clone();
        let render = move |_: Value| {
            let remaining = Arc::clone(&remaining);
            let handled = handled.clone();
            async move {
                if remaining.fetch_sub(1, Ordering::SeqCst) == 1 {
                    handled.send_replace(true);
                }
                Ok::<(), BoxDynError>(())
            }
        };
        let worker = WorkerBuilder::new(format!("benches-{number}"))
            .backend(storage.clone())
            .concurrency(1)
            .build(render);
        let mut stop = done.subscribe();
        runs.spawn(worker.run_until(async move {
            stop.wait_for(|&is_done| is_done)
                .await
                .map(|_| ())
                .map_err(std::io::Error::other)
        }));
    }
    // A worker writes its last completion before it ends.
    while let Some(run) = runs.join_next().await {
        run??;
    }
    let rate = f64::from(jobs) / started_at.elapsed().as_secs_f64();
    let completed: i64 =
        sqlx::query_scalar("SELECT count(*) FROM apalis.jobs WHERE status = 'Done'")
            .fetch_one(&pool)
            .await?;
    if completed != i64::from(jobs) {
        return Err(format!("it completed {completed} of {jobs} jobs").into());
    }
    pool.close().await;
    Ok(rate)
}

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let mut args = std::env::args().skip(1);
    let url = args.next().ok_or("missing argument: URL of a database")?;
    let jobs = args
        .next()
        .ok_or("missing argument: number of jobs")?
        .parse()?;
    let rates = json!({
        "enqueue": enqueue(&url, jobs).await?,
        "work_1": work(&url, 1, jobs).await?,
        "work_10": work(&url, 10, jobs).await?,
    });
    writeln!(std::io::stdout(), "{rates}")?;
    Ok(())
}
