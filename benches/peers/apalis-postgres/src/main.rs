use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use apalis::prelude::*;
use apalis_postgres::{Config, PgPool, PostgresStorage};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use tokio::sync::watch;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn payload(number: u32) -> Value {
    let prompt =
        format!("Slow turntable of product {number} on a linen cloth, soft light from the left");
    json!({
        "image": format!("https://images.example.com/catalogue/{number}.jpg"),
        "prompt": prompt,
        "duration": 5,
    })
}

async fn open(url: &str, connections: u32) -> Result<PgPool, AnyError> {
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .min_connections(connections)
        .test_before_acquire(std::env::var("TBA").is_ok())
        .connect(url)
        .await?;
    sqlx::query("DROP SCHEMA IF EXISTS apalis CASCADE").execute(&pool).await?;
    PostgresStorage::setup(&pool).await?;
    Ok(pool)
}

async fn enqueue(url: &str, jobs: u32) -> Result<f64, AnyError> {
    let pool = open(url, 1).await?;
    let mut storage: PostgresStorage<Value> = PostgresStorage::new(&pool);
    let started_at = Instant::now();
    for number in 0..jobs {
        storage.push(payload(number)).await?;
    }
    Ok(f64::from(jobs) / started_at.elapsed().as_secs_f64())
}

async fn work(url: &str, workers: u32, jobs: u32, batch: usize, lock: bool, mode: &str) -> Result<f64, AnyError> {
    let pool = open(url, workers + 2).await?;
    let config = Config::default()
        .queue(std::any::type_name::<Value>())
        .batch_size(batch)
        .lock_tasks(lock);
    let mut storage: PostgresStorage<Value> = PostgresStorage::new(&pool).with_config(config);
    storage
        .push_stream(&mut futures::stream::iter((0..jobs).map(payload)))
        .await?;
    sqlx::query("ANALYZE").execute(&pool).await?;
    let remaining = Arc::new(AtomicU32::new(jobs));
    let (tx, rx) = watch::channel(false);
    let render = move |_: Value| {
        let remaining = Arc::clone(&remaining);
        let tx = tx.clone();
        async move {
            if remaining.fetch_sub(1, Ordering::SeqCst) == 1 {
                tx.send_replace(true);
            }
            Ok::<(), BoxDynError>(())
        }
    };
    let signal = |mut rx: watch::Receiver<bool>| async move {
        let _ = rx.wait_for(|d| *d).await;
        Ok::<(), std::io::Error>(())
    };
    let started_at = Instant::now();
    let mut set = tokio::task::JoinSet::new();
    if mode == "many" {
        for i in 0..workers {
            let w = WorkerBuilder::new(format!("benches-{i}")).backend(storage.clone()).concurrency(1).build(render.clone());
            set.spawn(w.run_until(signal(rx.clone())));
        }
    } else if mode == "par" {
        let w = WorkerBuilder::new("benches").backend(storage.clone()).concurrency(workers as usize).parallelize(tokio::spawn).build(render.clone());
        set.spawn(w.run_until(signal(rx.clone())));
    } else {
        let w = WorkerBuilder::new("benches").backend(storage.clone()).concurrency(workers as usize).build(render.clone());
        set.spawn(w.run_until(signal(rx.clone())));
    }
    while let Some(r) = set.join_next().await { r??; }
    let e = started_at.elapsed();
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT status, count(*) FROM apalis.jobs GROUP BY 1").fetch_all(&pool).await?;
    let commits: Vec<(i64,)> = sqlx::query_as("SELECT count(DISTINCT done_at) FROM apalis.jobs").fetch_all(&pool).await?;
    let rate = f64::from(jobs) / e.as_secs_f64();
    eprintln!("{workers} {batch} lock={lock} {mode}: {rate:.0} {rows:?} distinct done_at {commits:?}");
    Ok(rate)
}

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let mut args = std::env::args().skip(1);
    let url = args.next().ok_or("missing argument: URL of a database")?;
    let jobs = args.next().ok_or("missing argument: number of jobs")?.parse()?;
    writeln!(std::io::stdout(), "enqueue {}", enqueue(&url, jobs).await?)?;
    for lock in [true, false] {
        for batch in [1, 20, 100] { work(&url, 1, jobs, batch, lock, "many").await?; }
        for batch in [1, 10, 20, 100] { for mode in ["many", "par", "one"] { work(&url, 10, jobs, batch, lock, mode).await?; } }
    }
    Ok(())
}
