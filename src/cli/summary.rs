//! What a run says at its end: first what needs a human, then what was made and what it cost.

use std::sync::Arc;

use crate::domain::JobState;
use crate::queue::{JobFilter, Queue, Status};

use super::render;

/// The most jobs listed one by one.
const MOST_LISTED: usize = 10;

/// Tells how the batches stand.
pub(super) async fn tell(queue: &Arc<dyn Queue>, status: &Status, batch: Option<&str>) -> anyhow::Result<()> {
    for state in [JobState::InDoubt, JobState::Failed] {
        let jobs: u64 = status.batches.iter().map(|batch| batch.count(state)).sum();
        if jobs == 0 {
            continue;
        }
        let (verb, remedy) = match state {
            JobState::InDoubt => ("in doubt", "`overnight resolve JOB --adopt ID`, `--resubmit` or `--fail`"),
            _ => ("failed", "`overnight retry JOB` tries again; what is paid is not paid again"),
        };
        render::line(format_args!("{} {verb}: {remedy}", render::count(jobs, "job")))?;
        let filter = JobFilter { batch: batch.map(str::to_owned), state: Some(state) };
        for job in queue.jobs(filter, None, MOST_LISTED).await? {
            let risk =
                if job.at_risk.micros() > 0 { format!(" (${} at risk)", job.at_risk) } else { String::new() };
            let error = job.error.unwrap_or_else(|| "no reason is known".into());
            render::line(format_args!("  {}{risk}: {}", job.id, render::clipped(&error, 160)))?;
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
            "{}: {done} of {} in {}, ${} spent{}",
            batch.batch,
            render::count(batch.total(), "clip"),
            batch.folder,
            batch.spent,
            if batch.reserved.micros() > 0 {
                format!(", ${} reserved", batch.reserved)
            } else {
                String::new()
            },
        ))?;
    }
    Ok(())
}
