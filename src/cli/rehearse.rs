//! `rehearse`: simulates a manifest's run several times, in virtual time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context;

use crate::app;
use crate::domain::{Model, ProviderName};
use crate::rehearsal::{self, Latency, RehearsalError, RehearsalReport, Scenario, SimulatedHost};
use crate::worker::{ProcessingTimes, StopSignal};

use super::args::{Global, RehearseArgs};
use super::exit::Exit;
use super::load;
use super::rehearsal_summary::RehearsalSummary;
use super::render;
use super::run::stop_on_signal;
use super::setup::Setup;

/// Simulates a manifest's run with each seed, and prints what to expect.
pub(super) async fn rehearse(global: &Global, args: RehearseArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let dir = tempfile::Builder::new()
        .prefix("overnight-rehearsal-")
        .tempdir();
    let dir = dir.context("cannot create a temporary folder")?;
    let loaded = dir.path().join("loaded.db");
    let loader = load::prepare(&setup, args.manifest, None)?;
    let mut staging = app::queue_at(&loaded)?.stage(loader.new_batch(dir.path())?)?;
    load::read(&setup, &loader, staging.as_mut(), global.quiet)?;
    let model = loader.model;
    let mut providers = loader.providers.clone();
    if !loader.are_providers_given() {
        retain_providers_with_key(&setup, &mut providers);
    }
    let starts_at = setup.app.clock.now();
    staging.commit(starts_at)?;
    // Closing the connection leaves everything in the one file, so that it can be copied.
    drop(staging);
    let processing_times = setup.app.processing_times();
    if setup.app.config.queue.exists() {
        processing_times
            .learn_from(setup.app.queue()?.as_ref(), &setup.app.catalog)
            .await?;
    }
    let scenario = Arc::new(Scenario {
        starts_at,
        catalog: Arc::clone(&setup.app.catalog),
        hosts: providers
            .iter()
            .map(|provider| host(&setup, model, &processing_times, *provider))
            .collect(),
        policy: setup.app.config.retry_policy(),
        processing_times,
        times: None,
        latency: Latency::default(),
        workers: args.workers.map_or(setup.app.config.workers, usize::from),
        budget: None,
    });
    if !global.quiet {
        print_providers(&setup, &scenario);
    }
    let reports = match simulate_all(&scenario, &loaded, args.seeds.into(), &stop_on_signal()?) {
        Err(error) if matches!(error.downcast_ref(), Some(RehearsalError::Interrupted)) => {
            return Ok(Exit::Interrupted);
        }
        reports => reports?,
    };
    let summary = RehearsalSummary::new(&loader.batch, &scenario, model, &reports)
        .context("no run was simulated")?;
    if args.json {
        summary.print_json()?
    } else {
        summary.print()?
    };
    Ok(summary.exit())
}

/// Keeps the providers that a run would use, which are those whose key is set. If no key is set,
/// keeps all: plans are often made before keys are.
fn retain_providers_with_key(setup: &Setup, providers: &mut Vec<ProviderName>) {
    if providers
        .iter()
        .any(|provider| setup.app.has_key(*provider))
    {
        providers.retain(|provider| setup.app.has_key(*provider));
    }
}

/// Returns how the simulator plays a provider.
fn host(
    setup: &Setup,
    model: &Model,
    processing_times: &ProcessingTimes,
    provider: ProviderName,
) -> SimulatedHost {
    let is_measured = model
        .route(provider)
        .is_some_and(|route| processing_times.has_measured(provider, &route.wire_model));
    SimulatedHost::from_limits(setup.app.limits(provider), is_measured)
}

fn print_providers(setup: &Setup, scenario: &Scenario) {
    let providers = || scenario.hosts.iter().map(|host| host.limits.provider);
    let names: Vec<&str> = providers().map(ProviderName::as_str).collect();
    render::print_note(format_args!("simulating {}", names.join(", ")));
    let unset: Vec<&str> = providers()
        .filter(|provider| !setup.app.has_key(*provider))
        .map(ProviderName::key_variable)
        .collect();
    if !unset.is_empty() {
        render::print_note(format_args!(
            "not set, but needed by `overnight run`: {}",
            unset.join(", ")
        ));
    }
}

/// Simulates the run with each seed from 1 to `seeds`, as many in parallel as there are processors.
/// Each simulation has a world and a queue of its own. Returns the reports in the order of the
/// seeds.
fn simulate_all(
    scenario: &Arc<Scenario>,
    loaded: &Path,
    seeds: u64,
    stop: &StopSignal,
) -> anyhow::Result<Vec<RehearsalReport>> {
    let next_seed = AtomicU64::new(1);
    let reports = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let seed = next_seed.fetch_add(1, Ordering::Relaxed);
            if seed > seeds {
                return;
            }
            let report = simulate_one(scenario, loaded, seed, stop);
            if report.is_err() {
                // The other seeds would fail for the same reason.
                next_seed.store(seeds + 1, Ordering::Relaxed);
            }
            reports
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(seed, report);
        }
    };
    thread::scope(|scope| {
        let processors =
            thread::available_parallelism().map_or(1, |processors| processors.get() as u64);
        for _ in 0..processors.min(seeds) {
            scope.spawn(work);
        }
    });
    reports
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .into_values()
        .collect()
}

/// Simulates the run once, on a copy of the loaded queue that is removed afterwards.
fn simulate_one(
    scenario: &Arc<Scenario>,
    loaded: &Path,
    seed: u64,
    stop: &StopSignal,
) -> anyhow::Result<RehearsalReport> {
    let folder = loaded.parent().unwrap_or(Path::new("."));
    let dir = tempfile::tempdir_in(folder).context("cannot create a temporary folder")?;
    let path = dir.path().join("rehearsal.db");
    std::fs::copy(loaded, &path)
        .with_context(|| format!("cannot copy the queue to {}", path.display()))?;
    Ok(rehearsal::simulate(
        scenario,
        app::rehearsal_queue(&path)?,
        seed,
        stop.clone(),
    )?)
}
