//! Flags of the commands that run the simulator: `simulate` and `demo`.

use std::path::PathBuf;

use clap::Args;
use overnight_simulator::{Call, Fault, FaultRule};

use crate::cli::examples;

/// Arguments of `simulate`.
#[derive(Debug, Args)]
#[command(after_help = examples::SIMULATE)]
pub struct SimulateArgs {
    /// Port on 127.0.0.1; 0 picks a free one
    #[arg(long, default_value_t = 8765)]
    pub port: u16,
    /// Run predictions this many times faster than real time
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub speed: f64,
    /// Seed of all random choices
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Fault to inject, with its probability.
    #[arg(long, help = fault_help(), value_name = "FAULT=P")]
    pub fault: Vec<FaultRule>,
    /// Retry-After of injected `rate-limited` faults, in seconds
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub retry_after: u64,
    /// Maximum creates in any 60 seconds, at each API [default: each API's own limit]
    #[arg(long, value_name = "N")]
    pub creates_per_minute: Option<u32>,
    /// Maximum concurrent predictions, at each API [default: each API's own limit]
    #[arg(long, value_name = "N")]
    pub at_once: Option<u32>,
    /// Do not serve the history endpoints
    #[arg(long)]
    pub no_history: bool,
    /// Refuse creates as if the balance were empty
    #[arg(long)]
    pub no_balance: bool,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(after_help = examples::DEMO)]
pub struct DemoArgs {
    /// Folder for the demo's queue and clips
    #[arg(long, default_value = "renders/demo", value_name = "DIR")]
    pub dir: PathBuf,
}

fn fault_help() -> String {
    let calls = Call::ALL.map(Call::name).join(", ");
    let faults = Fault::ALL.map(Fault::name).join(", ");
    format!(
        "Inject a fault with this probability: `garbage=0.2`, or `poll:garbage=0.2` for one kind \
         of call ({calls}). Faults: {faults}"
    )
}
