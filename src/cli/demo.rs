//! `demo`: renders a sample catalogue on the simulator, without keys or network.

use std::path::PathBuf;

use anyhow::Context;
use overnight_simulator::{Fault, Faults, Simulator, SimulatorOptions};

use crate::domain::{JobState, Money};
use crate::queue::JobFilter;

use super::args::{DemoArgs, Global, LoadArgs, ManifestArgs, RunArgs};
use super::exit::Exit;
use super::setup::Setup;
use super::{load, render, run};

/// The sample catalogue.
const MANIFEST: &str = include_str!("../../jobs/mugs.csv");
const MODEL: &str = "kling-v1-standard";

/// How many times faster than real time the simulator runs: a clip that takes four and a half
/// minutes takes two seconds.
const SPEED: f64 = 135.0;

/// The demo's config: polling and retries at the speed of the simulator.
const CONFIG: &str = "[pace]\npoll_min_s = 0.2\nretry_base_s = 0.2\n\n\
                      [provider.eachlabs]\ntypical_s = 2\n\n\
                      [provider.aimlapi]\ntypical_s = 2\n\n\
                      [provider.fal]\ntypical_s = 2\n";

/// Jobs that are listed at the end, at most. The sample has fewer.
const MAX_LISTED: usize = 1000;

/// Renders the sample catalogue and compares the books with the simulator's ledger.
pub(super) async fn demo(global: &Global, args: DemoArgs) -> anyhow::Result<Exit> {
    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("cannot create {}", args.dir.display()))?;
    // Each demo starts from an empty queue.
    let queue = args.dir.join("demo.db");
    for suffix in ["", "-wal", "-shm"] {
        let mut path = queue.clone().into_os_string();
        path.push(suffix);
        let path = PathBuf::from(path);
        if path.exists() {
            std::fs::remove_file(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    let manifest = args.dir.join("mugs.csv");
    std::fs::write(&manifest, MANIFEST)
        .with_context(|| format!("cannot write {}", manifest.display()))?;
    let config = args.dir.join("overnight.toml");
    std::fs::write(&config, CONFIG)
        .with_context(|| format!("cannot write {}", config.display()))?;

    let faults = Faults::default().with(None, Fault::ServerError, 0.03);
    let options = SimulatorOptions {
        speed: SPEED,
        faults,
        ..SimulatorOptions::default()
    };
    let simulator = Simulator::start(options).await?;
    render::print_note(format_args!(
        "simulating three providers on {}, {SPEED} times faster than real time",
        simulator.address()
    ));

    let global = Global {
        queue: Some(queue.into()),
        config: Some(config),
        ..global.clone()
    };
    let manifest = ManifestArgs {
        files: vec![manifest],
        model: Some(MODEL.into()),
        batch: Some("mugs".into()),
        // The clips of the last demo are not those of this one.
        fresh: true,
        ..ManifestArgs::default()
    };
    let load_args = LoadArgs {
        drop_removed: false,
        adopt_files: false,
        manifest,
        out: Some(args.dir.clone().into()),
        check: false,
        show: None,
        probe: false,
    };
    load::load(
        &Global {
            quiet: true,
            ..global.clone()
        },
        load_args,
    )
    .await?;
    let environment = simulator
        .environment()
        .map(|(name, value)| (name.to_owned(), value));
    let setup = Setup::with_environment(&global, environment.into())?;
    let exit = run::run_with(
        &setup,
        &global,
        RunArgs {
            yes: true,
            ..RunArgs::default()
        },
    )
    .await?;
    print_books(&setup, &simulator).await?;
    Ok(exit)
}

/// Prints the clips, and whether the queue's books agree with the simulator's ledger.
async fn print_books(setup: &Setup, simulator: &Simulator) -> anyhow::Result<()> {
    let queue = setup.app.queue()?;
    let status = queue.status(None).await?;
    let mut table = vec![
        ["id", "provider", "cost", "bytes", "clip"]
            .map(String::from)
            .to_vec(),
    ];
    let filter = JobFilter {
        batch: None,
        state: Some(JobState::Succeeded),
    };
    for job in queue.jobs(filter, None, MAX_LISTED).await? {
        table.push(vec![
            job.id,
            job.provider
                .map_or("-".into(), |provider| provider.to_string()),
            job.cost_usd.map_or("-".into(), |cost| format!("${cost:#}")),
            job.bytes.unwrap_or(0).to_string(),
            job.output.unwrap_or_default(),
        ]);
    }
    render::print_table(&table)?;
    let ledger = simulator.ledger();
    let spent: i64 = status
        .batches
        .iter()
        .map(|batch| batch.spent.micros())
        .sum();
    render::print_line(format_args!(
        "the providers accepted {} and billed ${:#}; the queue's books say ${:#}: {}",
        render::format_count(ledger.entries.len() as u64, "submission"),
        Money::from_micros(ledger.charged()),
        Money::from_micros(spent),
        if spent == ledger.charged() {
            "equal"
        } else {
            "NOT equal"
        },
    ))
}
