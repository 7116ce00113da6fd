//! Copies, backups and lost queues: what one of them has paid for, no other pays for again. The judge is
//! the simulator's ledger.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use overnight::clock::{Clock, SystemClock};
use overnight::queue::sqlite::SqliteQueue;
use overnight::queue::{Operator, Reports};
use overnight_simulator::SimulatorOptions;
use rusqlite::Connection;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::{CommandOutput, TestEnv, at_each_provider, high_limits, load_args};

const ROWS: usize = 20;

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
fn a_run_that_begins_while_another_reads_the_markers_does_not_make_the_queue_look_older() {
    let env = TestEnv::new(high_limits());
    env.load(1, "fal");
    assert_eq!(env.run(&["run"]).code, 0);
    env.load(2, "fal");
    let path = path(&env, "renders/batch/.overnight.json");
    let marker = fs::read_to_string(&path).expect("a marker");
    let mut marker: Value = serde_json::from_str(&marker).expect("JSON");
    // A run that reads it waits until it is written.
    fs::remove_file(&path).expect("removed");
    let made = Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("mkfifo").success());
    let run = thread::scope(|scope| {
        let run = scope.spawn(|| env.run(&["run"]));
        let mut pipe = File::options().write(true).open(&path).expect("a reader");
        // Another run begins now, and writes its marker.
        let queue = env.dir.path().join("overnight.db");
        let queue = SqliteQueue::open(&queue, Arc::new(SystemClock)).expect("the queue");
        let started = async {
            queue.begin_run(0, None).await?;
            queue.lineage().await
        };
        let lineage = Runtime::new()
            .expect("a runtime")
            .block_on(started)
            .expect("a run");
        assert!(Some(lineage.generation) > marker["generation"].as_u64());
        marker["generation"] = lineage.generation.into();
        marker["seen_at"] = lineage.last_seen.map(|seen_at| seen_at.to_string()).into();
        serde_json::to_writer(&mut pipe, &marker).expect("written");
        drop(pipe);
        run.join().expect("no panic")
    });
    assert_eq!(run.code, 0, "{run:?}");
    let doubt = "is compared with the providers' histories";
    assert!(!run.stderr.contains(doubt), "{run:?}");
    env.assert_all_rendered_once(2);
}

#[cfg(debug_assertions)]
#[test]
fn a_run_that_is_killed_as_soon_as_it_is_counted_does_not_make_the_queue_look_copied() {
    let env = TestEnv::new(high_limits());
    env.load(1, "fal");
    let mut killed = env.command(&["run"]);
    killed
        .env("OVERNIGHT_FAILPOINT", "run counted")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    assert!(!killed.status().expect("the binary starts").success());
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    let doubt = "is compared with the providers' histories";
    assert!(!run.stderr.contains(doubt), "{run:?}");
    env.assert_all_rendered_once(1);
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
        assert_eq!(env.ledger().entries.len(), ROWS, "{provider}: {copy:?}");
        env.assert_all_rendered_once(ROWS);
    });
}

#[test]
fn a_queue_that_was_deleted_and_loaded_again_pays_for_nothing_again() {
    at_each_provider(|provider| {
        let env = TestEnv::new(high_limits());
        kill_in_the_middle(&env, provider);
        remove_queue(&env);
        let load = [&load_args(provider)[..], &["--adopt-files"]].concat();
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
            format!("nothing is submitted, because the history of {provider} cannot be read");
        assert!(run.stderr.contains(&told), "{provider}: {run:?}");
        env.assert_each_accepted_once(ROWS);
        env.simulator
            .update_options(|options| options.history = true);
        let run = env.run(&["run", "--queue", "copy.db"]);
        assert_eq!(run.code, 0, "{provider}: {run:?}");
        env.assert_each_accepted_once(ROWS);
    });
}

/// Reads a time from a queue's table of single values.
fn stored_time(env: &TestEnv, queue: &str, key: &str) -> Option<i64> {
    let connection = Connection::open(path(env, queue)).expect("the queue");
    let sql = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?1";
    connection.query_row(sql, [key], |row| row.get(0)).ok()
}

#[test]
fn an_older_queue_that_could_not_be_compared_is_compared_from_the_same_time_later() {
    let env = TestEnv::new(high_limits());
    env.load(ROWS, "fal");
    fs::copy(path(&env, "overnight.db"), path(&env, "copy.db")).expect("copied");
    let copied_at = SystemClock.now().as_millisecond();
    assert_eq!(env.run(&["run"]).code, 0);
    env.simulator
        .update_options(|options| options.history = false);
    for _ in 0..2 {
        assert_eq!(env.run(&["run", "--queue", "copy.db"]).code, 3);
        let doubt_since = stored_time(&env, "copy.db", "doubt_since");
        assert!(doubt_since.is_some_and(|since| since <= copied_at));
    }
    env.simulator
        .update_options(|options| options.history = true);
    assert_eq!(env.run(&["run", "--queue", "copy.db"]).code, 0);
    assert_eq!(stored_time(&env, "copy.db", "doubt_since"), None);
    env.assert_each_accepted_once(ROWS);
}

#[test]
fn a_restored_backup_also_continues_what_is_loaded_again_later() {
    at_each_provider(|provider| {
        let env = TestEnv::new(high_limits());
        env.load(4, provider);
        assert_eq!(env.run(&["run"]).code, 0);
        assert_eq!(env.run(&["backup", "backup.db"]).code, 0);
        let backed_up_at = SystemClock.now().as_millisecond();
        let first = fs::read_to_string(path(&env, "batch.csv")).expect("the rows");
        let second = first.replace("number", "no.");
        assert_ne!(first, second);
        let load = |rows: &str| {
            fs::write(path(&env, "batch.csv"), rows).expect("written");
            assert_eq!(env.run(&load_args(provider)).code, 0);
        };
        load(&second);
        assert_eq!(env.run(&["run"]).code, 0);
        env.assert_each_accepted_once(8);
        remove_queue(&env);
        fs::copy(path(&env, "backup.db"), path(&env, "overnight.db")).expect("restored");
        // It has nothing to submit, but is run before the rows are loaded again.
        assert_eq!(env.run(&["run"]).code, 0);
        let since = stored_time(&env, "overnight.db", "unclaimed_since");
        assert!(since.is_some_and(|since| since <= backed_up_at));
        load(&second);
        let run = env.run(&["run"]);
        assert_eq!(run.code, 0, "{provider}: {run:?}");
        env.assert_each_accepted_once(8);
    });
}

#[test]
fn a_copy_that_was_made_during_the_last_run_is_recognised_as_older() {
    let env = TestEnv::new(high_limits());
    env.run_all(4, "eachlabs");
    // As a copy would be that was made a minute before the end of the run.
    let connection = Connection::open(path(&env, "overnight.db")).expect("the queue");
    let sql = "UPDATE meta SET value = value - 60000 WHERE key = 'seen_at'";
    connection.execute(sql, []).expect("changed");
    drop(connection);
    let run = env.run(&["run"]);
    let told = "this queue is older than the clips beside it";
    assert!(run.stderr.contains(told), "{run:?}");
    let again = env.run(&["run"]);
    assert!(!again.stderr.contains(told), "{again:?}");
}

#[test]
fn a_backup_of_a_live_queue_that_is_restored_after_a_kill_is_recognised_as_older() {
    at_each_provider(|provider| {
        let env = TestEnv::new(high_limits());
        env.load(ROWS, provider);
        let mut run = env.start(&["run"]);
        env.await_submissions(4);
        assert_eq!(env.run(&["backup", "backup.db"]).code, 0);
        env.await_submissions(ROWS);
        run.kill().expect("killed");
        run.wait().expect("ended");
        remove_queue(&env);
        fs::copy(path(&env, "backup.db"), path(&env, "overnight.db")).expect("restored");
        let run = env.run(&["run"]);
        assert_eq!(run.code, 0, "{provider}: {run:?}");
        env.assert_each_accepted_once(ROWS);
    });
}

#[test]
fn an_older_queue_submits_nothing_without_the_key_of_a_provider_that_was_used() {
    let env = TestEnv::new(high_limits());
    env.load(ROWS, "fal,eachlabs");
    fs::copy(path(&env, "overnight.db"), path(&env, "copy.db")).expect("copied");
    assert_eq!(env.run(&["run"]).code, 0);
    let mut command = env.command(&["run", "--queue", "copy.db"]);
    command.env_remove("FAL_KEY");
    let run = CommandOutput::from_output(command.output().expect("the binary starts"));
    assert_eq!(run.code, 3, "{run:?}");
    let told =
        "nothing is submitted, because the history of fal cannot be read: FAL_KEY is not set";
    assert!(run.stderr.contains(told), "{run:?}");
    env.assert_each_accepted_once(ROWS);
    assert_eq!(env.run(&["run", "--queue", "copy.db"]).code, 0);
    env.assert_each_accepted_once(ROWS);
}

#[test]
fn a_queue_whose_history_cannot_be_read_runs_if_nothing_speaks_against_it() {
    let env = TestEnv::new(SimulatorOptions {
        history: false,
        ..high_limits()
    });
    env.run_all(4, "eachlabs,aimlapi,fal");
}

/// A project in a folder of its own, which can be moved.
struct Project<'a> {
    env: &'a TestEnv,
    folder: PathBuf,
}

impl Project<'_> {
    fn run(&self, args: &[&str]) -> CommandOutput {
        let mut command = self.env.command(args);
        let output = command.current_dir(&self.folder).output();
        CommandOutput::from_output(output.expect("the binary starts"))
    }

    fn run_ok(&self, args: &[&str]) -> CommandOutput {
        let run = self.run(args);
        assert_eq!(run.code, 0, "{args:?}: {run:?}");
        run
    }

    fn load(&self, sheet: &str) -> CommandOutput {
        fs::write(self.folder.join("sheet.csv"), sheet).expect("written");
        self.run_ok(&[
            "load",
            "sheet.csv",
            "--model",
            "kling-v1-standard",
            "--via",
            "eachlabs,aimlapi,fal",
        ])
    }

    fn restore(&self, from: &str) {
        for name in ["overnight.db", "overnight.db-wal", "overnight.db-shm"] {
            let _ = fs::remove_file(self.folder.join(name));
        }
        fs::copy(self.folder.join(from), self.folder.join("overnight.db")).expect("restored");
    }

    /// Asserts that each distinct request was accepted once, and that each clip is on disk.
    fn assert_paid_once(&self, requests: usize) {
        self.env.assert_each_accepted_once(requests);
        let mut files = Vec::new();
        for folder in ["renders/sheet", "renders/sheet/earlier"] {
            for file in fs::read_dir(self.folder.join(folder)).into_iter().flatten() {
                let path = file.expect("a file").path();
                files.extend(fs::read(path).ok());
            }
        }
        for entry in self.env.ledger().entries {
            let id = entry.prediction_id.as_bytes();
            let has_id = |file: &Vec<u8>| file.windows(id.len()).any(|part| part == id);
            assert!(
                files.iter().any(has_id),
                "the clip of {} is missing",
                entry.prediction_id
            );
        }
    }
}

#[test]
fn whatever_becomes_of_a_queue_and_its_folder_each_request_is_paid_once_and_no_clip_is_lost() {
    let env = TestEnv::new(high_limits());
    let mut project = Project {
        env: &env,
        folder: path(&env, "project"),
    };
    fs::create_dir(&project.folder).expect("a folder");
    fs::copy(
        path(&env, "overnight.toml"),
        project.folder.join("overnight.toml"),
    )
    .expect("copied");
    let rows = (0..24).map(|row| {
        format!("row-{row},https://images.example.com/{row}.png,Caf\u{e9} number {row}\n")
    });
    let sheet = format!("id,image,prompt\n{}", rows.collect::<String>());

    project.load(&sheet);
    project.run_ok(&["backup", "backup.db"]);
    let mut command = env.command(&["run"]);
    let mut half = command
        .current_dir(&project.folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    env.await_submissions(12);
    half.kill().expect("killed");
    half.wait().expect("ended");
    fs::copy(
        project.folder.join("overnight.db"),
        project.folder.join("copy.db"),
    )
    .expect("copied");
    project.run_ok(&["run", "--queue", "copy.db"]);
    project.run_ok(&["run"]);
    project.assert_paid_once(24);
    project.restore("backup.db");
    project.run_ok(&["run"]);
    project.assert_paid_once(24);

    let moved = path(&env, "moved");
    fs::rename(&project.folder, &moved).expect("moved");
    project.folder = moved;
    let saved = sheet.replace('\n', "\r\n").replace('\u{e9}', "e\u{301}");
    let loaded = project.load(&saved);
    assert!(
        loaded.stdout.contains("0 new, 0 changed, 24 same"),
        "{loaded:?}"
    );
    project.load(&sheet.replace("number 7\n", "number seven\n"));
    project.load(&sheet);
    project.run_ok(&["run"]);
    project.assert_paid_once(24);
    let verified = project.run_ok(&["verify"]);
    assert!(verified.stdout.contains("24 intact"), "{verified:?}");
    for row in project
        .run_ok(&["export", "--format", "jsonl"])
        .stdout
        .lines()
    {
        assert!(row.contains("\"state\":\"succeeded\""), "{row}");
    }

    project.load(&sheet.replace("number 7\n", "number seven\n"));
    project.run_ok(&["run"]);
    project.load(&sheet);
    project.run_ok(&["run"]);
    project.assert_paid_once(25);
}
