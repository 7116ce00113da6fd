//! The summary at the end of a run: first the jobs that need a decision, then clips and cost.

use std::sync::Arc;

use crate::domain::redact::redact_prompts;
use crate::domain::{JobState, Money};
use crate::queue::job_reader::first_held;
use crate::queue::{BatchStatus, JobFilter, JobRecord, Queue, Status};

use super::remedy::with_remedy;
use super::render;
use super::setup::Setup;
use super::width;

/// Maximum number of jobs that are listed one by one, for each state.
const MAX_LISTED: usize = 10;

/// Columns of a terminal that a job's error may take.
const MAX_ERROR_COLUMNS: usize = 160;

/// Formats how many jobs are in doubt and what they may have cost. Returns `None` if there are none.
pub(super) fn in_doubt(status: &Status) -> Option<String> {
    let jobs = status.count(JobState::InDoubt);
    if jobs == 0 {
        return None;
    }
    let at_risk = |batch: &BatchStatus| batch.at_risk - batch.presumed;
    let at_risk: Money = status.batches.iter().map(at_risk).sum();
    let object = if jobs == 1 { "it" } else { "them" };
    Some(format!(
        "{} in doubt, ${at_risk:#} at risk: it is unknown whether the provider accepted {object}",
        render::format_count(jobs, "job")
    ))
}

/// Formats how to settle the jobs in doubt: by the user, if one is held for a decision, else by a
/// run. The commands name the first held job.
pub(super) async fn in_doubt_hint(
    setup: &Setup,
    queue: &dyn Queue,
    batch: Option<&str>,
) -> anyhow::Result<String> {
    let Some(job) = first_held(queue, batch).await? else {
        let run = setup.suggest("run").option("--batch", batch);
        return Ok(format!(
            "hint: there is nothing to decide yet: `{run}` searches the provider's history for them"
        ));
    };
    Ok(format!(
        "hint: `{}` prints when, where and with which input the job was submitted. Look for that \
         request on the provider's website, then settle the job with one of:\n\
         {}\n\
         then continue with: {}",
        setup
            .suggest("show")
            .job(&job.id)
            .option("--batch", Some(&job.batch)),
        resolve_commands(setup, &job),
        setup.suggest("run").option("--batch", batch),
    ))
}

/// Formats the commands that settle a job in doubt, one a line, each with its meaning.
pub(super) fn resolve_commands(setup: &Setup, job: &JobRecord) -> String {
    let command = |flags: &[&str]| {
        let suggested = setup.suggest("resolve").job(&job.id);
        let suggested = suggested.option("--batch", Some(&job.batch));
        flags
            .iter()
            .fold(suggested, |suggested, flag| suggested.arg(flag))
            .to_string()
    };
    let adopt = command(&["--adopt", "ID"]);
    let resubmit = command(&["--resubmit"]);
    let fail = command(&["--fail"]);
    // The longest of the three, so that the comments are aligned.
    let columns = width::display_width(&resubmit);
    format!(
        "  {}  # it is there: continue with it; ID is its id at the provider\n  \
         {}  # it is not there: submit it again, and pay for it\n  \
         {}  # you cannot tell: give it up; its price counts as spent",
        width::pad(&adopt, columns),
        width::pad(&resubmit, columns),
        width::pad(&fail, columns),
    )
}

/// Prints the summary of all batches, or of one.
pub(super) async fn print(
    setup: &Setup,
    queue: &Arc<dyn Queue>,
    status: &Status,
    batch: Option<&str>,
) -> anyhow::Result<()> {
    if let Some(in_doubt) = in_doubt(status) {
        render::print_line(in_doubt)?;
        print_jobs(setup, queue, status, batch, JobState::InDoubt).await?;
        render::print_line(in_doubt_hint(setup, queue.as_ref(), batch).await?)?;
    }
    let failed = status.count(JobState::Failed);
    if failed > 0 {
        render::print_line(format_args!(
            "{} failed:",
            render::format_count(failed, "job")
        ))?;
        let first = print_jobs(setup, queue, status, batch, JobState::Failed).await?;
        if let Some(job) = first {
            render::print_line(failed_hint(setup, &job, batch))?;
        }
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
        if batch.presumed > Money::ZERO {
            render::print_line(format_args!(
                "  ${:#} of that stays at risk: the responses were lost and the history lists no such \
                 submissions, so their jobs were queued again; the next run releases it once the \
                 history lists later ones",
                batch.presumed
            ))?;
        }
    }
    Ok(())
}

/// Formats how to try a failed job again.
fn failed_hint(setup: &Setup, job: &JobRecord, batch: Option<&str>) -> String {
    format!(
        "hint: to try a job again, queue it with `{}`, or change its row and load the manifest \
         again; then `{}`. A new submission is paid for; a clip that is paid for is only \
         downloaded again",
        setup
            .suggest("retry")
            .job(&job.id)
            .option("--batch", Some(&job.batch)),
        setup.suggest("run").option("--batch", batch),
    )
}

/// Prints the jobs in a state with their errors, and the command that lists the rest. Returns the
/// first of them.
async fn print_jobs(
    setup: &Setup,
    queue: &Arc<dyn Queue>,
    status: &Status,
    batch: Option<&str>,
    state: JobState,
) -> anyhow::Result<Option<JobRecord>> {
    let filter = JobFilter {
        batch: batch.map(str::to_owned),
        state: Some(state),
    };
    let jobs = queue.jobs(filter, None, MAX_LISTED).await?;
    for job in &jobs {
        render::print_line(format_job(job))?;
    }
    let unlisted = status.count(state).saturating_sub(MAX_LISTED as u64);
    if unlisted > 0 {
        let list = setup
            .suggest("jobs")
            .option("--state", Some(state.as_str()))
            .option("--batch", batch);
        render::print_line(format_args!("  and {unlisted} more: {list}"))?;
    }
    Ok(jobs.into_iter().next())
}

/// Formats a job with its error. Prompts that a provider quoted are redacted: the summary of a run
/// under cron ends up in mails and logs.
fn format_job(job: &JobRecord) -> String {
    let at_risk = if job.at_risk().micros() > 0 {
        format!(" (${:#} at risk)", job.at_risk())
    } else {
        String::new()
    };
    let error = match &job.error {
        Some(error) => with_remedy(&redact_prompts(error, &job.input), job.remedy()),
        None => "no reason is recorded".into(),
    };
    format!(
        "  {}{at_risk}: {}",
        job.id,
        render::truncate(&error, MAX_ERROR_COLUMNS)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::JobId;

    #[test]
    fn a_prompt_that_a_provider_quotes_is_not_in_the_summary() {
        let job = JobRecord {
            versions: Vec::new(),
            job_id: JobId(7),
            batch: "spring".into(),
            id: "MUG-001".into(),
            line: 2,
            state: JobState::Failed,
            model: "kling-v1-standard".into(),
            provider: None,
            prediction_id: None,
            attempts: 1,
            estimate_usd: Money::ZERO,
            cost_usd: None,
            cost_source: None,
            output: None,
            bytes: None,
            sha256: None,
            error: Some("fal: `Slow turntable, linen` is refused".into()),
            queued_at: jiff::Timestamp::UNIX_EPOCH,
            submitted_at: None,
            finished_at: None,
            input: serde_json::from_str(r#"{"prompt":"Slow turntable, linen"}"#).unwrap(),
            due_at: None,
            attempt_state: None,
        };
        assert_eq!(format_job(&job), "  MUG-001: fal: `[prompt]` is refused");
    }
}
