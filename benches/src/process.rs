//! Time, memory and CPU use of processes, read from `/proc`, which only Linux has.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// Interval at which the peak memory of a running process is sampled. Growth after the last sample
/// is missed.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(1);

/// Unit of the CPU times in `/proc`, in ticks per second; the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// The resources that a command used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResourceUsage {
    /// Wall-clock time from start to end.
    pub(crate) seconds: f64,
    /// Peak resident size, in megabytes.
    pub(crate) peak_mb: f64,
}

/// Runs a command to its end.
///
/// # Errors
///
/// Returns an error if the command cannot be started or does not succeed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<ResourceUsage> {
    let started_at = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start a process")?;
    let mut peak_mb: f64 = 0.0;
    loop {
        // A process that has ended reports no memory.
        peak_mb = peak_mb.max(read_peak_mb(&child.id().to_string()).unwrap_or(0.0));
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "{command:?} failed with {status}");
            return Ok(ResourceUsage {
                seconds: started_at.elapsed().as_secs_f64(),
                peak_mb,
            });
        }
        thread::sleep(SAMPLE_INTERVAL);
    }
}

/// Returns the peak resident size of a running child, in megabytes.
pub(crate) fn peak_mb(child: &Child) -> anyhow::Result<f64> {
    read_peak_mb(&child.id().to_string())
}

/// Returns the CPU seconds that a running child has used so far.
pub(crate) fn cpu_seconds(child: &Child) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    // The process name may contain anything and ends with the last parenthesis. Of the fields after
    // it, user and system time are the 12th and the 13th.
    let after_name = stat.rsplit_once(')').context("no name in stat")?.1;
    let times = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<f64>);
    Ok(times.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
}

/// Resets the peak resident size of this process.
pub(crate) fn reset_own_peak() -> anyhow::Result<()> {
    fs::write("/proc/self/clear_refs", "5").context("cannot reset the peak resident size")
}

/// Returns the peak resident size of this process since the last reset, in megabytes.
pub(crate) fn own_peak_mb() -> anyhow::Result<f64> {
    read_peak_mb("self")
}

fn read_peak_mb(process: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = peak
        .context("no peak resident size in status")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kib * 1024.0 / 1e6)
}
