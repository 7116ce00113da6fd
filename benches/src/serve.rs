//! The simulated provider, in a process of its own so that its work is not counted as ours: this
//! program, started again with [`SUBCOMMAND`].

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use overnight_simulator::{Limits, Simulator, SimulatorOptions};
use tokio::runtime::Runtime;
use url::Url;

/// First argument that makes this program serve as the simulated provider.
pub(crate) const SUBCOMMAND: &str = "serve";

/// A child process that simulates each::labs without limits. It is stopped on drop.
#[derive(Debug)]
pub(crate) struct SimulatorProcess {
    child: Child,
    /// Base URL of the simulated API.
    pub(crate) base_url: Url,
}

impl SimulatorProcess {
    /// Starts the simulator. Predictions take their usual time divided by `speed`; clips have at
    /// least `clip_bytes` bytes.
    pub(crate) fn start(speed: f64, clip_bytes: usize) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([SUBCOMMAND, &speed.to_string(), &clip_bytes.to_string()]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("the simulator has no output")?;
        let mut base_url = String::new();
        BufReader::new(stdout).read_line(&mut base_url)?;
        Ok(Self {
            child,
            base_url: base_url.trim().parse()?,
        })
    }
}

impl Drop for SimulatorProcess {
    fn drop(&mut self) {
        // The child exits when its standard input is closed.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Serves the simulated API until standard input is closed. The base URL is the first line of
/// standard output.
pub(crate) fn serve(args: &[String]) -> anyhow::Result<()> {
    let [speed, clip_bytes] = args else {
        anyhow::bail!("usage: {SUBCOMMAND} SPEED CLIP_BYTES")
    };
    let options = SimulatorOptions {
        speed: speed.parse()?,
        clip_bytes: clip_bytes.parse()?,
        ..SimulatorOptions::default()
    }
    .with_limits(Limits {
        creates_per_minute: u32::MAX,
        at_once: u32::MAX,
    });
    let runtime = Runtime::new()?;
    let simulator = runtime.block_on(Simulator::start(options))?;
    writeln!(std::io::stdout(), "{}", simulator.base_urls().eachlabs)?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(simulator);
    runtime.shutdown_background();
    Ok(())
}
