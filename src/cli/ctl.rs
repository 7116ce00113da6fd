//! `ctl`: changes the active runs, through the queue file.

use crate::queue::{LiveSetting, QueueError};

use super::args::{AcceptPriceArgs, CtlArgs, CtlCommand, CtlSetArgs, Global};
use super::exit::{Exit, Usage};
use super::setup::Setup;
use super::{keys, render};

/// Maximum columns of the text that names who changed a setting.
const MAX_CALLER_COLUMNS: usize = 60;

/// Changes settings of the active runs, or the budget of a batch.
pub(super) async fn ctl(global: &Global, args: CtlArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let (settings, hint) = match args.change {
        CtlCommand::AcceptPrice(args) => return accept_price(&setup, args).await,
        CtlCommand::Key(args) => return keys::add_key(&setup, args).await,
        CtlCommand::Pause => (
            vec![LiveSetting::Paused(true)],
            "nothing is submitted without a run, so there is nothing to pause",
        ),
        CtlCommand::Resume => (
            vec![LiveSetting::Paused(false)],
            "a pause ends with its run; start a new run with `overnight run`",
        ),
        CtlCommand::Set(args) => (
            settings(args),
            "start a run with these settings: `overnight run --workers N --budget USD`, \
             and `in_flight` in overnight.toml",
        ),
    };
    let runs = setup
        .app
        .queue()?
        .set_live_settings(settings.clone(), caller())
        .await
        .map_err(|error| match error {
            QueueError::NoActiveRun => {
                let queue = &setup.app.config.queue;
                Usage(format!("no run is active on {queue}\nhint: {hint}")).into()
            }
            other => anyhow::Error::from(other),
        })?;
    let changes: Vec<String> = settings.iter().map(ToString::to_string).collect();
    let pids: Vec<String> = runs.iter().map(|run| run.pid.to_string()).collect();
    let recipients = match pids.as_slice() {
        [] => String::new(),
        [pid] => format!(", for the run with pid {pid}"),
        pids => format!(", for {} runs: pids {}", pids.len(), pids.join(", ")),
    };
    render::print_line(format_args!("{}{recipients}", changes.join(", ")))?;
    Ok(Exit::Success)
}

async fn accept_price(setup: &Setup, args: AcceptPriceArgs) -> anyhow::Result<Exit> {
    let (provider, wire_model) = args.route;
    let queue = setup.app.queue()?;
    if !queue.accept_price(provider, wire_model.clone()).await? {
        return Err(Usage(format!(
            "the bills of {provider}/{wire_model} agree with the catalog\n\
             hint: `{}` shows the routes that were stopped",
            setup.suggest("status")
        ))
        .into());
    }
    render::print_line(format_args!(
        "accepted the price of {provider}/{wire_model}; reservations use it"
    ))?;
    Ok(Exit::Success)
}

fn settings(args: CtlSetArgs) -> Vec<LiveSetting> {
    let CtlSetArgs {
        workers,
        in_flight,
        budget,
        batch,
    } = args;
    let workers = workers.map(|workers| LiveSetting::Workers(workers.into()));
    let in_flight = in_flight
        .into_iter()
        .map(|(provider, limit)| LiveSetting::InFlight(provider, limit));
    let budget = budget.map(|budget| match batch {
        Some(batch) => LiveSetting::BatchBudget(batch, budget.0),
        None => LiveSetting::Budget(budget.0),
    });
    workers.into_iter().chain(in_flight).chain(budget).collect()
}

/// Returns who runs this command, for the logs of the runs: `anna@desk, pid 4712`.
fn caller() -> String {
    let user = ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok())
        .filter(|user| !user.is_empty())
        .unwrap_or_else(|| "unknown".into());
    let host = gethostname::gethostname();
    let caller = format!(
        "{user}@{}, pid {}",
        host.to_string_lossy(),
        std::process::id()
    );
    render::truncate(&caller, MAX_CALLER_COLUMNS)
}
