//! Other durable job queues in SQLite, each in a package of its own under `peers/`, because only one version of SQLite can
//! be linked into one program: it is built, run in turn with ours, and says its rates as one line of JSON.
//!
//! Each in the fastest way it documents that keeps what it has acknowledged; where it has no such way, in its only one,
//! and the table says which journal and which `synchronous` that is.

use std::path::{Path, PathBuf};
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
use crate::measure::Pair;
use crate::program;
use crate::table::{Goal, Table, aside};

const PEERS: [&str; 2] = ["effectum", "apalis"];

/// What was measured of either side in one round, in jobs a second.
#[derive(Clone, Copy)]
struct Rates {
    enqueue: f64,
    work_1: f64,
    work_10: f64,
}

impl Rates {
    /// Each with its name in the table.
    fn named(self) -> [(&'static str, f64); 3] {
        [
            ("enqueue one by one", self.enqueue),
            ("claim and complete, 1 at once", self.work_1),
            ("claim and complete, 10 at once", self.work_10),
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
            Ok(binary) => against(scale, table, name, &binary, jobs)?,
            Err(error) => table.note(format_args!("peers: {name} is left out: {error:#}")),
        }
    }
    Ok(())
}

fn against(
    scale: Scale,
    table: &mut Table,
    name: &str,
    binary: &PathBuf,
    jobs: u64,
) -> anyhow::Result<()> {
    let (mut ours, mut theirs, mut mode) = (Vec::new(), Vec::new(), String::new());
    for _ in 0..scale.pick(2, 3) {
        ours.push(our_rates(jobs)?);
        let (rates, settings) = match their_rates(binary, jobs) {
            Ok(told) => told,
            Err(error) => {
                table.note(format_args!("peers: {name} is left out: {error:#}"));
                return Ok(());
            }
        };
        theirs.push(rates);
        mode = settings;
    }
    let figures = |rounds: &[Rates], which: usize| {
        rounds
            .iter()
            .map(|rates| rates.named()[which].1)
            .collect::<Vec<_>>()
    };
    for (which, (what, _)) in ours[0].named().into_iter().enumerate() {
        let pair = Pair::of(&figures(&ours, which), &figures(&theirs, which));
        table.compare(
            format_args!("peers: {name} ({mode}): {what}"),
            pair,
            "jobs/s",
            Goal::None,
        );
    }
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "far fewer jobs than an f64 counts"
)]
fn our_rates(jobs: u64) -> anyhow::Result<Rates> {
    aside("ours");
    let dir = tempdir()?;
    let (runtime, catalog) = (Runtime::new()?, fixture::catalog()?);
    let (queue, _) = fixture::queue(dir.path(), "enqueue.db", 1)?;
    let began = Instant::now();
    for number in 1..=jobs {
        fixture::load(&queue, &dir.path().join("renders"), number..number + 1)?;
    }
    let enqueue = jobs as f64 / began.elapsed().as_secs_f64();
    let work = |at_once: usize| {
        let dir = tempdir()?;
        let (queue, _) = fixture::queue(dir.path(), "work.db", jobs)?;
        runtime.block_on(engine::work_off(&queue, &catalog, at_once, jobs))
    };
    Ok(Rates {
        enqueue,
        work_1: work(1)?,
        work_10: work(10)?,
    })
}

fn their_rates(binary: &PathBuf, jobs: u64) -> anyhow::Result<(Rates, String)> {
    aside(binary.file_name().unwrap_or_default().display());
    let dir = tempdir()?;
    let mut command = Command::new(binary);
    let output = command
        .arg(dir.path())
        .arg(jobs.to_string())
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "it ended with {}", output.status);
    let told: Value = serde_json::from_slice(&output.stdout).context("it said no JSON")?;
    let rate = |name: &str| {
        told[name]
            .as_f64()
            .with_context(|| format!("it did not say {name}"))
    };
    let rates = Rates {
        enqueue: rate("enqueue")?,
        work_1: rate("work_1")?,
        work_10: rate("work_10")?,
    };
    // A connection's `synchronous` is not in the file; the journal mode shows there only when it is WAL.
    let file = Connection::open(
        told["file"]
            .as_str()
            .context("it did not say where its file is")?,
    )?;
    let journal: String = file.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    let synchronous = told["synchronous"]
        .as_str()
        .context("it did not say its mode")?;
    Ok((
        rates,
        format!("journal {journal}, synchronous {synchronous}"),
    ))
}
