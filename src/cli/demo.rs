//! `demo`: a sample catalogue on the simulator, with no key and no network.

use std::path::PathBuf;

use anyhow::Context;

use crate::domain::JobState;
use crate::queue::JobFilter;
use crate::simulator::{Fault, Faults, Simulator, SimulatorOptions};

use super::args::{DemoArgs, Global, LoadArgs, ManifestArgs, RunArgs};
use super::exit::Exit;
use super::setup::Setup;
use super::{load, render, run};

/// The catalogue that is rendered.
const MANIFEST: &str = include_str!("../../jobs/mugs.csv");
const MODEL: &str = "kling-v1-standard";

/// A clip that takes four and a half minutes in life takes two seconds here.
const SPEED: f64 = 135.0;

/// The demo's own config: the pace of the simulated providers.
const CONFIG: &str = "[pace]\npoll_min_s = 0.2\nretry_base_s = 0.2\n\n[provider.eachlabs]\ntypical_s = 2\n\n\
                      [provider.aimlapi]\ntypical_s = 2\n\n[provider.fal]\ntypical_s = 2\n";

/// Renders the sample.
pub(super) async fn demo(global: &Global, args: DemoArgs) -> anyhow::Result<Exit> {
    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("cannot make {}", args.dir.display()))?;
    // A demo begins anew each time; its folder holds nothing else.
    let queue = args.dir.join("demo.db");
    for end in ["", "-wal", "-shm"] {
        let mut path = queue.clone().into_os_string();
        path.push(end);
        let path = PathBuf::from(path);
        if path.exists() {
            std::fs::remove_file(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    let (manifest, config) = (args.dir.join("mugs.csv"), args.dir.join("overnight.toml"));
    std::fs::write(&manifest, MANIFEST)
        .with_context(|| format!("cannot write {}", manifest.display()))?;
    std::fs::write(&config, CONFIG)?;

    let faults = Faults::default().with(None, Fault::ServerError, 0.03);
    let options = SimulatorOptions {
        speed: SPEED,
        faults,
        ..SimulatorOptions::default()
    };
    let simulator = Simulator::start(options).await?;
    render::note(format_args!(
        "three simulated providers on {}, {SPEED} times faster than in life",
        simulator.address()
    ));

    let global = Global {
        queue: Some(queue),
        config: Some(config),
        ..global.clone()
    };
    let manifest = ManifestArgs {
        files: vec![manifest],
        model: Some(MODEL.into()),
        batch: Some("mugs".into()),
        ..ManifestArgs::default()
    };
    let load_args = LoadArgs {
        manifest,
        out: Some(args.dir.clone()),
        check: false,
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
    tell(&setup, &simulator).await?;
    Ok(exit)
}

async fn tell(setup: &Setup, simulator: &Simulator) -> anyhow::Result<()> {
    let queue = setup.queue()?;
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
    for job in queue.jobs(filter, None, 1000).await? {
        table.push(vec![
            job.id,
            job.provider
                .map_or("-".into(), |provider| provider.to_string()),
            job.cost_usd.map_or("-".into(), |cost| format!("${cost:#}")),
            job.bytes.unwrap_or(0).to_string(),
            job.output.unwrap_or_default(),
        ]);
    }
    render::table(&table)?;
    let ledger = simulator.ledger();
    let spent: i64 = status
        .batches
        .iter()
        .map(|batch| batch.spent.micros())
        .sum();
    render::line(format_args!(
        "the providers took {} creates and billed ${:#}; our books say ${:#}: {}",
        ledger.entries.len(),
        crate::domain::Money::from_micros(ledger.charged()),
        crate::domain::Money::from_micros(spent),
        if spent == ledger.charged() {
            "equal"
        } else {
            "NOT equal"
        },
    ))
}
