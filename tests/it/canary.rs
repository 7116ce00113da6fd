//! Before the money: a person is asked once, and may look at the first clips.

use std::io::Write;
use std::process::{Command, Stdio};

use overnight::simulator::{Call, Fault, Faults, SimulatorOptions};

use crate::support::{Run, TestEnv, high_limits};

#[test]
fn a_run_shows_its_first_clips_and_goes_on_when_it_is_told_to() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(12, "eachlabs,fal");
    let first = workplace.run(&["run", "--canary", "3"]);
    assert_eq!(first.code, 0, "{first:?}");
    assert_eq!(workplace.ledger().entries.len(), 3);
    assert_eq!(
        first
            .stdout
            .lines()
            .filter(|line| line.contains(" succeeded "))
            .count(),
        3,
        "{first:?}"
    );
    assert!(
        first.stderr.contains("9 jobs wait, $2.70 at most"),
        "{first:?}"
    );
    assert!(
        first.stderr.contains("go on with: overnight run"),
        "{first:?}"
    );
    let rest = workplace.run(&["run", "--canary", "2", "--yes"]);
    assert_eq!(rest.code, 0, "{rest:?}");
    assert!(
        rest.stderr
            .contains("all of them succeeded: going on; 7 jobs wait"),
        "{rest:?}"
    );
    workplace.assert_all_made(12);
}

#[test]
fn nothing_more_is_paid_after_a_first_clip_that_failed() {
    let faults = Faults::default().with(Call::Create, Fault::FailedPrediction, 1.0);
    let workplace = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    workplace.load(12, "aimlapi");
    let run = workplace.run(&["run", "--canary", "2", "--yes"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(
        run.stderr
            .contains("stopped after the first clips; 10 jobs wait"),
        "{run:?}"
    );
    assert_eq!(workplace.ledger().entries.len(), 2);
}

#[test]
fn a_first_clip_in_doubt_is_no_success() {
    let faults = Faults::default().with(Call::Create, Fault::DropAfter, 1.0);
    let workplace = TestEnv::new(SimulatorOptions {
        faults,
        history: false,
        ..high_limits()
    });
    workplace.load(5, "fal");
    let run = workplace.run(&["run", "--canary", "1", "--yes"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(
        run.stderr
            .contains("stopped after the first clips; 4 jobs wait"),
        "{run:?}"
    );
    assert_eq!(workplace.ledger().entries.len(), 1);
}

#[test]
fn what_a_person_changes_while_the_first_clips_are_made_holds_for_the_rest() {
    let workplace = TestEnv::new(SimulatorOptions {
        speed: 90.0,
        ..high_limits()
    });
    workplace.load(5, "eachlabs");
    let mut command = workplace.command(&["run", "--canary", "1", "--yes"]);
    let run = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    workplace.wait_for_creates(1);
    let changed = workplace.run(&["ctl", "set", "--budget", "0.5"]);
    assert_eq!(changed.code, 0, "{changed:?}");
    let run = Run::of(run.wait_with_output().expect("it ends"));
    assert_eq!(run.code, 4, "{run:?}");
    assert!(
        run.stderr
            .contains("all of them succeeded: going on; 4 jobs wait"),
        "{run:?}"
    );
    assert_eq!(workplace.ledger().entries.len(), 2);
}

#[test]
fn refused_creates_are_begun_again_and_count_once() {
    let mut faults = Faults::default().with(Call::Create, Fault::RateLimited, 0.5);
    faults.retry_after_s = 0;
    let workplace = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    workplace.load(12, "eachlabs,fal");
    let run = workplace.run(&["run", "--canary", "4"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(workplace.ledger().entries.len(), 4);
}

#[test]
fn more_first_clips_than_there_are_rows_are_all_of_them() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(2, "fal");
    let run = workplace.run(&["run", "--canary", "5"]);
    assert_eq!(run.code, 0, "{run:?}");
    workplace.assert_all_made(2);
}

/// The binary at a terminal, where somebody types.
#[cfg(target_os = "linux")]
fn at_a_terminal(workplace: &TestEnv, args: &str, typed: &str) -> Run {
    let line = format!("{} {args}", env!("CARGO_BIN_EXE_overnight"));
    let mut script = Command::new("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .current_dir(workplace.dir.path());
    script
        .env_clear()
        .envs(workplace.simulator.environment())
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "xterm");
    let mut running = script
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`script`, which every Linux has");
    let mut keyboard = running.stdin.take().expect("a pipe");
    keyboard.write_all(typed.as_bytes()).expect("typed");
    let run = Run::of(running.wait_with_output().expect("it ends"));
    drop(keyboard);
    run
}

#[test]
#[cfg(target_os = "linux")]
fn at_a_terminal_a_batch_that_was_never_paid_for_begins_when_a_person_says_yes() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(4, "fal");
    let no = at_a_terminal(&workplace, "run", "\n");
    assert_eq!(no.code, 130, "{no:?}");
    assert!(
        no.stdout
            .contains("batch: 4 jobs, $1.125 at most; none of this batch was ever sent"),
        "{no:?}"
    );
    assert!(
        no.stdout.contains("Begin to pay? [y/N]") && no.stdout.contains("nothing was begun"),
        "{no:?}"
    );
    assert_eq!(workplace.ledger().creates_seen, 0);

    let yes = at_a_terminal(&workplace, "run --canary 1", "y\ny\n");
    assert_eq!(yes.code, 0, "{yes:?}");
    assert!(
        yes.stdout
            .contains("3 jobs wait, $0.90 at most. Go on? [y/N]"),
        "{yes:?}"
    );
    workplace.assert_all_made(4);

    // Once: what comes to the batch later is no first.
    workplace.load(6, "fal");
    let again = at_a_terminal(&workplace, "run", "");
    assert_eq!(again.code, 0, "{again:?}");
    assert!(!again.stdout.contains("[y/N]"), "{again:?}");
    workplace.assert_all_made(6);
}

#[test]
#[cfg(target_os = "linux")]
fn nobody_is_asked_who_has_said_yes() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(2, "fal");
    let run = at_a_terminal(&workplace, "run --yes", "");
    assert_eq!(run.code, 0, "{run:?}");
    assert!(!run.stdout.contains("[y/N]"), "{run:?}");
    workplace.assert_all_made(2);
}
