//! The queue in a database, through its port, against the commits that cannot be avoided on the same server: one
//! worker that changes one word of one row in each of two commits a job.
//!
//! `OVERNIGHT_BENCH_POSTGRES` names the database by its URL. What is in its schemas `overnight` and `raw` is
//! removed. Without it, nothing is measured.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use overnight::clock::AdjustedClock;
use overnight::domain::{Catalog, NewJob, PoolId};
use overnight::queue::postgres::{Database, PostgresQueue};
use overnight::queue::{Loader, RemovedRows, WorkQueue};
use tokio::runtime::Runtime;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, Statement};

use crate::Scale;
use crate::delay;
use crate::engine::{complete_as, complete_jobs, per_second};
use crate::fixture;
use crate::measure::{Comparison, measure_alternately};
use crate::table::{Goal, Table, print_progress};

/// Names the database.
const VARIABLE: &str = "OVERNIGHT_BENCH_POSTGRES";

/// Numbers of workers, each with the minimum ratio of our rate to that of the baseline.
const WORKERS: [(usize, f64); 3] = [(1, 0.45), (10, 3.0), (64, 6.0)];

/// The same behind a network.
const DELAYED_WORKERS: [(usize, f64); 3] = [(1, 0.9), (10, 7.0), (64, 25.0)];

/// The round trip of that network.
const ROUND_TRIP: Duration = Duration::from_micros(1200);

/// Numbers of hosts and of workers on each, with the minimum ratio of our rate to that of the baseline.
const HOSTS: [(usize, usize, f64); 3] = [(4, 16, 4.5), (16, 4, 1.5), (64, 1, 0.35)];

/// First argument that makes this program run only our side, for a profiler.
pub(crate) const SUBCOMMAND: &str = "complete-jobs-in-database";

/// Returns the URL of the database. Says so if there is none.
pub(crate) fn url() -> Option<String> {
    let url = std::env::var(VARIABLE).ok();
    if url.is_none() {
        print_progress(format_args!("skipped, because {VARIABLE} is not set"));
    }
    url
}

pub(crate) fn measure(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    let Some(url) = url() else {
        return Ok(());
    };
    measure_load(scale, table, &url)?;
    measure_workers(scale, table, &url, "", WORKERS)?;
    let delayed = delay::behind(&url, ROUND_TRIP)?;
    let network = ", round trips of 1.2 ms";
    measure_workers(scale, table, &delayed, network, DELAYED_WORKERS)?;
    measure_hosts(scale, table, &url)?;
    measure_full(scale, table, &url)
}

/// Measures claiming and completing by one host. `network` says how it reaches the server.
fn measure_workers(
    scale: Scale,
    table: &mut Table,
    url: &str,
    network: &str,
    workers: [(usize, f64); 3],
) -> anyhow::Result<()> {
    let jobs = scale.pick(300, 3000);
    let runtime = Runtime::new()?;
    let catalog = fixture::catalog()?;
    let mut ours: [Vec<f64>; 3] = Default::default();
    let mut baseline: [Vec<f64>; 3] = Default::default();
    for _ in 0..scale.pick(3, 5) {
        for (index, (workers, _)) in workers.iter().enumerate() {
            let raw = runtime.block_on(Raw::create(url, jobs))?;
            baseline[index].push(runtime.block_on(raw.complete(jobs))?);
            let queue = queue(url, jobs)?;
            ours[index].push(runtime.block_on(complete_jobs(&queue, &catalog, *workers, jobs))?);
        }
    }
    for (index, (workers, goal)) in workers.iter().enumerate() {
        table.add_comparison(
            format_args!("database: claim and complete, workers: {workers}{network}"),
            Comparison::from_rounds(&ours[index], &baseline[index]),
            "jobs/s",
            Goal::AtLeast(*goal),
        );
    }
    Ok(())
}

/// Measures claiming and completing by several hosts.
fn measure_hosts(scale: Scale, table: &mut Table, url: &str) -> anyhow::Result<()> {
    let jobs = scale.pick(300, 3000);
    let runtime = Runtime::new()?;
    let catalog = fixture::catalog()?;
    let mut ours: [Vec<f64>; 3] = Default::default();
    let mut baseline: [Vec<f64>; 3] = Default::default();
    for _ in 0..scale.pick(3, 5) {
        for (index, (hosts, workers, _)) in HOSTS.iter().enumerate() {
            let raw = runtime.block_on(Raw::create(url, jobs))?;
            baseline[index].push(runtime.block_on(raw.complete(jobs))?);
            let queue = queue(url, jobs)?;
            let rate = complete_by_hosts(url, &catalog, *hosts, *workers, jobs);
            ours[index].push(runtime.block_on(rate)?);
            drop(queue);
        }
    }
    for (index, (hosts, workers, goal)) in HOSTS.iter().enumerate() {
        table.add_comparison(
            format_args!(
                "database: claim and complete, hosts: {hosts}, workers on each: {workers}"
            ),
            Comparison::from_rounds(&ours[index], &baseline[index]),
            "jobs/s",
            Goal::AtLeast(*goal),
        );
    }
    Ok(())
}

/// Measures claiming and completing in a queue of many jobs, of which many were claimed already: what was claimed
/// leaves dead entries at the head of the index of the queued ones. The baseline is a queue of few jobs.
fn measure_full(scale: Scale, table: &mut Table, url: &str) -> anyhow::Result<()> {
    const WORKERS: usize = 10;
    let few = 5000;
    let many: u64 = scale.pick(50_000, 1_000_000);
    let claimed: u64 = scale.pick(10_000, 100_000);
    let rounds = scale.pick(2, 5);
    let runtime = Runtime::new()?;
    let catalog = fixture::catalog()?;
    let complete = |queue: &PostgresQueue, jobs| {
        runtime.block_on(complete_jobs(queue, &catalog, WORKERS, jobs))
    };
    let mut baseline = Vec::new();
    for _ in 0..rounds {
        runtime.block_on(Raw::create(url, 0))?;
        baseline.push(complete(&queue(url, few)?, few)?);
    }
    runtime.block_on(Raw::create(url, 0))?;
    let queue = queue(url, many)?;
    for _ in 0..claimed / few {
        complete(&queue, few)?;
    }
    let ours = (0..rounds).map(|_| complete(&queue, few));
    let ours = ours.collect::<anyhow::Result<Vec<f64>>>()?;
    table.add_comparison(
        format_args!(
            "database: claim and complete with {many} jobs of which {claimed} were claimed, against {few}"
        ),
        Comparison::from_rounds(&ours, &baseline),
        "jobs/s",
        Goal::AtLeast(0.9),
    );
    Ok(())
}

/// Measures a load of new rows against a copy of the same rows into one table with two indexes.
fn measure_load(scale: Scale, table: &mut Table, url: &str) -> anyhow::Result<()> {
    let rows: u64 = scale.pick(100_000, 1_000_000);
    let jobs = (0..rows).map(fixture::job);
    let jobs = jobs.collect::<anyhow::Result<Vec<NewJob>>>()?;
    let runtime = Runtime::new()?;
    let ours = || {
        runtime.block_on(Raw::create(url, 0))?;
        let queue = open(url)?;
        let started_at = Instant::now();
        let mut staging = queue.stage(fixture::batch(Path::new("/renders")))?;
        for chunk in jobs.chunks(1000) {
            staging.add(chunk)?;
        }
        staging.commit(RemovedRows::Keep)?;
        Ok(started_at.elapsed().as_secs_f64())
    };
    let baseline = || {
        let raw = runtime.block_on(Raw::create(url, 0))?;
        let started_at = Instant::now();
        runtime.block_on(raw.copy(&jobs))?;
        Ok(started_at.elapsed().as_secs_f64())
    };
    let (ours, baseline) = measure_alternately(scale.pick(2, 3), ours, baseline)?;
    table.add_comparison(
        format_args!(
            "database: load of {rows} rows, against a copy of them (ratio of its time to ours)"
        ),
        Comparison::from_rounds_inverted(&ours, &baseline),
        "s",
        Goal::AtLeast(0.85),
    );
    measure_single_loads(scale, table, url, &jobs)
}

/// Measures loads of one row each against a commit of one row each.
fn measure_single_loads(
    scale: Scale,
    table: &mut Table,
    url: &str,
    jobs: &[NewJob],
) -> anyhow::Result<()> {
    let jobs = &jobs[..scale.pick(500, 2000)];
    let runtime = Runtime::new()?;
    let ours = || {
        runtime.block_on(Raw::create(url, 0))?;
        let queue = open(url)?;
        let started_at = Instant::now();
        for job in jobs {
            let mut staging = queue.stage(fixture::batch(Path::new("/renders")))?;
            staging.add(std::slice::from_ref(job))?;
            staging.commit(RemovedRows::Keep)?;
        }
        Ok(per_second(jobs.len() as u64, started_at))
    };
    let baseline = || {
        let raw = runtime.block_on(Raw::create(url, 0))?;
        let started_at = Instant::now();
        for job in jobs {
            runtime.block_on(raw.copy(std::slice::from_ref(job)))?;
        }
        Ok(per_second(jobs.len() as u64, started_at))
    };
    let (ours, baseline) = measure_alternately(scale.pick(2, 3), ours, baseline)?;
    table.add_comparison(
        format_args!("database: loads of one row each"),
        Comparison::from_rounds(&ours, &baseline),
        "rows/s",
        Goal::AtLeast(0.5),
    );
    Ok(())
}

/// Claims and completes jobs by several hosts, as far as the queue can tell: each has its own connections, and
/// its share of the jobs. Returns the rate of all.
async fn complete_by_hosts(
    url: &str,
    catalog: &Arc<Catalog>,
    hosts: usize,
    workers: usize,
    jobs: u64,
) -> anyhow::Result<f64> {
    let queues = (0..hosts).map(|_| open(url));
    let queues = queues.collect::<anyhow::Result<Vec<_>>>()?;
    let share = jobs / hosts as u64;
    let pools: Vec<PoolId> = (0..hosts)
        .map(|host| PoolId(format!("host-{host}")))
        .collect();
    for (queue, pool) in queues.iter().zip(&pools) {
        queue.join(pool.clone()).await?;
    }
    let started_at = Instant::now();
    let hosts = queues.iter().zip(&pools);
    let completed = hosts.map(|(queue, pool)| complete_as(queue, pool, catalog, workers, share));
    let completed = futures_util::future::try_join_all(completed).await?;
    Ok(per_second(completed.iter().sum(), started_at))
}

/// Completes a number of jobs of a new queue, without a baseline.
pub(crate) fn run_alone(args: &[String]) -> anyhow::Result<()> {
    let [hosts, workers, jobs] = args else {
        anyhow::bail!("usage: {SUBCOMMAND} HOSTS WORKERS JOBS")
    };
    let url = std::env::var(VARIABLE).context(VARIABLE)?;
    let runtime = Runtime::new()?;
    let jobs = jobs.parse()?;
    runtime.block_on(Raw::create(&url, 0))?;
    let queue = queue(&url, jobs)?;
    let catalog = fixture::catalog()?;
    let rate = complete_by_hosts(&url, &catalog, hosts.parse()?, workers.parse()?, jobs);
    let rate = runtime.block_on(rate)?;
    drop(queue);
    print_progress(format_args!("{rate:.0} jobs/s"));
    Ok(())
}

/// Creates the queue of a database, with a number of jobs.
pub(crate) fn queue(url: &str, jobs: u64) -> anyhow::Result<PostgresQueue> {
    let queue = open(url)?;
    fixture::load(&queue, Path::new("/renders"), 0..jobs)?;
    Ok(queue)
}

fn open(url: &str) -> anyhow::Result<PostgresQueue> {
    let database = Database::new(&url.to_owned().into(), &BTreeMap::new());
    let database = database.map_err(anyhow::Error::msg)?;
    let clock = Arc::new(AdjustedClock::default());
    Ok(PostgresQueue::open_or_create(database, clock)?)
}

/// A plain table of jobs.
pub(crate) struct Raw {
    client: Client,
    claim: Statement,
    complete: Statement,
    copy: Statement,
}

impl Raw {
    /// Removes what the database had, and creates a table with a number of jobs.
    pub(crate) async fn create(url: &str, jobs: u64) -> anyhow::Result<Self> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        let sql = format!(
            "DROP SCHEMA IF EXISTS overnight CASCADE; DROP SCHEMA IF EXISTS raw CASCADE; CREATE SCHEMA raw;
             SET search_path = raw;
             CREATE TABLE jobs (id BIGINT PRIMARY KEY, state TEXT NOT NULL, due BIGINT NOT NULL, input TEXT NOT NULL);
             INSERT INTO jobs SELECT n, 'queued', n, repeat('x', 200) FROM generate_series(1, {jobs}) AS n;
             CREATE INDEX jobs_due ON jobs (state, due, id);
             CREATE TABLE rows (
                 row_key TEXT PRIMARY KEY, line BIGINT NOT NULL, input TEXT NOT NULL, fingerprint BYTEA NOT NULL,
                 file_stem TEXT NOT NULL UNIQUE
             );
             VACUUM ANALYZE jobs"
        );
        for statement in sql.split(';') {
            client.batch_execute(statement).await?;
        }
        let claim = client
            .prepare(
                "UPDATE jobs SET state = 'running'
                 WHERE id = (SELECT id FROM jobs WHERE state = 'queued' ORDER BY due, id LIMIT 1)
                 RETURNING id, input",
            )
            .await?;
        let complete = client
            .prepare("UPDATE jobs SET state = 'done' WHERE id = $1")
            .await?;
        let copy = client.prepare("COPY rows FROM STDIN BINARY").await?;
        Ok(Self {
            client,
            claim,
            complete,
            copy,
        })
    }

    /// Adds rows in one transaction.
    async fn copy(&self, jobs: &[NewJob]) -> anyhow::Result<()> {
        let sink = self.client.copy_in(&self.copy).await?;
        let types = [Type::TEXT, Type::INT8, Type::TEXT, Type::BYTEA, Type::TEXT];
        let mut rows = pin!(BinaryCopyInWriter::new(sink, &types));
        for job in jobs {
            let line = i64::try_from(job.line)?;
            let fingerprint = job.fingerprint.as_slice();
            rows.as_mut()
                .write(&[
                    &job.row_key,
                    &line,
                    &job.input_text,
                    &fingerprint,
                    &job.stem,
                ])
                .await?;
        }
        rows.finish().await?;
        Ok(())
    }

    /// Claims and completes jobs. Returns the rate, in jobs per second.
    async fn complete(&self, jobs: u64) -> anyhow::Result<f64> {
        let started_at = Instant::now();
        for _ in 0..jobs {
            let claimed = self.client.query_one(&self.claim, &[]).await?;
            let id: i64 = claimed.get(0);
            self.client.execute(&self.complete, &[&id]).await?;
        }
        Ok(per_second(jobs, started_at))
    }
}
