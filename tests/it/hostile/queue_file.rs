//! The queue's file is taken away under a run.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use crate::support::{SPEED, TestEnv, high_limits};
use overnight_simulator::SimulatorOptions;

/// Predictions that take a while, so that the run is in the middle of its rows when the file goes.
fn slow() -> SimulatorOptions {
    SimulatorOptions {
        speed: SPEED / 3.0,
        ..high_limits()
    }
}

/// Starts a run of 24 rows, takes the file away in its middle, and returns its exit code, its messages and
/// the number of submissions when the file went and at the end.
fn run_without(env: &TestEnv, take: impl FnOnce(&Path)) -> (i32, String, [usize; 2]) {
    env.load(24, "fal");
    let mut run = env
        .command(&["run"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    env.await_submissions(10);
    take(env.dir.path());
    let before = env.ledger().entries.len();
    let mut said = String::new();
    let mut stderr = run.stderr.take().expect("a pipe");
    stderr.read_to_string(&mut said).expect("text");
    let code = run.wait().expect("it ends").code().unwrap_or(-1);
    (code, said, [before, env.ledger().entries.len()])
}

#[test]
fn a_run_whose_queue_is_renamed_stops_submitting_and_continues_when_it_is_back() {
    let env = TestEnv::new(slow());
    let rename = |folder: &Path| {
        fs::rename(folder.join("overnight.db"), folder.join("away.db")).expect("renamed");
    };
    let (code, said, [before, after]) = run_without(&env, rename);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("was deleted, renamed or replaced"), "{said}");
    assert!(said.contains("put it back and run again"), "{said}");
    // What was claimed when the file went is submitted; nothing is claimed after it.
    assert!(after <= before + 10, "{before} and then {after}");
    let folder = env.dir.path();
    fs::rename(folder.join("away.db"), folder.join("overnight.db")).expect("renamed");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(24);
}

#[test]
fn a_run_whose_log_is_deleted_stops_and_the_next_one_pays_nothing_twice() {
    let env = TestEnv::new(slow());
    let delete = |folder: &Path| {
        fs::remove_file(folder.join("overnight.db-wal")).expect("removed");
    };
    let (code, said, _) = run_without(&env, delete);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("overnight.db-wal was deleted"), "{said}");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(24);
}

#[test]
fn a_run_whose_queue_is_replaced_by_a_copy_stops_and_the_copy_pays_nothing_twice() {
    let env = TestEnv::new(slow());
    let replace = |folder: &Path| {
        let queue = folder.join("overnight.db");
        let backup = env.run(&["backup", "copy.db"]);
        assert_eq!(backup.code, 0, "{backup:?}");
        fs::rename(folder.join("copy.db"), queue).expect("replaced");
    };
    let (code, said, _) = run_without(&env, replace);
    assert_eq!(code, 1, "{said}");
    for companion in ["overnight.db-wal", "overnight.db-shm"] {
        let _ = fs::remove_file(env.dir.path().join(companion));
    }
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_each_accepted_once(24);
}

#[test]
fn a_queue_with_two_names_is_not_run() {
    let env = TestEnv::new(high_limits());
    env.load(2, "fal");
    let folder = env.dir.path();
    fs::hard_link(folder.join("overnight.db"), folder.join("other.db")).expect("linked");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("2 names"), "{run:?}");
    fs::remove_file(folder.join("other.db")).expect("removed");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(2);
}
