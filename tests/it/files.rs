//! Problems with the disk and the files on it: each is reported with a remedy, and nothing is lost.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use overnight_simulator::{Call, Fault, Faults, SimulatorOptions};
use rusqlite::Connection;
use serde_json::json;

use crate::support::{CommandOutput, TestEnv, high_limits};

const LOAD: [&str; 4] = ["load", "batch.csv", "--model", "kling-v1-standard"];

fn clip_path(env: &TestEnv, row: usize) -> PathBuf {
    env.dir.path().join(format!("renders/batch/row-{row}.mp4"))
}

fn queue_path(env: &TestEnv) -> PathBuf {
    env.dir.path().join("overnight.db")
}

/// Loads this many rows and runs until their clips are made.
fn run_batch(options: SimulatorOptions, rows: usize, via: &str) -> TestEnv {
    let env = TestEnv::new(options);
    env.load(rows, via);
    assert_eq!(env.run(&["run"]).code, 0);
    env
}

/// Runs the binary with a limit on the size of every file, in blocks of 512 bytes, which acts like
/// a disk that fills up.
fn run_on_a_small_disk(env: &TestEnv, args: &[&str], blocks: u32) -> CommandOutput {
    let binary = env.command(args);
    let mut shell = Command::new("sh");
    // The limit also sends a signal that would end the program; a full disk does not.
    shell.args([
        "-c",
        &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\""),
        "sh",
    ]);
    shell
        .arg(binary.get_program())
        .args(binary.get_args())
        .current_dir(env.dir.path());
    shell
        .env_clear()
        .envs(env.simulator.environment())
        .env("PATH", "/usr/bin:/bin");
    CommandOutput::from_output(shell.stdin(Stdio::null()).output().expect("a shell"))
}

/// Asserts that the command could not go on, gave a hint, and printed each of these messages.
fn assert_cannot_go_on(run: &CommandOutput, messages: &[&str]) {
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.stderr.lines().any(|line| line.starts_with("hint: ")),
        "{run:?}"
    );
    for message in messages {
        assert!(run.stderr.contains(message), "no `{message}`: {run:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_during_a_download_stops_the_run_and_the_next_run_continues() {
    /// Size of a clip, in KiB.
    const CLIP_KIB: u32 = 8 << 10;
    // The queue's files stay smaller than this, a clip does not.
    let blocks = 2 * CLIP_KIB - 512;
    let env = TestEnv::new(SimulatorOptions {
        clip_bytes: CLIP_KIB as usize * 1024,
        ..high_limits()
    });
    env.load(6, "eachlabs,fal");
    let run = run_on_a_small_disk(&env, &["run"], blocks);
    assert_cannot_go_on(&run, &["File too large", "nothing is lost"]);
    assert_eq!(env.run(&["run"]).code, 0);
    env.assert_all_rendered_once(6);
}

#[test]
#[cfg(target_os = "linux")]
fn an_output_folder_that_is_read_only_stops_the_run_and_loses_nothing() {
    let env = TestEnv::new(high_limits());
    // Not even root can create a folder there.
    symlink("/sys", env.dir.path().join("renders")).expect("a link");
    env.load(4, "eachlabs");
    let run = env.run(&["run"]);
    assert_cannot_go_on(
        &run,
        &[
            "cannot write",
            "renders/batch/row-",
            "make the folder writable",
        ],
    );
    fs::remove_file(env.dir.path().join("renders")).expect("removed");
    assert_eq!(env.run(&["run"]).code, 0);
    env.assert_all_rendered_once(4);
}

#[test]
fn a_disk_that_fills_up_under_the_queue_stops_the_run_and_the_next_run_continues() {
    let mut log = String::new();
    for via in ["eachlabs", "fal", "aimlapi"] {
        let env = TestEnv::new(high_limits());
        env.load(30, via);
        // Each run gets a little further than the one before.
        for blocks in [250, 300, 350, 400, 600, 800, 1300] {
            let run = run_on_a_small_disk(&env, &["run"], blocks);
            if run.code != 0 {
                assert_cannot_go_on(
                    &run,
                    &["overnight.db: ", "free some space", "nothing is lost"],
                );
            }
            log.push_str(&run.stderr);
        }
        assert_eq!(env.run(&["run"]).code, 0);
        env.assert_all_rendered_once(30);
    }
    // Without this line in the log, a submission to a provider without a history could not be found
    // again. Which write fails is up to the disk, but of this many failures at least one concerns
    // an accepted submission.
    assert!(
        log.contains("accepted by the provider, but not recorded job.id="),
        "{log}"
    );
}

#[test]
fn a_load_that_fills_the_disk_loads_nothing() {
    let env = TestEnv::new(high_limits());
    env.load(2, "eachlabs");
    env.write_manifest("batch.csv", 5000);
    let load = run_on_a_small_disk(&env, &LOAD, 400);
    assert_cannot_go_on(&load, &["overnight.db: ", "free some space"]);
    assert_eq!(env.status()["batches"][0]["jobs"]["queued"], 2);
    assert!(env.run(&LOAD).stdout.contains("4998 new"));
}

#[test]
fn a_file_that_is_not_a_queue_is_named_and_left_unchanged() {
    let env = TestEnv::new(high_limits());
    env.write_manifest("batch.csv", 1);
    let folder = env.dir.path();
    let text = env.write(
        "text.db",
        &"neither a database nor a short text\n".repeat(200),
    );
    let other = folder.join("other.db");
    Connection::open(&other)
        .expect("a file")
        .execute_batch("CREATE TABLE t (a)")
        .expect("a table");
    env.load(1, "eachlabs");
    let newer = folder.join("newer.db");
    fs::copy(queue_path(&env), &newer).expect("a copy");
    let connection = Connection::open(&newer).expect("a connection");
    connection
        .pragma_update(None, "user_version", 99)
        .expect("a version");
    connection
        .pragma_update(None, "journal_mode", "DELETE")
        .expect("one file");
    drop(connection);
    fs::create_dir(folder.join("folder.db")).expect("a folder");
    for (file, message) in [
        (
            text,
            "it is not a SQLite file; select another with `--queue PATH`",
        ),
        (other, "a SQLite file of another program"),
        (
            newer,
            "written by a newer version of overnight (queue version 99; this one supports up to 7) and was not modified",
        ),
        (
            folder.join("folder.db"),
            "check that its folder exists and is writable",
        ),
        (folder.join("no/folder/q.db"), "hint: "),
    ] {
        let before = fs::read(&file).ok();
        let name = file.to_str().expect("a path");
        for command in [&["run"][..], &["status"], &["verify"], &LOAD] {
            let run = env.run(&[command, &["--queue", name]].concat());
            let message = if message == "hint: " && command[0] != "load" {
                "there is no queue at"
            } else {
                message
            };
            assert_cannot_go_on(&run, &[name, message]);
            assert_eq!(run.stdout, "", "{run:?}");
        }
        assert_eq!(fs::read(&file).ok(), before, "{name}");
    }
}

#[test]
fn a_damaged_queue_is_reported_with_its_name_and_how_to_recover_it() {
    let env = run_batch(high_limits(), 40, "eachlabs");
    let path = queue_path(&env);
    let whole = fs::read(&path).expect("the queue");
    let file = File::options().write(true).open(&path).expect("the queue");
    // The first page, with the header, stays intact: only reading further pages finds the damage.
    for page in 1..whole.len() / 4096 {
        file.write_all_at(&[0xA5; 2048], page as u64 * 4096)
            .expect("the page is damaged");
    }
    for command in [
        &["run"][..],
        &["status"],
        &["jobs"],
        &["export"],
        &["verify"],
        &["retry"],
        &LOAD,
    ] {
        let run = env.run(command);
        assert_cannot_go_on(
            &run,
            &["overnight.db: database disk image is malformed", ".recover"],
        );
    }
    fs::write(&path, whole).expect("the backup is restored");
    assert_eq!(env.run(&["run"]).code, 0);
    env.assert_all_rendered_once(40);
}

#[test]
fn a_run_waits_for_another_programs_lock_and_reports_it_after_the_time_limit() {
    let env = TestEnv::new(high_limits());
    env.load(8, "eachlabs");
    let other = Connection::open(queue_path(&env)).expect("another program");
    other.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    let mut command = env.command(&["run"]);
    let run = CommandOutput::from_output(
        command
            .env("OVERNIGHT_BUSY_MS", "300")
            .output()
            .expect("the binary starts"),
    );
    assert_cannot_go_on(
        &run,
        &[
            "overnight.db: database is locked",
            "another program keeps it locked",
        ],
    );
    assert_eq!(
        env.status()["batches"][0]["jobs"]["queued"],
        8,
        "readers do not wait for the lock"
    );

    let mut run = env.start(&["run"]);
    // A run that waits for a shorter time starts later and gives up first.
    let impatient = env
        .command(&["run"])
        .env("OVERNIGHT_BUSY_MS", "300")
        .status();
    assert!(!impatient.expect("the binary starts").success());
    assert_eq!(
        run.try_wait().expect("a process"),
        None,
        "the run did not wait for the lock"
    );
    other.execute_batch("COMMIT").expect("released");
    assert!(run.wait().expect("the run ended").success());
    env.assert_all_rendered_once(8);
}

#[test]
fn a_lock_that_is_held_too_long_during_a_run_loses_nothing() {
    let env = TestEnv::new(high_limits());
    env.load(40, "eachlabs");
    let mut command = env.command(&["run"]);
    command
        .env("OVERNIGHT_BUSY_MS", "300")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let run = command.spawn().expect("the binary starts");
    env.await_submissions(12);
    let other = Connection::open(queue_path(&env)).expect("another program");
    other
        .busy_timeout(Duration::from_secs(10))
        .expect("a timeout");
    other.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    let run = CommandOutput::from_output(run.wait_with_output().expect("the run ended"));
    assert_cannot_go_on(&run, &["another program keeps it locked"]);
    other.execute_batch("COMMIT").expect("released");
    assert_eq!(env.run(&["run"]).code, 0);
    env.assert_all_rendered_once(40);
}

#[test]
fn missing_or_damaged_clips_are_found_and_downloaded_again_without_paying() {
    for via in ["eachlabs", "fal", "aimlapi"] {
        let env = run_batch(high_limits(), 6, via);
        let status = env.status();
        let jobs = env.export();
        let intact = env.run(&["verify"]);
        assert_eq!(
            (intact.code, intact.stdout.as_str()),
            (0, "6 clips checked: 6 intact, 0 missing or damaged\n")
        );

        fs::remove_file(clip_path(&env, 0)).expect("removed");
        File::options()
            .write(true)
            .open(clip_path(&env, 1))
            .expect("a clip")
            .set_len(100)
            .expect("cut");
        let file = File::options()
            .write(true)
            .open(clip_path(&env, 2))
            .expect("a clip");
        file.write_all_at(b"something else", 700).expect("damaged");
        let found = env.run(&["verify", "--batch", "batch"]);
        assert_eq!(found.code, 3, "{found:?}");
        let saved = jobs[1]["bytes"].as_u64().expect("a length");
        for message in [
            "row-0.mp4: missing\n",
            &format!("row-1.mp4: is 100 bytes, {saved} were saved\n"),
            "row-2.mp4: has another SHA-256\n",
            "6 clips checked: 3 intact, 3 missing or damaged\n",
        ] {
            assert!(found.stdout.contains(message), "{found:?}");
        }
        assert!(
            found
                .stderr
                .contains("hint: `overnight verify --fix --batch batch`"),
            "{found:?}"
        );
        assert_eq!(env.export(), jobs, "`verify` without --fix changes nothing");

        // `verify --fix` leaves other jobs alone.
        env.write_manifest("more.csv", 3);
        assert_eq!(
            env.run(&[
                "load",
                "more.csv",
                "--model",
                "kling-v1-standard",
                "--fresh"
            ])
            .code,
            0
        );
        let fixed = env.run(&["verify", "--fix"]);
        assert_eq!(fixed.code, 0, "{fixed:?}");
        assert!(
            fixed
                .stdout
                .ends_with("3 downloaded again without paying, 0 failed, 0 left\n"),
            "{fixed:?}"
        );
        assert_eq!(env.ledger().entries.len(), 6);
        let now = env.status();
        assert_eq!(now["batches"][0], status["batches"][0]);
        assert_eq!(now["batches"][1]["jobs"]["queued"], 3);
        for (job, before) in env.export().iter().zip(&jobs) {
            for field in [
                "state",
                "cost_usd",
                "cost_source",
                "sha256",
                "output",
                "prediction_id",
                "attempts",
            ] {
                assert_eq!(job[field], before[field], "{field}");
            }
        }
        assert_eq!(env.run(&["verify"]).code, 0);
    }
}

#[test]
fn a_missing_clip_with_an_expired_link_gets_a_new_link_and_keeps_its_cost() {
    for via in ["eachlabs", "fal", "aimlapi"] {
        let env = run_batch(high_limits(), 3, via);
        let jobs = env.export();
        env.simulator.update_options(|options| {
            // A provider may report the cost only once.
            options.eachlabs_reports_cost = false;
            options.aimlapi_reports_final_credits = false;
        });
        env.simulator.expire_links();
        fs::remove_dir_all(env.dir.path().join("renders")).expect("removed");
        let polls: u32 = env.ledger().entries.iter().map(|entry| entry.polls).sum();
        let fixed = env.run(&["verify", "--fix"]);
        assert_eq!(fixed.code, 0, "{fixed:?}");
        let after: u32 = env.ledger().entries.iter().map(|entry| entry.polls).sum();
        assert!(after >= polls + 3, "{via}: the links had not expired");
        env.assert_all_rendered_once(3);
        for (job, before) in env.export().iter().zip(&jobs) {
            assert_eq!(
                (&job["cost_usd"], &job["cost_source"]),
                (&before["cost_usd"], &before["cost_source"])
            );
        }
    }
}

#[test]
fn a_missing_clip_that_the_provider_no_longer_has_fails_with_its_prediction_and_its_cost() {
    for via in ["eachlabs", "fal", "aimlapi"] {
        let env = run_batch(high_limits(), 2, via);
        let spent = env.status()["batches"][0]["spent_usd"].clone();
        let forgotten = "00000000-0000-4000-8000-000000000000";
        let queue = Connection::open(queue_path(&env)).expect("the queue");
        let forget = "UPDATE attempts
                      SET prediction = replace(prediction, prediction_id, ?1),
                          output_url = replace(output_url, prediction_id, ?1), prediction_id = ?1
                      WHERE job_id = 1";
        assert_eq!(
            queue
                .execute(forget, [forgotten])
                .expect("the queue is updated"),
            1
        );
        fs::remove_dir_all(env.dir.path().join("renders")).expect("removed");
        let fixed = env.run(&["verify", "--fix"]);
        assert_eq!(fixed.code, 3, "{fixed:?}");
        assert!(
            fixed.stdout.contains("row-0 failed: the clip is gone"),
            "{fixed:?}"
        );
        assert!(fixed.stdout.contains(forgotten), "{fixed:?}");
        assert!(
            fixed
                .stdout
                .ends_with("1 downloaded again without paying, 1 failed, 0 left\n"),
            "{fixed:?}"
        );
        assert!(
            fixed
                .stderr
                .contains("only a row that is changed and loaded again is submitted"),
            "{fixed:?}"
        );
        let job = &env.export()[0];
        assert_eq!(
            (&job["state"], &job["prediction_id"], &job["output"]),
            (&json!("failed"), &json!(forgotten), &json!(null))
        );
        // Another poll is free and does not find it either.
        assert_eq!(env.run(&["retry"]).code, 0);
        assert_eq!(env.run(&["run"]).code, 3);
        assert_eq!(env.ledger().entries.len(), 2);
        assert_eq!(env.status()["batches"][0]["spent_usd"], spent);
    }
}

#[test]
fn a_damaged_clip_stays_until_the_new_one_is_complete() {
    let env = run_batch(high_limits(), 1, "eachlabs");
    fs::write(clip_path(&env, 0), "half a clip").expect("damaged");
    env.simulator
        .set_faults(Faults::default().with(Call::Download, Fault::Garbage, 1.0));
    let fixed = env.run(&["verify", "--fix"]);
    assert_eq!(fixed.code, 3, "{fixed:?}");
    assert_eq!(
        fs::read(clip_path(&env, 0)).expect("the file"),
        b"half a clip"
    );
    env.simulator.set_faults(Faults::default());
    assert_eq!(env.run(&["retry"]).code, 0);
    assert_eq!(env.run(&["run"]).code, 0);
    env.assert_all_rendered_once(1);
}

#[test]
fn a_missing_clip_is_matched_to_its_job_even_if_row_ids_are_numbers() {
    let env = TestEnv::new(high_limits());
    let rows: Vec<String> = [3, 2, 1]
        .map(|id| format!("{id},https://e.com/{id}.png,Turn {id}\n"))
        .into();
    env.write("batch.csv", &format!("id,image,prompt\n{}", rows.concat()));
    assert_eq!(env.run(&LOAD).code, 0);
    assert_eq!(env.run(&["run"]).code, 0);
    fs::remove_file(env.dir.path().join("renders/batch/1.mp4")).expect("removed");
    let fixed = env.run(&["verify", "--fix"]);
    assert_eq!(fixed.code, 0, "{fixed:?}");
    env.assert_all_rendered_once(3);
}

#[test]
fn without_a_key_missing_clips_wait_for_the_next_run() {
    let env = run_batch(high_limits(), 2, "eachlabs");
    fs::remove_file(clip_path(&env, 1)).expect("removed");
    let queue = Connection::open(queue_path(&env)).expect("the queue");
    queue
        .execute("UPDATE attempts SET output_url = NULL", [])
        .expect("the links are gone");
    let mut command = env.command(&["verify", "--fix"]);
    let fixed = CommandOutput::from_output(
        command
            .env_remove("EACHLABS_API_KEY")
            .output()
            .expect("the binary starts"),
    );
    assert_cannot_go_on(&fixed, &["check that their provider's API key is set"]);
    assert!(fixed.stdout.contains("row-1 is running\n"), "{fixed:?}");
    assert_eq!(env.run(&["run"]).code, 0);
    env.assert_all_rendered_once(2);
}
