//! `verify`: whether every clip is on disk as it was saved, and how those that are not come back without paying.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::{JobId, JobState, SavedFile};
use crate::output::OutputStore;
use crate::queue::{JobFilter, JobRecord, ProviderLimits, Queue};
use crate::worker::{MAINTENANCE_INTERVAL, PoolOptions, StopSignal};

use super::args::{Global, VerifyArgs};
use super::exit::Exit;
use super::jobs::PAGE;
use super::render;
use super::run::{stop_on_signal, work};
use super::setup::Setup;

/// How often the fetching of lost clips is looked at for its end.
const LOOK: Duration = Duration::from_millis(200);

/// Checks every clip against disk, and with `--fix` fetches again what is not as it was saved.
pub(super) async fn verify(global: &Global, args: VerifyArgs) -> anyhow::Result<Exit> {
    let setup = Setup::of(global)?;
    let queue = setup.queue()?;
    let (checked, lost) = check(&queue, setup.output().as_ref(), args.batch.as_deref()).await?;
    render::line(format_args!(
        "{} checked: {} as saved, {} not",
        render::count(checked, "clip"),
        checked - lost.len() as u64,
        lost.len()
    ))?;
    if lost.is_empty() {
        return Ok(Exit::Success);
    }
    if !args.fix {
        render::note("hint: `overnight verify --fix` fetches them again without paying");
        return Ok(Exit::Incomplete);
    }
    fix(&setup, global, &queue, args.batch, lost).await
}

/// Checks the clips page by page, tells what is wrong, and lists the jobs it is wrong with.
async fn check(
    queue: &Arc<dyn Queue>,
    output: &dyn OutputStore,
    batch: Option<&str>,
) -> anyhow::Result<(u64, Vec<JobId>)> {
    let filter = JobFilter {
        batch: batch.map(str::to_owned),
        state: Some(JobState::Succeeded),
    };
    let (mut checked, mut lost, mut after) = (0, Vec::new(), None);
    loop {
        let page = queue.jobs(filter.clone(), after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok((checked, lost));
        };
        after = Some(last.job_id);
        for job in page {
            // A success without these does not get into the queue.
            let (Some(path), Some(bytes), Some(sha256)) = (job.output, job.bytes, job.sha256)
            else {
                continue;
            };
            checked += 1;
            let saved = SavedFile {
                path: path.into(),
                bytes,
                sha256,
            };
            if let Some(damage) = output.check(&saved).await {
                render::line(format_args!("{}: {damage}", saved.path.display()))?;
                lost.push(job.job_id);
            }
        }
    }
}

/// Fetches lost clips again with a pool that cannot create, and tells what became of them.
async fn fix(
    setup: &Setup,
    global: &Global,
    queue: &Arc<dyn Queue>,
    batch: Option<String>,
    lost: Vec<JobId>,
) -> anyhow::Result<Exit> {
    let providers = setup.providers()?;
    // Without a single slot no create is claimed, whatever waits in the queue; looks and downloads need none.
    let no_slots = |provider: &_| ProviderLimits {
        in_flight: 0,
        creates_per_minute: 0,
        ..setup.limits(*provider)
    };
    let options = PoolOptions {
        workers: setup.config.workers,
        batch,
        budget: None,
        canary: None,
        watch: false,
        maintenance_interval: MAINTENANCE_INTERVAL,
        limits: providers.keys().map(no_slots).collect(),
    };
    queue
        .requeue_downloads(lost.clone(), setup.clock.now())
        .await?;
    let interrupt = stop_on_signal()?;
    let stop = stop_at_end(Arc::clone(queue), lost.clone(), interrupt.clone());
    let reader = setup.reader(Arc::clone(queue), options.batch.clone(), None);
    let context = setup.context(Arc::clone(queue), providers).await?;
    work(global, reader, context, options, None, stop).await??;
    let (mut fetched, mut failed) = (0, 0);
    for job_id in &lost {
        let job = find(queue.as_ref(), *job_id).await?;
        match job.state {
            JobState::Succeeded => fetched += 1,
            JobState::Failed => {
                failed += 1;
                let error = job.error.unwrap_or_default();
                render::line(format_args!(
                    "{} failed: {}",
                    job.id,
                    render::clipped(&error, 200)
                ))?;
            }
            state => render::line(format_args!("{} is {state}", job.id))?,
        }
    }
    let left = lost.len() - fetched - failed;
    render::line(format_args!(
        "{fetched} fetched again without paying, {failed} failed, {left} left"
    ))?;
    if failed > 0 {
        render::note(
            "hint: `overnight retry` looks again without paying; only a changed row is made, and paid, anew",
        );
    }
    Ok(match (left, failed) {
        _ if *interrupt.borrow() => Exit::Interrupted,
        (0, 0) => Exit::Success,
        (0, _) => Exit::Incomplete,
        _ => {
            render::note(
                "hint: is the key of their provider set? `overnight run` goes on with what is left",
            );
            Exit::CannotGoOn
        }
    })
}

/// A stop signal for when these jobs are over, whatever else there is to do, or a person interrupts.
fn stop_at_end(
    queue: Arc<dyn Queue>,
    mut jobs: Vec<JobId>,
    mut interrupt: StopSignal,
) -> StopSignal {
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        let all_over = async {
            while let Some(job_id) = jobs.last() {
                // A queue that cannot be read is told by the pool, which needs it more than this does.
                match find(queue.as_ref(), *job_id).await {
                    Ok(job) if job.state.is_final() => drop(jobs.pop()),
                    _ => tokio::time::sleep(LOOK).await,
                }
            }
        };
        tokio::select! {
            () = all_over => {}
            _ = interrupt.wait_for(|stop| *stop) => {}
        }
        // The pool may have ended in this instant.
        let _ = stop.send(true);
    });
    stopped
}

/// Finds a job by its number alone, which a row's key may look like.
pub(super) async fn find(queue: &dyn Queue, JobId(number): JobId) -> anyhow::Result<JobRecord> {
    let found = queue
        .jobs(JobFilter::default(), Some(JobId(number - 1)), 1)
        .await?;
    found
        .into_iter()
        .next()
        .ok_or_else(|| anyhow::anyhow!("job {number} is gone"))
}
