//! What a run says at its end: first what needs a human, then what was made and what it cost.

use std::sync::Arc;

use crate::domain::{JobState, Money};
use crate::queue::{JobFilter, Queue, Status};

use super::render;

/// The most jobs listed one by one.
const MOST_LISTED: usize = 10;

/// Says how many jobs are in doubt, what they may have cost, and what a person can do; `None` where none is.
pub(super) fn doubts(status: &Status) -> Option<String> {
    let jobs: u64 = status
        .batches
        .iter()
        .map(|batch| batch.count(JobState::InDoubt))
        .sum();
    let at_risk: Money = status.batches.iter().map(|batch| batch.at_risk).sum();
    let jobs = (jobs > 0).then(|| render::count(jobs, "job"))?;
    let remedy = "`overnight resolve JOB --adopt ID`, `--resubmit` or `--fail`";
    Some(format!("{jobs} in doubt, ${at_risk:#} at risk: {remedy}"))
}

/// Tells how the batches stand.
pub(super) async fn tell(
    queue: &Arc<dyn Queue>,
    status: &Status,
    batch: Option<&str>,
) -> anyhow::Result<()> {
    for state in [JobState::InDoubt, JobState::Failed] {
        let jobs: u64 = status.batches.iter().map(|batch| batch.count(state)).sum();
        if jobs == 0 {
            continue;
        }
        render::line(doubts(status).filter(|_| state == JobState::InDoubt).unwrap_or_else(|| {
            format!(
                "{} failed: `overnight retry JOB` tries again; what is paid is not paid again",
                render::count(jobs, "job")
            )
        }))?;
        let filter = JobFilter {
            batch: batch.map(str::to_owned),
            state: Some(state),
        };
        for job in queue.jobs(filter, None, MOST_LISTED).await? {
            let risk = if job.at_risk.micros() > 0 {
                format!(" (${:#} at risk)", job.at_risk)
            } else {
                String::new()
            };
            let error = job.error.unwrap_or_else(|| "no reason is known".into());
            render::line(format_args!(
                "  {}{risk}: {}",
                job.id,
                render::clipped(&error, 160)
            ))?;
        }
        if jobs > MOST_LISTED as u64 {
            render::line(format_args!(
                "  and {} more: overnight jobs --state {state}",
                jobs - MOST_LISTED as u64
            ))?;
        }
    }
    for batch in &status.batches {
        let done = batch.count(JobState::Succeeded);
        render::line(format_args!(
            "{}: {done} of {} in {}, ${:#} spent{}",
            batch.batch,
            render::count(batch.total(), "clip"),
            batch.folder,
            batch.spent,
            if batch.reserved.micros() > 0 {
                format!(", ${:#} reserved", batch.reserved)
            } else {
                String::new()
            },
        ))?;
    }
    Ok(())
}
