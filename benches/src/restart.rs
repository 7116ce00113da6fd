//! Going on after a kill: from the start of the process to the first call the provider sees, with a large queue that a
//! killed run has left; and how soon `overnight status` answers on the same file.
//!
//! The provider takes connections and says nothing, and each run is killed at its first call. The first leaves jobs
//! running and creates in doubt; its file is kept, and every run that is measured begins with a copy. On one and the same
//! file a job would wait longer after each kill, because nobody could tell that it was not the cause.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::ensure;
use overnight::domain::{Outcome, PoolId, PredictionHandle};
use overnight::queue::Queue;
use overnight::queue::sqlite::SqliteQueue;
use tempfile::tempdir;
use tokio::runtime::Runtime;

use crate::Scale;
use crate::engine;
use crate::fixture;
use crate::measure::median;
use crate::process;
use crate::program;
use crate::table::{Goal, Table, aside};

/// Predictions that are under way, of the ten that each::labs has slots for: creates are to be left as well.
const RUNNING: usize = 4;

const LEASE: Duration = Duration::from_secs(60);

/// How often the listener is looked at.
const LOOK: Duration = Duration::from_micros(200);

/// A run that has not called by then will not.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn measure(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    let rows = scale.pick(20_000, 1_000_000);
    let done = scale.pick(200, 5000);
    let times = scale.pick(3, 7);
    let dir = tempdir()?;
    aside(format_args!("filling a queue with {rows} jobs"));
    let (queue, path) = fixture::queue(dir.path(), "queue.db", rows)?;
    let runtime = Runtime::new()?;
    runtime.block_on(engine::work_off(&queue, &fixture::catalog()?, 64, done))?;
    runtime.block_on(leave_running(&queue))?;
    drop(queue);
    let provider = TcpListener::bind("127.0.0.1:0")?;
    provider.set_nonblocking(true)?;
    first_call(dir.path(), &path, &provider)?;
    let copied = dir.path().join("copy.db");
    let mut calls = Vec::new();
    for _ in 0..times {
        copy(&path, &copied)?;
        calls.push(first_call(dir.path(), &copied, &provider)?);
    }
    let (seconds, peaks): (Vec<f64>, Vec<f64>) = calls.into_iter().unzip();
    let what = format!("restart: {rows} rows: start to first call");
    table.tell(what, median(&seconds), "s", Goal::AtMost(0.3));
    let what = format!("restart: {rows} rows: peak resident size at the first call");
    table.tell(what, median(&peaks), "MB", Goal::None);
    let mut status = Vec::new();
    for _ in 0..times {
        let mut command = program::overnight(dir.path(), &["status", "--queue"])?;
        status.push(process::run(command.arg(&copied))?);
    }
    let seconds: Vec<f64> = status.iter().map(|ran| ran.seconds).collect();
    table.tell(
        format!("restart: {rows} rows: `status`"),
        median(&seconds),
        "s",
        Goal::AtMost(0.1),
    );
    Ok(())
}

/// Lets some predictions be under way, and due.
async fn leave_running(queue: &SqliteQueue) -> anyhow::Result<()> {
    let (pool_id, now) = (PoolId("benches-gone".into()), fixture::now());
    queue.join(pool_id.clone(), now, now + LEASE).await?;
    let request = fixture::claim_request(&pool_id, &fixture::catalog()?, RUNNING);
    for (number, claim) in queue.claim(request).await?.claims.into_iter().enumerate() {
        let prediction = PredictionHandle::from_id(format!("prediction-{number}"));
        let outcome = Outcome::Accepted {
            prediction,
            early_cost: None,
            due_at: now,
        };
        queue
            .record_outcome(claim.lease, outcome, None, now)
            .await?;
    }
    Ok(())
}

/// Copies a queue file with its write-ahead log, onto the disk, so that nobody else's bytes are waited for later.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    for suffix in ["", "-wal"] {
        let named = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        fs::copy(named(from), named(to))?;
        File::open(named(to))?.sync_all()?;
    }
    // The index of another log.
    match fs::remove_file(format!("{}-shm", to.display())) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Starts a run, and kills it when it calls. Tells how long that took, and its peak resident size until then.
fn first_call(dir: &Path, queue: &Path, provider: &TcpListener) -> anyhow::Result<(f64, f64)> {
    let mut command: Command = program::overnight(dir, &["run", "--quiet", "--queue"])?;
    command.arg(queue).stdout(Stdio::null());
    command.env("EACHLABS_API_KEY", "simulated-eachlabs-key");
    command.env(
        "OVERNIGHT_EACHLABS_URL",
        format!("http://{}/v1", provider.local_addr()?),
    );
    let began = Instant::now();
    let mut child = command.spawn()?;
    let mut stream = loop {
        match provider.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(LOOK),
            Err(error) => return Err(error.into()),
        }
        ensure!(child.try_wait()?.is_none(), "the run ended without a call");
        ensure!(
            began.elapsed() < PATIENCE,
            "the run has not called in {PATIENCE:?}"
        );
    };
    stream.set_nonblocking(false)?;
    stream.read_exact(&mut [0])?;
    let seconds = began.elapsed().as_secs_f64();
    let peak_mb = process::peak_mb(&child)?;
    child.kill()?;
    child.wait()?;
    // What else it had begun to say is of no interest to the next.
    while provider.accept().is_ok() {}
    Ok((seconds, peak_mb))
}
