//! Copies, backups and lost queues: what one of them has paid for, no other pays for again. The judge is
//! the simulator's ledger.

use std::fs;
use std::path::PathBuf;

use overnight_simulator::SimulatorOptions;

use crate::support::{TestEnv, high_limits};

const ROWS: usize = 20;

/// Runs a test at the three providers at the same time: it mostly waits.
fn at_each_provider(test: impl Fn(&str) + Sync) {
    std::thread::scope(|scope| {
        for provider in ["eachlabs", "aimlapi", "fal"] {
            let test = &test;
            scope.spawn(move || test(provider));
        }
    });
}

fn path(env: &TestEnv, name: &str) -> PathBuf {
    env.dir.path().join(name)
}

/// Loads rows and kills a run of them once some are submitted.
fn kill_in_the_middle(env: &TestEnv, provider: &str) {
    env.load(ROWS, provider);
    let mut run = env.start(&["run"]);
    env.await_submissions(ROWS / 2 + 4);
    run.kill().expect("killed");
    run.wait().expect("ended");
}

/// Removes the queue and its write-ahead log.
fn remove_queue(env: &TestEnv) {
    for name in ["overnight.db", "overnight.db-wal", "overnight.db-shm"] {
        // There is no log after a run that has ended.
        let _ = fs::remove_file(path(env, name));
    }
}

#[test]
fn a_queue_that_was_copied_without_its_log_after_a_kill_pays_for_nothing_again() {
    at_each_provider(|provider| {
        let env = TestEnv::new(high_limits());
        kill_in_the_middle(&env, provider);
        fs::copy(path(&env, "overnight.db"), path(&env, "copy.db")).expect("copied");
        remove_queue(&env);
        fs::rename(path(&env, "copy.db"), path(&env, "overnight.db")).expect("renamed");
        let run = env.run(&["run"]);
        assert_eq!(run.code, 0, "{provider}: {run:?}");
        let told = "this queue is older than the clips beside it";
        assert!(run.stderr.contains(told), "{provider}: {run:?}");
        env.assert_all_rendered_once(ROWS);
        let again = env.run(&["run"]);
        assert!(!again.stderr.contains(told), "{again:?}");
    });
}

#[test]
fn a_copy_and_its_original_run_one_after_the_other_and_pay_for_each_row_once() {
    at_each_provider(|provider| {
        let env = TestEnv::new(high_limits());
        kill_in_the_middle(&env, provider);
        fs::copy(path(&env, "overnight.db"), path(&env, "copy.db")).expect("copied");
        for queue in ["copy.db", "overnight.db", "copy.db"] {
            let run = env.run(&["run", "--queue", queue]);
            assert_eq!(run.code, 0, "{provider}, {queue}: {run:?}");
        }
        env.assert_all_rendered_once(ROWS);
    });
}

#[test]
fn a_restored_backup_continues_what_was_paid_for_since() {
    at_each_provider(|provider| {
        let env = TestEnv::new(high_limits());
        env.load(ROWS, provider);
        assert_eq!(env.run(&["backup", "backup.db"]).code, 0);
        assert_eq!(env.run(&["run"]).code, 0);
        remove_queue(&env);
        fs::copy(path(&env, "backup.db"), path(&env, "overnight.db")).expect("restored");
        let run = env.run(&["run"]);
        assert_eq!(run.code, 0, "{provider}: {run:?}");
        let found = format!("{ROWS} predictions that this queue did not know were found");
        assert!(run.stderr.contains(&found), "{provider}: {run:?}");
        env.assert_all_rendered_once(ROWS);
    });
}

#[test]
fn a_copy_in_another_folder_continues_what_the_original_has_rendered() {
    at_each_provider(|provider| {
        let env = TestEnv::new(high_limits());
        env.load(ROWS, provider);
        let folder = path(&env, "elsewhere");
        fs::create_dir(&folder).expect("a folder");
        for name in ["overnight.db", "overnight.toml"] {
            fs::copy(path(&env, name), folder.join(name)).expect("copied");
        }
        assert_eq!(env.run(&["run"]).code, 0);
        let mut copy = env.command(&["run"]);
        let copy = copy
            .current_dir(&folder)
            .output()
            .expect("the binary starts");
        assert!(copy.status.success(), "{provider}: {copy:?}");
        env.assert_all_rendered_once(ROWS);
    });
}

#[test]
fn a_queue_that_was_deleted_and_loaded_again_pays_for_nothing_again() {
    at_each_provider(|provider| {
        let env = TestEnv::new(high_limits());
        kill_in_the_middle(&env, provider);
        remove_queue(&env);
        let load = [
            "load",
            "batch.csv",
            "--model",
            "kling-v1-standard",
            "--via",
            provider,
            "--adopt-files",
        ];
        assert_eq!(env.run(&load).code, 0);
        let run = env.run(&["run"]);
        assert_eq!(run.code, 0, "{provider}: {run:?}");
        assert!(run.stderr.contains("another queue has run here"), "{run:?}");
        env.assert_each_accepted_once(ROWS);
        for job in env.export() {
            assert_eq!(job["state"], "succeeded", "{job}");
        }
    });
}

#[test]
fn an_older_queue_submits_nothing_while_a_history_cannot_be_read() {
    at_each_provider(|provider| {
        let env = TestEnv::new(high_limits());
        env.load(ROWS, provider);
        fs::copy(path(&env, "overnight.db"), path(&env, "copy.db")).expect("copied");
        assert_eq!(env.run(&["run"]).code, 0);
        env.simulator
            .update_options(|options| options.history = false);
        let run = env.run(&["run", "--queue", "copy.db"]);
        assert_eq!(run.code, 3, "{provider}: {run:?}");
        let told =
            format!("nothing is submitted to {provider}, because its history cannot be read");
        assert!(run.stderr.contains(&told), "{provider}: {run:?}");
        env.assert_each_accepted_once(ROWS);
        env.simulator
            .update_options(|options| options.history = true);
        let run = env.run(&["run", "--queue", "copy.db"]);
        assert_eq!(run.code, 0, "{provider}: {run:?}");
        env.assert_each_accepted_once(ROWS);
    });
}

#[test]
fn a_queue_whose_history_cannot_be_read_runs_if_nothing_speaks_against_it() {
    let env = TestEnv::new(SimulatorOptions {
        history: false,
        ..high_limits()
    });
    env.run_all(4, "eachlabs,aimlapi,fal");
}
