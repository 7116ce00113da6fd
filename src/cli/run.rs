//! `run`: works the queue off.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::domain::{JobState, Money, ProviderName};
use crate::queue::{Backlog, BudgetLimit, CounterMismatch, Status};
use crate::worker::{
    MAINTENANCE_INTERVAL, Pool, PoolError, PoolEvent, PoolExit, PoolOptions, StepContext,
    StopSignal,
};

use super::args::{Global, RunArgs};
use super::canary::CanaryReview;
use super::exit::Exit;
use super::progress::Progress;
use super::prompt::Answer;
use super::screen::SnapshotReader;
use super::setup::Setup;
use super::{confirm, render, summary};

/// Works until nothing is left to do.
pub(super) async fn run(global: &Global, args: RunArgs) -> anyhow::Result<Exit> {
    let setup = Setup::of(global)?;
    run_with(&setup, global, args).await
}

/// Works with a setup that is there already.
pub(super) async fn run_with(
    setup: &Setup,
    global: &Global,
    args: RunArgs,
) -> anyhow::Result<Exit> {
    let queue = setup.queue()?;
    // An unknown batch is told before anything begins.
    let batches = queue.status(args.batch.clone()).await?.batches;
    let providers = setup.providers()?;
    if providers.is_empty() {
        let variables = ProviderName::ALL.map(ProviderName::key_variable).join(", ");
        anyhow::bail!(
            "no provider has a key\nhint: set one of {variables}, or try `overnight demo`, which needs none"
        );
    }
    let options = PoolOptions {
        workers: args.workers.map_or(setup.config.workers, usize::from),
        batch: args.batch.clone(),
        budget: args.budget,
        canary: None,
        watch: args.watch,
        maintenance_interval: MAINTENANCE_INTERVAL,
        limits: providers
            .keys()
            .map(|provider| setup.limits(*provider))
            .collect(),
    };
    for miscount in queue.verify_counters().await? {
        let CounterMismatch {
            counter,
            stored,
            actual,
        } = miscount;
        tracing::warn!(
            counter,
            stored,
            actual,
            "the queue's books did not agree with its rows, and were corrected"
        );
    }
    let stop = stop_on_signal()?;
    let (review, canary) = CanaryReview::new(&args, &queue, &stop).unzip();
    let options = PoolOptions { canary, ..options };
    if confirm::given(queue.as_ref(), &batches, &args, &stop).await? != Answer::Yes {
        render::note("nothing was begun");
        return Ok(Exit::Interrupted);
    }
    let mut context = setup.context(Arc::clone(&queue), providers).await?;
    context.policy.attempts = args.attempts.unwrap_or(context.policy.attempts);
    let reader = setup.reader(Arc::clone(&queue), args.batch.clone(), args.budget);
    let exit = work(global, reader, context, options, review, stop).await?;
    let status = queue.status(args.batch.clone()).await?;
    summary::tell(&queue, &status, args.batch.as_deref()).await?;
    Ok(judge(exit?, &status, &args, setup))
}

/// Runs a pool, and shows how it gets on.
pub(super) async fn work(
    global: &Global,
    reader: SnapshotReader,
    mut context: StepContext,
    options: PoolOptions,
    review: Option<CanaryReview>,
    stop: StopSignal,
) -> anyhow::Result<Result<PoolExit, PoolError>> {
    context.queue.reopen_providers().await?;
    let progress = Progress::start(reader, global);
    let seen = progress.clone();
    context.observer = Arc::new(move |event: PoolEvent| match (event, &review) {
        (PoolEvent::CanaryReady { jobs }, Some(review)) => review.clone().show(jobs, seen.clone()),
        (event, _) => seen.saw(event),
    });
    let exit = Pool::run(Arc::new(context), options, stop).await;
    progress.end().await;
    Ok(exit)
}

/// Tells a person how the run ended, and the exit code that says the same.
fn judge(exit: PoolExit, status: &Status, args: &RunArgs, setup: &Setup) -> Exit {
    let again = args
        .batch
        .as_ref()
        .map_or(String::new(), |batch| format!(" --batch {batch}"));
    match exit {
        PoolExit::Interrupted => {
            render::note(format_args!(
                "interrupted; everything is saved. Go on with: overnight run{again}"
            ));
            return Exit::Interrupted;
        }
        PoolExit::Drained(backlog) if backlog.queued + backlog.in_progress > 0 => {
            return cannot_go_on(&backlog, status, setup);
        }
        PoolExit::Drained(_) => {}
        PoolExit::CanaryDeclined => render::note(format_args!("go on with: overnight run{again}")),
    }
    let needs_a_human = status
        .batches
        .iter()
        .any(|batch| batch.count(JobState::Failed) + batch.count(JobState::InDoubt) > 0);
    if needs_a_human {
        Exit::Incomplete
    } else {
        Exit::Success
    }
}

fn cannot_go_on(backlog: &Backlog, status: &Status, setup: &Setup) -> Exit {
    let mut paused = false;
    for provider in &status.providers {
        if let Some(reason) = &provider.paused {
            paused = true;
            render::note(format_args!("{} is paused: {reason}", provider.provider));
        }
    }
    if !backlog.exceeded_budgets.is_empty() {
        backlog.exceeded_budgets.iter().for_each(tell_wall);
        return Exit::Budget;
    }
    let missing = || {
        ProviderName::ALL
            .into_iter()
            .filter(|name| std::env::var_os(name.key_variable()).is_none())
    };
    if let Some(job) = &backlog.unroutable {
        render::note(format_args!(
            "the catalogue has no route any more for {job}"
        ));
    } else if !paused && missing().next().is_some() {
        let variables = missing()
            .map(ProviderName::key_variable)
            .collect::<Vec<_>>()
            .join(", ");
        render::note(format_args!(
            "they wait for a provider without a key\nhint: set {variables}"
        ));
    }
    let waiting = render::count(backlog.queued + backlog.in_progress, "job");
    render::note(format_args!(
        "could not go on: {waiting} wait in {}",
        setup.config.queue.display()
    ));
    Exit::CannotGoOn
}

fn tell_wall(wall: &BudgetLimit) {
    let BudgetLimit {
        batch,
        budget,
        spent,
        reserved,
        queued,
    } = wall;
    // What was billed beyond its estimate, or before the budget was lowered, leaves nothing.
    let left = (*budget - *spent - *reserved).max(Money::ZERO);
    let (stopped, remedy) = match batch {
        None => (
            "stopped at the budget".into(),
            "overnight run --budget USD".into(),
        ),
        Some(batch) => (
            format!("{batch} stopped at its budget"),
            format!("overnight load FILE… --batch {batch} --budget USD"),
        ),
    };
    let (waiting, verb) = (
        render::count(*queued, "job"),
        if *queued == 1 { "waits" } else { "wait" },
    );
    render::note(format_args!(
        "{stopped} of ${budget:#}: ${spent:#} spent, ${reserved:#} reserved, ${left:#} left; {waiting} {verb}\n\
         hint: raise it with `{remedy}`"
    ));
}

/// Turns the first SIGINT or SIGTERM into a request to stop; the second ends the process.
pub(super) fn stop_on_signal() -> anyhow::Result<StopSignal> {
    let (stop, stopped) = watch::channel(false);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if first {
                // The pool may have ended in this instant.
                let _ = stop.send(true);
            } else {
                leave_at_once();
            }
        }
    });
    Ok(stopped)
}

/// What is in hand is found by the next run: a create under way is in doubt, everything else is due again.
#[expect(clippy::exit, reason = "a second signal asks for just this")]
fn leave_at_once() {
    std::process::exit(Exit::Interrupted as i32);
}
