//! Other durable job queues on SQLite.
//!
//! Each is in a package of its own under `peers/`, because only one version of SQLite can be linked
//! into a program. It is built, run alternately with ours, and prints its rates as one line of
//! JSON.
//!
//! Each is configured in the fastest documented way that keeps acknowledged jobs after power loss.
//! One without such a way runs in its only mode; the table shows journal mode and `synchronous`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::tempdir;
use tokio::runtime::Runtime;

use crate::Scale;
use crate::engine;
use crate::fixture;
use crate::measure::Comparison;
use crate::program;
use crate::table::{Goal, Table, print_progress};

/// Package names under `peers/`.
const PEERS: [&str; 2] = ["effectum", "apalis"];

/// The rates of one side in one round, in jobs per second.
#[derive(Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) enqueue: f64,
    pub(crate) work_1: f64,
    pub(crate) work_10: f64,
}

impl Rates {
    /// Reads the rates that a peer has printed as JSON.
    fn read(report: &Value) -> anyhow::Result<Self> {
        let rate = |name: &str| {
            report[name]
                .as_f64()
                .with_context(|| format!("its output has no number `{name}`"))
        };
        Ok(Self {
            enqueue: rate("enqueue")?,
            work_1: rate("work_1")?,
            work_10: rate("work_10")?,
        })
    }

    /// Returns the rates with their names in the table.
    fn named(self) -> [(&'static str, f64); 3] {
        [
            ("enqueue one by one", self.enqueue),
            ("claim and complete, 1 worker", self.work_1),
            ("claim and complete, 10 workers", self.work_10),
        ]
    }
}

pub(crate) fn measure(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    let jobs = scale.pick(300, 2000);
    for name in PEERS {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("peers")
            .join(name);
        match program::build(&package) {
            Ok(binary) => compare_with_peer(scale, table, name, &binary, jobs)?,
            Err(error) => table.add_note(format_args!("peers: {name} is left out: {error:#}")),
        }
    }
    Ok(())
}

/// Adds our rates and a peer's to the table. If the peer fails, a note is added instead.
fn compare_with_peer(
    scale: Scale,
    table: &mut Table,
    name: &str,
    binary: &Path,
    jobs: u64,
) -> anyhow::Result<()> {
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    let mut mode = String::new();
    for _ in 0..scale.pick(2, 3) {
        ours.push(measure_ours(jobs)?);
        let (rates, peer_mode) = match measure_peer(binary, jobs) {
            Ok(measured) => measured,
            Err(error) => {
                table.add_note(format_args!("peers: {name} is left out: {error:#}"));
                return Ok(());
            }
        };
        theirs.push(rates);
        mode = peer_mode;
    }
    add_comparisons(
        table,
        &format!("{name} ({mode})"),
        &ours,
        &theirs,
        [Goal::None; 3],
    );
    Ok(())
}

/// Adds our rates and a peer's, of several rounds, to the table.
pub(crate) fn add_comparisons(
    table: &mut Table,
    name: &str,
    ours: &[Rates],
    theirs: &[Rates],
    goals: [Goal; 3],
) {
    let figures = |rounds: &[Rates], index: usize| -> Vec<f64> {
        rounds.iter().map(|rates| rates.named()[index].1).collect()
    };
    let names = ours
        .first()
        .map(|rates| rates.named().map(|(name, _)| name));
    for (index, (rate_name, goal)) in names.into_iter().flatten().zip(goals).enumerate() {
        table.add_comparison(
            format_args!("peers: {name}: {rate_name}"),
            Comparison::from_rounds(&figures(ours, index), &figures(theirs, index)),
            "jobs/s",
            goal,
        );
    }
}

/// Runs a peer once. Returns its rates, and all that it has printed.
pub(crate) fn run_peer(mut command: Command) -> anyhow::Result<(Rates, Value)> {
    let name = command.get_program().display().to_string();
    print_progress(format_args!("measuring with {name}"));
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "it failed with {}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout).context("its output is not JSON")?;
    Ok((Rates::read(&report)?, report))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the number of jobs is far below the precision of an f64"
)]
fn measure_ours(jobs: u64) -> anyhow::Result<Rates> {
    print_progress("measuring overnight");
    let dir = tempdir()?;
    let runtime = Runtime::new()?;
    let catalog = fixture::catalog()?;
    let (queue, _) = fixture::queue(dir.path(), "enqueue.db", 1)?;
    let started_at = Instant::now();
    for number in 1..=jobs {
        fixture::load(&queue, &dir.path().join("renders"), number..number + 1)?;
    }
    let enqueue = jobs as f64 / started_at.elapsed().as_secs_f64();
    let work = |workers: usize| {
        let dir = tempdir()?;
        let (queue, _) = fixture::queue(dir.path(), "work.db", jobs)?;
        runtime.block_on(engine::complete_jobs(&queue, &catalog, workers, jobs))
    };
    Ok(Rates {
        enqueue,
        work_1: work(1)?,
        work_10: work(10)?,
    })
}

/// Runs a peer once. Returns its rates and its durability settings.
fn measure_peer(binary: &Path, jobs: u64) -> anyhow::Result<(Rates, String)> {
    let dir = tempdir()?;
    let mut command = Command::new(binary);
    command.arg(dir.path()).arg(jobs.to_string());
    let (rates, report) = run_peer(command)?;
    let text = |name: &str| {
        report[name]
            .as_str()
            .with_context(|| format!("its output has no string `{name}`"))
    };
    // `synchronous` belongs to a connection, so the peer has to report it. The journal mode is
    // stored in the file, but only if it is WAL.
    let connection = Connection::open(text("file")?)?;
    let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    let synchronous = text("synchronous")?;
    Ok((
        rates,
        format!("journal {journal}, synchronous {synchronous}"),
    ))
}
