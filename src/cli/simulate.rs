//! `simulate`: the three APIs on loopback.

use anyhow::Context;

use crate::simulator::{Faults, Limits, Simulator, SimulatorOptions};

use super::args::SimulateArgs;
use super::exit::Exit;
use super::render;

/// Serves until it is interrupted.
pub(super) async fn simulate(args: SimulateArgs) -> anyhow::Result<Exit> {
    let port = args.port;
    let simulator = Simulator::start(options(&args))
        .await
        .with_context(|| format!("cannot listen on port {port}"))?;
    render::note("point overnight here with these variables, then `overnight run`:");
    for (name, value) in simulator.environment() {
        render::line(format_args!("export {name}={value}"))?;
    }
    tokio::signal::ctrl_c().await?;
    let ledger = simulator.ledger();
    render::note(format_args!(
        "took {} creates, billed {} micro-dollars",
        ledger.entries.len(),
        ledger.charged()
    ));
    Ok(Exit::Success)
}

fn options(args: &SimulateArgs) -> SimulatorOptions {
    let mut faults = Faults::default();
    faults.retry_after_s = args.retry_after;
    for rule in &args.fault {
        faults = faults.with(rule.call, rule.fault, rule.probability);
    }
    let mut options = SimulatorOptions {
        port: args.port,
        speed: args.speed,
        seed: args.seed,
        faults,
        history: !args.no_history,
        no_balance: args.no_balance,
        ..SimulatorOptions::default()
    };
    for limits in [
        &mut options.eachlabs,
        &mut options.aimlapi,
        &mut options.fal,
    ] {
        *limits = Limits {
            creates_per_minute: args.creates_per_minute.unwrap_or(limits.creates_per_minute),
            at_once: args.at_once.unwrap_or(limits.at_once),
        };
    }
    options
}
