//! Trouble with the disk and the files on it: told with what to do, and nothing is lost.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use overnight::simulator::{Call, Fault, Faults, SimulatorOptions};
use rusqlite::Connection;
use serde_json::json;

use crate::support::{Run, TestEnv, high_limits};

const LOAD: [&str; 4] = ["load", "batch.csv", "--model", "kling-v1-standard"];

fn clip(workplace: &TestEnv, row: usize) -> PathBuf {
    workplace
        .dir
        .path()
        .join(format!("renders/batch/row-{row}.mp4"))
}

fn queue_file(workplace: &TestEnv) -> PathBuf {
    workplace.dir.path().join("overnight.db")
}

/// Loads so many rows and makes their clips.
fn made(options: SimulatorOptions, rows: usize, via: &str) -> TestEnv {
    let workplace = TestEnv::new(options);
    workplace.load(rows, via);
    assert_eq!(workplace.run(&["run"]).code, 0);
    workplace
}

/// The binary where no file can grow beyond so many blocks of 512 bytes, as on a disk that fills up.
fn run_on_a_small_disk(workplace: &TestEnv, args: &[&str], blocks: u32) -> Run {
    let binary = workplace.command(args);
    let mut shell = Command::new("sh");
    // What the system sends besides the error would end the program; a full disk sends nothing.
    shell.args([
        "-c",
        &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\""),
        "sh",
    ]);
    shell
        .arg(binary.get_program())
        .args(binary.get_args())
        .current_dir(workplace.dir.path());
    shell
        .env_clear()
        .envs(workplace.simulator.environment())
        .env("PATH", "/usr/bin:/bin");
    Run::of(shell.stdin(Stdio::null()).output().expect("a shell"))
}

/// It could not go on, and says which file is in trouble, what it is, and what to do.
fn assert_cannot_go_on(run: &Run, said: &[&str]) {
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.stderr.lines().any(|line| line.starts_with("hint: ")),
        "{run:?}"
    );
    for words in said {
        assert!(run.stderr.contains(words), "no `{words}`: {run:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_is_full_during_a_download_stops_the_run_and_the_next_one_goes_on() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(6, "eachlabs,fal");
    fs::create_dir_all(workplace.dir.path().join("renders/batch")).expect("a folder");
    // Whatever is written there is refused as by a full disk.
    symlink(
        "/dev/full",
        workplace.dir.path().join("renders/batch/.row-3.mp4.part"),
    )
    .expect("a link");
    let run = workplace.run(&["run"]);
    assert_cannot_go_on(
        &run,
        &["row-3.mp4", "No space left on device", "nothing is lost"],
    );
    assert_eq!(workplace.run(&["run"]).code, 0);
    workplace.assert_all_made(6);
}

#[test]
#[cfg(target_os = "linux")]
fn an_output_folder_that_is_read_only_stops_the_run_and_loses_nothing() {
    let workplace = TestEnv::new(high_limits());
    // Not even root makes a folder there.
    symlink("/sys", workplace.dir.path().join("renders")).expect("a link");
    workplace.load(4, "eachlabs");
    let run = workplace.run(&["run"]);
    assert_cannot_go_on(
        &run,
        &[
            "cannot write",
            "renders/batch/row-",
            "make the folder writable",
        ],
    );
    fs::remove_file(workplace.dir.path().join("renders")).expect("removed");
    assert_eq!(workplace.run(&["run"]).code, 0);
    workplace.assert_all_made(4);
}

#[test]
fn a_disk_that_fills_up_under_the_queue_stops_the_run_and_the_next_one_goes_on() {
    let mut said = String::new();
    for via in ["eachlabs", "fal", "aimlapi"] {
        let workplace = TestEnv::new(high_limits());
        workplace.load(30, via);
        // Each run gets a little further than the one before.
        for blocks in [250, 300, 350, 400, 600, 800, 1300] {
            let run = run_on_a_small_disk(&workplace, &["run"], blocks);
            if run.code != 0 {
                assert_cannot_go_on(
                    &run,
                    &["overnight.db: ", "Free some space", "nothing is lost"],
                );
            }
            said.push_str(&run.stderr);
        }
        assert_eq!(workplace.run(&["run"]).code, 0);
        workplace.assert_all_made(30);
    }
    // A provider without a history could tell nothing of these creates. Which write the disk refuses is up to it; that
    // among twenty none was an accepted create's is not.
    assert!(
        said.contains("taken by the provider, but not recorded job.id="),
        "{said}"
    );
}

#[test]
fn a_load_that_fills_the_disk_loads_nothing() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(2, "eachlabs");
    workplace.manifest("batch.csv", 5000);
    let load = run_on_a_small_disk(&workplace, &LOAD, 400);
    assert_cannot_go_on(&load, &["overnight.db: ", "Free some space"]);
    assert_eq!(workplace.status()["batches"][0]["jobs"]["queued"], 2);
    assert!(workplace.run(&LOAD).stdout.contains("4998 new"));
}

#[test]
fn a_file_that_is_no_queue_of_ours_is_named_and_not_touched() {
    let workplace = TestEnv::new(high_limits());
    workplace.manifest("batch.csv", 1);
    let folder = workplace.dir.path();
    let text = workplace.write(
        "text.db",
        &"neither a database nor a short text\n".repeat(200),
    );
    let other = folder.join("other.db");
    Connection::open(&other)
        .expect("a file")
        .execute_batch("CREATE TABLE t (a)")
        .expect("a table");
    workplace.load(1, "eachlabs");
    let newer = folder.join("newer.db");
    fs::copy(queue_file(&workplace), &newer).expect("a copy");
    let connection = Connection::open(&newer).expect("a connection");
    connection
        .pragma_update(None, "user_version", 99)
        .expect("a version");
    connection
        .pragma_update(None, "journal_mode", "DELETE")
        .expect("one file");
    drop(connection);
    fs::create_dir(folder.join("folder.db")).expect("a folder");
    for (file, said) in [
        (
            text,
            "it is not a SQLite file; `--queue PATH` names another",
        ),
        (other, "a SQLite file of another program"),
        (
            newer,
            "written by a newer overnight (queue version 99, this one knows 4); it was not touched",
        ),
        (folder.join("folder.db"), "may you write there?"),
        (folder.join("no/folder/q.db"), "hint: "),
    ] {
        let before = fs::read(&file).ok();
        let name = file.to_str().expect("a path");
        for command in [&["run"][..], &["status"], &["verify"], &LOAD] {
            let run = workplace.run(&[command, &["--queue", name]].concat());
            let said = if said == "hint: " && command[0] != "load" {
                "there is no queue at"
            } else {
                said
            };
            assert_cannot_go_on(&run, &[name, said]);
            assert_eq!(run.stdout, "", "{run:?}");
        }
        assert_eq!(fs::read(&file).ok(), before, "{name}");
    }
}

#[test]
fn a_damaged_queue_is_told_with_its_name_and_what_may_save_it() {
    let workplace = made(high_limits(), 40, "eachlabs");
    let path = queue_file(&workplace);
    let whole = fs::read(&path).expect("the queue");
    let file = File::options().write(true).open(&path).expect("the queue");
    // The first page, with the header, stays: only those who read on find the damage.
    for page in 1..whole.len() / 4096 {
        file.write_all_at(&[0xA5; 2048], page as u64 * 4096)
            .expect("written");
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
        let run = workplace.run(command);
        assert_cannot_go_on(
            &run,
            &["overnight.db: database disk image is malformed", ".recover"],
        );
    }
    fs::write(&path, whole).expect("a backup that is put back");
    assert_eq!(workplace.run(&["run"]).code, 0);
    workplace.assert_all_made(40);
}

#[test]
fn a_run_waits_for_a_lock_of_another_program_and_says_so_when_it_takes_too_long() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(8, "eachlabs");
    let other = Connection::open(queue_file(&workplace)).expect("another program");
    other.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    let mut command = workplace.command(&["run"]);
    let run = Run::of(
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
        workplace.status()["batches"][0]["jobs"]["queued"],
        8,
        "whoever only looks is not kept waiting"
    );

    let mut run = workplace.start(&["run"]);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(run.try_wait().expect("a process"), None, "it did not wait");
    other.execute_batch("COMMIT").expect("released");
    assert!(run.wait().expect("it ended").success());
    workplace.assert_all_made(8);
}

#[test]
fn a_lock_in_the_middle_of_a_run_that_takes_too_long_loses_nothing() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(40, "eachlabs");
    let mut command = workplace.command(&["run"]);
    command
        .env("OVERNIGHT_BUSY_MS", "300")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let run = command.spawn().expect("the binary starts");
    while workplace.ledger().entries.len() < 12 {
        std::thread::yield_now();
    }
    let other = Connection::open(queue_file(&workplace)).expect("another program");
    other
        .busy_timeout(Duration::from_secs(10))
        .expect("patience");
    other.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    let run = Run::of(run.wait_with_output().expect("it ended"));
    assert_cannot_go_on(&run, &["another program keeps it locked"]);
    other.execute_batch("COMMIT").expect("released");
    assert_eq!(workplace.run(&["run"]).code, 0);
    workplace.assert_all_made(40);
}

#[test]
fn clips_that_are_missing_or_damaged_are_found_and_fetched_again_without_paying() {
    for via in ["eachlabs", "fal", "aimlapi"] {
        let workplace = made(high_limits(), 6, via);
        let (books, jobs) = (workplace.status(), workplace.export());
        let good = workplace.run(&["verify"]);
        assert_eq!(
            (good.code, good.stdout.as_str()),
            (0, "6 clips checked: 6 as saved, 0 not\n")
        );

        fs::remove_file(clip(&workplace, 0)).expect("removed");
        File::options()
            .write(true)
            .open(clip(&workplace, 1))
            .expect("a clip")
            .set_len(100)
            .expect("cut");
        let file = File::options()
            .write(true)
            .open(clip(&workplace, 2))
            .expect("a clip");
        file.write_all_at(b"something else", 700).expect("damaged");
        let found = workplace.run(&["verify", "--batch", "batch"]);
        assert_eq!(found.code, 3, "{found:?}");
        let saved = jobs[1]["bytes"].as_u64().expect("a length");
        for said in [
            "row-0.mp4: missing\n",
            &format!("row-1.mp4: is 100 bytes, {saved} were saved\n"),
            "row-2.mp4: has another SHA-256\n",
            "6 clips checked: 3 as saved, 3 not\n",
        ] {
            assert!(found.stdout.contains(said), "{found:?}");
        }
        assert!(
            found.stderr.contains("hint: `overnight verify --fix`"),
            "{found:?}"
        );
        assert_eq!(
            workplace.export(),
            jobs,
            "whoever only looks changes nothing"
        );

        // What else waits is no business of it.
        workplace.manifest("more.csv", 3);
        assert_eq!(
            workplace
                .run(&["load", "more.csv", "--model", "kling-v1-standard"])
                .code,
            0
        );
        let fixed = workplace.run(&["verify", "--fix"]);
        assert_eq!(fixed.code, 0, "{fixed:?}");
        assert!(
            fixed
                .stdout
                .ends_with("3 fetched again without paying, 0 failed, 0 left\n"),
            "{fixed:?}"
        );
        assert_eq!(workplace.ledger().entries.len(), 6);
        let now = workplace.status();
        assert_eq!(now["batches"][0], books["batches"][0]);
        assert_eq!(now["batches"][1]["jobs"]["queued"], 3);
        for (job, before) in workplace.export().iter().zip(&jobs) {
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
        assert_eq!(workplace.run(&["verify"]).code, 0);
    }
}

#[test]
fn a_lost_clip_whose_link_has_expired_is_asked_for_anew_and_keeps_its_cost() {
    for via in ["eachlabs", "fal", "aimlapi"] {
        let workplace = made(high_limits(), 3, via);
        let jobs = workplace.export();
        workplace.simulator.change(|options| {
            // What the provider told of the cost once, it does not tell for ever.
            (
                options.eachlabs_reports_cost,
                options.aimlapi_ends_with_credits,
            ) = (false, false);
        });
        workplace.simulator.expire_links();
        fs::remove_dir_all(workplace.dir.path().join("renders")).expect("removed");
        let polls: u32 = workplace
            .ledger()
            .entries
            .iter()
            .map(|entry| entry.polls)
            .sum();
        let fixed = workplace.run(&["verify", "--fix"]);
        assert_eq!(fixed.code, 0, "{fixed:?}");
        let after: u32 = workplace
            .ledger()
            .entries
            .iter()
            .map(|entry| entry.polls)
            .sum();
        assert!(after >= polls + 3, "{via}: the links had not expired");
        workplace.assert_all_made(3);
        for (job, before) in workplace.export().iter().zip(&jobs) {
            assert_eq!(
                (&job["cost_usd"], &job["cost_source"]),
                (&before["cost_usd"], &before["cost_source"])
            );
        }
    }
}

#[test]
fn a_lost_clip_that_the_provider_has_forgotten_fails_with_its_prediction_and_its_cost() {
    for via in ["eachlabs", "fal", "aimlapi"] {
        let workplace = made(high_limits(), 2, via);
        let spent = workplace.status()["batches"][0]["spent_usd"].clone();
        let forgotten = "00000000-0000-4000-8000-000000000000";
        let queue = Connection::open(queue_file(&workplace)).expect("the queue");
        let forget = "UPDATE attempts SET prediction = replace(prediction, prediction_id, ?1),
                          output_url = replace(output_url, prediction_id, ?1), prediction_id = ?1 WHERE job_id = 1";
        assert_eq!(queue.execute(forget, [forgotten]).expect("written"), 1);
        fs::remove_dir_all(workplace.dir.path().join("renders")).expect("removed");
        let fixed = workplace.run(&["verify", "--fix"]);
        assert_eq!(fixed.code, 3, "{fixed:?}");
        assert!(
            fixed.stdout.contains("row-0 failed: the clip is gone"),
            "{fixed:?}"
        );
        assert!(fixed.stdout.contains(forgotten), "{fixed:?}");
        assert!(
            fixed
                .stdout
                .ends_with("1 fetched again without paying, 1 failed, 0 left\n"),
            "{fixed:?}"
        );
        assert!(
            fixed
                .stderr
                .contains("only a changed row is made, and paid, anew"),
            "{fixed:?}"
        );
        let job = &workplace.export()[0];
        assert_eq!(
            (&job["state"], &job["prediction_id"], &job["output"]),
            (&json!("failed"), &json!(forgotten), &json!(null))
        );
        // Another look is free, and finds no more.
        assert_eq!(workplace.run(&["retry"]).code, 0);
        assert_eq!(workplace.run(&["run"]).code, 3);
        assert_eq!(workplace.ledger().entries.len(), 2);
        assert_eq!(workplace.status()["batches"][0]["spent_usd"], spent);
    }
}

#[test]
fn a_damaged_clip_stays_until_the_new_one_is_whole() {
    let workplace = made(high_limits(), 1, "eachlabs");
    fs::write(clip(&workplace, 0), "half a clip").expect("damaged");
    workplace
        .simulator
        .set_faults(Faults::default().with(Call::Download, Fault::Truncated, 1.0));
    let fixed = workplace.run(&["verify", "--fix"]);
    assert_eq!(fixed.code, 3, "{fixed:?}");
    assert_eq!(
        fs::read(clip(&workplace, 0)).expect("the file"),
        b"half a clip"
    );
    workplace.simulator.set_faults(Faults::default());
    assert_eq!(workplace.run(&["retry"]).code, 0);
    assert_eq!(workplace.run(&["run"]).code, 0);
    workplace.assert_all_made(1);
}

#[test]
fn a_lost_clip_is_told_by_its_job_although_other_rows_have_numbers_for_ids() {
    let workplace = TestEnv::new(high_limits());
    let rows: Vec<String> = [3, 2, 1]
        .map(|id| format!("{id},https://e.com/{id}.png,Turn {id}\n"))
        .into();
    workplace.write("batch.csv", &format!("id,image,prompt\n{}", rows.concat()));
    assert_eq!(workplace.run(&LOAD).code, 0);
    assert_eq!(workplace.run(&["run"]).code, 0);
    fs::remove_file(workplace.dir.path().join("renders/batch/1.mp4")).expect("removed");
    let fixed = workplace.run(&["verify", "--fix"]);
    assert_eq!(fixed.code, 0, "{fixed:?}");
    workplace.assert_all_made(3);
}

#[test]
fn without_a_key_lost_clips_wait_for_the_next_run() {
    let workplace = made(high_limits(), 2, "eachlabs");
    fs::remove_file(clip(&workplace, 1)).expect("removed");
    let queue = Connection::open(queue_file(&workplace)).expect("the queue");
    queue
        .execute("UPDATE attempts SET output_url = NULL", [])
        .expect("the links are gone");
    let mut command = workplace.command(&["verify", "--fix"]);
    let fixed = Run::of(
        command
            .env_remove("EACHLABS_API_KEY")
            .output()
            .expect("the binary starts"),
    );
    assert_cannot_go_on(&fixed, &["is the key of their provider set?"]);
    assert!(fixed.stdout.contains("row-1 is running\n"), "{fixed:?}");
    assert_eq!(workplace.run(&["run"]).code, 0);
    workplace.assert_all_made(2);
}
