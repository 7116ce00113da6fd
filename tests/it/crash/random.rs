//! Runs killed at random instants, hundreds of times; thousands with
//! `OVERNIGHT_KILLS=5000 cargo test --release --test it killed_at_random -- --nocapture --test-threads 1`.
//!
//! `OVERNIGHT_SEED` plays the same night again: when each kill comes, which process it hits, and what goes wrong at the
//! providers. What the machine does between two instants is its own.

#![expect(
    clippy::print_stdout,
    reason = "the figures of the night are what it is run for"
)]

use std::collections::BTreeSet;
use std::process::Child;
use std::time::{Duration, Instant};

use overnight::simulator::{Call, Fault, Faults, SimulatorOptions};

use crate::support::{TestEnv, high_limits, micros, micros_of};

/// Rows added to the batch whenever it runs out.
const ROWS: usize = 150;

#[test]
fn a_run_killed_at_random_instants_pays_nothing_twice_and_loses_nothing() {
    Chaos::new(1, number_from("OVERNIGHT_KILLS", 400)).run();
}

#[test]
fn four_runs_on_one_queue_killed_at_random_instants_pay_nothing_twice_and_lose_nothing() {
    Chaos::new(4, number_from("OVERNIGHT_KILLS", 120)).run();
}

fn number_from(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| {
        text.parse().unwrap_or_else(|_| panic!("{variable}={text}"))
    })
}

/// Tells whether a run has ended by itself: it has run out of rows then, and not into a fault.
fn has_ended(run: &mut Child) -> bool {
    let ended = run.try_wait().expect("it can be asked");
    assert!(
        ended.is_none_or(|ended| matches!(ended.code(), Some(0 | 3))),
        "{ended:?}"
    );
    ended.is_some()
}

/// Processes that work on one queue while somebody kills them.
struct Chaos {
    workplace: TestEnv,
    random: fastrand::Rng,
    seed: u64,
    processes: usize,
    kills: u64,
    rows: usize,
    /// From the start of a process to its first call; only where no other process calls.
    restarts: Vec<Duration>,
}

impl Chaos {
    fn new(processes: usize, kills: u64) -> Self {
        let seed = number_from("OVERNIGHT_SEED", 20);
        println!("{kills} kills, {processes} at once: replay with OVERNIGHT_SEED={seed}");
        let mut faults = Faults::default()
            .with(Call::Create, Fault::DropAfter, 0.01)
            .with(Call::Create, Fault::DropBefore, 0.01)
            .with(Call::Create, Fault::RateLimited, 0.02)
            .with(Call::Poll, Fault::ServerError, 0.03)
            .with(Call::History, Fault::Garbage, 0.05)
            .with(Call::Download, Fault::Truncated, 0.03)
            .with(Call::Download, Fault::Expired, 0.02);
        faults.retry_after_s = 0;
        let workplace = TestEnv::new(SimulatorOptions {
            faults,
            seed,
            ..high_limits()
        });
        let random = fastrand::Rng::with_seed(seed);
        Self {
            workplace,
            random,
            seed,
            processes,
            kills,
            rows: 0,
            restarts: Vec::new(),
        }
    }

    fn run(mut self) {
        let mut running: Vec<Child> = Vec::new();
        let mut kills = 0;
        while kills < self.kills {
            let before = running.len();
            running.retain_mut(|run| !has_ended(run));
            if self.rows == 0 || running.len() < before {
                self.add_rows();
            }
            let until = Duration::from_millis(self.random.u64(20..260));
            let victim = self.random.usize(..self.processes);
            let began = Instant::now();
            if running.len() < self.processes {
                let calls = self.workplace.simulator.requests().total();
                let is_alone = running.is_empty() && self.processes == 1;
                running.extend(
                    (running.len()..self.processes).map(|_| self.workplace.start(&["run"])),
                );
                while is_alone && began.elapsed() < until {
                    if self.workplace.simulator.requests().total() > calls {
                        self.restarts.push(began.elapsed());
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            std::thread::sleep(until.saturating_sub(began.elapsed()));
            // Only a kill that hits somebody at work counts.
            if !has_ended(&mut running[victim]) {
                let mut victim = running.swap_remove(victim);
                victim.kill().expect("it can be killed");
                victim.wait().expect("it ended");
                kills += 1;
            }
        }
        for mut run in running {
            run.wait().expect("it ended");
        }
        let last = self.workplace.run(&["run"]);
        self.tell_and_judge(last.code);
    }

    /// Loads the same batch with more rows: those it has are the same, and cost nothing.
    fn add_rows(&mut self) {
        self.rows += ROWS;
        self.workplace.load(self.rows, "eachlabs,fal,aimlapi");
    }

    fn tell_and_judge(mut self, code: i32) {
        let (ledger, jobs) = (self.workplace.ledger(), self.workplace.export());
        let rows: BTreeSet<String> = ledger
            .entries
            .iter()
            .map(|entry| entry.input["prompt"].to_string())
            .collect();
        let duplicates = ledger.entries.len() - rows.len();
        let held = jobs.iter().filter(|job| job["state"] == "in_doubt");
        let held: Vec<_> = held
            .map(|job| (job["provider"].to_string(), job["error"].to_string()))
            .collect();
        held.iter()
            .for_each(|(provider, why)| println!("held at {provider}: {why}"));
        let held = held.len();
        let lost: Vec<_> = jobs
            .iter()
            .filter(|job| {
                !["in_doubt", "succeeded"]
                    .iter()
                    .any(|it| job["state"] == *it)
            })
            .collect();
        self.restarts.sort();
        let median = self.restarts.get(self.restarts.len() / 2);
        println!(
            "{} kills over {} rows: {} creates, {duplicates} duplicates, {} lost, {held} held; \
             first call after a restart: median {:?}, worst {:?} of {}",
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
        assert_eq!(jobs.len(), self.rows);
        assert_eq!(code, if held > 0 { 3 } else { 0 }, "OVERNIGHT_SEED={seed}");
        let risk = micros(&self.workplace.status()["batches"][0]["at_risk_usd"]);
        assert_eq!(risk > 0.0, held > 0);
        if held == 0 {
            self.workplace.assert_all_made(self.rows);
        } else {
            let spent = micros(&self.workplace.status()["batches"][0]["spent_usd"]);
            assert!(
                spent + risk >= micros_of(ledger.charged()),
                "OVERNIGHT_SEED={seed}"
            );
        }
    }
}
