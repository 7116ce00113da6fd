//! The summary at the end of a run: first the jobs that need a decision, then clips and cost.

use std::sync::Arc;

use crate::domain::{JobState, Money};
use crate::queue::{JobFilter, Queue, Status};

use super::render;
use super::setup::Setup;

/// Maximum number of jobs that are listed one by one, for each state.
const MAX_LISTED: usize = 10;

/// Columns of a terminal that a job's error may take.
const MAX_ERROR_COLUMNS: usize = 160;

/// Formats how many jobs are in doubt, what they may have cost, and how to settle them. Returns
/// `None` if there are none.
pub(super) fn in_doubt(setup: &Setup, status: &Status) -> Option<String> {
    let jobs = count(status, JobState::InDoubt);
    if jobs == 0 {
        return None;
    }
    let at_risk: Money = status.batches.iter().map(|batch| batch.at_risk).sum();
    Some(format!(
        "{} in doubt, ${at_risk:#} at risk: settle each with `{}` and --adopt ID, --resubmit or \
         --fail",
        render::format_count(jobs, "job"),
        setup.suggest("resolve").arg("JOB")
    ))
}

fn count(status: &Status, state: JobState) -> u64 {
    status.batches.iter().map(|batch| batch.count(state)).sum()
}

/// Prints the summary of all batches, or of one.
pub(super) async fn print(
    setup: &Setup,
    queue: &Arc<dyn Queue>,
    status: &Status,
    batch: Option<&str>,
) -> anyhow::Result<()> {
    if let Some(in_doubt) = in_doubt(setup, status) {
        render::print_line(in_doubt)?;
        print_jobs(setup, queue, status, batch, JobState::InDoubt).await?;
    }
    let failed = count(status, JobState::Failed);
    if failed > 0 {
        render::print_line(format_args!(
            "{} failed: `{}` tries again; what is paid for is not paid for again",
            render::format_count(failed, "job"),
            setup.suggest("retry").arg("JOB")
        ))?;
        print_jobs(setup, queue, status, batch, JobState::Failed).await?;
    }
    for batch in &status.batches {
        let succeeded = batch.count(JobState::Succeeded);
        render::print_line(format_args!(
            "{}: {succeeded} of {} in {}, ${:#} spent{}",
            batch.batch,
            render::format_count(batch.total_jobs(), "clip"),
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

/// Prints the jobs in a state with their errors, and the command that lists the rest.
async fn print_jobs(
    setup: &Setup,
    queue: &Arc<dyn Queue>,
    status: &Status,
    batch: Option<&str>,
    state: JobState,
) -> anyhow::Result<()> {
    let filter = JobFilter {
        batch: batch.map(str::to_owned),
        state: Some(state),
    };
    for job in queue.jobs(filter, None, MAX_LISTED).await? {
        let at_risk = if job.at_risk.micros() > 0 {
            format!(" (${:#} at risk)", job.at_risk)
        } else {
            String::new()
        };
        let error = job.error.unwrap_or_else(|| "no reason is recorded".into());
        render::print_line(format_args!(
            "  {}{at_risk}: {}",
            job.id,
            render::truncate(&error, MAX_ERROR_COLUMNS)
        ))?;
    }
    let unlisted = count(status, state).saturating_sub(MAX_LISTED as u64);
    if unlisted > 0 {
        let list = setup
            .suggest("jobs")
            .option("--state", Some(state.as_str()))
            .option("--batch", batch);
        render::print_line(format_args!("  and {unlisted} more: {list}"))?;
    }
    Ok(())
}
