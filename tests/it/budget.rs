//! Budgets of batches and of runs are never exceeded: with many workers, two processes, kills,
//! refusals and damaged sums.

use std::process::Child;
use std::time::{Duration, Instant};

use overnight::domain::Money;
use overnight_simulator::{Api, Call, Fault, Faults, Limits, SimulatorOptions};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{CommandOutput, TestEnv, high_limits, micros, micros_as_f64, wait_until};

/// Price of a row of five seconds at each::labs, in micro-dollars.
const PRICE: i64 = 225_000;

/// Limits that never apply, so that money is the only one.
const HIGH_LIMITS: &str = "
    [pace]
    poll_min_s = 0.05
    retry_base_s = 0.05
    retry_cap_s = 0.2
    [provider.eachlabs]
    in_flight = 200
    creates_per_minute = 60000
    typical_s = 0.3
    history_delay_s = 1
";

impl TestEnv {
    /// Loads rows of five seconds for each::labs, with additional flags.
    fn load_rows(&self, name: &str, rows: usize, flags: &[&str]) {
        let row = |row| {
            format!("{name}-{row},https://images.example.com/{row}.png,Turn {name} number {row}\n")
        };
        let rows: String = (0..rows).map(row).collect();
        let file = format!("{name}.csv");
        self.write(&file, &format!("id,image,prompt\n{rows}"));
        let load = [
            "load",
            &file,
            "--model",
            "kling-v1-standard",
            "--via",
            "eachlabs",
        ];
        let loaded = self.run(&[&load, flags].concat());
        assert_eq!(loaded.code, 0, "{loaded:?}");
    }

    /// Returns what the providers will charge if every accepted prediction succeeds, in
    /// micro-dollars.
    fn charged(&self) -> i64 {
        self.ledger().entries.iter().map(|entry| entry.price).sum()
    }

    /// Asserts that as many clips are paid for as fit into the budget, except those whose submissions
    /// are presumed absent and stay at risk, because none was accepted after them.
    fn assert_used_up(&self, fit: usize) {
        let at_risk = self.status()["batches"][0]["at_risk_usd"].clone();
        let presumed = micros(&at_risk) / micros_as_f64(PRICE);
        let clips = self.charged() / PRICE;
        assert_eq!(
            micros_as_f64(clips) + presumed,
            fit as f64,
            "${at_risk} at risk"
        );
    }

    fn spent_and_reserved(&self) -> (f64, f64) {
        let batches = &self.status()["batches"];
        let sum = |key: &str| {
            batches
                .as_array()
                .expect("batches")
                .iter()
                .map(|batch| micros(&batch[key]))
                .sum()
        };
        (sum("spent_usd"), sum("reserved_usd"))
    }

    fn assert_within(&self, budget: i64) {
        assert!(
            self.charged() <= budget,
            "{} of {budget} charged",
            self.charged()
        );
        let (spent, reserved) = self.spent_and_reserved();
        assert!(
            spent + reserved <= micros_as_f64(budget),
            "{spent} + {reserved} of {budget}"
        );
    }

    fn execute_sql(&self, sql: &str) {
        let queue = Connection::open(self.dir.path().join("overnight.db")).expect("the queue");
        queue.execute_batch(sql).expect("the statement runs");
    }
}

fn kill(mut run: Child) {
    run.kill().expect("it can be killed");
    run.wait().expect("it ended");
}

#[test]
fn two_killed_runs_of_64_workers_never_exceed_the_budget_of_a_batch() {
    kill_two_runs_at_a_budget(&["--budget", "8.40"], &[]);
}

#[test]
fn two_killed_runs_of_64_workers_never_exceed_the_budget_of_the_run() {
    kill_two_runs_at_a_budget(&[], &["--budget", "8.40"]);
}

/// Runs 120 rows of which 37 fit into the budget, which is a batch.s or a run.s, and kills the runs
/// at random.
fn kill_two_runs_at_a_budget(of_batch: &[&str], of_run: &[&str]) {
    let (rows, fit, budget) = (120, 37, 8_400_000);
    let seed = std::env::var("OVERNIGHT_SEED").map_or(7, |seed| seed.parse().expect("a seed"));
    // Refusals release the reservation, so that the same money is reserved many times.
    let mut faults = Faults::default()
        .with(Call::Create, Fault::RateLimited, 0.4)
        .with(Call::Create, Fault::ServerError, 0.1)
        .with(Call::Create, Fault::DropAfter, 0.03)
        .with(Call::Create, Fault::DropBefore, 0.03);
    faults.retry_after_s = 0;
    let limits = Limits {
        creates_per_minute: 60_000,
        at_once: 200,
    };
    let env = TestEnv::new(
        SimulatorOptions {
            faults,
            seed,
            ..high_limits()
        }
        .with_limits(limits),
    );
    env.write("overnight.toml", HIGH_LIMITS);
    env.load_rows("limited", rows, of_batch);
    let run = [&["run", "--workers", "64"], of_run].concat();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut running: Vec<Child> = Vec::new();
    for _ in 0..16 {
        running.retain_mut(|run| match run.try_wait().expect("it can be asked") {
            Some(ended) => {
                assert_eq!(ended.code(), Some(4), "OVERNIGHT_SEED={seed}");
                false
            }
            None => true,
        });
        running.extend((running.len()..2).map(|_| env.start(&run)));
        let until = Instant::now() + Duration::from_millis(random.u64(30..300));
        while Instant::now() < until {
            env.assert_within(budget);
        }
        kill(running.swap_remove(random.usize(..2)));
    }
    for mut run in running {
        assert_eq!(
            run.wait().expect("it ended").code(),
            Some(4),
            "OVERNIGHT_SEED={seed}"
        );
    }
    let last = env.run(&run);
    assert_eq!(last.code, 4, "OVERNIGHT_SEED={seed} {last:?}");
    env.assert_within(budget);
    env.assert_used_up(fit);
    let message = "$0.075 left";
    assert!(last.stderr.contains(message), "{last:?}");

    let (raised, budget): (Vec<&str>, _) = if of_run.is_empty() {
        env.load_rows("limited", rows, &["--budget", "9"]);
        (run, 9_000_000)
    } else {
        (vec!["run", "--workers", "64", "--budget", "9"], 9_000_000)
    };
    assert_eq!(env.run(&raised).code, 4);
    env.assert_within(budget);
    env.assert_used_up(40);
}

#[test]
fn refused_submissions_release_their_reservation_even_after_a_kill() {
    let mut faults = Faults::default().with(Call::Create, Fault::RateLimited, 1.0);
    faults.retry_after_s = 0;
    let env = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    env.load_rows("refused", 10, &["--budget", "0.70"]);
    // 429, and a kill while some submissions are in flight.
    let run = env.start(&["run"]);
    wait_until("a submission", || env.ledger().creates_seen >= 5);
    kill(run);
    env.assert_within(700_000);
    // 402.
    env.simulator.set_faults(Faults::default());
    env.simulator
        .update_options(|options| options.no_balance = true);
    assert!([1, 4].contains(&env.run(&["run"]).code));
    // What the kill left is presumed absent, and stays at risk until the history lists a later one.
    let (spent, at_risk) = env.spent_and_reserved();
    assert!(spent == 0.0 && at_risk <= 700_000.0, "{at_risk} at risk");
    assert_eq!(env.status()["providers"][0]["in_flight"], 0);
    let budget = 0.70 + at_risk / 1e6;
    env.load_rows("refused", 10, &["--budget", &format!("{budget:.6}")]);
    // 400, for two rows that `load` would have rejected.
    env.simulator
        .update_options(|options| options.no_balance = false);
    env.execute_sql(
        "UPDATE jobs SET due_at = job_id;
         UPDATE jobs SET input = json_set(input, '$.prompt', 5) WHERE job_id <= 2",
    );
    let run = env.run(&["run"]);
    assert_eq!(run.code, 4, "{run:?}");
    // The history lists the clips of this run, so nothing is at risk any more.
    let (spent, reserved) = env.spent_and_reserved();
    let affordable = (budget * 1e6 / micros_as_f64(PRICE)).floor();
    assert_eq!(
        (spent, reserved),
        (affordable * micros_as_f64(PRICE), 0.0),
        "{run:?}"
    );
    let message = "$0.00 reserved, $0.025 left";
    assert!(run.stderr.contains(message), "{run:?}");
    let jobs = &env.status()["batches"][0]["jobs"];
    assert_eq!(jobs["failed"], json!(2));
    assert_eq!(jobs["succeeded"].as_f64(), Some(affordable));
    assert_eq!(micros_as_f64(env.charged()), spent);
}

#[test]
fn money_at_risk_stays_reserved_and_is_reported_at_the_budget() {
    let env = env_with_jobs_in_doubt_at_the_budget();
    let run = env.run(&["run"]);
    assert_eq!(run.code, 4, "{run:?}");
    let batch = &env.status()["batches"][0];
    let format_money = |usd| format!("{:#}", text(usd).parse::<Money>().expect("money"));
    let spent = format_money(&batch["spent_usd"]);
    let reserved = format_money(&batch["reserved_usd"]);
    assert_eq!(batch["at_risk_usd"], batch["reserved_usd"]);
    let message =
        format!("of $1.20: ${spent} spent, ${reserved} reserved, $0.075 left; 3 jobs wait");
    assert!(run.stderr.contains(&message), "{message}: {run:?}");
}

#[test]
fn damaged_sums_are_rebuilt_from_the_rows_before_a_run_spends_by_them() {
    let env = env_with_jobs_in_doubt_at_the_budget();
    let accounts = || {
        let mut status = env.status();
        // The remaining time depends on the clock.
        status["batches"][0]["eta_s"].take();
        (status, env.charged())
    };
    let expected = accounts();
    for damage in [
        "UPDATE batches SET spent = 0, reserved = 0, at_risk = 0",
        "UPDATE batches SET spent = -5000000, reserved = 7, at_risk = 900000",
        "UPDATE providers SET in_flight = 12",
        "DELETE FROM providers",
        "UPDATE batches SET queued = 0, submitting = 0, in_doubt = 0, running = 0, succeeded = 0",
        "UPDATE batches SET in_doubt = in_doubt + 1, succeeded = succeeded + 1, cancelled = 4",
    ] {
        env.execute_sql(damage);
        let run = env.run(&["run"]);
        assert_eq!(run.code, 4, "{damage}: {run:?}");
        assert!(
            run.stderr.contains("did not agree with its rows"),
            "{damage}: {run:?}"
        );
        assert_eq!(accounts(), expected, "{damage}");
    }
    let run = env.run(&["run"]);
    assert!(!run.stderr.contains("did not agree"), "{run:?}");
}

/// Returns a queue in which five of eight rows fit into the budget; some of the five succeeded, the
/// others stay in doubt.
fn env_with_jobs_in_doubt_at_the_budget() -> TestEnv {
    let faults = Faults::default().at(Api::Eachlabs, Call::Create, Fault::DropAfter, 0.5);
    let env = TestEnv::new(SimulatorOptions {
        faults,
        history: false,
        ..high_limits()
    });
    env.load_rows("doubt", 8, &["--budget", "1.20"]);
    let run = env.run(&["run"]);
    assert_eq!(run.code, 4, "{run:?}");
    let (spent, reserved) = env.spent_and_reserved();
    assert!(spent > 0.0 && reserved > 0.0, "{spent}, {reserved}");
    assert_eq!(env.charged(), 5 * PRICE);
    env
}

#[test]
fn only_batches_that_have_reached_their_budget_are_reported() {
    let env = TestEnv::new(high_limits());
    env.load_rows("free", 3, &[]);
    env.load_rows("two", 4, &["--budget", "0.5"]);
    env.load_rows("one", 2, &["--budget", "0.225"]);
    env.load_rows("ample", 2, &["--budget", "10"]);
    let run = env.run(&["run"]);
    assert_eq!(run.code, 4, "{run:?}");
    assert_eq!(
        stop_messages(&run),
        [
            "batch two stopped at its budget of $0.50: $0.45 spent, $0.00 reserved, $0.05 left; 2 jobs wait",
            "hint: raise it with `overnight ctl set --batch two --budget USD`, then `overnight run`",
            "batch one stopped at its budget of $0.225: $0.225 spent, $0.00 reserved, $0.00 left; 1 job waits",
            "hint: raise it with `overnight ctl set --batch one --budget USD`, then `overnight run`",
        ]
    );
    assert_eq!(env.run(&["run", "--batch", "free"]).code, 0);
    // A budget that was lowered below what is spent has nothing left.
    env.load_rows("two", 4, &["--budget", "0.3"]);
    let run = env.run(&["run", "--batch", "two"]);
    assert_eq!(
        stop_messages(&run)[0],
        "batch two stopped at its budget of $0.30: $0.45 spent, $0.00 reserved, $0.00 left; 2 jobs wait"
    );
    // The budget of the run is reported over all its batches, beside that of a batch if both apply.
    env.load_rows("two", 4, &["--budget", "9"]);
    let run = env.run(&["run", "--budget", "2.1"]);
    assert_eq!(run.code, 4, "{run:?}");
    assert_eq!(
        stop_messages(&run),
        [
            "stopped at the budget of $2.10: $2.025 spent, $0.00 reserved, $0.075 left; 2 jobs wait",
            "hint: raise it with `overnight run --budget USD`, which includes what was spent earlier",
            "batch one stopped at its budget of $0.225: $0.225 spent, $0.00 reserved, $0.00 left; 1 job waits",
            "hint: raise it with `overnight ctl set --batch one --budget USD`, then `overnight run`",
        ]
    );
    assert_eq!(env.charged(), 9 * PRICE);
}

/// Returns the lines of a run.s log that say why it stopped and what to do.
fn stop_messages(run: &CommandOutput) -> Vec<&str> {
    run.stderr
        .lines()
        .filter(|line| line.contains("stopped at") || line.starts_with("hint:"))
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
