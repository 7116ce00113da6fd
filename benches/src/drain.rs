//! A whole batch: create, look, and a clip of 64 KiB on disk for each job, over loopback from a provider that takes no
//! time; against a bare loop that makes the same calls with the same adapter and saves the same files as durably, and
//! keeps nothing of it: killed, it would have lost and paid everything.
//!
//! Both have so many calls at once, and so does the provider, in a process of its own, on the same cores.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::future::try_join_all;
use overnight::clock::SystemClock;
use overnight::domain::{Backoff, JobState, RetryPolicy};
use overnight::output::{ClipLocation, ClipSource, Downloader, LocalStore, OutputStore};
use overnight::provider::eachlabs::Eachlabs;
use overnight::provider::http::Auth;
use overnight::provider::{ApiKey, PollResult, Provider, Submission};
use overnight::queue::Queue;
use overnight::worker::{MAINTENANCE_INTERVAL, Pool, PoolOptions, ProcessingTimes, StepContext};
use tempfile::tempdir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::Scale;
use crate::fixture::{self, MODEL, PROVIDER, UNLIMITED};
use crate::measure::{Pair, in_turn};
use crate::process;
use crate::serve::Served;
use crate::table::{Goal, Table};

/// Calls at once: what `overnight run` has where nobody says otherwise.
const AT_ONCE: usize = 16;

const CLIP_BYTES: usize = 64 << 10;

/// 270 seconds of a provider's work take less than a millisecond.
const SPEED: f64 = 1e6;

/// The first look comes at once, and so does the next.
const NO_TIME: Duration = Duration::from_millis(1);

pub(crate) fn measure(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    let jobs = scale.pick(500, 5000);
    let runtime = Runtime::new()?;
    let served = Served::start(SPEED, CLIP_BYTES)?;
    process::forget_own_peak()?;
    let ours = || runtime.block_on(pool(&served, jobs));
    let against = || runtime.block_on(bare(&served, jobs));
    let (ours, against) = in_turn(scale.pick(2, 3), ours, against)?;
    let what = format!(
        "drain: {jobs} jobs, {AT_ONCE} at once, against a bare loop (ratio of our time to its)"
    );
    table.compare(what, Pair::of(&ours, &against), "s", Goal::AtMost(1.3));
    table.tell(
        "drain: peak resident size, of both sides",
        process::own_peak_mb()?,
        "MB",
        Goal::None,
    );
    Ok(())
}

fn provider(served: &Served) -> anyhow::Result<Arc<dyn Provider>> {
    let key = ApiKey::new("simulated-eachlabs-key")?;
    let provider = Eachlabs::new(
        served.base.clone(),
        &key,
        Auth::XApiKey,
        Arc::new(SystemClock),
    )?;
    Ok(Arc::new(provider))
}

/// The program's own way: a queue, and a pool that works it off.
async fn pool(served: &Served, jobs: u64) -> anyhow::Result<f64> {
    let dir = tempdir()?;
    let (queue, _) = fixture::queue(dir.path(), "q.db", jobs)?;
    let queue: Arc<dyn Queue> = Arc::new(queue);
    let mut processing_times = ProcessingTimes::default();
    processing_times.poll_min = NO_TIME;
    processing_times.typical = BTreeMap::from([(PROVIDER, NO_TIME)]);
    let tools = StepContext {
        queue: Arc::clone(&queue),
        providers: BTreeMap::from([(PROVIDER, provider(served)?)]),
        output: Arc::new(LocalStore),
        clips: Arc::new(Downloader::new()?),
        images: Arc::new(overnight::image::LocalImages),
        catalog: fixture::catalog()?,
        clock: Arc::new(SystemClock),
        policy: RetryPolicy {
            backoff: Backoff {
                base: NO_TIME,
                cap: NO_TIME,
            },
            attempts: 1,
            downloads: 1,
        },
        processing_times,
        observer: Arc::new(|_| {}),
    };
    let options = PoolOptions {
        workers: AT_ONCE,
        batch: None,
        budget: None,
        canary: None,
        watch: false,
        maintenance_interval: MAINTENANCE_INTERVAL,
        limits: vec![UNLIMITED],
    };
    let (_stop, stopped) = watch::channel(false);
    let began = Instant::now();
    Pool::run(Arc::new(tools), options, stopped).await?;
    let seconds = began.elapsed().as_secs_f64();
    let status = queue.status(None).await?;
    let made = status
        .batches
        .first()
        .context("the batch is gone")?
        .count(JobState::Succeeded);
    anyhow::ensure!(made == jobs, "{made} of {jobs} jobs succeeded");
    Ok(seconds)
}

/// The same calls and files, and nothing else.
async fn bare(served: &Served, jobs: u64) -> anyhow::Result<f64> {
    let dir = tempdir()?;
    let (provider, fetcher, catalog) = (provider(served)?, Downloader::new()?, fixture::catalog()?);
    let next = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let tasks = (0..AT_ONCE).map(|_| {
        let (provider, fetcher, next) = (Arc::clone(&provider), fetcher.clone(), Arc::clone(&next));
        let (catalog, folder) = (Arc::clone(&catalog), dir.path().to_owned());
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
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
                make(provider.as_ref(), &fetcher, &folder, number, &submission).await?;
            }
        })
    });
    for task in try_join_all(tasks).await? {
        task?;
    }
    Ok(began.elapsed().as_secs_f64())
}

async fn make(
    provider: &dyn Provider,
    fetcher: &Downloader,
    folder: &Path,
    number: u64,
    submission: &Submission,
) -> anyhow::Result<()> {
    let prediction = provider.submit(submission).await?.prediction;
    let link = loop {
        match provider.poll(&prediction, submission).await? {
            PollResult::Running => tokio::time::sleep(NO_TIME).await,
            PollResult::Done { output_url, .. } => break output_url,
            other => bail!("unexpected: {other:?}"),
        }
    };
    let fetch = fetcher.get(&link, true).await?;
    let place = ClipLocation {
        folder: folder.to_owned(),
        file_name: format!("SKU-{number:07}.mp4"),
    };
    LocalStore.save(&place, fetch.bytes, fetch.length).await?;
    Ok(())
}
