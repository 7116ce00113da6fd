//! `simulate`: serves the three provider APIs on loopback.

use anyhow::Context;
use overnight_simulator::{Faults, Limits, Simulator, SimulatorOptions};

use crate::domain::Money;

use super::args::SimulateArgs;
use super::exit::Exit;
use super::{render, shell};

/// Serves until interrupted, then prints what was accepted and billed.
pub(super) async fn simulate(args: SimulateArgs) -> anyhow::Result<Exit> {
    let port = args.port;
    let simulator = Simulator::start(options(&args))
        .await
        .with_context(|| format!("cannot listen on port {port}"))?;
    render::print_note("set these variables in another shell, then use `overnight run` there:");
    for (name, value) in simulator.environment() {
        render::print_line(format_args!("export {name}={}", shell::quote(&value)))?;
    }
    tokio::signal::ctrl_c().await?;
    let ledger = simulator.ledger();
    render::print_note(format_args!(
        "accepted {}, billed ${:#}",
        render::format_count(ledger.entries.len() as u64, "submission"),
        Money::from_micros(ledger.charged())
    ));
    Ok(Exit::Success)
}

/// Returns the simulator's options that the flags ask for.
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
