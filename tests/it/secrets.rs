//! What must stay secret, in a night in which everything goes wrong and providers quote whatever they know: keys stand
//! nowhere, prompts and signed links in no log.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use overnight::simulator::{Call, Fault, Faults, SimulatorOptions};

use crate::support::{Run, TestEnv, high_limits};

/// Keys as the providers make them; the second has characters that links write otherwise.
const KEYS: [(&str, &str); 3] = [
    ("EACHLABS_API_KEY", "el-9c1f7a52d04b4e7fa1c3"),
    ("AIML_API_KEY", "aiml+5e0d/83b1=c94f62a7"),
    (
        "FAL_KEY",
        "7d1e4b02-3c5a-4f88-9a01:b3f0a9d2c47e5f6188aa0d3c",
    ),
];

/// What tells a key: each whole, as links write it, and each half of fal's.
const TELLTALES: [&str; 7] = [
    "el-9c1f7a52d04b4e7fa1c3",
    "aiml+5e0d/83b1=c94f62a7",
    "aiml%2b5e0d%2f83b1%3dc94f62a7",
    "7d1e4b02-3c5a-4f88-9a01:b3f0a9d2c47e5f6188aa0d3c",
    "7d1e4b02-3c5a-4f88-9a01%3a",
    "7d1e4b02-3c5a-4f88-9a01",
    "b3f0a9d2c47e5f6188aa0d3c",
];

/// The words of every prompt, and the part of every signed link that makes it good.
const PROMPT: &str = "Turn number";
const SIGNATURE: &str = "sig=";

/// A workplace with real keys, and everything it ever showed.
struct Night {
    workplace: TestEnv,
    /// Standard error of every command, and standard output of every run.
    logs: String,
    /// What else was printed, and the content of every file.
    rest: String,
}

impl Night {
    fn new(options: SimulatorOptions) -> Self {
        let options = SimulatorOptions {
            quotes_secrets: true,
            ..options
        };
        Self {
            workplace: TestEnv::new(options),
            logs: String::new(),
            rest: String::new(),
        }
    }

    fn command(&self, args: &[&str], format: &str) -> Command {
        let mut command = self.workplace.command(args);
        command
            .envs(KEYS)
            .env("OVERNIGHT_LOG", "trace")
            .args(["--log-format", format]);
        command
    }

    fn run(&mut self, args: &[&str], format: &str) -> i32 {
        let run = Run::of(
            self.command(args, format)
                .output()
                .expect("the binary starts"),
        );
        self.logs.push_str(&run.stderr);
        let shown = if args[0] == "run" {
            &mut self.logs
        } else {
            &mut self.rest
        };
        shown.push_str(&run.stdout);
        self.read_files();
        run.code
    }

    /// Starts a run, and kills it once it has written that it did something.
    fn run_and_kill(&mut self) {
        let log = tempfile::NamedTempFile::new().expect("a log");
        let mut command = self.command(&["run"], "text");
        let mut run = command
            .stderr(log.reopen().expect("a log"))
            .spawn()
            .expect("the binary starts");
        let patience = Instant::now() + Duration::from_secs(30);
        while !fs::read_to_string(log.path())
            .expect("text")
            .contains("state=\"running\"")
        {
            assert!(Instant::now() < patience, "the run does not get on");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.read_files();
        run.kill().expect("it can be killed");
        run.wait().expect("it ended");
        // Nobody closed the queue, so its WAL is there.
        assert!(
            self.workplace
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
        read_folder(self.workplace.dir.path(), &mut self.rest);
    }

    /// Every way to ask how things are.
    fn ask(&mut self) {
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

    fn assert_nothing_is_told(&self) {
        let everything = (self.logs.clone() + &self.rest).to_ascii_lowercase();
        for telltale in TELLTALES {
            let at = everything.find(telltale);
            assert_eq!(
                at,
                None,
                "{telltale}: {}",
                around(&everything, at.unwrap_or(0))
            );
        }
        for secret in [PROMPT, SIGNATURE] {
            let at = self.logs.find(secret);
            assert_eq!(
                at,
                None,
                "{secret}: {}",
                around(&self.logs, at.unwrap_or(0))
            );
        }
    }
}

/// Reads whatever lies in a folder; a file may be gone in the meantime.
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

fn around(text: &str, at: usize) -> String {
    String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(200)..text.len().min(at + 100)])
        .into_owned()
}

#[test]
fn in_a_night_of_faults_keys_stand_nowhere_and_prompts_and_signed_links_in_no_log() {
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
    let mut night = Night::new(SimulatorOptions {
        faults,
        ..high_limits()
    });
    night.workplace.load(30, "eachlabs,fal,aimlapi");
    night.workplace.manifest_of_files("photos.csv", 8);
    let photos = [
        "load",
        "photos.csv",
        "--model",
        "kling-v1-standard",
        "--via",
        "eachlabs,fal",
    ];
    assert_eq!(night.run(&photos, "text"), 0);
    night.run_and_kill();
    night.run(&["run", "--workers", "8"], "json");
    night.workplace.simulator.set_faults(Faults::default());
    night.run(&["retry"], "text");
    night.run(&["run"], "text");
    night.ask();

    night.workplace.manifest("more.csv", 6);
    let more = [
        "load",
        "more.csv",
        "--model",
        "kling-v1-standard",
        "--via",
        "eachlabs,fal,aimlapi",
    ];
    assert_eq!(night.run(&more, "text"), 0);
    night
        .workplace
        .simulator
        .change(|options| options.no_balance = true);
    assert_eq!(night.run(&["run"], "json"), 1);
    night.ask();
    night
        .workplace
        .simulator
        .change(|options| options.key = Some("another".into()));
    assert_eq!(night.run(&["run"], "text"), 1);
    night.ask();
    assert_eq!(night.run(&["cancel"], "text"), 0);

    night.assert_nothing_is_told();
    // The search can find: the logs of both forms are full, and what may be in the files is there.
    for said in [
        "step done",
        "\"message\":\"step done\"",
        "[key]",
        "[prompt]",
        "media.example",
        "is paused",
    ] {
        assert!(night.logs.contains(said), "{said} is not in the logs");
    }
    for kept in ["row-0", PROMPT, SIGNATURE, "[key]"] {
        assert!(night.rest.contains(kept), "{kept} is in no file");
    }
    for answer in [
        " 401: ", " 402: ", " 403: ", " 429: ", " 500: ", " 502: ", " 503: ",
    ] {
        assert!(night.logs.contains(answer), "no provider answered {answer}");
    }
}

#[test]
fn the_search_finds_a_key_that_is_told() {
    let mut night = Night::new(high_limits());
    // A prompt is the one place where a key may come into the queue: its owner wrote it there.
    let row = format!(
        "id,image,prompt\na,https://e.com/a.png,Turn {}\n",
        KEYS[0].1
    );
    night.workplace.write("careless.csv", &row);
    assert_eq!(
        night.run(
            &["load", "careless.csv", "--model", "kling-v1-standard"],
            "text"
        ),
        0
    );
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        night.assert_nothing_is_told()
    }));
    assert!(found.is_err());
}

#[test]
fn a_key_that_cannot_be_one_is_refused_without_being_shown() {
    let night = Night::new(high_limits());
    night.workplace.load(1, "eachlabs");
    for (variable, key) in KEYS {
        let mut command = night.command(&["run"], "text");
        let run = Run::of(
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
    // A key in the place of an address: the two variables stand side by side.
    let mut command = night.command(&["run"], "text");
    let run = Run::of(
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
