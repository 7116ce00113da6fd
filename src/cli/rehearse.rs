//! `rehearse`: simulates a manifest's run several times, in virtual time.

use std::sync::Arc;

use anyhow::Context;

use crate::app;
use crate::domain::ProviderName;
use crate::loader::FoundClips;
use crate::queue::RemovedRows;
use crate::rehearsal::{self, RehearsalError, RehearsalSummary, Scenario};

use super::args::{Global, RehearseArgs};
use super::exit::Exit;
use super::load_view::ViewOptions;
use super::setup::Setup;
use super::stop_signal::stop_on_signal;
use super::{load, rehearsal_summary, render};

/// Simulates a manifest's run with each seed, and prints what to expect.
pub(super) async fn rehearse(global: &Global, args: RehearseArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let dir = tempfile::Builder::new()
        .prefix("overnight-rehearsal-")
        .tempdir();
    let dir = dir.context("cannot create a temporary folder")?;
    let loaded = dir.path().join("loaded.db");
    let loader = load::prepare(&setup, args.manifest, None, false)?;
    let mut staging =
        app::queue_at(&loaded)?.stage(loader.new_batch(&dir.path().to_owned().into())?)?;
    load::read(
        &setup,
        &loader,
        staging.as_mut(),
        &FoundClips::default(),
        ViewOptions {
            quiet: global.quiet,
            show: None,
        },
    )?;
    let starts_at = setup.app.clock.now();
    staging.commit(RemovedRows::Keep)?;
    // Closing the connection leaves everything in the one file, so that it can be copied.
    drop(staging);
    let providers = if loader.are_providers_given() {
        loader.providers.clone()
    } else {
        setup.app.usable_providers(&loader.providers)
    };
    let workers = args.workers.map_or(setup.app.config.workers, usize::from);
    let scenario = setup
        .app
        .scenario(loader.model, &providers, starts_at, workers)
        .await?;
    let scenario = Arc::new(scenario);
    if !global.quiet {
        print_providers(&setup, &scenario);
    }
    let stop = stop_on_signal()?;
    let reports = rehearsal::simulate_seeds(args.seeds.into(), |seed| {
        app::simulate_copy(&scenario, &loaded, seed, &stop)
    });
    let reports = match reports {
        Err(error) if matches!(error.downcast_ref(), Some(RehearsalError::Interrupted)) => {
            return Ok(Exit::Interrupted);
        }
        reports => reports?,
    };
    let summary = RehearsalSummary::new(&scenario, &reports).context("no run was simulated")?;
    if args.json {
        rehearsal_summary::print_json(&loader.batch, &summary)?;
    } else {
        rehearsal_summary::print(&loader.batch, &summary)?;
    }
    Ok(exit_code(&summary))
}

/// Returns the exit code of the worst simulated run.
fn exit_code(summary: &RehearsalSummary<'_>) -> Exit {
    if summary.exceeds_budget() {
        Exit::Budget
    } else if summary.first_stop().is_some() {
        Exit::CannotContinue
    } else if summary.has_failures() {
        Exit::Incomplete
    } else {
        Exit::Success
    }
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
