//! The simulated provider in a process of its own, so that its work is not ours: this program, started again.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use overnight::simulator::{Limits, Simulator, SimulatorOptions};
use tokio::runtime::Runtime;
use url::Url;

/// The first word of this program's arguments when it is to serve.
pub(crate) const WORD: &str = "serve";

/// A simulated each::labs that refuses nobody. It ends with this.
#[derive(Debug)]
pub(crate) struct Served {
    child: Child,
    /// Where it is.
    pub(crate) base: Url,
}

impl Served {
    /// Starts it: predictions are made so many times faster than in life, clips have at least so many bytes.
    pub(crate) fn start(speed: f64, clip_bytes: usize) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([WORD, &speed.to_string(), &clip_bytes.to_string()]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("the simulator has no output")?;
        let mut base = String::new();
        BufReader::new(stdout).read_line(&mut base)?;
        Ok(Self {
            child,
            base: base.trim().parse()?,
        })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It ends by itself when its input does.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Serves until the standard input ends.
pub(crate) fn serve(args: &[String]) -> anyhow::Result<()> {
    let [speed, clip_bytes] = args else {
        anyhow::bail!("usage: {WORD} SPEED CLIP_BYTES")
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
