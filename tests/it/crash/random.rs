//! Kills runs at random instants, hundreds of times; thousands of times with `OVERNIGHT_KILLS=5000
//! cargo test --release --test it killed_at_random -- --nocapture --test-threads 1`.
//!
//! `OVERNIGHT_SEED` repeats a sequence of kills and faults: when each kill comes, which process it
//! hits, and what goes wrong at the providers. The timing of the machine between two instants is
//! not repeatable.

#![expect(
    clippy::print_stdout,
    reason = "the printed figures are a result of this test"
)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use overnight::domain::Money;
use overnight_simulator::{Call, Entry, Fault, Faults, Ledger, SimulatorOptions};
use rusqlite::Connection;

use crate::postgres_server::{self, Server};
use crate::support::{TestEnv, high_limits, load_args, micros, micros_as_f64, number_from_env};

/// Rows added to the batch whenever it runs out.
const ROWS: usize = 150;

/// The budget of the batch for each of its rows, in micro-dollars. A row costs more on average.
const BUDGET_PER_ROW: i64 = 250_000;

#[test]
fn a_run_killed_at_random_instants_pays_nothing_twice_and_loses_nothing() {
    Chaos::new(1, number_from_env("OVERNIGHT_KILLS", 400)).run();
}

#[test]
fn four_runs_on_one_database_killed_with_its_server_at_random_instants_pay_nothing_twice_and_lose_nothing()
 {
    if postgres_server::is_available() {
        let kills = number_from_env("OVERNIGHT_KILLS", 40);
        Chaos::new(4, kills).on(Server::start()).run();
    }
}

#[test]
fn four_runs_on_one_database_and_one_bucket_killed_at_random_instants_pay_nothing_twice_and_lose_nothing()
 {
    if postgres_server::is_available() {
        let kills = number_from_env("OVERNIGHT_KILLS", 24);
        let chaos = Chaos::new(4, kills).on(Server::start());
        chaos.in_storage().run();
    }
}

#[test]
fn four_runs_on_one_queue_killed_at_random_instants_pay_nothing_twice_and_lose_nothing() {
    Chaos::new(4, number_from_env("OVERNIGHT_KILLS", 120)).run();
}

/// A run, and the file of its errors.
struct Run {
    process: Child,
    errors: PathBuf,
}

impl Run {
    /// Returns whether the run has exited. It may exit only because no rows were left, with or without rows in
    /// doubt, or none that the budget allows, or because the server was killed before it had joined the queue.
    fn has_exited(&mut self) -> bool {
        let status = self.process.try_wait().expect("the status of the process");
        let code = status.map(|status| status.code());
        let is_expected = match code {
            None | Some(Some(0 | 3 | 4)) => true,
            _ => self.errors().contains("cannot reach the queue"),
        };
        assert!(is_expected, "{status:?}: {}", self.errors());
        status.is_some()
    }

    fn errors(&self) -> String {
        fs::read_to_string(&self.errors).expect("the errors")
    }
}

/// A test in which several processes work on one queue and are killed at random instants.
struct Chaos {
    env: TestEnv,
    random: fastrand::Rng,
    seed: u64,
    processes: usize,
    kills: u64,
    /// The server of the queue, which is one victim in eight; `None` if the queue is a file.
    server: Option<Server>,
    /// Number of runs started so far.
    started: usize,
    /// Number of rows loaded so far.
    rows: usize,
    /// Times from the start of a process to its first call. Measured only with a single process,
    /// because a call does not show which process made it.
    restarts: Vec<Duration>,
}

impl Chaos {
    fn new(processes: usize, kills: u64) -> Self {
        let seed = number_from_env("OVERNIGHT_SEED", 20);
        println!(
            "{kills} kills, {processes} concurrent processes: repeat with OVERNIGHT_SEED={seed}"
        );
        let mut faults = Faults::default()
            .with(Call::Create, Fault::DropAfter, 0.01)
            .with(Call::Create, Fault::DropBefore, 0.01)
            .with(Call::Create, Fault::RateLimited, 0.02)
            .with(Call::Poll, Fault::ServerError, 0.03)
            .with(Call::History, Fault::Garbage, 0.05)
            .with(Call::Download, Fault::Truncated, 0.03)
            .with(Call::Download, Fault::Expired, 0.02);
        faults.retry_after_s = 0;
        let env = TestEnv::new(SimulatorOptions {
            faults,
            seed,
            ..high_limits()
        });
        let random = fastrand::Rng::with_seed(seed);
        Self {
            env,
            random,
            seed,
            processes,
            kills,
            server: None,
            started: 0,
            rows: 0,
            restarts: Vec::new(),
        }
    }

    /// Puts the queue into a database.
    fn on(mut self, server: Server) -> Self {
        self.env.queue = Some(server.create_database());
        self.env.variables = vec![("OVERNIGHT_MIN_UPTIME_MS", "1500")];
        self.server = Some(server);
        self
    }

    /// Puts the clips into object storage, which is busy now and then.
    fn in_storage(mut self) -> Self {
        self.env = self.env.in_storage();
        let mut random = fastrand::Rng::with_seed(self.seed);
        self.env.storage().set_fault(move |_, _| {
            let is_busy = random.u8(..) < 8;
            is_busy.then_some((StatusCode::SERVICE_UNAVAILABLE, "SlowDown"))
        });
        self
    }

    /// Asserts that the storage has every clip as it was saved, and nothing else.
    fn assert_storage(&self) {
        let Some(storage) = &self.env.storage else {
            return;
        };
        let verified = self.env.run(&["verify", "--deep"]);
        assert_eq!(verified.code, 0, "{verified:?}");
        let mut names = storage.names();
        names.retain(|name| !name.ends_with("/.overnight.json"));
        let outputs = self.env.export();
        let outputs = outputs.iter().filter_map(|job| job["output"].as_str());
        let mut outputs: Vec<_> = outputs
            .map(|output| output.trim_start_matches("s3://clips/").to_owned())
            .collect();
        outputs.sort();
        assert_eq!(names, outputs);
    }

    fn run(mut self) {
        let mut running: Vec<Run> = Vec::new();
        let mut kills = 0;
        while kills < self.kills {
            let running_before = running.len();
            running.retain_mut(|run| !run.has_exited());
            if self.rows == 0 || running.len() < running_before {
                self.add_rows();
            }
            // A pool that is gone is noticed later on a server, and a server takes a second to start.
            let pause = if self.server.is_some() {
                100..900
            } else {
                20..260
            };
            let kill_after = Duration::from_millis(self.random.u64(pause));
            let victim = self.random.usize(..self.processes);
            let started = Instant::now();
            if running.len() < self.processes {
                let calls = self.env.simulator.requests().total();
                let is_alone = running.is_empty() && self.processes == 1;
                running.extend((running.len()..self.processes).map(|_| self.start()));
                while is_alone && started.elapsed() < kill_after {
                    if self.env.simulator.requests().total() > calls {
                        self.restarts.push(started.elapsed());
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            std::thread::sleep(kill_after.saturating_sub(started.elapsed()));
            let charged = self.env.ledger().charged();
            let budget = BUDGET_PER_ROW * self.rows as i64;
            assert!(charged <= budget, "{charged} of {budget} were charged");
            if let Some(server) = &self.server
                && self.random.u8(..8) == 0
            {
                server.crash();
                server.await_ready();
                kills += 1;
                continue;
            }
            // A kill counts only if the process is still running.
            if !running[victim].has_exited() {
                let mut victim = running.swap_remove(victim).process;
                victim.kill().expect("the process is killed");
                victim.wait().expect("the process exits");
                kills += 1;
            }
        }
        for mut run in running {
            run.process.wait().expect("the process exits");
        }
        // The rows beyond the budget are left for now.
        let left = self.env.export();
        let left = left.iter().filter(|job| job["state"] == "queued").count();
        println!("{left} rows were left for want of budget");
        self.load("1000000");
        let final_run = self.env.run(&["run"]);
        self.print_and_assert(final_run.code);
    }

    fn start(&mut self) -> Run {
        self.started += 1;
        let errors = self.env.dir.path().join(format!("{}.log", self.started));
        let mut command = self.env.command(&["run"]);
        command
            .stdout(Stdio::null())
            .stderr(File::create(&errors).expect("a file"));
        let process = command.spawn().expect("the binary starts");
        Run { process, errors }
    }

    /// Loads the same batch with more rows. The rows that it already has are unchanged and cost
    /// nothing.
    fn add_rows(&mut self) {
        self.rows += ROWS;
        let budget = Money::from_micros(BUDGET_PER_ROW * self.rows as i64);
        self.load(&budget.to_string());
    }

    fn load(&self, budget: &str) {
        self.env.write_manifest("batch.csv", self.rows);
        let mut args = load_args("eachlabs,fal,aimlapi").to_vec();
        args.extend(["--budget", budget.trim_start_matches('$')]);
        let loaded = self.env.run(&args);
        assert_eq!(loaded.code, 0, "{loaded:?}");
    }

    /// Prints the attempts of rows that were paid for twice.
    fn print_duplicates(&self, ledger: &Ledger) {
        let mut rows = BTreeSet::new();
        for entry in &ledger.entries {
            let prompt = entry.input["prompt"].as_str().unwrap_or_default();
            if !rows.insert(prompt) {
                let number = prompt.rsplit(' ').next().unwrap_or_default();
                let row = format!("row-{number}");
                println!("{}", self.env.run(&["show", &row]).stdout);
                let same = |entry: &&Entry| entry.input["prompt"] == prompt;
                ledger.entries.iter().filter(same).for_each(|entry| {
                    println!("{} at {}", entry.prediction_id, entry.accepted_at);
                });
            }
        }
    }

    /// Returns the price reserved for submissions that are presumed absent, in micro-dollars.
    fn presumed_absent(&self) -> f64 {
        let sql = "SELECT coalesce(sum(estimate), 0) FROM attempts WHERE state = 'presumed_absent'";
        match &self.env.queue {
            Some(url) => micros_as_f64(postgres_server::number(url, sql)),
            None => {
                let file = self.env.dir.path().join("overnight.db");
                let queue = Connection::open(file).expect("the queue");
                queue.query_row(sql, [], |row| row.get(0)).expect("a sum")
            }
        }
    }

    /// Prints the figures and asserts that nothing was paid for twice or lost. `code` is the last
    /// run's exit code.
    fn print_and_assert(mut self, code: i32) {
        let ledger = self.env.ledger();
        let jobs = self.env.export();
        let submitted_rows: BTreeSet<String> = ledger
            .entries
            .iter()
            .map(|entry| entry.input["prompt"].to_string())
            .collect();
        let duplicates = ledger.entries.len() - submitted_rows.len();
        self.print_duplicates(&ledger);
        let held = jobs.iter().filter(|job| job["state"] == "in_doubt");
        let held: Vec<_> = held
            .map(|job| (job["provider"].to_string(), job["error"].to_string()))
            .collect();
        held.iter()
            .for_each(|(provider, reason)| println!("held at {provider}: {reason}"));
        let held = held.len();
        let lost: Vec<_> = jobs
            .iter()
            .filter(|job| {
                !["in_doubt", "succeeded"]
                    .iter()
                    .any(|state| job["state"] == *state)
            })
            .collect();
        self.restarts.sort();
        let median = self.restarts.get(self.restarts.len() / 2);
        println!(
            "{} kills over {} rows: {} submissions, {duplicates} duplicates, {} lost, {held} held; \
             first call after a restart: median {:?}, maximum {:?} of {}",
            self.kills,
            self.rows,
            ledger.entries.len(),
            lost.len(),
            median,
            self.restarts.last(),
            self.restarts.len(),
        );
        let seed = self.seed;
        assert_eq!(duplicates, 0, "OVERNIGHT_SEED={seed}");
        assert!(lost.is_empty(), "OVERNIGHT_SEED={seed}: {lost:?}");
        self.assert_storage();
        assert_eq!(jobs.len(), self.rows);
        assert_eq!(code, if held > 0 { 3 } else { 0 }, "OVERNIGHT_SEED={seed}");
        let at_risk = micros(&self.env.status()["batches"][0]["at_risk_usd"]);
        // What is presumed absent stays at risk until the history lists a later submission, and there may be none.
        assert_eq!(at_risk > self.presumed_absent(), held > 0);
        if held == 0 {
            self.env.assert_all_rendered_once(self.rows);
        } else {
            let spent = micros(&self.env.status()["batches"][0]["spent_usd"]);
            assert!(
                spent + at_risk >= micros_as_f64(ledger.charged()),
                "OVERNIGHT_SEED={seed}"
            );
        }
    }
}
