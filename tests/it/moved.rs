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
