//! The first clips of a run, shown before the rest is paid for.

use jiff::Timestamp;

use crate::domain::JobState;
use crate::queue::{JobRecord, Queue};
use crate::worker::StopSignal;

use super::args::RunArgs;
use super::ask::{Answer, ask, somebody_is_there};
use super::render;

/// Shows the clips that were made first, and asks whether to go on.
pub(super) async fn shown(
    queue: &dyn Queue,
    args: &RunArgs,
    most: u32,
    since: Timestamp,
    stop: &StopSignal,
) -> anyhow::Result<Answer> {
    let mut first = queue.latest(args.batch.clone(), most as usize).await?;
    first.retain(|job| job.finished_at.is_some_and(|at| at >= since));
    first.reverse();
    show(&first)?;
    let price = queue.waiting_price(args.batch.clone()).await?;
    let status = queue.status(args.batch.clone()).await?;
    let waiting: u64 = status.batches.iter().map(|batch| batch.count(JobState::Queued)).sum();
    let all_succeeded = first.iter().all(|job| job.state == JobState::Succeeded);
    let rest = format!("{} wait, ${price:#} at most", render::count(waiting, "job"));
    if args.yes && all_succeeded {
        render::note(format_args!("all of them succeeded: going on; {rest}"));
        return Ok(Answer::Yes);
    }
    if args.yes || !somebody_is_there() {
        render::note(format_args!("stopped after the first clips; {rest}"));
        return Ok(Answer::No);
    }
    Ok(ask(&format!("{rest}. Go on?"), stop).await)
}

fn show(first: &[JobRecord]) -> anyhow::Result<()> {
    if first.is_empty() {
        return Ok(());
    }
    let mut table = vec![["first", "state", "provider", "took", "cost", "clip"].map(String::from).to_vec()];
    for job in first {
        let took =
            job.submitted_at.zip(job.finished_at).map(|(from, until)| until.duration_since(from).as_secs());
        let took = took.and_then(|seconds| u64::try_from(seconds).ok());
        table.push(vec![
            render::clipped(&job.id, 32),
            job.state.to_string(),
            job.provider.map_or("-".into(), |provider| provider.to_string()),
            took.map_or("-".into(), render::span),
            job.cost_usd.map_or("-".into(), |cost| format!("${cost:#}")),
            job.output.clone().or_else(|| job.error.clone()).unwrap_or_default(),
        ]);
    }
    render::table(&table)
}
