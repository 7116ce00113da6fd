//! Watching and steering a run that is going on: from another process, through the queue file.

use std::fs::File;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use overnight::simulator::{Limits, SimulatorOptions};

use crate::support::{Run, TestEnv, high_limits, micros};

/// A simulator in which a clip takes seconds, with room for a limit that is raised.
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
    /// Starts a run whose log can be read while it goes on.
    fn start_logged(&self, log: &str, args: &[&str]) -> Child {
        let log = File::create(self.dir.path().join(log)).expect("a log");
        let mut run = self.command(args);
        run.env("USER", "anna")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary starts")
    }

    fn log(&self, log: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(log)).expect("a log")
    }

    fn ctl(&self, args: &[&str]) -> Run {
        let mut ctl = self.command(&[&["ctl"], args].concat());
        Run::of(ctl.env("USER", "anna").output().expect("the binary starts"))
    }

    fn until(&self, what: &str, patience_s: u64, reached: impl Fn() -> bool) {
        let patience = Instant::now() + Duration::from_secs(patience_s);
        while !reached() {
            assert!(Instant::now() < patience, "{what} does not come");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn creates(&self) -> usize {
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

    /// Pauses, and waits until what was under way has ended.
    fn pause(&self, log: &str) {
        assert_eq!(self.ctl(&["pause"]).code, 0);
        self.until("the pause", 10, || {
            self.log(log).contains("paused by=anna@")
        });
        self.until("the end of what was under way", 20, || {
            self.in_flight() == 0
        });
    }
}

fn interrupt(mut run: Child) -> i32 {
    let killed = std::process::Command::new("kill")
        .args(["-INT", &run.id().to_string()])
        .status();
    assert!(killed.expect("kill").success());
    run.wait().expect("it ended").code().unwrap_or(-1)
}

#[test]
fn a_paused_run_begins_nothing_and_waits_and_goes_on_within_two_seconds() {
    let workplace = TestEnv::new(slow());
    workplace.load(30, "eachlabs");
    let mut run = workplace.start_logged("run.log", &["run"]);
    workplace.wait_for_creates(5);
    workplace.pause("run.log");
    let creates = workplace.creates();
    assert!(creates < 30 && workplace.queued() > 0);
    // Everything under way is fetched, and the run waits: for longer than it needs to look around.
    workplace.until("the fetched clips", 20, || {
        workplace.status()["batches"][0]["jobs"]["succeeded"].as_u64() == Some(creates as u64)
    });
    let waits_until = Instant::now() + Duration::from_millis(1500);
    workplace.until("some time", 20, || Instant::now() > waits_until);
    assert_eq!(
        (workplace.creates(), run.try_wait().expect("asked")),
        (creates, None)
    );
    let asked = Instant::now();
    assert!(
        workplace
            .ctl(&["resume"])
            .stdout
            .contains(&run.id().to_string())
    );
    workplace.wait_for_creates(creates + 1);
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );
    assert!(run.wait().expect("it ended").success());
    workplace.assert_all_made(30);
    let log = workplace.log("run.log");
    for said in ["paused by=anna@", "resumed by=anna@"] {
        assert!(log.contains(said), "{said}: {log}");
    }
}

#[test]
fn a_limit_that_is_changed_holds_over_all_runs_and_above_the_configured_one() {
    let workplace = TestEnv::new(slow());
    workplace.load(120, "eachlabs");
    let runs = ["1.log", "2.log"].map(|log| workplace.start_logged(log, &["run"]));
    for log in ["1.log", "2.log"] {
        workplace.until("a run at work", 20, || workplace.log(log).contains(" done"));
    }
    workplace.wait_for_creates(5);
    let set = workplace.ctl(&["set", "--in-flight", "eachlabs=3", "--workers", "5"]);
    assert_eq!(set.code, 0, "{set:?}");
    assert!(
        set.stdout
            .contains("workers 5, eachlabs in flight 3, for 2 runs"),
        "{set:?}"
    );
    for log in ["1.log", "2.log"] {
        workplace.until("the change", 10, || {
            workplace.log(log).contains("eachlabs in flight: 10 → 3")
        });
        workplace.until("the other", 10, || {
            workplace.log(log).contains("workers: 16 → 5 by=anna@")
        });
    }
    workplace.until("the lower limit", 20, || workplace.in_flight() <= 3);
    let creates = workplace.creates();
    while workplace.creates() < creates + 9 {
        assert!(workplace.in_flight() <= 3);
    }
    assert_eq!(workplace.status()["providers"][0]["limit"], 3);
    assert_eq!(
        workplace.ctl(&["set", "--in-flight", "eachlabs=25"]).code,
        0
    );
    workplace.until("the higher limit", 20, || workplace.in_flight() > 10);
    for mut run in runs {
        assert!(run.wait().expect("it ended").success());
    }
    workplace.assert_all_made(120);
}

#[test]
fn a_runs_budget_is_changed_before_and_behind_its_wall() {
    let workplace = TestEnv::new(slow());
    workplace.load(40, "eachlabs");
    let mut run = workplace.start_logged("run.log", &["run", "--budget", "100"]);
    workplace.wait_for_creates(3);
    workplace.pause("run.log");
    let owed = || {
        workplace
            .ledger()
            .entries
            .iter()
            .map(|entry| entry.price)
            .sum::<i64>()
    };
    // Below what is spent: a paused run stays at this wall.
    assert_eq!(workplace.ctl(&["set", "--budget", "0.5"]).code, 0);
    workplace.until("the lower budget", 10, || {
        workplace.log("run.log").contains("budget: $100.00 → $0.50")
    });
    assert_eq!(run.try_wait().expect("asked"), None);
    let budget = owed() + 1_000_000;
    let text = format!("{:#}", overnight::domain::Money::from_micros(budget));
    assert_eq!(workplace.ctl(&["set", "--budget", &text]).code, 0);
    workplace.until("the budget", 10, || {
        workplace
            .log("run.log")
            .contains(&format!("$0.50 → ${text}"))
    });
    assert_eq!(workplace.ctl(&["resume"]).code, 0);
    assert_eq!(run.wait().expect("it ended").code(), Some(4));
    assert!(
        owed() <= budget && owed() > budget - 450_000,
        "{} of {budget}",
        owed()
    );
}

#[test]
fn a_batchs_budget_is_changed_with_and_without_a_run() {
    let workplace = TestEnv::new(slow());
    workplace.load(40, "eachlabs");
    let set = ["set", "--batch", "batch", "--budget"];
    let changed = workplace.ctl(&[&set[..], &["0.7"]].concat());
    assert_eq!(
        (changed.code, changed.stdout.as_str()),
        (0, "budget of batch $0.70\n"),
        "{changed:?}"
    );
    assert_eq!(workplace.run(&["run"]).code, 4);
    assert_eq!(
        micros(&workplace.status()["batches"][0]["spent_usd"]),
        675_000.0
    );
    assert_eq!(workplace.ctl(&[&set[..], &["3"]].concat()).code, 0);
    let mut run = workplace.start_logged("run.log", &["run"]);
    workplace.wait_for_creates(4);
    assert_eq!(workplace.ctl(&[&set[..], &["none"]].concat()).code, 0);
    assert!(run.wait().expect("it ended").success());
    workplace.assert_all_made(40);
    assert!(
        workplace
            .log("run.log")
            .contains("budget of batch: $3.00 → none by=anna@")
    );
    assert!(
        workplace
            .ctl(&["set", "--batch", "bacth", "--budget", "1"])
            .stderr
            .contains("did you mean `batch`?")
    );
}

#[test]
fn what_was_changed_ends_with_the_runs_it_was_changed_for() {
    let workplace = TestEnv::new(slow());
    workplace.load(30, "eachlabs");
    let first = workplace.start_logged("1.log", &["run"]);
    workplace.wait_for_creates(3);
    workplace.pause("1.log");
    // Who joins a paused run is paused.
    let mut second = workplace.start_logged("2.log", &["run"]);
    workplace.until("the pause", 10, || {
        workplace.log("2.log").contains("paused by=anna@")
    });
    let creates = workplace.creates();
    // Ctrl-C ends a paused run as any other, and who is killed leaves no pause behind.
    assert_eq!(interrupt(first), 130);
    assert_eq!(second.try_wait().expect("asked"), None);
    second.kill().expect("it can be killed");
    second.wait().expect("it ended");
    assert_eq!(workplace.creates(), creates);
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(!run.stderr.contains("paused"), "{run:?}");
    workplace.assert_all_made(30);
}

#[test]
fn without_a_run_only_a_batchs_budget_can_be_changed() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(2, "eachlabs");
    for (args, said) in [
        (&["pause"][..], "no run works on overnight.db"),
        (&["resume"], "start with `overnight run`"),
        (
            &["set", "--workers", "3"],
            "`overnight run --workers N --budget USD`",
        ),
        (&["set", "--budget", "3"], "no run works on"),
        (
            &["set", "--in-flight", "eachlabs=0"],
            "`overnight ctl pause` does that",
        ),
        (&["set", "--in-flight", "eachlab=1"], "eachlabs"),
        (&["set", "--in-flight", "eachlabs"], "write it like fal=4"),
        (&["set", "--budget", "much"], "write it like 12.50, or none"),
        (&["set", "--batch", "batch"], "--budget"),
        (&["set"], "--workers"),
    ] {
        let ctl = workplace.ctl(args);
        assert_eq!((ctl.code, ctl.stdout.as_str()), (2, ""), "{args:?} {ctl:?}");
        assert!(ctl.stderr.contains(said), "{args:?} {ctl:?}");
    }
    // A run that was killed is none.
    workplace.simulator.change(|options| options.speed = 1.0);
    let mut run = workplace.start(&["run"]);
    workplace.wait_for_creates(1);
    assert_eq!(workplace.ctl(&["set", "--workers", "3"]).code, 0);
    run.kill().expect("it can be killed");
    run.wait().expect("it ended");
    assert_eq!(workplace.ctl(&["set", "--workers", "3"]).code, 2);
}
