//! `run`: processes the queue until no job is left.

use std::sync::Arc;

use crate::domain::{JobState, Money, ProviderName};
use crate::open_files;
use crate::queue::{Backlog, BudgetLimit, CounterMismatch, RouteStatus, Status};
use crate::worker::{MAINTENANCE_INTERVAL, PoolExit, PoolOptions};

use super::args::{Global, RunArgs};
use super::canary::CanaryReview;
use super::exit::Exit;
use super::moved_folder::ensure_not_moved;
use super::prompt::Answer;
use super::run_pool::run_pool;
use super::setup::Setup;
use super::stop_signal::stop_on_signal;
use super::{balances, confirm, copies, keys, queue_place, render, run_setup, screen, summary};

/// Processes the queue until no job is left.
pub(super) async fn run(global: &Global, args: RunArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    run_with(&setup, global, args).await
}

/// Processes the queue of an existing setup.
pub(super) async fn run_with(
    setup: &Setup,
    global: &Global,
    args: RunArgs,
) -> anyhow::Result<Exit> {
    let queue = setup.app.queue()?;
    // Reports an unknown batch before anything else happens.
    let batches = queue.status(args.batch.clone()).await?.batches;
    queue_place::ensure_safe(setup)?;
    ensure_not_moved(setup, queue.as_ref(), args.batch.as_deref()).await?;
    let mut providers = setup.app.providers()?;
    if providers.is_empty() {
        let variables = ProviderName::ALL.map(ProviderName::key_variable).join(", ");
        anyhow::bail!(
            "no API key is set\n\
             hint: set one or more of {variables}, such as `export {}=YOUR-KEY`; `overnight demo` \
             needs none",
            ProviderName::Eachlabs.key_variable()
        );
    }
    for mismatch in queue.verify_counters().await? {
        let CounterMismatch {
            counter,
            stored,
            actual,
        } = mismatch;
        tracing::warn!(
            counter,
            stored,
            actual,
            "corrected a counter of the queue that did not agree with its rows"
        );
    }
    let stop = stop_on_signal()?;
    let (review, canary) = CanaryReview::new(&args, &queue, &stop).unzip();
    let workers = args.workers.map_or(setup.app.config.workers, usize::from);
    let mut options = PoolOptions {
        workers: carried(workers),
        batch: args.batch.clone(),
        budget: args.budget,
        canary,
        watch: args.watch,
        maintenance_interval: MAINTENANCE_INTERVAL,
        limits: providers
            .keys()
            .map(|provider| setup.app.limits(*provider))
            .collect(),
    };
    if confirm::confirm_spending(queue.as_ref(), &batches, &args, &stop).await? != Answer::Yes {
        render::print_note("nothing was submitted");
        return Ok(Exit::Interrupted);
    }
    let key_marks = keys::note_keys(setup, queue.as_ref(), &mut providers).await?;
    options
        .limits
        .retain(|limits| providers.contains_key(&limits.provider));
    run_setup::note(queue.as_ref(), &setup.app.catalog, &mut options).await?;
    let mut reader = setup.snapshot_reader(Arc::clone(&queue), args.batch.clone(), args.budget);
    for limits in &mut reader.settings.limits {
        let own = options.limits.iter();
        let mut own = own.filter(|own| own.provider == limits.provider);
        *limits = own.next().copied().unwrap_or(*limits);
    }
    run_setup::print_skew(setup.app.clock_skew());
    let mut context = setup
        .app
        .step_context(Arc::clone(&queue), providers)
        .await?;
    context.key_marks = key_marks;
    context.policy.max_attempts = args.attempts.unwrap_or(context.policy.max_attempts);
    let batch = args.batch.as_deref();
    let mut until_stopped = stop.clone();
    let compared = async {
        tokio::join!(
            balances::compare(queue.as_ref(), &context, &batches, batch, args.budget),
            copies::compare(setup, &queue, &context, &batches, stop.clone()),
        )
    };
    let (balances, standing) = tokio::select! {
        compared = compared => compared,
        // Nothing was submitted yet, and the next run compares again.
        Ok(_) = until_stopped.wait_for(|stop| *stop) => {
            render::print_note("nothing was submitted");
            return Ok(Exit::Interrupted);
        }
    };
    balances?;
    let copies::Standing {
        is_blocked,
        markers,
    } = standing?;
    if is_blocked {
        for limits in &mut options.limits {
            limits.in_flight = 0;
        }
    }
    let run = run_pool(
        global,
        reader,
        context,
        options,
        review,
        markers.clone(),
        stop,
    );
    let exit = match &markers {
        Some(markers) => markers.keep_while(run).await?,
        None => run.await?,
    };
    let status = queue.status(args.batch.clone()).await?;
    summary::print(setup, &queue, &status, args.batch.as_deref()).await?;
    Ok(match report_exit(exit?, &status, &args, setup) {
        Exit::CannotContinue if is_blocked => Exit::Incomplete,
        exit => exit,
    })
}

/// Returns how many of these workers this machine can carry, and says so if that is not all of them.
fn carried(workers: usize) -> usize {
    let max = open_files::max_steps();
    if max < workers {
        render::print_note(format_args!(
            "this process may open few files (`ulimit -n`), so that it works with {max} workers instead of \
             {workers}"
        ));
    }
    workers.min(max)
}

/// Prints why the run ended, if not because every job is done, and returns the matching exit code.
fn report_exit(exit: PoolExit, status: &Status, args: &RunArgs, setup: &Setup) -> Exit {
    let next = setup
        .suggest("run")
        .option("--batch", args.batch.as_deref());
    match exit {
        PoolExit::Interrupted => {
            render::print_note(format_args!(
                "interrupted; the state is saved. Continue with: {next}"
            ));
            return Exit::Interrupted;
        }
        PoolExit::Drained(backlog) if backlog.queued + backlog.in_progress > 0 => {
            return report_backlog(&backlog, status, args, setup);
        }
        PoolExit::Drained(_) => {}
        PoolExit::CanaryDeclined => render::print_note(format_args!("continue with: {next}")),
    }
    if status.count(JobState::Failed) + status.count(JobState::InDoubt) > 0 {
        Exit::Incomplete
    } else {
        Exit::Success
    }
}

/// Prints why jobs are left that the run could not process, and returns the matching exit code.
fn report_backlog(backlog: &Backlog, status: &Status, args: &RunArgs, setup: &Setup) -> Exit {
    let mut is_any_paused = false;
    for provider in &status.providers {
        if let Some(reason) = &provider.paused {
            is_any_paused = true;
            render::print_note(format_args!("{} is paused: {reason}", provider.provider));
        }
        let slots = setup.app.limits(provider.provider).in_flight;
        if status.count(JobState::InDoubt) > 0 && provider.in_flight >= slots {
            is_any_paused = true;
            let resolve = setup.suggest("resolve");
            render::print_note(format_args!(
                "jobs in doubt take up the slots of {}; settle them with `{resolve}`",
                provider.provider
            ));
        }
    }
    for route in &status.routes {
        if let Some(reason) = screen::route_hold_reason(route, setup.app.clock.now()) {
            is_any_paused = true;
            let RouteStatus {
                provider,
                wire_model,
                ..
            } = route;
            render::print_note(format_args!("{provider}/{wire_model}: {reason}"));
        }
    }
    if !backlog.exceeded_budgets.is_empty() {
        for limit in &backlog.exceeded_budgets {
            print_budget_limit(limit, args, setup);
        }
        return Exit::Budget;
    }
    let unset: Vec<&str> = ProviderName::ALL
        .into_iter()
        .map(ProviderName::key_variable)
        .filter(|variable| std::env::var_os(variable).is_none())
        .collect();
    if let Some(job) = &backlog.unroutable {
        render::print_note(format_args!(
            "the model catalog no longer has a route for {job}"
        ));
    } else if !is_any_paused && !unset.is_empty() {
        render::print_note(format_args!(
            "the jobs that are left need a provider whose API key is not set\nhint: set {}",
            unset.join(", ")
        ));
    }
    let jobs = backlog.queued + backlog.in_progress;
    render::print_note(format_args!(
        "could not continue: {} {} in {}",
        render::format_count(jobs, "job"),
        wait_verb(jobs),
        setup.app.config.queue
    ));
    Exit::CannotContinue
}

fn print_budget_limit(limit: &BudgetLimit, args: &RunArgs, setup: &Setup) {
    let BudgetLimit {
        batch,
        budget,
        spent,
        reserved,
        queued,
    } = limit;
    // Negative if more was billed than estimated, or if the budget was lowered since.
    let available = (*budget - *spent - *reserved).max(Money::ZERO);
    let run = setup
        .suggest("run")
        .option("--batch", args.batch.as_deref());
    let (stopped, remedy, then) = match batch {
        None => (
            "stopped at the budget".into(),
            run,
            ", which includes what was spent earlier".into(),
        ),
        Some(batch) => (
            format!("batch {batch} stopped at its budget"),
            setup
                .suggest("ctl")
                .arg("set")
                .option("--batch", Some(batch)),
            format!(", then `{run}`"),
        ),
    };
    render::print_note(format_args!(
        "{stopped} of ${budget:#}: ${spent:#} spent, ${reserved:#} reserved, ${available:#} left; \
         {} {}\n\
         hint: raise it with `{}`{then}",
        render::format_count(*queued, "job"),
        wait_verb(*queued),
        remedy.option("--budget", Some("USD"))
    ));
}

fn wait_verb(jobs: u64) -> &'static str {
    if jobs == 1 { "waits" } else { "wait" }
}
