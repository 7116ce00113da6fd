//! Measures apalis: how many jobs per second it enqueues one by one, and how many it claims and
//! completes with 1 and with 10 workers. Prints the rates as one line of JSON.
//!
//! Arguments: a working folder, and the number of jobs.
//!
//! `SqliteStorage::setup` would set `synchronous = OFF`, and acknowledged jobs would not survive
//! power loss. So only its migrations are run, on connections in WAL mode with `synchronous =
//! FULL`.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteStorage};
use serde_json::{Value, json};

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

async fn open(path: &Path) -> Result<SqlitePool, AnyError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .pragma("journal_mode", "WAL")
        .pragma("synchronous", "FULL");
    // SQLite has a single writer: more connections would only wait for each other.
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await?;
    SqliteStorage::migrations().run(&pool).await?;
    Ok(pool)
}

/// Returns the rate of enqueueing one job at a time.
async fn enqueue(path: &Path, jobs: u32) -> Result<f64, AnyError> {
    let pool = open(path).await?;
    let mut storage: SqliteStorage<Value> = SqliteStorage::new(&pool);
    let started_at = Instant::now();
    for number in 0..jobs {
        storage.push(payload(number)).await?;
    }
    Ok(f64::from(jobs) / started_at.elapsed().as_secs_f64())
}

/// Returns the rate of claiming and completing jobs.
async fn work(path: &Path, workers: u32, jobs: u32) -> Result<f64, AnyError> {
    let pool = open(path).await?;
    let config = Config::default()
        .queue(std::any::type_name::<Value>())
        .batch_size(workers as usize);
    let mut storage: SqliteStorage<Value> = SqliteStorage::new(&pool).with_config(config);
    storage
        .push_stream(&mut futures::stream::iter((0..jobs).map(payload)))
        .await?;
    let remaining = Arc::new(AtomicU32::new(jobs));
    let render = move |_: Value, worker: WorkerContext| {
        let remaining = Arc::clone(&remaining);
        async move {
            if remaining.fetch_sub(1, Ordering::SeqCst) == 1 {
                worker.stop()?;
            }
            Ok::<(), BoxDynError>(())
        }
    };
    let started_at = Instant::now();
    let worker = WorkerBuilder::new("benches").backend(storage);
    if workers == 1 {
        worker.concurrency(1).build(render).run().await?;
    } else {
        worker
            .concurrency(workers as usize)
            .parallelize(tokio::spawn)
            .build(render)
            .run()
            .await?;
    }
    Ok(f64::from(jobs) / started_at.elapsed().as_secs_f64())
}

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("missing argument: folder")?;
    let jobs = args
        .next()
        .ok_or("missing argument: number of jobs")?
        .parse()?;
    let dir = Path::new(&dir);
    let rates = json!({
        "enqueue": enqueue(&dir.join("enqueue.db"), jobs).await?,
        "work_1": work(&dir.join("work-1.db"), 1, jobs).await?,
        "work_10": work(&dir.join("work-10.db"), 10, jobs).await?,
        "file": dir.join("work-1.db"),
        "synchronous": "FULL",
    });
    writeln!(std::io::stdout(), "{rates}")?;
    Ok(())
}
