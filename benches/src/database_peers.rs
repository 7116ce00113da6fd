//! Other durable job queues on PostgreSQL, on the same server.
//!
//! Each is in a folder of its own under `peers/`, is run alternately with ours, and prints its rates as one line of
//! JSON. Each is configured in the fastest documented way that makes a commit for each job it completes, and one as
//! it is by default as well; its file says how. Each first removes what it has left in the database.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::ensure;
use overnight::queue::postgres::PostgresQueue;
use tokio::runtime::Runtime;

use crate::Scale;
use crate::database;
use crate::engine::{complete_jobs, per_second};
use crate::fixture;
use crate::peers::{Rates, add_comparisons, run_peer};
use crate::program;
use crate::table::{Goal, Table};

/// A peer as it is measured.
struct Peer {
    /// Its folder.
    name: &'static str,
    /// How it is set up; empty if there is one way.
    setup: &'static str,
    /// What sets it up.
    args: &'static [&'static str],
    /// The minimum ratio of our rate to its rate with 10 workers.
    goal: f64,
}

const PEERS: [Peer; 4] = [
    Peer {
        name: "graphile-worker",
        setup: " by default",
        args: &[],
        goal: 2.0,
    },
    Peer {
        name: "graphile-worker",
        setup: ", 500 jobs in a claim",
        args: &["500"],
        goal: 2.0,
    },
    Peer {
        name: "pg-boss",
        setup: "",
        args: &[],
        goal: 4.0,
    },
    Peer {
        name: "apalis-postgres",
        setup: "",
        args: &[],
        goal: 1.5,
    },
];

pub(crate) fn measure(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    let Some(url) = &database::url() else {
        return Ok(());
    };
    let jobs = scale.pick(300, 2000);
    for Peer {
        name,
        setup,
        args,
        goal,
    } in PEERS
    {
        let compared = build(name).and_then(|start| {
            let mut ours = Vec::new();
            let mut theirs = Vec::new();
            for _ in 0..scale.pick(2, 3) {
                ours.push(measure_ours(url, jobs)?);
                let mut command = start.command();
                command.arg(url).arg(jobs.to_string()).args(args);
                theirs.push(run_peer(command)?.0);
            }
            Ok((ours, theirs))
        });
        match compared {
            Ok((ours, theirs)) => {
                let goals = [Goal::None, Goal::None, Goal::AtLeast(goal)];
                add_comparisons(table, &format!("{name}{setup}"), &ours, &theirs, goals);
            }
            Err(error) => table.add_note(format_args!("peers: {name} is left out: {error:#}")),
        }
    }
    Ok(())
}

/// How a peer is started.
enum Start {
    /// A program.
    Binary(PathBuf),
    /// A script for Node.
    Script(PathBuf),
}

impl Start {
    fn command(&self) -> Command {
        match self {
            Self::Binary(path) => Command::new(path),
            Self::Script(path) => {
                let mut command = Command::new("node");
                command.arg(path);
                command
            }
        }
    }
}

/// Builds a peer, or installs what it needs.
fn build(name: &str) -> anyhow::Result<Start> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers")
        .join(name);
    if folder.join("Cargo.toml").exists() {
        return Ok(Start::Binary(program::build(&folder)?));
    }
    let installed = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund"])
        .current_dir(&folder)
        .stdout(Stdio::null())
        .status()?;
    ensure!(installed.success(), "`npm ci` failed with {installed}");
    Ok(Start::Script(folder.join("main.js")))
}

fn measure_ours(url: &str, jobs: u64) -> anyhow::Result<Rates> {
    let runtime = Runtime::new()?;
    let catalog = fixture::catalog()?;
    let new_queue = |jobs: u64| -> anyhow::Result<PostgresQueue> {
        runtime.block_on(database::Raw::create(url, 0))?;
        database::queue(url, jobs)
    };
    let queue = new_queue(1)?;
    let started_at = Instant::now();
    for number in 1..=jobs {
        fixture::load(&queue, Path::new("/renders"), number..number + 1)?;
    }
    let enqueue = per_second(jobs, started_at);
    let work = |workers: usize| {
        let queue = new_queue(jobs)?;
        runtime.block_on(complete_jobs(&queue, &catalog, workers, jobs))
    };
    Ok(Rates {
        enqueue,
        work_1: work(1)?,
        work_10: work(10)?,
    })
}
