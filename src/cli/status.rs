//! `status`: shows the state of the queue.

use std::time::Duration;

use console::Term;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::domain::{JobState, ProviderName};
use crate::queue::{BatchStatus, JobFilter, RouteStatus};

use super::args::{Global, StatusArgs};
use super::exit::Exit;
use super::screen::{self, REFRESH_INTERVAL, Snapshot, SnapshotReader, StdoutScreen};
use super::setup::Setup;
use super::{render, summary};

/// Maximum columns of a batch name in the table.
const MAX_BATCH_COLUMNS: usize = 24;

/// Maximum columns of the reason why a running job has a problem.
const MAX_ERROR_COLUMNS: usize = 120;

/// Number of running jobs among which problems are looked for.
const MAX_RUNNING_READ: usize = 100;

/// Time between two reports of `--watch` where the screen cannot be redrawn.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Prints the state of the queue, once or until interrupted.
pub(super) async fn status(global: &Global, args: StatusArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let reader = setup.snapshot_reader(setup.app.queue()?, args.batch, None);
    if args.watch && !args.json && screen::supports_redraw(&Term::stdout()) {
        let mut stdout_screen = StdoutScreen::new(render::use_color(global.color, true));
        loop {
            stdout_screen.draw(&reader.read().await?)?;
            tokio::time::sleep(REFRESH_INTERVAL).await;
        }
    }
    loop {
        print_snapshot(&setup, &reader, &reader.read().await?, args.json).await?;
        if !args.watch {
            return Ok(Exit::Success);
        }
        tokio::time::sleep(REPORT_INTERVAL).await;
    }
}

async fn print_snapshot(
    setup: &Setup,
    reader: &SnapshotReader,
    snapshot: &Snapshot,
    as_json: bool,
) -> anyhow::Result<()> {
    if as_json {
        return render::print_json(&status_json(snapshot));
    }
    let status = &snapshot.status;
    if status.batches.is_empty() {
        return render::print_line("the queue is empty; add jobs with `overnight load`");
    }
    let mut table = vec![Vec::from(
        [
            "batch",
            "done",
            "queued",
            "working",
            "in doubt",
            "failed",
            "spent",
            "reserved",
            "budget",
            "time left",
        ]
        .map(String::from),
    )];
    for batch in &status.batches {
        let working = [
            JobState::Submitting,
            JobState::Running,
            JobState::Downloading,
        ];
        table.push(vec![
            render::truncate(&batch.batch, MAX_BATCH_COLUMNS),
            format!(
                "{}/{}",
                batch.count(JobState::Succeeded),
                batch.total_jobs()
            ),
            batch.count(JobState::Queued).to_string(),
            working
                .into_iter()
                .map(|state| batch.count(state))
                .sum::<u64>()
                .to_string(),
            batch.count(JobState::InDoubt).to_string(),
            batch.count(JobState::Failed).to_string(),
            format!("${:#}", batch.spent),
            format!("${:#}", batch.reserved),
            batch
                .budget
                .map_or("-".into(), |budget| format!("${budget:#}")),
            snapshot
                .eta_s(batch)
                .map_or("-".into(), render::format_duration),
        ]);
    }
    render::print_table(&table)?;
    let batch = reader.batch.as_deref();
    if let Some(in_doubt) = summary::in_doubt(status) {
        let hint = summary::in_doubt_hint(setup, reader.queue.as_ref(), batch).await?;
        render::print_line(format_args!("{in_doubt}\n{hint}"))?;
    }
    if let Some(problem) = running_problem(reader).await? {
        render::print_line(problem)?;
    }
    let failed = status.count(JobState::Failed);
    if failed > 0 {
        let list = setup
            .suggest("jobs")
            .option("--state", Some(JobState::Failed.as_str()))
            .option("--batch", batch);
        render::print_line(format_args!(
            "{} failed: `{list}` prints why",
            render::format_count(failed, "job")
        ))?;
    }
    if status.count(JobState::Queued) > 0 && status.working_since(snapshot.now).is_none() {
        let run = setup.suggest("run").option("--batch", batch);
        render::print_line(format_args!(
            "no run is active: `{run}` renders the queued jobs"
        ))?;
    }
    for provider in &status.providers {
        let limit = snapshot.settings.in_flight(provider.provider).unwrap_or(0);
        let hold = screen::hold_reason(provider, snapshot.now)
            .map_or(String::new(), |reason| format!(", {reason}"));
        render::print_line(format_args!(
            "{}: {} of {limit} slots in use{hold}",
            provider.provider, provider.in_flight
        ))?;
    }
    for route in &status.routes {
        if let Some(reason) = screen::route_hold_reason(route, snapshot.now) {
            let RouteStatus {
                provider,
                wire_model,
                ..
            } = route;
            render::print_line(format_args!("{provider}/{wire_model}: {reason}"))?;
        }
    }
    Ok(())
}

/// Returns what is wrong with the running jobs, such as a long wait in a provider's queue, as the
/// reason of the first of them; `None` if nothing is.
async fn running_problem(reader: &SnapshotReader) -> anyhow::Result<Option<String>> {
    let filter = JobFilter {
        batch: reader.batch.clone(),
        state: Some(JobState::Running),
    };
    let running = reader.queue.jobs(filter, None, MAX_RUNNING_READ).await?;
    let mut problems = running
        .into_iter()
        .filter_map(|job| Some((job.id, job.error?)));
    Ok(problems.next().map(|(id, error)| {
        let others = match problems.count() {
            0 => String::new(),
            count => format!(", and {count} more"),
        };
        let error = render::truncate(&error, MAX_ERROR_COLUMNS);
        format!("running: {id}: {error}{others}")
    }))
}

/// Returns the JSON of `status --json`, a stable contract.
fn status_json(snapshot: &Snapshot) -> Value {
    let Snapshot {
        status, settings, ..
    } = snapshot;
    let batches: Vec<Value> = status
        .batches
        .iter()
        .map(|batch| batch_json(snapshot, batch))
        .collect();
    let providers: Vec<Value> = ProviderName::ALL
        .into_iter()
        .map(|name| {
            let called = status
                .providers
                .iter()
                .find(|provider| provider.provider == name);
            json!({
                "provider": name,
                "in_flight": called.map_or(0, |provider| provider.in_flight),
                "limit": settings.in_flight(name),
                "paused": called.and_then(|provider| provider.paused.clone()),
                "held": called.and_then(|provider| screen::hold_reason(provider, snapshot.now)),
            })
        })
        .collect();
    let routes: Vec<Value> = status
        .routes
        .iter()
        .map(|route| route_json(route, snapshot.now))
        .collect();
    json!({ "batches": batches, "providers": providers, "routes": routes })
}

fn route_json(route: &RouteStatus, now: Timestamp) -> Value {
    let price = route.gate.price;
    json!({
        "route": format!("{}/{}", route.provider, route.wire_model),
        "held": screen::route_hold_reason(route, now),
        "catalog_usd": price.map(|price| price.priced),
        "billed_usd": price.map(|price| price.billed),
    })
}

fn batch_json(snapshot: &Snapshot, batch: &BatchStatus) -> Value {
    let jobs: Map<String, Value> = JobState::ALL
        .into_iter()
        .map(|state| (state.to_string(), json!(batch.count(state))))
        .collect();
    json!({
        "batch": batch.batch,
        "jobs": jobs,
        "spent_usd": batch.spent,
        "reserved_usd": batch.reserved,
        "at_risk_usd": batch.at_risk,
        "budget_usd": batch.budget,
        "eta_s": snapshot.eta_s(batch),
    })
}
