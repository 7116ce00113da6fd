//! Runs that are cut, and go on.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{TestEnv, high_limits};

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(sent.expect("kill starts").success());
}

#[test]
fn a_killed_run_goes_on_at_once_and_pays_nothing_twice() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(60, "eachlabs");
    for creates in [5, 20, 40] {
        let mut run = workplace.start(&["run"]);
        workplace.wait_for_creates(creates);
        signal("KILL", run.id());
        run.wait().expect("it ended");
    }
    let before = workplace.ledger().entries.len();
    let mut run = workplace.start(&["run"]);
    let began = Instant::now();
    workplace.wait_for_creates(before + 1);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "it took {:?} to go on",
        began.elapsed()
    );
    assert!(run.wait().expect("it ended").success());
    workplace.assert_all_made(60);
}

#[test]
fn a_killed_run_over_all_providers_loses_nothing() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(60, "eachlabs,fal,aimlapi");
    for creates in [3, 30] {
        let mut run = workplace.start(&["run"]);
        workplace.wait_for_creates(creates);
        signal("KILL", run.id());
        run.wait().expect("it ended");
    }
    assert_eq!(workplace.run(&["run"]).code, 0);
    workplace.assert_all_made(60);
}

#[test]
fn an_interrupted_run_saves_its_state_and_says_how_to_go_on() {
    for name in ["INT", "TERM"] {
        let workplace = TestEnv::new(high_limits());
        workplace.load(40, "eachlabs");
        let mut command = workplace.command(&["run"]);
        command.stderr(std::process::Stdio::piped());
        let run = command.spawn().expect("the binary starts");
        workplace.wait_for_creates(5);
        signal(name, run.id());
        let output = run.wait_with_output().expect("it ended");
        assert_eq!(output.status.code(), Some(130));
        assert!(String::from_utf8_lossy(&output.stderr).contains("Go on with: overnight run"));
        let status = workplace.status();
        assert_eq!(status["batches"][0]["jobs"]["submitting"], 0);
        assert_eq!(status["batches"][0]["jobs"]["in_doubt"], 0);
        assert_eq!(workplace.run(&["run"]).code, 0);
        workplace.assert_all_made(40);
    }
}

#[test]
fn two_runs_on_one_queue_share_the_work_and_the_limits() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(60, "eachlabs,fal,aimlapi");
    let runs = [workplace.start(&["run"]), workplace.start(&["run"])];
    for mut run in runs {
        assert!(run.wait().expect("it ended").success());
    }
    workplace.assert_all_made(60);
}
