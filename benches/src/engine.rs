//! The queue alone, through its port, against the commits that cannot be avoided.
//!
//! A job is claimed and completed. On our side it is a submission that the provider rejects: the
//! claim is as expensive as any that costs money (it stores the attempt with its request and
//! reserved price, the lease, counters and sums), and the record moves the job to `failed`, frees
//! slot and money, and closes the attempt. The baseline changes one word of one row in each of two
//! commits.
//!
//! N workers behave as in `worker::Pool`: one task claims for all free workers, and each job is
//! recorded on its own. The provider takes no time here, so all N results are ready at once, and one
//! turn records them and claims the next N.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use overnight::clock::SystemClock;
use overnight::domain::{Catalog, NewJob, Outcome, PoolId, ProviderSignal};
use overnight::queue::sqlite::SqliteQueue;
use overnight::queue::{Claim, Completed, Loader, RemovedRows, Turn, WorkQueue};
use tempfile::tempdir;
use tokio::runtime::Runtime;

use crate::Scale;
use crate::fixture::{self, PROVIDER};
use crate::measure::{Comparison, measure_alternately};
use crate::process;
use crate::raw::{RawJob, RawQueue};
use crate::table::{Goal, Table, print_progress};

/// Numbers of workers, each with the minimum ratio of our rate to that of the baseline.
const WORKERS: [(usize, f64); 3] = [(1, 1.0), (10, 6.0), (64, 9.0)];

/// First argument that makes this program run only our side, for a profiler.
pub(crate) const SUBCOMMAND: &str = "complete-jobs";

/// Time after which no more jobs are claimed: long enough to determine the rate.
const MAX_DURATION: Duration = Duration::from_secs(10);

pub(crate) fn measure(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    process::reset_own_peak()?;
    enqueue_one_by_one(scale, table)?;
    enqueue_in_bulk(scale, table)?;
    claim_and_complete(scale, table)?;
    table.add_figure(
        "engine: peak resident size",
        process::own_peak_mb()?,
        "MB",
        Goal::None,
    );
    Ok(())
}

/// Completes a number of jobs of a queue with a number of rows, without a baseline.
pub(crate) fn run_alone(args: &[String]) -> anyhow::Result<()> {
    let [workers, rows, jobs] = args else {
        anyhow::bail!("usage: {SUBCOMMAND} WORKERS ROWS JOBS")
    };
    let dir = tempdir()?;
    let catalog = fixture::catalog()?;
    let (queue, _) = fixture::queue(dir.path(), "q.db", rows.parse()?)?;
    let rate = Runtime::new()?.block_on(complete_jobs(
        &queue,
        &catalog,
        workers.parse()?,
        jobs.parse()?,
    ))?;
    print_progress(format_args!("{rate:.0} jobs/s"));
    Ok(())
}

/// Measures enqueueing with a commit for each job.
fn enqueue_one_by_one(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    let jobs = scale.pick(200, 1000);
    let dir = tempdir()?;
    let (queue, _) = fixture::queue(dir.path(), "q.db", 1)?;
    let raw = RawQueue::create(&dir.path().join("raw.db"))?;
    let mut next = 1;
    let mut next_raw = 1;
    let mut staging = queue.stage(fixture::batch(&dir.path().join("renders")))?;
    let ours = || {
        let numbers = next..next + jobs;
        next = numbers.end;
        let prepared: Vec<NewJob> = numbers.map(fixture::job).collect::<Result<_, _>>()?;
        let started_at = Instant::now();
        for job in prepared {
            staging.add(&[job])?;
            staging.commit(RemovedRows::Keep)?;
        }
        Ok(per_second(jobs, started_at))
    };
    let baseline = || {
        let numbers = next_raw..next_raw + jobs;
        next_raw = numbers.end;
        let prepared: Vec<RawJob> = numbers.map(fixture::raw_job).collect::<Result<_, _>>()?;
        let started_at = Instant::now();
        for job in prepared {
            raw.enqueue(&job, fixture::now().as_millisecond())?;
        }
        Ok(per_second(jobs, started_at))
    };
    let (ours, baseline) = measure_alternately(scale.pick(3, 5), ours, baseline)?;
    table.add_comparison(
        "engine: enqueue one by one",
        Comparison::from_rounds(&ours, &baseline),
        "jobs/s",
        Goal::AtLeast(0.95),
    );
    Ok(())
}

/// Measures enqueueing with one commit for all jobs.
fn enqueue_in_bulk(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    let jobs = scale.pick(2000, 10_000);
    let ours = || {
        let dir = tempdir()?;
        let queue = SqliteQueue::open_or_create(&dir.path().join("q.db"), Arc::new(SystemClock))?;
        let started_at = Instant::now();
        fixture::load(&queue, &dir.path().join("renders"), 0..jobs)?;
        Ok(per_second(jobs, started_at))
    };
    let baseline = || {
        let dir = tempdir()?;
        let raw = RawQueue::create(&dir.path().join("raw.db"))?;
        let prepared: Vec<RawJob> = (0..jobs).map(fixture::raw_job).collect::<Result<_, _>>()?;
        let started_at = Instant::now();
        raw.enqueue_all(prepared, fixture::now().as_millisecond())?;
        Ok(per_second(jobs, started_at))
    };
    let (ours, baseline) = measure_alternately(scale.pick(3, 5), ours, baseline)?;
    table.add_comparison(
        format_args!("engine: enqueue {jobs} in bulk"),
        Comparison::from_rounds(&ours, &baseline),
        "jobs/s",
        Goal::None,
    );
    Ok(())
}

/// The rates of one number of workers in each round, in jobs per second.
#[derive(Default)]
struct Rates {
    small: Vec<f64>,
    small_raw: Vec<f64>,
    large: Vec<f64>,
    large_raw: Vec<f64>,
}

/// Measures claiming and completing, in a small queue and in a large one.
fn claim_and_complete(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    let small = scale.pick(1000, 5000);
    let large = scale.pick(20_000, 1_000_000);
    let runtime = Runtime::new()?;
    let catalog = fixture::catalog()?;
    let complete = |queue: &SqliteQueue, workers: usize| {
        runtime.block_on(complete_jobs(queue, &catalog, workers, small))
    };
    let dir = tempdir()?;
    print_progress(format_args!(
        "filling a queue and a plain table with {large} jobs each"
    ));
    let (large_queue, _) = fixture::queue(dir.path(), "large.db", large)?;
    let large_raw = raw_queue(&dir.path().join("large-raw.db"), large)?;
    let mut rates: [Rates; 3] = Default::default();
    for _ in 0..scale.pick(2, 3) {
        for ((workers, _), rates) in WORKERS.iter().zip(&mut rates) {
            let small_dir = tempdir()?;
            let (small_queue, _) = fixture::queue(small_dir.path(), "q.db", small)?;
            let small_raw = raw_queue(&small_dir.path().join("raw.db"), small)?;
            rates.small.push(complete(&small_queue, *workers)?);
            rates.small_raw.push(complete_raw_jobs(&small_raw, small)?);
            rates.large.push(complete(&large_queue, *workers)?);
            rates.large_raw.push(complete_raw_jobs(&large_raw, small)?);
        }
    }
    for ((workers, goal), rates) in WORKERS.iter().zip(&rates) {
        let name = format!("engine: claim and complete, workers: {workers}");
        let queues = [
            (&rates.small, &rates.small_raw, small),
            (&rates.large, &rates.large_raw, large),
        ];
        for (ours, baseline, rows) in queues {
            table.add_comparison(
                format_args!("{name}, {rows} rows"),
                Comparison::from_rounds(ours, baseline),
                "jobs/s",
                Goal::AtLeast(*goal),
            );
        }
        table.add_comparison(
            format_args!("{name}, {large} rows against {small}"),
            Comparison::from_rounds(&rates.large, &rates.small),
            "jobs/s",
            Goal::AtLeast(0.95),
        );
    }
    Ok(())
}

/// Creates a plain table with the given number of jobs.
fn raw_queue(path: &Path, jobs: u64) -> anyhow::Result<RawQueue> {
    let raw = RawQueue::create(path)?;
    let mut failure = None;
    let jobs = (0..jobs).map_while(|number| {
        fixture::raw_job(number)
            .map_err(|error| failure = Some(error))
            .ok()
    });
    raw.enqueue_all(jobs, fixture::now().as_millisecond())?;
    failure.map_or(Ok(raw), Err)
}

/// Claims and completes jobs of a plain table. Returns the rate, in jobs per second.
fn complete_raw_jobs(raw: &RawQueue, jobs: u64) -> anyhow::Result<f64> {
    let started_at = Instant::now();
    for _ in 0..jobs {
        raw.claim_and_complete()?;
    }
    Ok(per_second(jobs, started_at))
}

/// Claims and completes up to `jobs` jobs, for up to [`MAX_DURATION`]. Returns the rate, in jobs
/// per second.
pub(crate) async fn complete_jobs(
    queue: &dyn WorkQueue,
    catalog: &Arc<Catalog>,
    workers: usize,
    jobs: u64,
) -> anyhow::Result<f64> {
    let pool_id = PoolId(format!("benches-{}", fixture::now().as_nanosecond()));
    queue.join(pool_id.clone()).await?;
    let started_at = Instant::now();
    let completed = complete_as(queue, &pool_id, catalog, workers, jobs).await?;
    let rate = per_second(completed, started_at);
    queue.leave(pool_id).await?;
    Ok(rate)
}

/// Claims and completes up to `jobs` jobs for a pool that has joined, for up to [`MAX_DURATION`]. Returns how many.
pub(crate) async fn complete_as(
    queue: &dyn WorkQueue,
    pool_id: &PoolId,
    catalog: &Arc<Catalog>,
    workers: usize,
    jobs: u64,
) -> anyhow::Result<u64> {
    let started_at = Instant::now();
    let mut unclaimed = usize::try_from(jobs)?;
    let mut completed = 0;
    let mut claims: Vec<Claim> = Vec::new();
    loop {
        completed += claims.len() as u64;
        if started_at.elapsed() > MAX_DURATION {
            unclaimed = 0;
        }
        let rejected = |claim| Completed::Step {
            claim: Arc::new(claim),
            unrecorded_polls: 0,
            outcome: Outcome::Rejected {
                reason: "the input was refused".into(),
            },
            signal: Some(ProviderSignal::Healthy),
        };
        let steps = workers.min(unclaimed);
        let turn = Turn {
            pool_id: pool_id.clone(),
            completed: claims.drain(..).map(rejected).collect(),
            holds_leases_at: vec![PROVIDER],
            claim: (steps > 0).then(|| fixture::claim_request(catalog, steps)),
        };
        claims = queue.turn(Arc::new(turn)).await?.claimed.claims;
        if unclaimed == 0 {
            break;
        }
        anyhow::ensure!(
            !claims.is_empty(),
            "no job can be claimed, although {unclaimed} are left"
        );
        unclaimed -= claims.len();
    }
    Ok(completed)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the number of jobs is far below the precision of an f64"
)]
pub(crate) fn per_second(jobs: u64, started_at: Instant) -> f64 {
    jobs as f64 / started_at.elapsed().as_secs_f64()
}
