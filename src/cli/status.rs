//! `status`: how the queue stands.

use std::time::Duration;

use console::Term;
use serde_json::{Map, Value, json};

use crate::domain::{JobState, ProviderName};
use crate::queue::BatchStatus;

use super::args::{Global, StatusArgs};
use super::exit::Exit;
use super::screen::{self, OnOutput, Snapshot};
use super::setup::Setup;
use super::{render, summary};

const PIPED: Duration = Duration::from_secs(1);

/// Tells how the queue stands, once or until interrupted.
pub(super) async fn status(global: &Global, args: StatusArgs) -> anyhow::Result<Exit> {
    let setup = Setup::of(global)?;
    let reader = setup.reader(setup.queue()?, args.batch, None);
    if args.watch && !args.json && screen::is_shown_on(&Term::stdout()) {
        let mut shown = OnOutput::new(render::is_colored(global.color, true));
        loop {
            shown.show(&reader.read().await?)?;
            tokio::time::sleep(screen::BEAT).await;
        }
    }
    loop {
        tell(&reader.read().await?, args.json)?;
        if !args.watch {
            return Ok(Exit::Success);
        }
        tokio::time::sleep(PIPED).await;
    }
}

fn tell(snapshot: &Snapshot, as_json: bool) -> anyhow::Result<()> {
    let Snapshot {
        status,
        now,
        limits,
        ..
    } = snapshot;
    if as_json {
        return render::json(&contract(snapshot));
    }
    if status.batches.is_empty() {
        return render::line("the queue is empty; `overnight load` fills it");
    }
    let mut table = vec![Vec::from(
        [
            "batch", "done", "queued", "working", "in doubt", "failed", "spent", "reserved",
            "budget", "left",
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
            render::clipped(&batch.batch, 24),
            format!("{}/{}", batch.count(JobState::Succeeded), batch.total()),
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
            snapshot.eta_s(batch).map_or("-".into(), render::span),
        ]);
    }
    render::table(&table)?;
    if let Some(doubts) = summary::doubts(status) {
        render::line(doubts)?;
    }
    for provider in &status.providers {
        let limit = limits.get(&provider.provider).copied().unwrap_or(0);
        let gate = screen::hold_reason(provider, *now)
            .map_or(String::new(), |hold_reason| format!(", {hold_reason}"));
        render::line(format_args!(
            "{}: {} of {limit} slots in use{gate}",
            provider.provider, provider.in_flight
        ))?;
    }
    Ok(())
}

/// The stable form other programs read.
fn contract(snapshot: &Snapshot) -> Value {
    let Snapshot { status, limits, .. } = snapshot;
    let batches: Vec<Value> = status
        .batches
        .iter()
        .map(|batch| batch_contract(snapshot, batch))
        .collect();
    let providers: Vec<Value> = ProviderName::ALL
        .into_iter()
        .map(|name| {
            let known = status
                .providers
                .iter()
                .find(|provider| provider.provider == name);
            json!({
                "provider": name,
                "in_flight": known.map_or(0, |provider| provider.in_flight),
                "limit": limits.get(&name),
                "paused": known.and_then(|provider| provider.paused.clone()),
            })
        })
        .collect();
    json!({ "batches": batches, "providers": providers })
}

fn batch_contract(snapshot: &Snapshot, batch: &BatchStatus) -> Value {
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
