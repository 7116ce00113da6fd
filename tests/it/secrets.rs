//! Secrets, in runs with every kind of fault and with providers that quote all they know in their
//! messages: keys appear nowhere, prompts and signed links in no log.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use overnight_simulator::{Call, Fault, Faults, SimulatorOptions};

use crate::support::{CommandOutput, TestEnv, high_limits, wait_until};

/// Keys in the providers' formats. The second has characters that are percent-encoded in URLs.
const KEYS: [(&str, &str); 3] = [
    ("EACHLABS_API_KEY", "el-9c1f7a52d04b4e7fa1c3"),
    ("AIML_API_KEY", "aiml+5e0d/83b1=c94f62a7"),
    (
        "FAL_KEY",
        "7d1e4b02-3c5a-4f88-9a01:b3f0a9d2c47e5f6188aa0d3c",
    ),
];

/// What must not appear: each key, each key percent-encoded, and both halves of fal's. In lower
/// case.
const KEY_FRAGMENTS: [&str; 7] = [
    "el-9c1f7a52d04b4e7fa1c3",
    "aiml+5e0d/83b1=c94f62a7",
    "aiml%2b5e0d%2f83b1%3dc94f62a7",
    "7d1e4b02-3c5a-4f88-9a01:b3f0a9d2c47e5f6188aa0d3c",
    "7d1e4b02-3c5a-4f88-9a01%3a",
    "7d1e4b02-3c5a-4f88-9a01",
    "b3f0a9d2c47e5f6188aa0d3c",
];

/// Part of every prompt.
const PROMPT: &str = "Turn number";

/// Part of every signed link.
const SIGNATURE: &str = "sig=";

/// An environment with realistic keys, and everything that Overnight printed or wrote in it.
struct SecretsTest {
    env: TestEnv,
    /// Standard error of every command, and standard output of every run.
    logs: String,
    /// Standard output of all other commands, and the content of every file.
    outputs: String,
}

impl SecretsTest {
    fn new(options: SimulatorOptions) -> Self {
        let options = SimulatorOptions {
            quotes_secrets: true,
            ..options
        };
        Self {
            env: TestEnv::new(options),
            logs: String::new(),
            outputs: String::new(),
        }
    }

    fn command(&self, args: &[&str], log_format: &str) -> Command {
        let mut command = self.env.command(args);
        command
            .envs(KEYS)
            .env("OVERNIGHT_LOG", "trace")
            .args(["--log-format", log_format]);
        command
    }

    /// Runs a command to its end, records what it printed and wrote, and returns its exit code.
    fn run(&mut self, args: &[&str], log_format: &str) -> i32 {
        let run = CommandOutput::from_output(
            self.command(args, log_format)
                .output()
                .expect("the binary starts"),
        );
        self.logs.push_str(&run.stderr);
        let record = if args[0] == "run" {
            &mut self.logs
        } else {
            &mut self.outputs
        };
        record.push_str(&run.stdout);
        self.read_files();
        run.code
    }

    /// Starts a run and kills it once its log shows a submitted job.
    fn run_and_kill(&mut self) {
        let log = tempfile::NamedTempFile::new().expect("a log");
        let mut command = self.command(&["run"], "text");
        let mut run = command
            .stderr(log.reopen().expect("a log"))
            .spawn()
            .expect("the binary starts");
        wait_until("a submission", || {
            let text = fs::read_to_string(log.path()).expect("text");
            text.contains("state=\"running\"")
        });
        self.read_files();
        run.kill().expect("the process is killed");
        run.wait().expect("the process exits");
        // The queue was not closed, so its WAL still exists.
        assert!(
            self.env
                .dir
                .path()
                .join("overnight.db-wal")
                .metadata()
                .expect("a WAL")
                .len()
                > 0
        );
        self.read_files();
        self.logs
            .push_str(&fs::read_to_string(log.path()).expect("text"));
    }

    fn read_files(&mut self) {
        read_folder(self.env.dir.path(), &mut self.outputs);
    }

    /// Runs every command that prints the queue's content.
    fn run_queries(&mut self) {
        for args in [
            &["status"][..],
            &["status", "--json"],
            &["jobs"],
            &["jobs", "--json"],
            &["show", "row-0", "--batch", "batch"],
            &["show", "row-0", "--batch", "batch", "--json"],
            &["export", "--format", "csv"],
            &["export", "--format", "jsonl"],
            &["models"],
        ] {
            assert_eq!(self.run(args, "json"), 0, "{args:?}");
        }
    }

    fn assert_no_secret_leaked(&self) {
        let everything = (self.logs.clone() + &self.outputs).to_ascii_lowercase();
        for fragment in KEY_FRAGMENTS {
            let at = everything.find(fragment);
            assert_eq!(
                at,
                None,
                "{fragment}: {}",
                context_of(&everything, at.unwrap_or(0))
            );
        }
        for secret in [PROMPT, SIGNATURE] {
            let at = self.logs.find(secret);
            assert_eq!(
                at,
                None,
                "{secret}: {}",
                context_of(&self.logs, at.unwrap_or(0))
            );
        }
    }
}

/// Appends the content of all files below a folder. A file may disappear while it is listed.
fn read_folder(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_folder(&path, into);
        } else if let Ok(mut file) = File::open(&path) {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes).expect("it can be read");
            into.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
}

/// Returns the text around a position, for an assertion message.
fn context_of(text: &str, at: usize) -> String {
    String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(200)..text.len().min(at + 100)])
        .into_owned()
}

#[test]
fn under_faults_keys_appear_nowhere_and_prompts_and_signed_links_in_no_log() {
    let mut faults = Faults::default()
        .with(None, Fault::RateLimited, 0.05)
        .with(None, Fault::ServerError, 0.1)
        .with(None, Fault::BadGateway, 0.05)
        .with(None, Fault::Garbage, 0.05)
        .with(None, Fault::DropBefore, 0.05)
        .with(None, Fault::DropAfter, 0.05)
        .with(Call::Create, Fault::FailedPrediction, 0.2)
        .with(Call::Download, Fault::Truncated, 0.2)
        .with(Call::Download, Fault::Expired, 0.2);
    faults.retry_after_s = 0;
    let mut test = SecretsTest::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    test.env.load(30, "eachlabs,fal,aimlapi");
    test.env.write_image_manifest("photos.csv", 8);
    let photos = [
        "load",
        "photos.csv",
        "--model",
        "kling-v1-standard",
        "--via",
        "eachlabs,fal",
    ];
    assert_eq!(test.run(&photos, "text"), 0);
    test.run_and_kill();
    test.run(&["run", "--workers", "8"], "json");
    test.env.simulator.set_faults(Faults::default());
    test.run(&["retry"], "text");
    test.run(&["run"], "text");
    test.run_queries();

    // Six rows more than were rendered before.
    test.env.write_manifest("more.csv", 36);
    let more = [
        "load",
        "more.csv",
        "--model",
        "kling-v1-standard",
        "--via",
        "eachlabs,fal,aimlapi",
    ];
    assert_eq!(test.run(&more, "text"), 0);
    test.env
        .simulator
        .update_options(|options| options.no_balance = true);
    assert_eq!(test.run(&["run"], "json"), 1);
    test.run_queries();
    test.env
        .simulator
        .update_options(|options| options.key = Some("another".into()));
    assert_eq!(test.run(&["run"], "text"), 1);
    test.run_queries();
    assert_eq!(test.run(&["cancel"], "text"), 0);

    test.assert_no_secret_leaked();
    // The search above is not vacuous: the logs have both formats, and the files have what they may
    // have.
    for text in [
        "step done",
        "\"message\":\"step done\"",
        "[key]",
        "[prompt]",
        "media.example",
        "is paused",
    ] {
        assert!(test.logs.contains(text), "{text} is not in the logs");
    }
    for text in ["row-0", PROMPT, SIGNATURE, "[key]"] {
        assert!(test.outputs.contains(text), "{text} is in no file");
    }
    for status in [
        " 401: ", " 402: ", " 403: ", " 429: ", " 500: ", " 502: ", " 503: ",
    ] {
        assert!(test.logs.contains(status), "no provider returned{status}");
    }
}

#[test]
fn the_search_finds_a_leaked_key() {
    let mut test = SecretsTest::new(high_limits());
    // A prompt is the only place where a key may be in the queue, because the user wrote it there.
    let row = format!(
        "id,image,prompt\na,https://e.com/a.png,Turn {}\n",
        KEYS[0].1
    );
    test.env.write("careless.csv", &row);
    assert_eq!(
        test.run(
            &["load", "careless.csv", "--model", "kling-v1-standard"],
            "text"
        ),
        0
    );
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        test.assert_no_secret_leaked()
    }));
    assert!(result.is_err());
}

#[test]
fn a_malformed_key_is_rejected_without_being_shown() {
    let test = SecretsTest::new(high_limits());
    test.env.load(1, "eachlabs");
    for (variable, key) in KEYS {
        let mut command = test.command(&["run"], "text");
        let run = CommandOutput::from_output(
            command
                .env(variable, format!("{key} ") + key)
                .output()
                .expect("the binary starts"),
        );
        assert_eq!(run.code, 2, "{run:?}");
        assert!(
            run.stderr.contains(variable) && !run.stderr.contains(key),
            "{run:?}"
        );
    }
    // A key in place of a URL, an easy mistake because the variables are set together.
    let mut command = test.command(&["run"], "text");
    let run = CommandOutput::from_output(
        command
            .env("OVERNIGHT_EACHLABS_URL", KEYS[0].1)
            .output()
            .expect("the binary starts"),
    );
    assert_eq!(run.code, 2, "{run:?}");
    assert!(
        run.stderr.contains("OVERNIGHT_EACHLABS_URL") && !run.stderr.contains(KEYS[0].1),
        "{run:?}"
    );
}
