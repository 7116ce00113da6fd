//! `retry`, `cancel` and `resolve`: the decisions of an operator.

use crate::domain::{JobState, PredictionHandle};
use crate::queue::{Decision, Selection};
use crate::worker::cancel_predictions;

use super::args::{Global, ResolveArgs, SelectArgs};
use super::exit::Exit;
use super::render;
use super::setup::Setup;

impl From<SelectArgs> for Selection {
    fn from(args: SelectArgs) -> Self {
        Self {
            batch: args.batch,
            states: args.state.into_iter().collect(),
            jobs: args.jobs,
        }
    }
}

/// Makes failed and cancelled jobs due again.
pub(super) async fn retry(global: &Global, args: SelectArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let next = setup
        .suggest("run")
        .option("--batch", args.batch.as_deref());
    let jobs = setup.app.queue()?.retry(args.into()).await?;
    render::print_line(format_args!(
        "{} will be retried",
        render::format_count(jobs as u64, "job")
    ))?;
    if jobs > 0 {
        render::print_note(format_args!("next, unless a run is active: {next}"));
    }
    Ok(Exit::Success)
}

/// Cancels jobs, and asks the providers to stop the predictions that are running.
pub(super) async fn cancel(global: &Global, args: SelectArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let retry_all = setup
        .suggest("retry")
        .option("--state", Some(JobState::Cancelled.as_str()))
        .option("--batch", args.batch.as_deref());
    let retry_one = setup
        .suggest("retry")
        .arg("JOB")
        .option("--batch", args.batch.as_deref());
    let cancelled = setup.app.queue()?.cancel(args.into()).await?;
    render::print_line(format_args!(
        "{} cancelled",
        render::format_count(cancelled.jobs as u64, "job")
    ))?;
    if cancelled.in_progress.is_empty() {
        if cancelled.jobs > 0 {
            render::print_note(format_args!(
                "hint: `{retry_all}` queues the cancelled jobs again"
            ));
        }
        return Ok(Exit::Success);
    }
    let providers = setup.app.providers()?;
    let print_failure = |prediction: &PredictionHandle, provider, failure| {
        render::print_note(format_args!(
            "cannot cancel {} at {provider}: {failure}",
            prediction.prediction_id
        ));
    };
    cancel_predictions(&providers, &cancelled.in_progress, print_failure).await;
    render::print_note(format_args!(
        "jobs that were running may still be billed, so their price counts as spent\n\
         hint: `{retry_one}` downloads such a clip without paying again, if the provider finished it"
    ));
    Ok(Exit::Success)
}

/// Settles a job in doubt.
pub(super) async fn resolve(global: &Global, args: ResolveArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let queue = setup.app.queue()?;
    let decision = match args.adopt {
        Some(id) => Decision::Adopt(PredictionHandle::from_id(id)),
        None if args.resubmit => Decision::Resubmit,
        None => Decision::Fail,
    };
    let job = queue.find(args.job, args.batch).await?;
    let state = queue.resolve(job.job_id, decision).await?;
    render::print_line(format_args!("{} is {state}", job.id))?;
    let next = setup.suggest("run").option("--batch", Some(&job.batch));
    match state {
        JobState::Failed => render::print_note("its price counts as spent"),
        _ => render::print_note(format_args!("next, unless a run is active: {next}")),
    }
    Ok(Exit::Success)
}
