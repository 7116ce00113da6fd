//! Measures effectum: how many jobs per second it enqueues one by one, and how many it claims and
//! completes with 1 and with 10 workers. Prints the rates as one line of JSON.
//!
//! Arguments: a working folder, and the number of jobs.
//!
//! effectum does not expose SQLite's settings. Its queue sets `synchronous = NORMAL`, and requests
//! WAL by a name that SQLite does not know, which leaves the rollback journal.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use effectum::{Error, Job, JobRunner, Queue, RunningJob, Worker};
use serde_json::{Value, json};

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

async fn render(job: RunningJob, _: Arc<()>) -> Result<(), Error> {
    let _input: Value = job.json_payload()?;
    Ok(())
}

/// Returns the rate of enqueueing one job at a time.
async fn enqueue(dir: &Path, jobs: u32) -> Result<f64, Box<dyn std::error::Error>> {
    let queue = Queue::new(&dir.join("enqueue.db")).await?;
    let started_at = Instant::now();
    for number in 0..jobs {
        Job::builder("render")
            .json_payload(&payload(number))?
            .add_to(&queue)
            .await?;
    }
    let rate = f64::from(jobs) / started_at.elapsed().as_secs_f64();
    queue.close(Duration::from_secs(10)).await?;
    Ok(rate)
}

/// Returns the rate of claiming and completing jobs.
async fn work(dir: &Path, workers: u16, jobs: u32) -> Result<f64, Box<dyn std::error::Error>> {
    let queue = Queue::new(&dir.join(format!("work-{workers}.db"))).await?;
    let batch = (0..jobs).map(|number| {
        Ok(Job::builder("render")
            .json_payload(&payload(number))?
            .build())
    });
    queue
        .add_jobs(batch.collect::<Result<Vec<_>, Error>>()?)
        .await?;
    let started_at = Instant::now();
    let runner = JobRunner::builder("render", render).build();
    let worker = Worker::builder(&queue, Arc::new(()))
        .max_concurrency(workers)
        .jobs([runner])
        .build()
        .await?;
    while worker.counts().finished < u64::from(jobs) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let rate = f64::from(jobs) / started_at.elapsed().as_secs_f64();
    worker.unregister(Some(Duration::from_secs(10))).await?;
    queue.close(Duration::from_secs(10)).await?;
    Ok(rate)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("missing argument: folder")?;
    let jobs = args
        .next()
        .ok_or("missing argument: number of jobs")?
        .parse()?;
    let dir = Path::new(&dir);
    let rates = json!({
        "enqueue": enqueue(dir, jobs).await?,
        "work_1": work(dir, 1, jobs).await?,
        "work_10": work(dir, 10, jobs).await?,
        "file": dir.join("work-1.db"),
        "synchronous": "NORMAL",
    });
    writeln!(std::io::stdout(), "{rates}")?;
    Ok(())
}
