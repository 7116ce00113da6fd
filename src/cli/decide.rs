//! `retry`, `cancel` and `resolve`: what a person decides.

use crate::domain::{JobState, Prediction};
use crate::queue::{Decision, Selection};

use super::args::{Global, ResolveArgs, SelectArgs};
use super::exit::Exit;
use super::render;
use super::setup::Setup;

impl From<SelectArgs> for Selection {
    fn from(args: SelectArgs) -> Self {
        Self { batch: args.batch, states: args.state.into_iter().collect(), jobs: args.jobs }
    }
}

/// Makes failed and cancelled jobs go on.
pub(super) async fn retry(global: &Global, args: SelectArgs) -> anyhow::Result<Exit> {
    let setup = Setup::of(global)?;
    let jobs = setup.queue()?.retry(args.into(), setup.clock.now()).await?;
    render::line(format_args!("{} will go on", render::count(jobs as u64, "job")))?;
    if jobs > 0 {
        render::note("next: overnight run");
    }
    Ok(Exit::Success)
}

/// Takes jobs back.
pub(super) async fn cancel(global: &Global, args: SelectArgs) -> anyhow::Result<Exit> {
    let setup = Setup::of(global)?;
    let queue = setup.queue()?;
    let paid = args.state.is_some_and(|state| state != JobState::Queued) || !args.jobs.is_empty();
    let jobs = queue.cancel(args.into(), setup.clock.now()).await?;
    render::line(format_args!("{} cancelled", render::count(jobs as u64, "job")))?;
    if jobs > 0 && paid {
        render::note(
            "what was under way may still be made and billed; `overnight retry` fetches it without paying again",
        );
    }
    Ok(Exit::Success)
}

/// Settles a job in doubt.
pub(super) async fn resolve(global: &Global, args: ResolveArgs) -> anyhow::Result<Exit> {
    let setup = Setup::of(global)?;
    let queue = setup.queue()?;
    let decision = match args.adopt {
        Some(id) => Decision::Adopt(Prediction::from_id(id)),
        None if args.resubmit => Decision::Resubmit,
        None => Decision::Fail,
    };
    let job = queue.find(args.job, args.batch).await?;
    let state = queue.resolve(job.job_id, decision, setup.clock.now()).await?;
    render::line(format_args!("{} is {state}", job.id))?;
    Ok(Exit::Success)
}
