//! Resuming after a kill: the time from the start of the process to the first call that the
//! provider receives, with a large queue that a killed run has left; and the time that `overnight
//! status` takes on the same file.
//!
//! The provider accepts connections but never responds, and each run is killed at its first call.
//! The first run leaves jobs running and submissions in doubt. Its queue is kept, and every
//! measured run starts with a copy: on one file a job would be delayed longer after each kill,
//! because it might be the cause of the crashes.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use overnight::domain::{Outcome, PoolId, PredictionHandle};
use overnight::queue::sqlite::SqliteQueue;
use overnight::queue::{Completed, Turn, WorkQueue};
use tempfile::tempdir;
use tokio::runtime::Runtime;

use crate::Scale;
use crate::engine;
use crate::fixture::{self, PROVIDER};
use crate::measure::median;
use crate::process;
use crate::program;
use crate::table::{Goal, Table, print_progress};

/// Number of running predictions, out of each::labs' ten slots. The other slots are left for
/// submissions.
const RUNNING: usize = 4;

/// Interval at which the listener is checked for a connection.
const ACCEPT_INTERVAL: Duration = Duration::from_micros(200);

/// Maximum time to wait for the first call of a run.
const FIRST_CALL_TIMEOUT: Duration = Duration::from_secs(120);

pub(crate) fn measure(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    let rows = scale.pick(20_000, 1_000_000);
    let completed = scale.pick(200, 5000);
    let rounds = scale.pick(3, 7);
    let dir = tempdir()?;
    print_progress(format_args!("filling a queue with {rows} jobs"));
    let (queue, path) = fixture::queue(dir.path(), "queue.db", rows)?;
    let runtime = Runtime::new()?;
    runtime.block_on(engine::complete_jobs(
        &queue,
        &fixture::catalog()?,
        64,
        completed,
    ))?;
    runtime.block_on(leave_jobs_running(&queue))?;
    drop(queue);
    let provider = TcpListener::bind("127.0.0.1:0")?;
    provider.set_nonblocking(true)?;
    let copy_path = dir.path().join("copy.db");
    copy_queue(&path, &copy_path)?;
    // Once unmeasured, so that the program is in the page cache.
    run_to_first_call(dir.path(), &copy_path, &provider)?;
    let mut first_calls = Vec::new();
    for _ in 0..rounds {
        copy_queue(&path, &copy_path)?;
        first_calls.push(run_to_first_call(dir.path(), &copy_path, &provider)?);
    }
    let (seconds, peaks_mb): (Vec<f64>, Vec<f64>) = first_calls.into_iter().unzip();
    table.add_figure(
        format_args!("restart: {rows} rows: start to first call"),
        median(&seconds),
        "s",
        Goal::AtMost(0.3),
    );
    table.add_figure(
        format_args!("restart: {rows} rows: peak resident size at the first call"),
        median(&peaks_mb),
        "MB",
        Goal::None,
    );
    let mut seconds = Vec::new();
    for _ in 0..rounds {
        let mut command = program::command(dir.path(), &["status", "--queue"])?;
        seconds.push(process::run(command.arg(&copy_path))?.seconds);
    }
    table.add_figure(
        format_args!("restart: {rows} rows: `status`"),
        median(&seconds),
        "s",
        Goal::AtMost(0.1),
    );
    Ok(())
}

/// Leaves [`RUNNING`] jobs running and due, leased by a pool that no longer exists.
async fn leave_jobs_running(queue: &SqliteQueue) -> anyhow::Result<()> {
    let pool_id = PoolId("benches-dead".into());
    queue.join(pool_id.clone()).await?;
    let turn = Turn {
        pool_id: pool_id.clone(),
        completed: Vec::new(),
        holds_leases_at: Vec::new(),
        claim: Some(fixture::claim_request(&fixture::catalog()?, RUNNING)),
    };
    let claims = queue.turn(Arc::new(turn)).await?.claimed.claims;
    let accepted = |(number, claim)| Completed::Step {
        claim: Arc::new(claim),
        unrecorded_polls: 0,
        outcome: Outcome::Accepted {
            prediction: PredictionHandle::from_id(format!("prediction-{number}")),
            early_cost: None,
            due_at: fixture::now(),
        },
        signal: None,
    };
    let turn = Turn {
        pool_id,
        completed: claims.into_iter().enumerate().map(accepted).collect(),
        holds_leases_at: vec![PROVIDER],
        claim: None,
    };
    queue.turn(Arc::new(turn)).await?;
    Ok(())
}

/// Copies a queue file that is closed, and syncs the copy, so that a measured run does not wait for
/// it to be written.
fn copy_queue(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to)?;
    File::open(to)?.sync_all()?;
    // The log and the shared-memory file of an earlier copy belong to that copy.
    for suffix in ["-wal", "-shm"] {
        match fs::remove_file(format!("{}{suffix}", to.display())) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Starts a run and kills it at its first call. Returns the seconds until then and its peak
/// resident size, in megabytes.
fn run_to_first_call(
    dir: &Path,
    queue: &Path,
    provider: &TcpListener,
) -> anyhow::Result<(f64, f64)> {
    let mut command = program::command(dir, &["run", "--quiet", "--queue"])?;
    command.arg(queue).stdout(Stdio::null());
    command.env("EACHLABS_API_KEY", "simulated-eachlabs-key");
    command.env(
        "OVERNIGHT_EACHLABS_URL",
        format!("http://{}/v1", provider.local_addr()?),
    );
    let started_at = Instant::now();
    let mut child = command.spawn()?;
    let mut stream = loop {
        match provider.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(ACCEPT_INTERVAL);
            }
            Err(error) => return Err(error.into()),
        }
        ensure!(child.try_wait()?.is_none(), "the run ended without a call");
        ensure!(
            started_at.elapsed() < FIRST_CALL_TIMEOUT,
            "the run made no call within {FIRST_CALL_TIMEOUT:?}"
        );
    };
    stream.set_nonblocking(false)?;
    stream.read_exact(&mut [0])?;
    let seconds = started_at.elapsed().as_secs_f64();
    let peak_mb = process::peak_mb(&child)?;
    child.kill()?;
    child.wait()?;
    // Discards further connections of this run, which the next one must not receive.
    while provider.accept().is_ok() {}
    Ok((seconds, peak_mb))
}
