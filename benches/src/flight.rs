//! Ten thousand predictions in flight in one process, as in the middle of a run: each takes 270
//! seconds, and whenever one ends, its clip is downloaded and another job is submitted.
//!
//! The submission rate spreads the first submissions over the first 270 seconds, so that polls and
//! ends are evenly distributed afterwards, as in a real run. After that, CPU time and peak resident
//! size of our process are measured for a while.

use std::fs;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;
use overnight::queue::Reports;
use overnight::queue::sqlite::SqliteQueue;
use tempfile::tempdir;
use tokio::runtime::Runtime;

use crate::Scale;
use crate::fixture;
use crate::process;
use crate::program;
use crate::serve::SimulatorProcess;
use crate::table::{Goal, Table, print_progress};

/// Typical processing time of the simulated model at speed 1, in seconds.
const TYPICAL_S: f64 = 270.0;

pub(crate) fn measure(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    // The quick variant has as many polls and ends per second.
    let (in_flight, speed, window_s) = scale.pick((400_u32, 25.0, 10.0), (10_000, 1.0, 60.0));
    let typical_s = TYPICAL_S / speed;
    let submits_per_minute = f64::from(in_flight) / typical_s * 60.0;
    // Predictions take up to 15 % longer than their typical time.
    let fill_s = 1.2 * typical_s;
    let dir = tempdir()?;
    let jobs = submits_per_minute / 60.0 * (fill_s + window_s) * 1.5 + 1000.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some tens of thousands"
    )]
    let (queue, path) = fixture::queue(dir.path(), "queue.db", jobs as u64)?;
    // The slots limit a run, rather than the rate, which is slightly higher than they need.
    let config = format!(
        "workers = 64\n\
         [provider.eachlabs]\n\
         in_flight = {in_flight}\n\
         creates_per_minute = {:.0}\n\
         typical_s = {typical_s}\n",
        submits_per_minute * 1.05
    );
    fs::write(dir.path().join("overnight.toml"), config)?;
    let simulator = SimulatorProcess::start(speed, 64 << 10)?;
    let mut command = program::command(dir.path(), &["run", "--quiet", "--queue"])?;
    command.arg(&path).stdout(Stdio::null());
    command.env("EACHLABS_API_KEY", "simulated-eachlabs-key");
    command.env("OVERNIGHT_EACHLABS_URL", simulator.base_url.as_str());
    print_progress(format_args!(
        "starting {in_flight} predictions, which takes {fill_s:.0} s"
    ));
    let mut child = command.spawn()?;
    let window = observe(
        &child,
        &queue,
        Duration::from_secs_f64(fill_s),
        Duration::from_secs_f64(window_s),
    );
    child.kill()?;
    child.wait()?;
    let window = window?;
    let name = format!("flight: {in_flight} predictions of {typical_s} s");
    table.add_figure(
        format_args!("{name}: CPU of one core"),
        window.cpu * 100.0,
        "%",
        Goal::AtMost(8.0),
    );
    table.add_figure(
        format_args!("{name}: peak resident size"),
        window.peak_mb,
        "MB",
        Goal::AtMost(80.0),
    );
    let [first, last] = window.in_flight;
    table.add_note(format_args!(
        "flight: {first} predictions were in flight when the measurement began, {last} when it \
         ended"
    ));
    Ok(())
}

/// What was measured while the predictions were in flight.
struct Window {
    /// CPU seconds per second.
    cpu: f64,
    /// Peak resident size since the start of the process, in megabytes.
    peak_mb: f64,
    /// Number of attempts in flight at the beginning and at the end.
    in_flight: [u32; 2],
}

/// Waits until the predictions are in flight, then observes the process for `duration`.
fn observe(
    child: &Child,
    queue: &SqliteQueue,
    fill: Duration,
    duration: Duration,
) -> anyhow::Result<Window> {
    let runtime = Runtime::new()?;
    let count_in_flight = || -> anyhow::Result<u32> {
        let status = runtime.block_on(queue.status(None))?;
        Ok(status
            .providers
            .first()
            .context("the run submitted nothing")?
            .in_flight)
    };
    sleep(fill);
    let first = count_in_flight()?;
    let cpu_before = process::cpu_seconds(child)?;
    sleep(duration);
    let cpu_used = process::cpu_seconds(child)? - cpu_before;
    Ok(Window {
        cpu: cpu_used / duration.as_secs_f64(),
        peak_mb: process::peak_mb(child)?,
        in_flight: [first, count_in_flight()?],
    })
}
