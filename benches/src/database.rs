//! The queue in a database, through its port, against the commits that cannot be avoided on the same server: one
//! worker that changes one word of one row in each of two commits a job.
//!
//! `OVERNIGHT_BENCH_POSTGRES` names the database by its URL. What is in its schemas `overnight` and `raw` is
//! removed. Without it, nothing is measured.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use overnight::clock::AdjustedClock;
use overnight::domain::{Catalog, PoolId};
use overnight::queue::WorkQueue;
use overnight::queue::postgres::{Database, PostgresQueue};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, Statement};

use crate::Scale;
use crate::engine::{complete_as, complete_jobs, per_second};
use crate::fixture;
use crate::measure::Comparison;
use crate::table::{Goal, Table, print_progress};

/// Names the database.
const VARIABLE: &str = "OVERNIGHT_BENCH_POSTGRES";

/// Numbers of workers, each with the minimum ratio of our rate to that of the baseline.
const WORKERS: [(usize, f64); 3] = [(1, 0.45), (10, 3.0), (64, 6.0)];

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
    let jobs = scale.pick(300, 3000);
    let runtime = Runtime::new()?;
    let catalog = fixture::catalog()?;
    let mut ours: [Vec<f64>; 3] = Default::default();
    let mut baseline: [Vec<f64>; 3] = Default::default();
    let mut hosts_ours: [Vec<f64>; 3] = Default::default();
    let mut hosts_baseline: [Vec<f64>; 3] = Default::default();
    for _ in 0..scale.pick(3, 5) {
        for (index, (workers, _)) in WORKERS.iter().enumerate() {
            let raw = runtime.block_on(Raw::create(&url, jobs))?;
            baseline[index].push(runtime.block_on(raw.complete(jobs))?);
            let queue = queue(&url, jobs)?;
            ours[index].push(runtime.block_on(complete_jobs(&queue, &catalog, *workers, jobs))?);
        }
        for (index, (hosts, workers, _)) in HOSTS.iter().enumerate() {
            let raw = runtime.block_on(Raw::create(&url, jobs))?;
            hosts_baseline[index].push(runtime.block_on(raw.complete(jobs))?);
            let queue = queue(&url, jobs)?;
            let rate = complete_by_hosts(&url, &catalog, *hosts, *workers, jobs);
            hosts_ours[index].push(runtime.block_on(rate)?);
            drop(queue);
        }
    }
    for (index, (workers, goal)) in WORKERS.iter().enumerate() {
        table.add_comparison(
            format_args!("database: claim and complete, workers: {workers}"),
            Comparison::from_rounds(&ours[index], &baseline[index]),
            "jobs/s",
            Goal::AtLeast(*goal),
        );
    }
    for (index, (hosts, workers, goal)) in HOSTS.iter().enumerate() {
        table.add_comparison(
            format_args!(
                "database: claim and complete, hosts: {hosts}, workers on each: {workers}"
            ),
            Comparison::from_rounds(&hosts_ours[index], &hosts_baseline[index]),
            "jobs/s",
            Goal::AtLeast(*goal),
        );
    }
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
             CREATE INDEX jobs_due ON jobs (state, due, id); VACUUM ANALYZE jobs"
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
        Ok(Self {
            client,
            claim,
            complete,
        })
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
