//! Asks before the first money of a batch is spent: once, and only a person at a terminal.

use crate::domain::{JobState, Money};
use crate::queue::{BatchStatus, Queue};
use crate::worker::StopSignal;

use super::args::RunArgs;
use super::prompt::{Answer, ask, somebody_is_there};
use super::render;

/// Tells whether a run may begin.
pub(super) async fn given(
    queue: &dyn Queue,
    batches: &[BatchStatus],
    args: &RunArgs,
    stop: &StopSignal,
) -> anyhow::Result<Answer> {
    let mut new = batches.iter().filter(|batch| is_new(batch)).peekable();
    if args.yes || new.peek().is_none() || !somebody_is_there() {
        return Ok(Answer::Yes);
    }
    for batch in new {
        let price = queue.queued_price(Some(batch.batch.clone())).await?;
        render::note(waits(batch, price));
    }
    if let Some(budget) = args.budget {
        render::note(format_args!("this run stops at ${budget:#}"));
    }
    Ok(ask("Begin to pay?", stop).await)
}

/// Tells whether a batch waits that nothing was ever sent of.
fn is_new(batch: &BatchStatus) -> bool {
    let sent = [
        JobState::Submitting,
        JobState::InDoubt,
        JobState::Running,
        JobState::Downloading,
        JobState::Succeeded,
    ];
    let nothing_sent = sent.into_iter().all(|state| batch.count(state) == 0);
    batch.count(JobState::Queued) > 0 && nothing_sent && batch.spent + batch.reserved == Money::ZERO
}

fn waits(batch: &BatchStatus, price: Money) -> String {
    let jobs = render::count(batch.count(JobState::Queued), "job");
    let budget = batch.budget.filter(|budget| *budget < price);
    let wall = budget.map_or(String::new(), |budget| {
        format!(", of which its budget allows ${budget:#}")
    });
    format!(
        "{}: {jobs}, ${price:#} at most{wall}; none of this batch was ever sent",
        batch.batch
    )
}
