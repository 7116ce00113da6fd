//! What people do to the folder of a project and to the file of its queue: moved, renamed, copied.

use std::fs;
use std::path::{Path, PathBuf};

use overnight_simulator::SimulatorOptions;

use crate::support::{CommandOutput, TestEnv, high_limits};

const LOAD: [&str; 4] = ["load", "batch.csv", "--model", "kling-v1-standard"];

/// A project in a folder of its own, which can be moved.
struct Project {
    env: TestEnv,
    folder: PathBuf,
}

impl Project {
    /// Puts the config into a folder `before` of the environment.
    fn new(options: SimulatorOptions) -> Self {
        let env = TestEnv::new(options);
        // As the working directory of the binary is reported.
        let folder = env
            .dir
            .path()
            .canonicalize()
            .expect("a path")
            .join("before");
        fs::create_dir(&folder).expect("a folder");
        let config = env.dir.path().join("overnight.toml");
        fs::rename(config, folder.join("overnight.toml")).expect("moved");
        Self { env, folder }
    }

    fn write_manifest(&self, rows: usize) {
        let manifest = self.env.write_manifest("batch.csv", rows);
        fs::rename(manifest, self.folder.join("batch.csv")).expect("moved");
    }

    fn run(&self, args: &[&str]) -> CommandOutput {
        let mut command = self.env.command(args);
        command.current_dir(&self.folder);
        CommandOutput::from_output(command.output().expect("the binary starts"))
    }

    /// Runs a command that must succeed.
    fn run_ok(&self, args: &[&str]) -> CommandOutput {
        let run = self.run(args);
        assert_eq!(run.code, 0, "{args:?}: {run:?}");
        run
    }

    fn rename(&mut self, name: &str) {
        let to = self.folder.with_file_name(name);
        fs::rename(&self.folder, &to).expect("renamed");
        self.folder = to;
    }

    /// Returns the paths of the clips as `export` prints them.
    fn clips(&self) -> Vec<PathBuf> {
        let export = self.run_ok(&["export", "--format", "jsonl"]).stdout;
        let jobs = export
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        jobs.filter_map(|job| Some(job["output"].as_str()?.into()))
            .collect()
    }

    fn submissions(&self) -> usize {
        self.env.ledger().entries.len()
    }
}

#[test]
fn a_renamed_project_is_verified_loaded_run_and_reported_as_before() {
    let mut project = Project::new(high_limits());
    project.write_manifest(4);
    project.run_ok(&LOAD);
    project.run_ok(&["run"]);
    project.rename("after");

    assert!(project.run_ok(&["verify"]).stdout.contains("4 intact"));
    let loaded = project.run_ok(&LOAD);
    assert!(loaded.stdout.contains("4 same"), "{loaded:?}");
    project.run_ok(&["run"]);
    assert_eq!(project.submissions(), 4);
    for clip in project.clips() {
        assert!(clip.starts_with(&project.folder), "{}", clip.display());
        assert!(clip.is_file(), "{}", clip.display());
    }
    project.run_ok(&["report"]);
    let page = fs::read_to_string(project.folder.join("report.html")).expect("a page");
    assert!(page.contains("renders/batch/row-0.mp4"));
    assert!(!page.contains("before"));

    // A lost clip is downloaded to where the project is now.
    fs::remove_file(project.folder.join("renders/batch/row-1.mp4")).expect("removed");
    project.run_ok(&["verify", "--fix"]);
    assert!(project.folder.join("renders/batch/row-1.mp4").is_file());
    assert_eq!(project.submissions(), 4);
    assert!(!project.folder.with_file_name("before").exists());
}

#[test]
fn a_run_by_way_of_a_link_to_the_queue_shares_it_with_a_run_that_is_active() {
    let env = TestEnv::new(SimulatorOptions {
        speed: 50.0,
        ..high_limits()
    });
    env.load(30, "eachlabs");
    let mut first = env.start(&["run"]);
    env.await_submissions(10);
    std::os::unix::fs::symlink(
        env.dir.path().join("overnight.db"),
        env.dir.path().join("link.db"),
    )
    .expect("a link");
    let second = env.run(&["run", "--queue", "link.db"]);
    assert_eq!(second.code, 0, "{second:?}");
    assert!(!second.stderr.contains("took over"), "{second:?}");
    assert!(first.wait().expect("ended").success());
    env.assert_all_rendered_once(30);
}

#[test]
fn a_project_that_is_moved_between_runs_continues_with_its_images_and_clips() {
    for via in ["eachlabs", "fal"] {
        let mut project = Project::new(high_limits());
        project.env.write_image_manifest("batch.csv", 4);
        for name in ["batch.csv", "0.png", "1.png", "2.png", "3.png"] {
            fs::rename(project.env.dir.path().join(name), project.folder.join(name))
                .expect("moved");
        }
        project.run_ok(&[&LOAD[..], &["--via", via]].concat());
        project.rename("after");
        project.run_ok(&["run"]);
        assert_eq!(project.submissions(), 4, "{via}");
        assert_eq!(project.clips().len(), 4);
        assert!(project.run_ok(&["verify"]).stdout.contains("4 intact"));
        assert!(!project.folder.with_file_name("before").exists());
    }
}

#[test]
fn clips_outside_of_the_project_stay_where_they_are_when_it_is_moved() {
    let mut project = Project::new(high_limits());
    project.write_manifest(2);
    let out = project.folder.with_file_name("clips");
    let out_text = out.to_str().expect("a path").to_owned();
    let load = [&LOAD[..], &["--out", &out_text]].concat();
    project.run_ok(&load);
    project.run_ok(&["run"]);
    project.rename("after");
    assert!(project.run_ok(&["verify"]).stdout.contains("2 intact"));
    assert!(project.run_ok(&load).stdout.contains("2 same"));
    for clip in project.clips() {
        assert!(clip.starts_with(&out), "{}", clip.display());
    }
}

#[test]
fn a_folder_that_is_named_by_way_of_a_link_is_the_same_folder() {
    let mut project = Project::new(high_limits());
    project.write_manifest(2);
    let link = project.folder.with_file_name("link");
    std::os::unix::fs::symlink(&project.folder, &link).expect("a link");
    let out = link.join("renders");
    let load = [&LOAD[..], &["--out", out.to_str().expect("a path")]].concat();
    project.run_ok(&load);
    project.run_ok(&["run"]);
    assert!(project.run_ok(&LOAD).stdout.contains("2 same"));
    project.rename("after");
    assert!(project.run_ok(&["verify"]).stdout.contains("2 intact"));
    assert!(project.run_ok(&LOAD).stdout.contains("2 same"));
}

/// Returns the copies in a folder, finished or not.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect()
}

#[test]
fn a_backup_of_a_live_queue_is_whole_and_never_overwrites_a_file() {
    let env = TestEnv::new(high_limits());
    let copies = env.dir.path().join("copies");
    fs::create_dir(&copies).expect("a folder");
    let to = copies.join("monday.db");
    let to = to.to_str().expect("a path");
    env.load(30, "eachlabs");
    let mut run = env.start(&["run"]);
    env.await_submissions(5);
    let backup = env.run(&["backup", to]);
    assert_eq!(backup.code, 0, "{backup:?}");
    assert!(run.wait().expect("the run ends").success());

    assert_eq!(files(&copies), ["monday.db"]);
    let status = env.run(&["status", "--json", "--queue", to]);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).expect("JSON");
    let jobs = status["batches"][0]["jobs"].as_object().expect("states");
    let total: u64 = jobs.values().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(total, 30);

    let before = fs::read(to).expect("a file");
    let again = env.run(&["backup", to]);
    assert_eq!(again.code, 2, "{again:?}");
    assert!(again.stderr.contains("exists already"), "{again:?}");
    assert!(again.stderr.contains("hint: "), "{again:?}");
    assert_eq!(fs::read(to).expect("a file"), before);
}

#[test]
fn a_backup_that_is_killed_is_not_taken_for_one_and_can_be_made_again() {
    let env = TestEnv::new(high_limits());
    env.load(5, "eachlabs");
    let copies = env.dir.path().join("copies");
    for point in ["backup written", "backup renamed"] {
        fs::create_dir(&copies).expect("a folder");
        let to = copies.join("monday.db");
        let mut command = env.command(&["backup", to.to_str().expect("a path")]);
        command.env("OVERNIGHT_FAILPOINT", point);
        let killed = CommandOutput::from_output(command.output().expect("the binary starts"));
        assert_eq!(killed.code, -1, "{killed:?}");
        let is_named = point == "backup renamed";
        assert_eq!(to.exists(), is_named);
        let again = env.run(&["backup", to.to_str().expect("a path")]);
        assert_eq!(again.code, if is_named { 2 } else { 0 }, "{again:?}");
        assert_eq!(files(&copies), ["monday.db"]);
        fs::remove_dir_all(&copies).expect("removed");
    }
}

/// Returns an environment with the clips of `batch.csv`, and a folder to move them to.
fn rendered(rows: usize) -> (TestEnv, PathBuf, PathBuf) {
    let env = TestEnv::new(high_limits());
    env.run_all(rows, "eachlabs");
    let dir = env.dir.path().canonicalize().expect("a path");
    (env, dir.join("renders/batch"), dir.join("archive/batch"))
}

fn move_to(env: &TestEnv, to: &Path) -> CommandOutput {
    env.run(&["move", "batch", to.to_str().expect("a path")])
}

/// Asserts that every clip is at its new place, and that nothing is paid again.
fn assert_moved(env: &TestEnv, from: &Path, to: &Path, rows: usize) {
    env.assert_all_rendered_once(rows);
    let verified = env.run(&["verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    for job in env.export() {
        let path = Path::new(job["output"].as_str().expect("a path"));
        assert_eq!(path.parent(), Some(to), "{job}");
    }
    assert!(!from.exists());
    let loaded = env.run(&LOAD);
    assert!(
        loaded.stdout.contains(&format!("{rows} same")),
        "{loaded:?}"
    );
}

#[test]
fn a_batch_is_moved_with_the_earlier_clips_of_its_rows() {
    let (env, from, to) = rendered(4);
    let changed = "id,image,prompt\nrow-0,https://images.example.com/0.png,Another turn\n";
    env.write("batch.csv", changed);
    assert_eq!(env.run(&LOAD).code, 0);
    assert_eq!(env.run(&["run"]).code, 0);
    assert!(from.join("earlier/row-0.1.mp4").is_file());
    let moved = move_to(&env, &to);
    assert_eq!(moved.code, 0, "{moved:?}");
    assert!(
        moved.stdout.contains("5 clips moved, 0 found there"),
        "{moved:?}"
    );
    assert!(to.join("earlier/row-0.1.mp4").is_file());
    assert!(!from.exists());
    assert_eq!(env.run(&["verify"]).code, 0);
    // The row goes back to what its earlier clip shows, and takes it.
    env.write_manifest("batch.csv", 4);
    assert_eq!(env.run(&LOAD).code, 0);
    assert_eq!(env.run(&["run"]).code, 0);
    assert_eq!(env.ledger().entries.len(), 5);
}

#[test]
fn a_move_killed_at_any_point_continues_and_loses_no_clip() {
    for point in ["clip at its new place", "clip moved", "clips moved"] {
        for pass in 1..=2 {
            let (env, from, to) = rendered(2);
            let mut command = env.command(&["move", "batch", to.to_str().expect("a path")]);
            command.env("OVERNIGHT_FAILPOINT", format!("{point}#{pass}"));
            let first = CommandOutput::from_output(command.output().expect("the binary starts"));
            if (point, pass) != ("clips moved", 2) {
                assert_eq!(first.code, -1, "{point}: {first:?}");
            }
            let again = move_to(&env, &to);
            assert_eq!(again.code, 0, "{point}: {again:?}");
            assert_moved(&env, &from, &to, 2);
        }
    }
}

#[test]
fn clips_that_were_moved_by_hand_are_checked_and_found() {
    let (env, from, to) = rendered(3);
    fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
    fs::rename(&from, &to).expect("moved");
    let moved = move_to(&env, &to);
    assert_eq!(moved.code, 0, "{moved:?}");
    assert!(
        moved.stdout.contains("0 clips moved, 3 found there"),
        "{moved:?}"
    );
    assert_moved(&env, &from, &to, 3);
}

#[test]
fn a_move_to_the_same_folder_by_another_name_keeps_every_clip() {
    let (env, from, _) = rendered(2);
    let link = env.dir.path().join("link");
    std::os::unix::fs::symlink(&from, &link).expect("a link");
    let moved = move_to(&env, &link);
    assert_eq!(moved.code, 0, "{moved:?}");
    env.assert_all_rendered_once(2);
    assert_eq!(env.run(&["verify"]).code, 0);
}

#[test]
fn a_batch_outside_of_the_project_is_moved_into_a_folder_of_its_folder() {
    let (env, from, _) = rendered(2);
    let outside = tempfile::tempdir().expect("a folder");
    let outside = outside.path().canonicalize().expect("a path");
    for (from, to) in [
        (from, outside.clone()),
        (outside.clone(), outside.join("batch")),
    ] {
        let moved = move_to(&env, &to);
        assert_eq!(moved.code, 0, "{moved:?}");
        assert!(!from.join("row-0.mp4").exists());
        for job in env.export() {
            let path = Path::new(job["output"].as_str().expect("a path"));
            assert_eq!(path.parent(), Some(to.as_path()), "{job}");
        }
        assert_eq!(env.run(&["verify"]).code, 0);
    }
}

#[test]
fn a_move_to_the_folder_where_the_clips_are_keeps_the_marker_of_its_runs() {
    let (env, from, _) = rendered(2);
    let marker = from.join(".overnight.json");
    assert!(marker.is_file());
    let moved = move_to(&env, &from);
    assert_eq!(moved.code, 0, "{moved:?}");
    assert!(marker.is_file());
}

#[test]
fn a_move_that_would_overwrite_mix_or_lose_clips_changes_nothing() {
    let (env, from, to) = rendered(2);
    // Another file has the name of a clip.
    fs::create_dir_all(&to).expect("a folder");
    fs::write(to.join("row-1.mp4"), "mine").expect("written");
    let occupied = move_to(&env, &to);
    assert_eq!(occupied.code, 1, "{occupied:?}");
    assert!(occupied.stderr.contains("is another file"), "{occupied:?}");
    assert!(from.join("row-0.mp4").is_file());
    // Another batch has the folder.
    let other = [&LOAD[..], &["--batch", "other", "--fresh"]].concat();
    assert_eq!(env.run(&other).code, 0);
    let taken = move_to(&env, &from.with_file_name("other"));
    assert_eq!(taken.code, 2, "{taken:?}");
    // The clips are in neither folder.
    let elsewhere = from.with_file_name("elsewhere");
    fs::rename(&from, &elsewhere).expect("moved");
    let lost = move_to(&env, &from.with_file_name("typo"));
    assert_eq!(lost.code, 2, "{lost:?}");
    fs::rename(&elsewhere, &from).expect("moved back");
    assert_eq!(env.run(&["verify", "--batch", "batch"]).code, 0);
}

#[test]
fn a_queue_that_was_moved_with_the_paths_of_an_older_version_names_the_way_out() {
    let mut project = Project::new(high_limits());
    project.write_manifest(3);
    project.run_ok(&LOAD);
    project.run_ok(&["run"]);
    let before = project.folder.to_str().expect("a path").to_owned();
    project.rename("after");
    let queue = rusqlite::Connection::open(project.folder.join("overnight.db")).expect("a queue");
    for (table, column) in [("batches", "folder"), ("jobs", "output")] {
        let sql = format!("UPDATE {table} SET {column} = ?1 || '/' || {column}");
        queue.execute(&sql, [&before]).expect("as it was stored");
    }
    drop(queue);
    for command in [&["run"][..], &["verify", "--fix"], &LOAD] {
        let run = project.run(command);
        assert_eq!(run.code, 1, "{run:?}");
        assert!(
            run.stderr.contains("hint: `overnight move batch "),
            "{run:?}"
        );
    }
    let clips = project.folder.join("renders/batch");
    let moved = project.run_ok(&["move", "batch", clips.to_str().expect("a path")]);
    assert!(moved.stdout.contains("3 found there"), "{moved:?}");
    assert!(project.run_ok(&["verify"]).stdout.contains("3 intact"));
    assert!(project.run_ok(&LOAD).stdout.contains("3 same"));
    project.run_ok(&["run"]);
    assert_eq!(project.submissions(), 3);
    assert!(!Path::new(&before).exists());
}

#[test]
#[cfg(debug_assertions)]
fn a_queue_on_a_network_file_system_is_reported_and_submits_nothing() {
    let env = TestEnv::new(high_limits());
    env.load(2, "eachlabs");
    let on = |file_system: &str, args: &[&str]| {
        let mut command = env.command(args);
        command.env("OVERNIGHT_FILE_SYSTEM", file_system);
        CommandOutput::from_output(command.output().expect("the binary starts"))
    };
    for network in ["nfs4", "cifs", "9p", "fuse.sshfs"] {
        let run = on(network, &["run"]);
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.stderr.contains(network), "{run:?}");
        assert!(run.stderr.contains("hint: move the project"), "{run:?}");
        let doctor = on(network, &["doctor"]);
        assert_eq!(doctor.code, 1, "{doctor:?}");
        assert!(doctor.stdout.contains("queue.place"), "{doctor:?}");
    }
    assert_eq!(env.ledger().entries.len(), 0);
    // Whether this is a network is not known: the run says so and goes on.
    let run = on("fuse.gocryptfs", &["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("fuse.gocryptfs"), "{run:?}");
    env.assert_all_rendered_once(2);
}
