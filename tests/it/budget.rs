//! The budget is a wall: for a batch and for a run, under many workers, two processes, kills, refusals and wrong sums.

use std::process::Child;
use std::time::{Duration, Instant};

use overnight::domain::Money;
use overnight::simulator::{Api, Call, Fault, Faults, Limits, SimulatorOptions};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{CommandOutput, TestEnv, high_limits, micros, micros_as_f64};

/// What a row of five seconds costs at each::labs, in micro-dollars.
const PRICE: i64 = 225_000;

/// Room for every worker, so that money is the only limit.
const ROOMY: &str = "
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
    /// Loads so many rows of five seconds for each::labs, and more flags.
    fn load_alike(&self, name: &str, rows: usize, flags: &[&str]) {
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

    /// What the providers would be owed if everything they took came to be.
    fn owed(&self) -> i64 {
        self.ledger().entries.iter().map(|entry| entry.price).sum()
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
        assert!(self.owed() <= budget, "{} of {budget} owed", self.owed());
        let (spent, reserved) = self.spent_and_reserved();
        assert!(
            spent + reserved <= micros_as_f64(budget),
            "{spent} + {reserved} of {budget}"
        );
    }

    fn change_rows(&self, sql: &str) {
        let queue = Connection::open(self.dir.path().join("overnight.db")).expect("the queue");
        queue.execute_batch(sql).expect("it can be changed");
    }

    fn wait_until(&self, what: &str, reached: impl Fn() -> bool) {
        let patience = Instant::now() + Duration::from_secs(30);
        while !reached() {
            assert!(Instant::now() < patience, "{what} does not come");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn kill(mut run: Child) {
    run.kill().expect("it can be killed");
    run.wait().expect("it ended");
}

#[test]
fn two_killed_runs_of_64_workers_pay_a_batch_up_to_its_budget_and_no_further() {
    two_killed_runs_stop_at(&["--budget", "8.40"], &[]);
}

#[test]
fn two_killed_runs_of_64_workers_pay_up_to_the_runs_own_budget_and_no_further() {
    two_killed_runs_stop_at(&[], &["--budget", "8.40"]);
}

/// 37 of 120 rows fit into the budget, which is a batch's or a run's.
fn two_killed_runs_stop_at(of_batch: &[&str], of_run: &[&str]) {
    let (rows, fit, budget) = (120, 37, 8_400_000);
    let seed = std::env::var("OVERNIGHT_SEED").map_or(7, |seed| seed.parse().expect("a seed"));
    // Refusals give the money back, so that it is reserved many times over.
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
    let workplace = TestEnv::new(
        SimulatorOptions {
            faults,
            seed,
            ..high_limits()
        }
        .with_limits(limits),
    );
    workplace.write("overnight.toml", ROOMY);
    workplace.load_alike("wall", rows, of_batch);
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
        running.extend((running.len()..2).map(|_| workplace.start(&run)));
        let until = Instant::now() + Duration::from_millis(random.u64(30..300));
        while Instant::now() < until {
            workplace.assert_within(budget);
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
    let last = workplace.run(&run);
    assert_eq!(last.code, 4, "OVERNIGHT_SEED={seed} {last:?}");
    workplace.assert_within(budget);
    assert_eq!(
        workplace.ledger().entries.len(),
        fit,
        "OVERNIGHT_SEED={seed}"
    );
    let said = "budget of $8.40: $8.325 spent, $0.00 reserved, $0.075 left; 83 jobs wait";
    assert!(last.stderr.contains(said), "{last:?}");

    let (raised, budget): (Vec<&str>, _) = if of_run.is_empty() {
        workplace.load_alike("wall", rows, &["--budget", "9"]);
        (run, 9_000_000)
    } else {
        (vec!["run", "--workers", "64", "--budget", "9"], 9_000_000)
    };
    assert_eq!(workplace.run(&raised).code, 4);
    assert_eq!(workplace.owed(), budget);
}

#[test]
fn refusals_give_back_what_they_reserved_also_after_a_kill() {
    let mut faults = Faults::default().with(Call::Create, Fault::RateLimited, 1.0);
    faults.retry_after_s = 0;
    let workplace = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    workplace.load_alike("refused", 10, &["--budget", "0.70"]);
    // 429, and a kill while some are on their way.
    for seen in [5, 10, 15] {
        let run = workplace.start(&["run"]);
        workplace.wait_until("a create", || workplace.ledger().creates_seen >= seen);
        kill(run);
        workplace.assert_within(700_000);
    }
    // 402.
    workplace.simulator.set_faults(Faults::default());
    workplace
        .simulator
        .update_options(|options| options.no_balance = true);
    assert_eq!(workplace.run(&["run"]).code, 1);
    assert_eq!(workplace.spent_and_reserved(), (0.0, 0.0));
    assert_eq!(workplace.status()["providers"][0]["in_flight"], 0);
    // 400, for two rows as this program does not load them.
    workplace
        .simulator
        .update_options(|options| options.no_balance = false);
    workplace.change_rows(
        "UPDATE jobs SET due_at = job_id;
         UPDATE jobs SET input = json_set(input, '$.prompt', 5) WHERE job_id <= 2",
    );
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 4, "{run:?}");
    let said = "refused stopped at its budget of $0.70: $0.675 spent, $0.00 reserved, $0.025 left; 5 jobs wait";
    assert!(run.stderr.contains(said), "{run:?}");
    let jobs = &workplace.status()["batches"][0]["jobs"];
    assert_eq!(
        (&jobs["failed"], &jobs["succeeded"]),
        (&json!(2), &json!(3))
    );
    assert_eq!(workplace.owed(), 3 * PRICE);
}

#[test]
fn money_at_risk_stays_reserved_and_is_told_at_the_wall() {
    let workplace = in_doubt_at_the_wall();
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 4, "{run:?}");
    let batch = &workplace.status()["batches"][0];
    let people_read = |usd| format!("{:#}", text(usd).parse::<Money>().expect("money"));
    let (spent, reserved) = (
        people_read(&batch["spent_usd"]),
        people_read(&batch["reserved_usd"]),
    );
    assert_eq!(batch["at_risk_usd"], batch["reserved_usd"]);
    let said = format!("of $1.20: ${spent} spent, ${reserved} reserved, $0.075 left; 3 jobs wait");
    assert!(run.stderr.contains(&said), "{said}: {run:?}");
}

#[test]
fn wrong_sums_are_rebuilt_from_the_rows_before_a_run_pays_by_them() {
    let workplace = in_doubt_at_the_wall();
    let books = || {
        let mut status = workplace.status();
        // The time left is told by the clock.
        status["batches"][0]["eta_s"].take();
        (status, workplace.owed())
    };
    let kept = books();
    for damage in [
        "UPDATE batches SET spent = 0, reserved = 0, at_risk = 0",
        "UPDATE batches SET spent = -5000000, reserved = 7, at_risk = 900000",
        "UPDATE providers SET in_flight = 12",
        "DELETE FROM providers",
        "UPDATE batches SET queued = 0, submitting = 0, in_doubt = 0, running = 0, succeeded = 0",
        "UPDATE batches SET in_doubt = in_doubt + 1, succeeded = succeeded + 1, cancelled = 4",
    ] {
        workplace.change_rows(damage);
        let run = workplace.run(&["run"]);
        assert_eq!(run.code, 4, "{damage}: {run:?}");
        assert!(
            run.stderr.contains("did not agree with its rows"),
            "{damage}: {run:?}"
        );
        assert_eq!(books(), kept, "{damage}");
    }
    let run = workplace.run(&["run"]);
    assert!(!run.stderr.contains("did not agree"), "{run:?}");
}

/// Five of eight rows fit; some of the five are made, and some are in doubt for good.
fn in_doubt_at_the_wall() -> TestEnv {
    let faults = Faults::default().at(Api::Eachlabs, Call::Create, Fault::DropAfter, 0.5);
    let workplace = TestEnv::new(SimulatorOptions {
        faults,
        history: false,
        ..high_limits()
    });
    workplace.load_alike("doubt", 8, &["--budget", "1.20"]);
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 4, "{run:?}");
    let (spent, reserved) = workplace.spent_and_reserved();
    assert!(spent > 0.0 && reserved > 0.0, "{spent}, {reserved}");
    assert_eq!(workplace.owed(), 5 * PRICE);
    workplace
}

#[test]
fn of_several_batches_those_at_their_budgets_are_told_and_no_other() {
    let workplace = TestEnv::new(high_limits());
    workplace.load_alike("free", 3, &[]);
    workplace.load_alike("two", 4, &["--budget", "0.5"]);
    workplace.load_alike("one", 2, &["--budget", "0.225"]);
    workplace.load_alike("enough", 2, &["--budget", "10"]);
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 4, "{run:?}");
    assert_eq!(
        told(&run),
        [
            "two stopped at its budget of $0.50: $0.45 spent, $0.00 reserved, $0.05 left; 2 jobs wait",
            "hint: raise it with `overnight load FILE… --batch two --budget USD`",
            "one stopped at its budget of $0.225: $0.225 spent, $0.00 reserved, $0.00 left; 1 job waits",
            "hint: raise it with `overnight load FILE… --batch one --budget USD`",
        ]
    );
    assert_eq!(workplace.run(&["run", "--batch", "free"]).code, 0);
    // A budget that was lowered since is passed, and has nothing left.
    workplace.load_alike("two", 4, &["--budget", "0.3"]);
    let run = workplace.run(&["run", "--batch", "two"]);
    assert_eq!(
        told(&run)[0],
        "two stopped at its budget of $0.30: $0.45 spent, $0.00 reserved, $0.00 left; 2 jobs wait"
    );
    // The run's own is told over all its batches, and beside a batch's where both stand in the way.
    workplace.load_alike("two", 4, &["--budget", "9"]);
    let run = workplace.run(&["run", "--budget", "2.1"]);
    assert_eq!(run.code, 4, "{run:?}");
    assert_eq!(
        told(&run),
        [
            "stopped at the budget of $2.10: $2.025 spent, $0.00 reserved, $0.075 left; 2 jobs wait",
            "hint: raise it with `overnight run --budget USD`",
            "one stopped at its budget of $0.225: $0.225 spent, $0.00 reserved, $0.00 left; 1 job waits",
            "hint: raise it with `overnight load FILE… --batch one --budget USD`",
        ]
    );
    assert_eq!(workplace.owed(), 9 * PRICE);
}

/// What a run said last: why it stopped, and what to do.
fn told(run: &CommandOutput) -> Vec<&str> {
    run.stderr
        .lines()
        .filter(|line| line.contains("stopped at") || line.starts_with("hint:"))
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
