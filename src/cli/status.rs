//! `status`: how the queue stands.

use std::io::IsTerminal;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::domain::{JobState, ProviderName};
use crate::queue::{BatchStatus, Status};

use super::args::{Global, StatusArgs};
use super::exit::Exit;
use super::setup::Setup;
use super::{render, summary};

/// Tells how the queue stands, once or every second.
pub(super) async fn status(global: &Global, args: StatusArgs) -> anyhow::Result<Exit> {
    let setup = Setup::of(global)?;
    let queue = setup.queue()?;
    loop {
        let status = queue.status(args.batch.clone()).await?;
        if args.watch && !args.json && std::io::stdout().is_terminal() {
            // Home, and clear to the end: the screen does not flicker as it does when it is cleared first.
            render::line("\u{1b}[H\u{1b}[J")?;
        }
        tell(&setup, &status, args.json)?;
        if !args.watch {
            return Ok(Exit::Success);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn tell(setup: &Setup, status: &Status, as_json: bool) -> anyhow::Result<()> {
    let now = setup.clock.now();
    if as_json {
        return render::json(&contract(setup, status, now));
    }
    if status.batches.is_empty() {
        return render::line("the queue is empty; `overnight load` fills it");
    }
    let mut table = vec![Vec::from(
        ["batch", "done", "queued", "working", "in doubt", "failed", "spent", "reserved", "budget", "left"]
            .map(String::from),
    )];
    for batch in &status.batches {
        let working = [JobState::Submitting, JobState::Running, JobState::Downloading];
        table.push(vec![
            render::clipped(&batch.batch, 24),
            format!("{}/{}", batch.count(JobState::Succeeded), batch.total()),
            batch.count(JobState::Queued).to_string(),
            working.into_iter().map(|state| batch.count(state)).sum::<u64>().to_string(),
            batch.count(JobState::InDoubt).to_string(),
            batch.count(JobState::Failed).to_string(),
            format!("${}", batch.spent),
            format!("${}", batch.reserved),
            batch.budget.map_or("-".into(), |budget| format!("${budget}")),
            batch.eta_s(now).map_or("-".into(), render::span),
        ]);
    }
    render::table(&table)?;
    if let Some(doubts) = summary::doubts(status) {
        render::line(doubts)?;
    }
    for provider in &status.providers {
        let limit = setup.config.in_flight(provider.provider);
        let gate = match (&provider.paused, provider.creates_from) {
            (Some(reason), _) => format!(", paused: {reason}"),
            (None, Some(from)) if from > now => {
                let seconds = u64::try_from(from.duration_since(now).as_secs()).unwrap_or(0) + 1;
                format!(", no create for {}", render::span(seconds))
            }
            _ => String::new(),
        };
        render::line(format_args!(
            "{}: {} of {limit} slots in use{gate}",
            provider.provider, provider.in_flight
        ))?;
    }
    Ok(())
}

/// The stable form other programs read.
fn contract(setup: &Setup, status: &Status, now: Timestamp) -> Value {
    let batches: Vec<Value> = status.batches.iter().map(|batch| batch_contract(batch, now)).collect();
    let providers: Vec<Value> = ProviderName::ALL
        .into_iter()
        .map(|name| {
            let known = status.providers.iter().find(|provider| provider.provider == name);
            json!({
                "provider": name,
                "in_flight": known.map_or(0, |provider| provider.in_flight),
                "limit": setup.config.in_flight(name),
                "paused": known.and_then(|provider| provider.paused.clone()),
            })
        })
        .collect();
    json!({ "batches": batches, "providers": providers })
}

fn batch_contract(batch: &BatchStatus, now: Timestamp) -> Value {
    let jobs: Map<String, Value> =
        JobState::ALL.into_iter().map(|state| (state.to_string(), json!(batch.count(state)))).collect();
    json!({
        "batch": batch.batch,
        "jobs": jobs,
        "spent_usd": batch.spent,
        "reserved_usd": batch.reserved,
        "at_risk_usd": batch.at_risk,
        "budget_usd": batch.budget,
        "eta_s": batch.eta_s(now),
    })
}
