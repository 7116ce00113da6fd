//! apalis's part of the benches: says on standard output, as one line of JSON, how many jobs a second it enqueues one by
//! one, and how many it works off with 1 and with 10 at once. Arguments: a folder to work in, and how many jobs.
//!
//! `SqliteStorage::setup` would turn `synchronous` OFF, and what was acknowledged would not survive power loss. So its
//! migrations are run alone, on connections in WAL mode with `synchronous = FULL`.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteStorage};
use serde_json::{Value, json};

type Anything = Box<dyn std::error::Error + Send + Sync>;

/// What a job carries.
fn payload(number: u32) -> Value {
    json!({
        "image": format!("https://images.example.com/catalogue/{number}.jpg"),
        "prompt": format!("Slow turntable of product {number} on a linen cloth, soft light from the left"),
        "duration": 5,
    })
}

async fn open(path: &Path) -> Result<SqlitePool, Anything> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .pragma("journal_mode", "WAL")
        .pragma("synchronous", "FULL");
    // SQLite has one writer: more connections only wait for each other.
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    SqliteStorage::migrations().run(&pool).await?;
    Ok(pool)
}

async fn enqueue(path: &Path, jobs: u32) -> Result<f64, Anything> {
    let pool = open(path).await?;
    let mut storage: SqliteStorage<Value> = SqliteStorage::new(&pool);
    let began = Instant::now();
    for number in 0..jobs {
        storage.push(payload(number)).await?;
    }
    Ok(f64::from(jobs) / began.elapsed().as_secs_f64())
}

async fn work(path: &Path, at_once: u32, jobs: u32) -> Result<f64, Anything> {
    let pool = open(path).await?;
    let config = Config::default().queue(std::any::type_name::<Value>()).batch_size(at_once as usize);
    let mut storage: SqliteStorage<Value> = SqliteStorage::new(&pool).with_config(config);
    storage.push_stream(&mut futures::stream::iter((0..jobs).map(payload))).await?;
    let left = Arc::new(AtomicU32::new(jobs));
    let render = move |_: Value, worker: WorkerContext| {
        let left = Arc::clone(&left);
        async move {
            if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                worker.stop()?;
            }
            Ok::<(), BoxDynError>(())
        }
    };
    let began = Instant::now();
    let worker = WorkerBuilder::new("benches").backend(storage);
    if at_once == 1 {
        worker.concurrency(1).build(render).run().await?;
    } else {
        worker.concurrency(at_once as usize).parallelize(tokio::spawn).build(render).run().await?;
    }
    Ok(f64::from(jobs) / began.elapsed().as_secs_f64())
}

#[tokio::main]
async fn main() -> Result<(), Anything> {
    let mut args = std::env::args().skip(1);
    let (dir, jobs) = (args.next().ok_or("no folder")?, args.next().ok_or("no number of jobs")?.parse()?);
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
