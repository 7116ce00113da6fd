//! What precedes the spending: a confirmation on a terminal, and the review of the canary clips.

use std::process::Stdio;

use overnight_simulator::{Call, Fault, Faults, SimulatorOptions};

use crate::support::{CommandOutput, TestEnv, high_limits};

#[test]
fn a_run_stops_after_its_canary_clips_unless_yes_is_given() {
    let env = TestEnv::new(high_limits());
    env.load(12, "eachlabs,fal");
    let first = env.run(&["run", "--canary", "3"]);
    assert_eq!(first.code, 0, "{first:?}");
    assert_eq!(env.ledger().entries.len(), 3);
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
        first
            .stderr
            .contains("stopped after the canary clips: 9 jobs remaining, $2.70 at most"),
        "{first:?}"
    );
    assert!(
        first.stderr.contains("continue with: overnight run"),
        "{first:?}"
    );
    let rest = env.run(&["run", "--canary", "2", "--yes"]);
    assert_eq!(rest.code, 0, "{rest:?}");
    assert!(
        rest.stderr
            .contains("all canary clips succeeded, continuing: 7 jobs remaining"),
        "{rest:?}"
    );
    env.assert_all_rendered_once(12);
}

#[test]
fn a_failed_canary_clip_stops_the_run() {
    let faults = Faults::default().with(Call::Create, Fault::FailedPrediction, 1.0);
    let env = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    env.load(12, "aimlapi");
    let run = env.run(&["run", "--canary", "2", "--yes"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(
        run.stderr
            .contains("stopped after the canary clips: 10 jobs remaining"),
        "{run:?}"
    );
    assert_eq!(env.ledger().entries.len(), 2);
}

#[test]
fn a_canary_clip_in_doubt_stops_the_run() {
    let faults = Faults::default().with(Call::Create, Fault::DropAfter, 1.0);
    let env = TestEnv::new(SimulatorOptions {
        faults,
        history: false,
        ..high_limits()
    });
    env.load(5, "fal");
    let run = env.run(&["run", "--canary", "1", "--yes"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(
        run.stderr
            .contains("stopped after the canary clips: 4 jobs remaining"),
        "{run:?}"
    );
    assert_eq!(env.ledger().entries.len(), 1);
}

#[test]
fn a_budget_changed_during_the_canary_applies_to_the_rest_of_the_run() {
    let env = TestEnv::new(SimulatorOptions {
        speed: 90.0,
        ..high_limits()
    });
    env.load(5, "eachlabs");
    let mut command = env.command(&["run", "--canary", "1", "--yes"]);
    let run = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    env.await_submissions(1);
    let changed = env.run(&["ctl", "set", "--budget", "0.5"]);
    assert_eq!(changed.code, 0, "{changed:?}");
    let run = CommandOutput::from_output(run.wait_with_output().expect("the run ends"));
    assert_eq!(run.code, 4, "{run:?}");
    assert!(
        run.stderr
            .contains("all canary clips succeeded, continuing: 4 jobs remaining"),
        "{run:?}"
    );
    assert_eq!(env.ledger().entries.len(), 2);
}

#[test]
fn a_canary_clip_whose_submit_is_refused_counts_once() {
    let mut faults = Faults::default().with(Call::Create, Fault::RateLimited, 0.5);
    faults.retry_after_s = 0;
    let env = TestEnv::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    env.load(12, "eachlabs,fal");
    let run = env.run(&["run", "--canary", "4"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(env.ledger().entries.len(), 4);
}

#[test]
fn a_canary_larger_than_the_batch_runs_the_whole_batch() {
    let env = TestEnv::new(high_limits());
    env.load(2, "fal");
    let run = env.run(&["run", "--canary", "5"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(2);
}

#[test]
#[cfg(target_os = "linux")]
fn on_a_terminal_a_batch_that_was_never_submitted_starts_only_after_a_yes() {
    let env = TestEnv::new(high_limits());
    env.load(4, "fal");
    let no = env.run_on_terminal("run", "\n");
    assert_eq!(no.code, 130, "{no:?}");
    for text in [
        "batch: 4 jobs, $1.125 at most; no job of this batch has been submitted yet",
        "Submit and pay for these jobs? [y/N]",
        "nothing was submitted",
    ] {
        assert!(no.stdout.contains(text), "{text}: {no:?}");
    }
    assert_eq!(env.ledger().creates_seen, 0);

    let yes = env.run_on_terminal("run --canary 1", "y\ny\n");
    assert_eq!(yes.code, 0, "{yes:?}");
    assert!(
        yes.stdout
            .contains("3 jobs remaining, $0.90 at most. Continue? [y/N]"),
        "{yes:?}"
    );
    env.assert_all_rendered_once(4);

    // Rows added later need no confirmation, because the batch has been submitted before.
    env.load(6, "fal");
    let again = env.run_on_terminal("run", "");
    assert_eq!(again.code, 0, "{again:?}");
    assert!(!again.stdout.contains("[y/N]"), "{again:?}");
    env.assert_all_rendered_once(6);
}

#[test]
#[cfg(target_os = "linux")]
fn the_yes_flag_suppresses_the_prompt() {
    let env = TestEnv::new(high_limits());
    env.load(2, "fal");
    let run = env.run_on_terminal("run --yes", "");
    assert_eq!(run.code, 0, "{run:?}");
    assert!(!run.stdout.contains("[y/N]"), "{run:?}");
    env.assert_all_rendered_once(2);
}
