//! `ctl`: changes the runs that are going on, through the queue file.

use crate::queue::{LiveSetting, QueueError};

use super::args::{CtlArgs, CtlCommand, CtlSetArgs, Global};
use super::exit::{Exit, Usage};
use super::render;
use super::setup::Setup;

/// The longest name of who changed something.
const MOST: usize = 60;

/// Changes the runs that are going on.
pub(super) async fn ctl(global: &Global, args: CtlArgs) -> anyhow::Result<Exit> {
    let setup = Setup::of(global)?;
    let (settings, instead) = match args.change {
        CtlCommand::Pause => (
            vec![LiveSetting::Paused(true)],
            "a run that is not there begins nothing",
        ),
        CtlCommand::Resume => (
            vec![LiveSetting::Paused(false)],
            "a pause ends with its run: start with `overnight run`",
        ),
        CtlCommand::Set(args) => (
            settings(args),
            "a run is started with them: `overnight run --workers N --budget USD`, `in_flight` in overnight.toml",
        ),
    };
    let changed = setup
        .queue()?
        .set_live_settings(settings.clone(), who(), setup.clock.now())
        .await;
    let runs = changed.map_err(|error| match error {
        QueueError::Conflict(_) => {
            let queue = setup.config.queue.display();
            anyhow::Error::new(Usage(format!("no run works on {queue}\nhint: {instead}")))
        }
        other => other.into(),
    })?;
    let told: Vec<String> = settings.iter().map(ToString::to_string).collect();
    let pids: Vec<String> = runs.iter().map(|run| run.pid.to_string()).collect();
    let heard = match pids.as_slice() {
        [] => String::new(),
        [pid] => format!(", for the run of pid {pid}"),
        pids => format!(", for {} runs: pids {}", pids.len(), pids.join(", ")),
    };
    render::line(format_args!("{}{heard}", told.join(", ")))?;
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

/// Who asks, for the runs' logs.
fn who() -> String {
    let name = ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    let name = name
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "somebody".into());
    let host = gethostname::gethostname();
    let whole = format!(
        "{name}@{}, pid {}",
        host.to_string_lossy(),
        std::process::id()
    );
    render::clipped(&whole, MOST)
}
