//! Watching and changing an active run from another process, through the queue file.

use std::fs::File;
use std::process::{Child, Stdio};

use overnight_simulator::{Limits, SimulatorOptions};

use crate::support::{CommandOutput, TestEnv, high_limits, micros, send_signal, wait_until};

/// Returns a simulator in which a clip takes seconds and a raised limit has room.
fn slow() -> SimulatorOptions {
    SimulatorOptions {
        speed: 100.0,
        ..high_limits()
    }
    .with_limits(Limits {
        creates_per_minute: 60_000,
        at_once: 40,
    })
}

impl TestEnv {
    /// Starts a run whose log can be read meanwhile.
    fn start_logged(&self, log: &str, args: &[&str]) -> Child {
        let log = File::create(self.dir.path().join(log)).expect("the log file is created");
        let mut run = self.command(args);
        run.env("USER", "anna")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary starts")
    }

    fn log(&self, log: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(log)).expect("the log file is read")
    }

    fn ctl(&self, args: &[&str]) -> CommandOutput {
        let mut ctl = self.command(&[&["ctl"], args].concat());
        CommandOutput::from_output(ctl.env("USER", "anna").output().expect("the binary starts"))
    }

    /// Returns how many submissions the simulated providers have accepted.
    fn submissions(&self) -> usize {
        self.ledger().entries.len()
    }

    fn in_flight(&self) -> u64 {
        self.status()["providers"][0]["in_flight"]
            .as_u64()
            .expect("a number")
    }

    fn queued(&self) -> u64 {
        self.status()["batches"][0]["jobs"]["queued"]
            .as_u64()
            .expect("a number")
    }

    /// Pauses the runs, and waits until no prediction is in flight.
    fn pause(&self, log: &str) {
        assert_eq!(self.ctl(&["pause"]).code, 0);
        wait_until("the pause", || self.log(log).contains("paused by=anna@"));
        wait_until("the end of the predictions in flight", || {
            self.in_flight() == 0
        });
    }
}

/// Sends SIGINT to a run, and returns its exit code.
fn interrupt(mut run: Child) -> i32 {
    send_signal("INT", run.id());
    run.wait().expect("the run ended").code().unwrap_or(-1)
}

#[test]
fn a_paused_run_submits_nothing_until_it_is_resumed() {
    let env = TestEnv::new(slow());
    env.load(30, "eachlabs");
    let mut run = env.start_logged("run.log", &["run"]);
    env.await_submissions(5);
    env.pause("run.log");
    let submissions = env.submissions();
    assert!(submissions < 30);
    assert!(env.queued() > 0);
    // What is in flight is still downloaded.
    wait_until("the downloads", || {
        let succeeded = env.status()["batches"][0]["jobs"]["succeeded"].as_u64();
        succeeded == Some(submissions as u64)
    });
    // The run reads its settings again, and stays paused.
    assert_eq!(env.ctl(&["set", "--workers", "5"]).code, 0);
    wait_until("the new setting", || {
        env.log("run.log").contains("workers: 16 → 5")
    });
    assert_eq!(env.submissions(), submissions);
    assert_eq!(run.try_wait().expect("the run's state"), None);
    assert!(env.ctl(&["resume"]).stdout.contains(&run.id().to_string()));
    env.await_submissions(submissions + 1);
    assert!(run.wait().expect("the run ended").success());
    env.assert_all_rendered_once(30);
    let log = env.log("run.log");
    for text in ["paused by=anna@", "resumed by=anna@"] {
        assert!(log.contains(text), "{text}: {log}");
    }
}

#[test]
fn a_changed_limit_applies_to_all_runs_and_may_exceed_the_configured_one() {
    let env = TestEnv::new(slow());
    env.load(120, "eachlabs");
    let runs = ["1.log", "2.log"].map(|log| env.start_logged(log, &["run"]));
    for log in ["1.log", "2.log"] {
        wait_until("an active run", || env.log(log).contains(" done"));
    }
    env.await_submissions(5);
    let set = env.ctl(&["set", "--in-flight", "eachlabs=3", "--workers", "5"]);
    assert_eq!(set.code, 0, "{set:?}");
    assert!(
        set.stdout
            .contains("workers 5, eachlabs in flight 3, for 2 runs"),
        "{set:?}"
    );
    for log in ["1.log", "2.log"] {
        wait_until("the changed limit", || {
            env.log(log).contains("eachlabs in flight: 10 → 3")
        });
        wait_until("the changed workers", || {
            env.log(log).contains("workers: 16 → 5 by=anna@")
        });
    }
    wait_until("the lower limit", || env.in_flight() <= 3);
    let submissions = env.submissions();
    while env.submissions() < submissions + 9 {
        assert!(env.in_flight() <= 3);
    }
    assert_eq!(env.status()["providers"][0]["limit"], 3);
    assert_eq!(env.ctl(&["set", "--in-flight", "eachlabs=25"]).code, 0);
    wait_until("the higher limit", || env.in_flight() > 10);
    for mut run in runs {
        assert!(run.wait().expect("the run ended").success());
    }
    env.assert_all_rendered_once(120);
}

#[test]
fn a_runs_budget_can_be_changed_below_and_above_what_is_spent() {
    let env = TestEnv::new(slow());
    env.load(40, "eachlabs");
    let mut run = env.start_logged("run.log", &["run", "--budget", "100"]);
    env.await_submissions(3);
    env.pause("run.log");
    let owed = || {
        env.ledger()
            .entries
            .iter()
            .map(|entry| entry.price)
            .sum::<i64>()
    };
    // Below what is spent: a paused run waits rather than stops at its budget.
    assert_eq!(env.ctl(&["set", "--budget", "0.5"]).code, 0);
    wait_until("the lower budget", || {
        env.log("run.log").contains("budget: $100.00 → $0.50")
    });
    assert_eq!(run.try_wait().expect("the run's state"), None);
    let budget = owed() + 1_000_000;
    let text = format!("{:#}", overnight::domain::Money::from_micros(budget));
    assert_eq!(env.ctl(&["set", "--budget", &text]).code, 0);
    wait_until("the higher budget", || {
        env.log("run.log").contains(&format!("$0.50 → ${text}"))
    });
    assert_eq!(env.ctl(&["resume"]).code, 0);
    assert_eq!(run.wait().expect("the run ended").code(), Some(4));
    // The most expensive clip costs $0.45.
    let allowed = budget - 450_000 + 1..=budget;
    assert!(allowed.contains(&owed()), "{} of {budget}", owed());
}

#[test]
fn a_batchs_budget_can_be_changed_with_and_without_an_active_run() {
    let env = TestEnv::new(slow());
    env.load(40, "eachlabs");
    let set = ["set", "--batch", "batch", "--budget"];
    let changed = env.ctl(&[&set[..], &["0.7"]].concat());
    assert_eq!(
        (changed.code, changed.stdout.as_str()),
        (0, "budget of batch $0.70\n"),
        "{changed:?}"
    );
    assert_eq!(env.run(&["run"]).code, 4);
    assert_eq!(micros(&env.status()["batches"][0]["spent_usd"]), 675_000.0);
    assert_eq!(env.ctl(&[&set[..], &["3"]].concat()).code, 0);
    let mut run = env.start_logged("run.log", &["run"]);
    env.await_submissions(4);
    assert_eq!(env.ctl(&[&set[..], &["none"]].concat()).code, 0);
    assert!(run.wait().expect("the run ended").success());
    env.assert_all_rendered_once(40);
    assert!(
        env.log("run.log")
            .contains("budget of batch: $3.00 → none by=anna@")
    );
    assert!(
        env.ctl(&["set", "--batch", "bacth", "--budget", "1"])
            .stderr
            .contains("did you mean `batch`?")
    );
}

#[test]
fn changed_settings_end_with_the_runs_they_were_changed_for() {
    let env = TestEnv::new(slow());
    env.load(30, "eachlabs");
    let first = env.start_logged("1.log", &["run"]);
    env.await_submissions(3);
    env.pause("1.log");
    // A run that joins a paused one is paused, too.
    let mut second = env.start_logged("2.log", &["run"]);
    wait_until("the pause", || env.log("2.log").contains("paused by=anna@"));
    let submissions = env.submissions();
    // SIGINT ends a paused run like any other, and a killed run leaves no pause behind.
    assert_eq!(interrupt(first), 130);
    assert_eq!(second.try_wait().expect("the run's state"), None);
    second.kill().expect("the run is killed");
    second.wait().expect("the run ended");
    assert_eq!(env.submissions(), submissions);
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(!run.stderr.contains("paused"), "{run:?}");
    env.assert_all_rendered_once(30);
}

#[test]
fn without_an_active_run_only_a_batchs_budget_can_be_changed() {
    let env = TestEnv::new(high_limits());
    env.load(2, "eachlabs");
    for (args, message) in [
        (&["pause"][..], "no run is active on overnight.db"),
        (&["resume"], "start a new run with `overnight run`"),
        (
            &["set", "--workers", "3"],
            "`overnight run --workers N --budget USD`",
        ),
        (&["set", "--budget", "3"], "no run is active on"),
        (
            &["set", "--in-flight", "eachlabs=0"],
            "hint: run `overnight ctl pause` to stop submitting",
        ),
        (&["set", "--in-flight", "eachlab=1"], "eachlabs"),
        (&["set", "--in-flight", "eachlabs"], "write it like fal=4"),
        (&["set", "--budget", "much"], "write it like 12.50, or none"),
        (&["set", "--batch", "batch"], "--budget"),
        (&["set"], "--workers"),
    ] {
        let ctl = env.ctl(args);
        assert_eq!((ctl.code, ctl.stdout.as_str()), (2, ""), "{args:?} {ctl:?}");
        assert!(ctl.stderr.contains(message), "{args:?} {ctl:?}");
    }
    // A killed run is not active.
    env.simulator.update_options(|options| options.speed = 1.0);
    let mut run = env.start(&["run"]);
    env.await_submissions(1);
    assert_eq!(env.ctl(&["set", "--workers", "3"]).code, 0);
    run.kill().expect("the run is killed");
    run.wait().expect("the run ended");
    assert_eq!(env.ctl(&["set", "--workers", "3"]).code, 2);
}
