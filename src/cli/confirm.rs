//! Asks for confirmation before money is spent on a batch for the first time.

use crate::domain::{JobState, Money};
use crate::queue::{BatchStatus, Queue};
use crate::worker::StopSignal;

use super::args::RunArgs;
use super::prompt::{Answer, is_interactive, prompt_yes_no};
use super::render;

/// Returns whether a run may start. Prompts only on a terminal, without `--yes`, and if a batch has
/// never been submitted; otherwise the answer is [`Answer::Yes`].
pub(super) async fn confirm_spending(
    queue: &dyn Queue,
    batches: &[BatchStatus],
    args: &RunArgs,
    stop: &StopSignal,
) -> anyhow::Result<Answer> {
    let mut new = batches
        .iter()
        .filter(|batch| batch.is_never_submitted())
        .peekable();
    if args.yes || new.peek().is_none() || !is_interactive() {
        return Ok(Answer::Yes);
    }
    for batch in new {
        let price = queue.queued_estimate(Some(batch.batch.clone())).await?;
        render::print_note(describe(batch, price));
    }
    if let Some(budget) = args.budget {
        render::print_note(format_args!(
            "this run stops at its budget of ${budget:#}, which includes what was spent earlier"
        ));
    }
    Ok(prompt_yes_no("Submit and pay for these jobs?", stop).await)
}

fn describe(batch: &BatchStatus, price: Money) -> String {
    let jobs = render::format_count(batch.count(JobState::Queued), "job");
    let limit = batch
        .budget
        .filter(|budget| *budget < price)
        .map_or(String::new(), |budget| {
            format!(" (limited to ${budget:#} by its budget)")
        });
    format!(
        "{}: {jobs}, ${price:#} at most{limit}; no job of this batch has been submitted yet",
        batch.batch
    )
}
