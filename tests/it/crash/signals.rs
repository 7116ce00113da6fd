//! Runs that are killed or interrupted, and then resumed.

use std::time::{Duration, Instant};

use crate::support::{TestEnv, high_limits, send_signal};

#[test]
fn a_killed_run_resumes_within_two_seconds_and_pays_for_nothing_twice() {
    let env = TestEnv::new(high_limits());
    env.load(60, "eachlabs");
    for submissions in [5, 20, 40] {
        let mut run = env.start(&["run"]);
        env.await_submissions(submissions);
        send_signal("KILL", run.id());
        run.wait().expect("the process exits");
    }
    let before = env.ledger().entries.len();
    let mut run = env.start(&["run"]);
    let restarted = Instant::now();
    env.await_submissions(before + 1);
    assert!(
        restarted.elapsed() < Duration::from_secs(2),
        "it took {:?} to resume",
        restarted.elapsed()
    );
    assert!(run.wait().expect("the process exits").success());
    env.assert_all_rendered_once(60);
}

#[test]
fn a_killed_run_on_all_providers_loses_nothing() {
    let env = TestEnv::new(high_limits());
    env.load(60, "eachlabs,fal,aimlapi");
    for submissions in [3, 30] {
        let mut run = env.start(&["run"]);
        env.await_submissions(submissions);
        send_signal("KILL", run.id());
        run.wait().expect("the process exits");
    }
    assert_eq!(env.run(&["run"]).code, 0);
    env.assert_all_rendered_once(60);
}

#[test]
fn an_interrupted_run_saves_its_state_and_reports_how_to_resume() {
    for name in ["INT", "TERM"] {
        let env = TestEnv::new(high_limits());
        env.load(40, "eachlabs");
        let mut command = env.command(&["run"]);
        command.stderr(std::process::Stdio::piped());
        let run = command.spawn().expect("the binary starts");
        env.await_submissions(5);
        send_signal(name, run.id());
        let output = run.wait_with_output().expect("the process exits");
        assert_eq!(output.status.code(), Some(130));
        assert!(String::from_utf8_lossy(&output.stderr).contains("Continue with: overnight run"));
        let status = env.status();
        assert_eq!(status["batches"][0]["jobs"]["submitting"], 0);
        assert_eq!(status["batches"][0]["jobs"]["in_doubt"], 0);
        assert_eq!(env.run(&["run"]).code, 0);
        env.assert_all_rendered_once(40);
    }
}

#[test]
fn two_runs_on_one_queue_share_the_work_and_the_limits() {
    let env = TestEnv::new(high_limits());
    env.load(60, "eachlabs,fal,aimlapi");
    let runs = [env.start(&["run"]), env.start(&["run"])];
    for mut run in runs {
        assert!(run.wait().expect("the process exits").success());
    }
    env.assert_all_rendered_once(60);
}
