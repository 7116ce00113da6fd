//! Before a run submits: do the balances cover what is queued?

use std::time::Duration;

use futures_util::future::join_all;
use jiff::SignedDuration;

use crate::domain::{JobState, Money};
use crate::queue::{BatchStatus, Queue};
use crate::worker::StepContext;

use super::render;

/// Time since a run was last seen at work in which the balances are not asked for again.
const MIN_GAP: SignedDuration = SignedDuration::from_secs(1);

/// How long to wait for the balances.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Says so if the balances of the providers together are less than what a run may spend. Providers that
/// do not tell theirs are taken to have enough.
pub(super) async fn compare(
    queue: &dyn Queue,
    context: &StepContext,
    batches: &[BatchStatus],
    batch: Option<&str>,
    budget: Option<Money>,
) -> anyhow::Result<()> {
    let lineage = queue.lineage().await?;
    let age = |at| context.clock.now().duration_since(at).abs();
    if lineage.generation > 0 && lineage.last_seen.is_some_and(|at| age(at) < MIN_GAP) {
        return Ok(());
    }
    if batches
        .iter()
        .all(|batch| batch.count(JobState::Queued) == 0)
    {
        return Ok(());
    }
    let balances = context
        .providers
        .values()
        .map(|provider| provider.balance());
    let Ok(balances) = tokio::time::timeout(TIMEOUT, join_all(balances)).await else {
        return Ok(());
    };
    let Some(balances) = balances.into_iter().collect::<Option<Vec<Money>>>() else {
        return Ok(());
    };
    let total: Money = balances.iter().copied().sum();
    // After the balances, because the sum over a million rows takes a while.
    let mut price = queue.queued_estimate(batch.map(str::to_owned)).await?;
    if let Some(budget) = budget {
        let used: Money = batches
            .iter()
            .map(|batch| batch.spent + batch.reserved)
            .sum();
        price = price.min((budget - used).max(Money::ZERO));
    }
    if total < price {
        let names: Vec<String> = context
            .providers
            .keys()
            .zip(&balances)
            .map(|(name, balance)| format!("{name} ${balance:#}"))
            .collect();
        render::print_note(format_args!(
            "the balances ({}) do not cover the queued jobs, ${price:#} at most: the run goes on as far \
             as they last",
            names.join(", ")
        ));
    }
    Ok(())
}
