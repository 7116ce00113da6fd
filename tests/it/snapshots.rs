//! What users read, as checked-in snapshots: help, status, bill, checks and error pages.
//!
//! A mismatch fails the test with a diff. To accept the new texts, run
//! `INSTA_UPDATE=always cargo test --test it snapshots::` and review the changed files in
//! `snapshots/`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::CommandFactory;
use overnight::cli::Cli;
use overnight_simulator::{Call, Fault, Faults};
use tempfile::TempDir;

use crate::support::{CommandOutput, TestEnv, high_limits};

/// Width of the terminal that help is wrapped for; no help is wider.
const COLUMNS: &str = "100";

/// Compares a command that ran in a folder, its output and its exit code with the snapshot of this
/// name.
fn assert_snapshot(name: &str, folder: &Path, args: &[&str], run: &CommandOutput) {
    let CommandOutput {
        code,
        stdout,
        stderr,
    } = run;
    let command = shlex::try_join(args.iter().copied()).expect("arguments");
    let mut page = format!("$ overnight {command}\n{stdout}");
    if !stderr.is_empty() {
        page.push_str(&format!("--- standard error\n{stderr}"));
    }
    page.push_str(&format!("--- exit code {code}\n"));
    // The program prints absolute paths with symbolic links resolved or not.
    for folder in [
        fs::canonicalize(folder).expect("a folder"),
        folder.to_owned(),
    ] {
        page = page.replace(&folder.display().to_string(), "/FOLDER");
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    // Clap pads empty lines.
    settings.add_filter(r"(?m)[ ]+$", "");
    settings.add_filter(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:PORT");
    settings.add_filter(r"\d+ MB free|\d+\.\d GB free", "N GB free");
    settings.bind(|| insta::assert_snapshot!(name, page));
}

/// A folder without a config and a queue, in an environment without keys.
struct EmptyFolder {
    dir: TempDir,
}

impl EmptyFolder {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).expect("a file in the temporary folder");
    }

    /// Copies the sample manifests to `jobs`.
    fn copy_samples(&self) {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs");
        let copies = self.dir.path().join("jobs");
        fs::create_dir(&copies).expect("a folder");
        for sample in fs::read_dir(samples).expect("the samples") {
            let sample = sample.expect("a sample");
            fs::copy(sample.path(), copies.join(sample.file_name())).expect("a copy");
        }
    }

    fn run(&self, args: &[&str]) -> CommandOutput {
        let output = Command::new(env!("CARGO_BIN_EXE_overnight"))
            .current_dir(self.dir.path())
            .args(args)
            .env_clear()
            .env("COLUMNS", COLUMNS)
            .stdin(Stdio::null())
            .output();
        CommandOutput::from_output(output.expect("the binary starts"))
    }

    fn assert_snapshot(&self, name: &str, args: &[&str]) {
        assert_snapshot(name, self.dir.path(), args, &self.run(args));
    }
}

impl TestEnv {
    /// Runs a command and compares it with the snapshot of this name.
    fn assert_snapshot(&self, name: &str, args: &[&str]) {
        assert_snapshot(name, self.dir.path(), args, &self.run(args));
    }
}

#[test]
fn help_matches_its_snapshots() {
    let folder = EmptyFolder::new();
    folder.assert_snapshot("help", &["--help"]);
    let cli = Cli::command();
    for command in cli.get_subcommands() {
        let name = command.get_name();
        folder.assert_snapshot(&format!("help_{name}"), &[name, "--help"]);
        for nested in command.get_subcommands() {
            let nested = nested.get_name();
            folder.assert_snapshot(&format!("help_{name}_{nested}"), &[name, nested, "--help"]);
        }
    }
}

#[test]
fn loading_the_samples_matches_its_snapshots() {
    let folder = EmptyFolder::new();
    folder.copy_samples();
    folder.assert_snapshot("load_check", &["load", "jobs/spring.toml", "--check"]);
    folder.assert_snapshot(
        "load",
        &["load", "jobs/mugs.csv", "--model", "kling-v1-standard"],
    );
}

#[test]
fn doctor_in_an_empty_folder_matches_its_snapshot() {
    EmptyFolder::new().assert_snapshot("doctor", &["doctor"]);
}

#[test]
fn doctor_with_keys_and_a_queue_matches_its_snapshot() {
    let env = TestEnv::new(high_limits());
    env.load(3, "eachlabs");
    env.assert_snapshot("doctor_ready", &["doctor"]);
}

#[test]
fn init_and_models_match_their_snapshots() {
    let folder = EmptyFolder::new();
    folder.assert_snapshot("init", &["init"]);
    folder.assert_snapshot("init_again", &["init"]);
    folder.assert_snapshot("models", &["models"]);
    folder.assert_snapshot("models_one", &["models", "kling-v2.1-standard"]);
}

#[test]
fn runs_status_and_bill_match_their_snapshots() {
    let env = TestEnv::new(high_limits());
    let load = |batch: &str, rows: usize, options: &[&str]| {
        env.write_manifest(&format!("{batch}.csv"), rows);
        let file = format!("{batch}.csv");
        let args = ["load", &file, "--model", "kling-v1-standard"];
        let load = env.run(&[&args[..], options].concat());
        assert_eq!(load.code, 0, "{load:?}");
    };
    // One worker, so that jobs finish in order; without the progress, whose times differ.
    let run = |name: &str, batch: &str| {
        let args = ["run", "--batch", batch, "--workers", "1", "--quiet"];
        env.assert_snapshot(name, &args);
    };

    load("spring", 6, &["--via", "eachlabs"]);
    run("run", "spring");

    // Every prediction fails, and is not billed.
    env.simulator.update_options(|options| {
        options.faults = Faults::default().with(Call::Create, Fault::FailedPrediction, 1.0);
    });
    load("lamps", 2, &["--via", "aimlapi", "--fresh"]);
    run("run_failed", "lamps");

    // The response of every create is lost, and there is no history to reconcile it with.
    env.simulator.update_options(|options| {
        options.faults = Faults::default().with(Call::Create, Fault::DropAfter, 1.0);
        options.history = false;
    });
    load("export (1)", 2, &["--via", "fal", "--fresh"]);
    run("run_in_doubt", "export (1)");

    load("autumn", 40, &["--budget", "5", "--fresh"]);
    env.assert_snapshot("status", &["status"]);
    env.assert_snapshot("bill", &["bill"]);
    env.assert_snapshot("jobs", &["jobs", "--batch", "lamps"]);
}

#[test]
fn error_pages_match_their_snapshots() {
    let folder = EmptyFolder::new();
    folder.copy_samples();
    folder.assert_snapshot(
        "error_unknown_model",
        &["load", "jobs/mugs.csv", "--model", "kling-v1-standart"],
    );
    folder.write(
        "mugs.csv",
        "id,image,prompt,duration\n\
         a,https://images.example.com/a.jpg,Slow turn,5\n\
         b,photos/b.jpg,Slow turn,5\n\
         c,https://images.example.com/c.jpg,,5\n\
         d,https://images.example.com/d.jpg,Slow turn,7\n\
         a,https://images.example.com/e.jpg,Slow turn,10\n",
    );
    folder.assert_snapshot(
        "error_manifest",
        &["load", "mugs.csv", "--model", "kling-v1-standard"],
    );
    folder.assert_snapshot("error_no_queue", &["status", "--queue", "spring.db"]);

    let load = ["load", "jobs/mugs.csv", "--model", "kling-v1-standard"];
    assert_eq!(folder.run(&load).code, 0);
    folder.assert_snapshot("error_unknown_batch", &["run", "--batch", "mgus"]);
    folder.assert_snapshot("error_no_key", &["run"]);

    folder.write("overnight.toml", "[pace]\npoll_min = 5\n");
    folder.assert_snapshot("error_config", &["status"]);
}
