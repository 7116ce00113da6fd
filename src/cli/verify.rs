//! `verify`: checks every clip on disk, and downloads the lost ones again without paying.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::domain::{JobId, JobState, SavedFile};
use crate::output::OutputStore;
use crate::queue::{JobFilter, JobRecord, ProviderLimits, Queue};
use crate::worker::{MAINTENANCE_INTERVAL, PoolOptions, StopSignal};

use super::args::{Global, VerifyArgs};
use super::exit::Exit;
use super::jobs::PAGE_SIZE;
use super::render;
use super::run::{run_pool, stop_on_signal};
use super::setup::Setup;

/// How often to check whether the lost clips have been downloaded.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Columns of a terminal that a job's error may take.
const MAX_ERROR_COLUMNS: usize = 200;

/// Compares every clip with its size and SHA-256 in the queue; with `--fix`, downloads again those
/// that are missing or damaged.
pub(super) async fn verify(global: &Global, args: VerifyArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let queue = setup.app.queue()?;
    let (checked, lost) =
        check_clips(&queue, setup.app.output().as_ref(), args.batch.as_deref()).await?;
    render::print_line(format_args!(
        "{} checked: {} intact, {} missing or damaged",
        render::format_count(checked, "clip"),
        checked - lost.len() as u64,
        lost.len()
    ))?;
    if lost.is_empty() {
        return Ok(Exit::Success);
    }
    if !args.fix {
        let fix = setup
            .suggest("verify")
            .arg("--fix")
            .option("--batch", args.batch.as_deref());
        render::print_note(format_args!(
            "hint: `{fix}` downloads them again without paying"
        ));
        return Ok(Exit::Incomplete);
    }
    download_again(&setup, global, &queue, args.batch, lost).await
}

/// Checks the clips page by page and prints what is wrong with each. Returns the number of clips
/// and the jobs whose clips are lost.
async fn check_clips(
    queue: &Arc<dyn Queue>,
    output: &dyn OutputStore,
    batch: Option<&str>,
) -> anyhow::Result<(u64, Vec<JobId>)> {
    let filter = JobFilter {
        batch: batch.map(str::to_owned),
        state: Some(JobState::Succeeded),
    };
    let mut checked = 0;
    let mut lost = Vec::new();
    let mut after = None;
    loop {
        let page = queue.jobs(filter.clone(), after, PAGE_SIZE).await?;
        let Some(last) = page.last() else {
            return Ok((checked, lost));
        };
        after = Some(last.job_id);
        for job in page {
            // The queue accepts no success without these three.
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
                render::print_line(format_args!("{}: {damage}", saved.path.display()))?;
                lost.push(job.job_id);
            }
        }
    }
}

/// Downloads lost clips again with a pool that cannot submit, and prints what became of them.
async fn download_again(
    setup: &Setup,
    global: &Global,
    queue: &Arc<dyn Queue>,
    batch: Option<String>,
    lost: Vec<JobId>,
) -> anyhow::Result<Exit> {
    let providers = setup.app.providers()?;
    // Without slots the pool claims no submission, whatever is queued. Polls and downloads need no
    // slot.
    let no_slots = |provider: &_| ProviderLimits {
        in_flight: 0,
        creates_per_minute: 0,
        ..setup.app.limits(*provider)
    };
    let options = PoolOptions {
        workers: setup.app.config.workers,
        batch: batch.clone(),
        budget: None,
        canary: None,
        watch: false,
        maintenance_interval: MAINTENANCE_INTERVAL,
        limits: providers.keys().map(no_slots).collect(),
    };
    queue
        .requeue_downloads(lost.clone(), setup.app.clock.now())
        .await?;
    let interrupt = stop_on_signal()?;
    let stop = stop_when_final(Arc::clone(queue), lost.clone(), interrupt.clone());
    let reader = setup.snapshot_reader(Arc::clone(queue), batch.clone(), None);
    let context = setup.app.step_context(Arc::clone(queue), providers).await?;
    run_pool(global, reader, context, options, None, stop).await??;
    let mut downloaded = 0;
    let mut failed = 0;
    for job_id in &lost {
        let job = find(queue.as_ref(), *job_id).await?;
        match job.state {
            JobState::Succeeded => downloaded += 1,
            JobState::Failed => {
                failed += 1;
                let error = job.error.unwrap_or_default();
                render::print_line(format_args!(
                    "{} failed: {}",
                    job.id,
                    render::truncate(&error, MAX_ERROR_COLUMNS)
                ))?;
            }
            state => render::print_line(format_args!("{} is {state}", job.id))?,
        }
    }
    let left = lost.len() - downloaded - failed;
    render::print_line(format_args!(
        "{downloaded} downloaded again without paying, {failed} failed, {left} left"
    ))?;
    if failed > 0 {
        let retry = setup.suggest("retry").option("--batch", batch.as_deref());
        render::print_note(format_args!(
            "hint: `{retry}` polls their predictions again without paying; only a row that is \
             changed and loaded again is submitted, and paid for, again"
        ));
    }
    Ok(match (left, failed) {
        _ if *interrupt.borrow() => Exit::Interrupted,
        (0, 0) => Exit::Success,
        (0, _) => Exit::Incomplete,
        _ => {
            let run = setup.suggest("run").option("--batch", batch.as_deref());
            render::print_note(format_args!(
                "hint: check that their provider's API key is set; `{run}` continues with what is left"
            ));
            Exit::CannotContinue
        }
    })
}

/// Returns a stop signal that is raised when all these jobs are in a final state, whatever else is
/// queued, or when the user interrupts.
fn stop_when_final(
    queue: Arc<dyn Queue>,
    mut jobs: Vec<JobId>,
    mut interrupt: StopSignal,
) -> StopSignal {
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        let all_final = async {
            while let Some(job_id) = jobs.last() {
                // The pool reports a queue that cannot be read; here it is only tried again.
                match find(queue.as_ref(), *job_id).await {
                    Ok(job) if job.state.is_final() => drop(jobs.pop()),
                    _ => tokio::time::sleep(POLL_INTERVAL).await,
                }
            }
        };
        tokio::select! {
            () = all_final => {}
            _ = interrupt.wait_for(|stop| *stop) => {}
        }
        // Fails if the pool has just ended, and then there is nothing to stop.
        let _ = stop.send(true);
    });
    stopped
}

/// Finds a job by its number alone. [`Queue::find`] prefers a row whose id looks like the number.
pub(super) async fn find(queue: &dyn Queue, JobId(number): JobId) -> anyhow::Result<JobRecord> {
    let found = queue
        .jobs(JobFilter::default(), Some(JobId(number - 1)), 1)
        .await?;
    found
        .into_iter()
        .next()
        .ok_or_else(|| anyhow::anyhow!("job {number} is no longer in the queue"))
}
