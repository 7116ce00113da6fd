//! Ten thousand predictions in flight in one process, as they are when a night has been going on for a while: each takes
//! 270 seconds, and whenever one ends its clip is fetched and another begins.
//!
//! Creates are spread over the first 270 seconds by their rate, so that from then on looks and ends come evenly, as they
//! would in life. What is measured is a window after that: CPU seconds of our process in it, and its peak resident size.

use std::fs;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;
use overnight::queue::Queue;
use overnight::queue::sqlite::SqliteQueue;
use tempfile::tempdir;
use tokio::runtime::Runtime;

use crate::Scale;
use crate::fixture;
use crate::process;
use crate::program;
use crate::serve::Served;
use crate::table::{Goal, Table, aside};

/// How long a prediction takes in life, in seconds.
const TYPICAL_S: f64 = 270.0;

pub(crate) fn measure(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    // The small version has as many looks and ends a second.
    let (in_flight, speed, window_s) = scale.pick((400_u32, 25.0, 10.0), (10_000, 1.0, 60.0));
    let typical_s = TYPICAL_S / speed;
    let a_minute = f64::from(in_flight) / typical_s * 60.0;
    // Predictions take up to 15 % longer than usual.
    let fill_s = 1.2 * typical_s;
    let dir = tempdir()?;
    let jobs = a_minute / 60.0 * (fill_s + window_s) * 1.5 + 1000.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "some tens of thousands"
    )]
    let (queue, path) = fixture::queue(dir.path(), "queue.db", jobs as u64)?;
    // Slots are what limits a night, not the rate; a little more than they need.
    let config = format!(
        "workers = 64\n[provider.eachlabs]\nin_flight = {in_flight}\ncreates_per_minute = {:.0}\ntypical_s = {typical_s}\n",
        a_minute * 1.05
    );
    fs::write(dir.path().join("overnight.toml"), config)?;
    let served = Served::start(speed, 64 << 10)?;
    let mut command = program::overnight(dir.path(), &["run", "--quiet", "--queue"])?;
    command.arg(&path).stdout(Stdio::null());
    command.env("EACHLABS_API_KEY", "simulated-eachlabs-key");
    command.env("OVERNIGHT_EACHLABS_URL", served.base.as_str());
    aside(format_args!(
        "filling up with {in_flight} predictions takes {fill_s:.0} s"
    ));
    let mut child = command.spawn()?;
    let measured = watch(
        &child,
        &queue,
        Duration::from_secs_f64(fill_s),
        Duration::from_secs_f64(window_s),
    );
    child.kill()?;
    child.wait()?;
    let Window {
        cpu,
        peak_mb,
        in_flight: [first, last],
    } = measured?;
    let what = format!("flight: {in_flight} predictions of {typical_s} s");
    table.tell(
        format_args!("{what}: CPU of one core"),
        cpu * 100.0,
        "%",
        Goal::AtMost(10.0),
    );
    table.tell(
        format_args!("{what}: peak resident size"),
        peak_mb,
        "MB",
        Goal::AtMost(80.0),
    );
    table.note(format_args!(
        "flight: {first} were in flight when the window began, {last} when it ended"
    ));
    Ok(())
}

/// What a window showed.
struct Window {
    /// CPU seconds in each second.
    cpu: f64,
    peak_mb: f64,
    /// At its beginning and at its end.
    in_flight: [u32; 2],
}

fn watch(
    child: &Child,
    queue: &SqliteQueue,
    fill: Duration,
    window: Duration,
) -> anyhow::Result<Window> {
    let runtime = Runtime::new()?;
    let in_flight = || -> anyhow::Result<u32> {
        let status = runtime.block_on(queue.status(None))?;
        Ok(status
            .providers
            .first()
            .context("nothing was sent")?
            .in_flight)
    };
    sleep(fill);
    let (first, before) = (in_flight()?, process::cpu_s(child)?);
    sleep(window);
    let used = process::cpu_s(child)? - before;
    let cpu = used / window.as_secs_f64();
    Ok(Window {
        cpu,
        peak_mb: process::peak_mb(child)?,
        in_flight: [first, in_flight()?],
    })
}
