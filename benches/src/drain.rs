//! Draining a queue: submit, poll, and save a clip of 64 KiB for each job, over loopback and with a
//! provider that takes no time.
//!
//! The baseline is a loop that makes the same calls with the same adapter and saves the same files
//! as durably, but records nothing: if it were killed, all its jobs would be lost and paid for
//! again.
//!
//! Both sides make the same number of concurrent calls. The provider runs in a process of its own,
//! on the same cores.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::future::try_join_all;
use overnight::app;
use overnight::clock::SystemClock;
use overnight::domain::{Backoff, JobState, RetryPolicy};
use overnight::link_client::ProxiedLinks;
use overnight::output::{
    ClipLocation, ClipSource, DownloadTimeouts, Downloader, LocalStore, OutputStore,
};
use overnight::provider::eachlabs::Eachlabs;
use overnight::provider::http::Auth;
use overnight::provider::timeouts::Timeouts;
use overnight::provider::{ApiKey, PollResult, Provider, Submission};
use overnight::queue::Queue;
use overnight::worker::{MAINTENANCE_INTERVAL, Pool, PoolOptions, ProcessingTimes, StepContext};
use tempfile::tempdir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::Scale;
use crate::fixture::{self, MODEL, PROVIDER, UNLIMITED};
use crate::measure::{Comparison, measure_alternately};
use crate::process;
use crate::serve::SimulatorProcess;
use crate::table::{Goal, Table};

/// Number of concurrent calls: the default of `overnight run`.
const CONCURRENCY: usize = 16;

/// Size of each clip.
const CLIP_BYTES: usize = 64 << 10;

/// Speed of the simulator, at which a prediction of 270 seconds takes less than a millisecond.
const SPEED: f64 = 1e6;

/// Interval between polls and between retries, short enough not to matter.
const MIN_WAIT: Duration = Duration::from_millis(1);

pub(crate) fn measure(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    let jobs = scale.pick(500, 5000);
    let runtime = Runtime::new()?;
    let simulator = SimulatorProcess::start(SPEED, CLIP_BYTES)?;
    process::reset_own_peak()?;
    let ours = || runtime.block_on(drain_queue(&simulator, jobs));
    let baseline = || runtime.block_on(run_bare_loop(&simulator, jobs));
    let (ours, baseline) = measure_alternately(scale.pick(2, 3), ours, baseline)?;
    table.add_comparison(
        format_args!(
            "drain: {jobs} jobs, {CONCURRENCY} concurrent calls, against a bare loop \
             (ratio of our time to its)"
        ),
        Comparison::from_rounds(&ours, &baseline),
        "s",
        Goal::AtMost(1.15),
    );
    table.add_figure(
        "drain: peak resident size, of both sides",
        process::own_peak_mb()?,
        "MB",
        Goal::None,
    );
    Ok(())
}

fn connect(simulator: &SimulatorProcess) -> anyhow::Result<Arc<dyn Provider>> {
    let key = ApiKey::new("simulated-eachlabs-key")?;
    let provider = Eachlabs::new(
        simulator.base_url.clone(),
        &key,
        Auth::XApiKey,
        Arc::new(SystemClock),
        Timeouts::default(),
        ProxiedLinks::default(),
    )?;
    Ok(Arc::new(provider))
}

/// Drains a queue with a worker pool. Returns the seconds it took.
async fn drain_queue(simulator: &SimulatorProcess, jobs: u64) -> anyhow::Result<f64> {
    let dir = tempdir()?;
    let (queue, _) = fixture::queue(dir.path(), "q.db", jobs)?;
    let queue: Arc<dyn Queue> = Arc::new(queue);
    let mut processing_times = ProcessingTimes::default();
    processing_times.poll_min = MIN_WAIT;
    processing_times.typical = BTreeMap::from([(PROVIDER, MIN_WAIT)]);
    let context = StepContext {
        policy: RetryPolicy {
            backoff: Backoff {
                base: MIN_WAIT,
                cap: MIN_WAIT,
            },
            max_attempts: 1,
            max_downloads: 1,
            ..RetryPolicy::default()
        },
        processing_times,
        ..StepContext::new(
            Arc::clone(&queue) as _,
            BTreeMap::from([(PROVIDER, connect(simulator)?)]),
            app::file_ports(ProxiedLinks::default(), &BTreeMap::new())?,
            fixture::catalog()?,
            Arc::new(SystemClock),
        )
    };
    let options = PoolOptions {
        workers: CONCURRENCY,
        batch: None,
        budget: None,
        canary: None,
        watch: false,
        maintenance_interval: MAINTENANCE_INTERVAL,
        limits: vec![UNLIMITED],
    };
    let (_stop, stopped) = watch::channel(false);
    let started_at = Instant::now();
    Pool::run(Arc::new(context), options, stopped).await?;
    let seconds = started_at.elapsed().as_secs_f64();
    let status = queue.status(None).await?;
    let succeeded = status
        .batches
        .first()
        .context("the queue has no batch")?
        .count(JobState::Succeeded);
    anyhow::ensure!(succeeded == jobs, "{succeeded} of {jobs} jobs succeeded");
    Ok(seconds)
}

/// Makes the same calls and saves the same files without a queue. Returns the seconds it took.
async fn run_bare_loop(simulator: &SimulatorProcess, jobs: u64) -> anyhow::Result<f64> {
    let dir = tempdir()?;
    let provider = connect(simulator)?;
    let downloader = Downloader::new(DownloadTimeouts::default(), ProxiedLinks::default())?;
    let catalog = fixture::catalog()?;
    let next_number = Arc::new(AtomicU64::new(0));
    let started_at = Instant::now();
    let tasks = (0..CONCURRENCY).map(|_| {
        let provider = Arc::clone(&provider);
        let downloader = downloader.clone();
        let next_number = Arc::clone(&next_number);
        let catalog = Arc::clone(&catalog);
        let folder = dir.path().to_owned();
        tokio::spawn(async move {
            loop {
                let number = next_number.fetch_add(1, Ordering::Relaxed);
                if number >= jobs {
                    return anyhow::Ok(());
                }
                let quote = catalog
                    .quote(MODEL, &fixture::job(number)?.input, PROVIDER)
                    .context("no route")?;
                let submission = Submission {
                    wire_model: quote.wire_model,
                    request: quote.request,
                    client_token: format!("bare-{number}"),
                };
                render_clip(provider.as_ref(), &downloader, &folder, number, &submission).await?;
            }
        })
    });
    for task in try_join_all(tasks).await? {
        task?;
    }
    Ok(started_at.elapsed().as_secs_f64())
}

/// Submits one job, polls it until it is done, and saves its clip.
async fn render_clip(
    provider: &dyn Provider,
    downloader: &Downloader,
    folder: &Path,
    number: u64,
    submission: &Submission,
) -> anyhow::Result<()> {
    let prediction = provider.submit(submission).await?.prediction;
    let link = loop {
        match provider.poll(&prediction, &submission.wire_model).await? {
            PollResult::Running => tokio::time::sleep(MIN_WAIT).await,
            PollResult::Done { output_url, .. } => break output_url,
            other => bail!("unexpected poll result: {other:?}"),
        }
    };
    let clip = downloader.get(&link, true).await?;
    let location = ClipLocation {
        kept: Vec::new(),
        client_token: String::new(),
        folder: folder.to_owned().into(),
        file_name: format!("SKU-{number:07}.mp4"),
    };
    LocalStore::default()
        .save(&location, clip.bytes, clip.length)
        .await?;
    Ok(())
}
