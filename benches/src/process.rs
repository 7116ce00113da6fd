//! What a process takes: time, memory, CPU. Read from `/proc`, which only Linux has.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// How often a running process is looked at: its peak grows between two looks by no more than it gets in that time.
const LOOK: Duration = Duration::from_millis(1);

/// Clock ticks in a second in what `/proc` tells, on every Linux.
const TICKS: f64 = 100.0;

/// What a command took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ran {
    /// From start to end.
    pub(crate) seconds: f64,
    /// Its peak resident size.
    pub(crate) peak_mb: f64,
}

/// Runs a command to its end, which must be a good one.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<Ran> {
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start a process")?;
    let mut peak_mb: f64 = 0.0;
    loop {
        // What has ended has no memory any more.
        peak_mb = peak_mb.max(peak_of(&child.id().to_string()).unwrap_or(0.0));
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "{command:?} ended with {status}");
            return Ok(Ran {
                seconds: began.elapsed().as_secs_f64(),
                peak_mb,
            });
        }
        thread::sleep(LOOK);
    }
}

/// Tells a living child's peak resident size.
pub(crate) fn peak_mb(child: &Child) -> anyhow::Result<f64> {
    peak_of(&child.id().to_string())
}

/// Tells the CPU seconds a living child has used so far.
pub(crate) fn cpu_s(child: &Child) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    // The name may hold anything, and ends with the last parenthesis; of what follows, times are 12th and 13th.
    let after_name = stat.rsplit_once(')').context("no name in stat")?.1;
    let times = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<f64>);
    Ok(times.sum::<Result<f64, _>>()? / TICKS)
}

/// Lets this process's peak begin anew.
pub(crate) fn forget_own_peak() -> anyhow::Result<()> {
    fs::write("/proc/self/clear_refs", "5").context("cannot begin to measure memory anew")
}

/// Tells this process's peak resident size since it was forgotten.
pub(crate) fn own_peak_mb() -> anyhow::Result<f64> {
    peak_of("self")
}

fn peak_of(process: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = line
        .context("no peak in status")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kib * 1024.0 / 1e6)
}
