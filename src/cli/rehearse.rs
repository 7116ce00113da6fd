//! `rehearse`: plays the night a manifest would make, some times over.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context;

use crate::domain::{Model, ProviderName};
use crate::rehearsal::{self, Latency, RehearsalError, RehearsalReport, Scenario, SimulatedHost};
use crate::worker::{ProcessingTimes, StopSignal};

use super::args::{Global, RehearseArgs};
use super::batch_file;
use super::exit::Exit;
use super::load::{self, Staged};
use super::rehearsal_summary::RehearsalSummary;
use super::render;
use super::run::stop_on_signal;
use super::setup::Setup;

/// Plays a manifest's night with each seed, and tells what to expect.
pub(super) async fn rehearse(global: &Global, args: RehearseArgs) -> anyhow::Result<Exit> {
    let setup = Setup::of(global)?;
    let dir = tempfile::Builder::new()
        .prefix("overnight-rehearsal-")
        .tempdir();
    let dir = dir.context("cannot make a temporary folder")?;
    let loaded = dir.path().join("loaded.db");
    let (manifest, _) = batch_file::opened(args.manifest, None)?;
    let via_is_said = !manifest.via.is_empty();
    let staged = load::stage(&setup, manifest, dir.path(), global.quiet, || {
        setup.queue_at(&loaded)
    })?;
    let Staged {
        name,
        model,
        mut providers,
        mut staging,
        ..
    } = staged;
    if !via_is_said {
        choose_providers(&setup, &mut providers);
    }
    let begins_at = setup.clock.now();
    staging.commit(begins_at)?;
    // With its connection closed the file holds everything, and can be copied.
    drop(staging);
    let processing_times = setup.processing_times();
    if setup.config.queue.exists() {
        setup
            .learn(&processing_times, setup.queue()?.as_ref())
            .await?;
    }
    let scenario = Arc::new(Scenario {
        begins_at,
        catalog: Arc::clone(&setup.catalog),
        hosts: providers
            .iter()
            .map(|provider| host(&setup, model, &processing_times, *provider))
            .collect(),
        policy: setup.config.retry_policy(),
        processing_times,
        times: None,
        latency: Latency::default(),
        workers: args.workers.map_or(setup.config.workers, usize::from),
        budget: None,
    });
    if !global.quiet {
        tell_providers(&setup, &scenario);
    }
    let nights = match play_all(
        &setup,
        &scenario,
        &loaded,
        args.seeds.into(),
        &stop_on_signal()?,
    ) {
        Err(error) if matches!(error.downcast_ref(), Some(RehearsalError::Stopped)) => {
            return Ok(Exit::Interrupted);
        }
        nights => nights?,
    };
    let outlook =
        RehearsalSummary::of(&name, &scenario, model, &nights).context("no night was played")?;
    if args.json {
        outlook.tell_json()?
    } else {
        outlook.tell()?
    };
    Ok(outlook.exit())
}

/// Leaves the providers that a run would call: those whose key is set. Where none is, the plan comes before the keys.
fn choose_providers(setup: &Setup, providers: &mut Vec<ProviderName>) {
    if providers.iter().any(|provider| setup.has_key(*provider)) {
        providers.retain(|provider| setup.has_key(*provider));
    }
}

fn host(
    setup: &Setup,
    model: &Model,
    processing_times: &ProcessingTimes,
    provider: ProviderName,
) -> SimulatedHost {
    let is_measured = model
        .route(provider)
        .is_some_and(|route| processing_times.has_measured(provider, &route.wire_model));
    SimulatedHost::of(setup.limits(provider), is_measured)
}

fn tell_providers(setup: &Setup, scenario: &Scenario) {
    let words = |providers: Vec<String>| providers.join(", ");
    let names = || scenario.hosts.iter().map(|host| host.limits.provider);
    render::note(format_args!(
        "rehearsed at {}",
        words(names().map(|name| name.to_string()).collect())
    ));
    let lacking: Vec<String> = names()
        .filter(|name| !setup.has_key(*name))
        .map(|name| name.key_variable().to_owned())
        .collect();
    if !lacking.is_empty() {
        render::note(format_args!(
            "as if these were set, which `run` will need: {}",
            words(lacking)
        ));
    }
}

/// Plays the night with each seed from 1, as many at once as there are processors: each has a world and a queue of its own.
fn play_all(
    setup: &Setup,
    scenario: &Arc<Scenario>,
    loaded: &Path,
    seeds: u64,
    stop: &StopSignal,
) -> anyhow::Result<Vec<RehearsalReport>> {
    let next = AtomicU64::new(1);
    let played = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > seeds {
                return;
            }
            let report = play_one(setup, scenario, loaded, seed, stop);
            if report.is_err() {
                // What failed once fails again.
                next.store(seeds + 1, Ordering::Relaxed);
            }
            played
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
    played
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .into_values()
        .collect()
}

/// Plays the night once, on a copy of the loaded queue that goes when it is over.
fn play_one(
    setup: &Setup,
    scenario: &Arc<Scenario>,
    loaded: &Path,
    seed: u64,
    stop: &StopSignal,
) -> anyhow::Result<RehearsalReport> {
    let folder = loaded.parent().unwrap_or(Path::new("."));
    let dir = tempfile::tempdir_in(folder).context("cannot make a temporary folder")?;
    let path = dir.path().join("night.db");
    std::fs::copy(loaded, &path)
        .with_context(|| format!("cannot copy the night to {}", path.display()))?;
    Ok(rehearsal::simulate(
        scenario,
        setup.rehearsal_queue(&path)?,
        seed,
        stop.clone(),
    )?)
}
