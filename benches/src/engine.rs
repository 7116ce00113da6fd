//! The queue alone, through its port, against the bare commits below it.
//!
//! A job's way through a queue is taken as claim and complete. Ours is a claimed create that its provider refuses for
//! good: one claim as dear as any that costs money (the attempt with its request and reserved price, the lease, counts
//! and sums), one record that moves the job to `failed`, frees slot and money, and closes the attempt. The bare side
//! changes one word of one row in each of two commits.
//!
//! N workers are what they are in `worker::Pool`: one task that claims for all who are free, and a record of its own
//! for each job. Nothing is between the two here, so all N have their answers at once, and hand them in together with
//! the claim of the next N. Records go first, and the queue takes writes in order: never more than N jobs are leased.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use overnight::domain::{Catalog, NewJob, Outcome, PoolId, ProviderSignal};
use overnight::queue::Queue;
use overnight::queue::sqlite::SqliteQueue;
use tempfile::tempdir;
use tokio::runtime::Runtime;

use crate::Scale;
use crate::fixture::{self, PROVIDER};
use crate::measure::{Pair, in_turn};
use crate::process;
use crate::raw::{RawJob, RawQueue};
use crate::table::{Goal, Table, aside};

/// Workers, and what their ratio to the bare loop should be.
const WORKERS: [(usize, f64); 3] = [(1, 0.95), (10, 4.0), (64, 6.0)];

/// The first word of this program's arguments when only our side is to run.
pub(crate) const WORD: &str = "work-off";

/// A queue that has not worked its jobs off by then has shown how fast it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// A pool that is not renewed must not be taken for dead in between.
const LEASE: Duration = Duration::from_secs(3600);

pub(crate) fn measure(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    process::forget_own_peak()?;
    one_by_one(scale, table)?;
    in_bulk(scale, table)?;
    claim_and_complete(scale, table)?;
    table.tell(
        "engine: peak resident size",
        process::own_peak_mb()?,
        "MB",
        Goal::None,
    );
    Ok(())
}

/// Claims and completes so many jobs of so many rows with so many workers, and nothing else.
pub(crate) fn alone(args: &[String]) -> anyhow::Result<()> {
    let [workers, rows, jobs] = args else {
        anyhow::bail!("usage: {WORD} WORKERS ROWS JOBS")
    };
    let (dir, catalog) = (tempdir()?, fixture::catalog()?);
    let (queue, _) = fixture::queue(dir.path(), "q.db", rows.parse()?)?;
    let rate =
        Runtime::new()?.block_on(work_off(&queue, &catalog, workers.parse()?, jobs.parse()?))?;
    aside(format_args!("{rate:.0} jobs/s"));
    Ok(())
}

/// A job is on disk when its enqueueing has returned.
fn one_by_one(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    let jobs = scale.pick(200, 1000);
    let dir = tempdir()?;
    let (queue, _) = fixture::queue(dir.path(), "q.db", 1)?;
    let raw = RawQueue::create(&dir.path().join("raw.db"))?;
    let (mut next, mut next_raw) = (1, 1);
    let mut staging = queue.stage(fixture::batch(&dir.path().join("renders")))?;
    let ours = || {
        let numbers = next..next + jobs;
        next = numbers.end;
        let prepared: Vec<NewJob> = numbers.map(fixture::job).collect::<Result<_, _>>()?;
        let began = Instant::now();
        for job in prepared {
            staging.add(&[job], fixture::now())?;
            staging.commit(fixture::now())?;
        }
        Ok(per_second(jobs, began))
    };
    let against = || {
        let numbers = next_raw..next_raw + jobs;
        next_raw = numbers.end;
        let prepared: Vec<RawJob> = numbers.map(fixture::raw_job).collect::<Result<_, _>>()?;
        let began = Instant::now();
        for job in prepared {
            raw.enqueue(&job, fixture::now().as_millisecond())?;
        }
        Ok(per_second(jobs, began))
    };
    let (ours, against) = in_turn(scale.pick(3, 5), ours, against)?;
    let pair = Pair::of(&ours, &against);
    table.compare(
        "engine: enqueue one by one",
        pair,
        "jobs/s",
        Goal::AtLeast(0.95),
    );
    Ok(())
}

fn in_bulk(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    let jobs = scale.pick(2000, 10_000);
    let ours = || {
        let dir = tempdir()?;
        let queue = SqliteQueue::open_or_create(&dir.path().join("q.db"))?;
        let began = Instant::now();
        fixture::load(&queue, &dir.path().join("renders"), 0..jobs)?;
        Ok(per_second(jobs, began))
    };
    let against = || {
        let dir = tempdir()?;
        let raw = RawQueue::create(&dir.path().join("raw.db"))?;
        let prepared: Vec<RawJob> = (0..jobs).map(fixture::raw_job).collect::<Result<_, _>>()?;
        let began = Instant::now();
        raw.enqueue_all(prepared, fixture::now().as_millisecond())?;
        Ok(per_second(jobs, began))
    };
    let (ours, against) = in_turn(scale.pick(3, 5), ours, against)?;
    let what = format!("engine: enqueue {jobs} in bulk");
    table.compare(what, Pair::of(&ours, &against), "jobs/s", Goal::None);
    Ok(())
}

/// What one round measured, in jobs a second.
#[derive(Default)]
struct Rounds {
    small: Vec<f64>,
    small_raw: Vec<f64>,
    large: Vec<f64>,
    large_raw: Vec<f64>,
}

fn claim_and_complete(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    let small = scale.pick(1000, 5000);
    let large = scale.pick(20_000, 1_000_000);
    let runtime = Runtime::new()?;
    let catalog = fixture::catalog()?;
    let dir = tempdir()?;
    aside(format_args!(
        "filling a queue with {large} jobs, and a bare table as well"
    ));
    let (large_queue, _) = fixture::queue(dir.path(), "large.db", large)?;
    let large_raw = filled(&dir.path().join("large-raw.db"), large)?;
    let mut measured: [Rounds; 3] = Default::default();
    for _ in 0..scale.pick(2, 3) {
        for ((workers, _), rounds) in WORKERS.iter().zip(&mut measured) {
            let fresh = tempdir()?;
            let (queue, _) = fixture::queue(fresh.path(), "q.db", small)?;
            let raw = filled(&fresh.path().join("raw.db"), small)?;
            rounds
                .small
                .push(runtime.block_on(work_off(&queue, &catalog, *workers, small))?);
            rounds.small_raw.push(raw_loop(&raw, small)?);
            rounds.large.push(runtime.block_on(work_off(
                &large_queue,
                &catalog,
                *workers,
                small,
            ))?);
            rounds.large_raw.push(raw_loop(&large_raw, small)?);
        }
    }
    for ((workers, goal), rounds) in WORKERS.iter().zip(&measured) {
        let what = format!("engine: claim and complete, {workers} at once");
        let sides = [
            (&rounds.small, &rounds.small_raw, small),
            (&rounds.large, &rounds.large_raw, large),
        ];
        for (ours, against, rows) in sides {
            let pair = Pair::of(ours, against);
            table.compare(
                format_args!("{what}, {rows} rows"),
                pair,
                "jobs/s",
                Goal::AtLeast(*goal),
            );
        }
        let pair = Pair::of(&rounds.large, &rounds.small);
        table.compare(
            format_args!("{what}, {large} rows against {small}"),
            pair,
            "jobs/s",
            Goal::AtLeast(0.9),
        );
    }
    Ok(())
}

fn filled(path: &Path, jobs: u64) -> anyhow::Result<RawQueue> {
    let raw = RawQueue::create(path)?;
    let mut failed = None;
    let jobs = (0..jobs).map_while(|number| {
        fixture::raw_job(number)
            .map_err(|error| failed = Some(error))
            .ok()
    });
    raw.enqueue_all(jobs, fixture::now().as_millisecond())?;
    failed.map_or(Ok(raw), Err)
}

fn raw_loop(raw: &RawQueue, jobs: u64) -> anyhow::Result<f64> {
    let began = Instant::now();
    for _ in 0..jobs {
        raw.claim_and_complete()?;
    }
    Ok(per_second(jobs, began))
}

/// Claims and completes so many jobs, or as many as there is patience for, and tells how many a second.
pub(crate) async fn work_off(
    queue: &SqliteQueue,
    catalog: &Arc<Catalog>,
    workers: usize,
    jobs: u64,
) -> anyhow::Result<f64> {
    let pool_id = PoolId(format!("benches-{}", fixture::now().as_nanosecond()));
    queue
        .join(pool_id.clone(), fixture::now(), fixture::now() + LEASE)
        .await?;
    let began = Instant::now();
    let (mut unclaimed, mut done) = (usize::try_from(jobs)?, 0);
    let mut in_hand = Vec::new();
    loop {
        done += in_hand.len() as u64;
        if began.elapsed() > PATIENCE {
            unclaimed = 0;
        }
        let records = in_hand.drain(..).map(|lease| {
            let outcome = Outcome::Rejected {
                reason: "the input was refused".into(),
            };
            queue.record_outcome(
                lease,
                outcome,
                Some((PROVIDER, ProviderSignal::Healthy)),
                fixture::now(),
            )
        });
        let records = join_all(records);
        if unclaimed == 0 {
            records.await.into_iter().collect::<Result<Vec<_>, _>>()?;
            break;
        }
        let request = fixture::claim_request(&pool_id, catalog, workers.min(unclaimed));
        // This `join` asks the first one first.
        let (recorded, claimed) = join(records, queue.claim(request)).await;
        recorded.into_iter().collect::<Result<Vec<_>, _>>()?;
        let claims = claimed?.claims;
        anyhow::ensure!(
            !claims.is_empty(),
            "{unclaimed} jobs are left, and none can be claimed"
        );
        unclaimed -= claims.len();
        in_hand.extend(claims.into_iter().map(|claim| claim.lease));
    }
    let rate = per_second(done, began);
    queue.leave(pool_id, fixture::now()).await?;
    Ok(rate)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "far fewer jobs than an f64 counts"
)]
fn per_second(jobs: u64, began: Instant) -> f64 {
    jobs as f64 / began.elapsed().as_secs_f64()
}
