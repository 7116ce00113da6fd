//! A workplace of its own for each test: a folder, three simulated providers, and the real binary.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use overnight::simulator::{Ledger, Limits, Simulator, SimulatorOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// 270 seconds of a provider's work take 0.3 seconds here.
pub(crate) const SPEED: f64 = 900.0;

pub(crate) struct TestEnv {
    pub(crate) dir: TempDir,
    pub(crate) simulator: Simulator,
    /// The simulator's tasks run here.
    _runtime: Runtime,
}

/// Plenty of room, so that what is tested is not the limit.
pub(crate) fn high_limits() -> SimulatorOptions {
    SimulatorOptions {
        speed: SPEED,
        ..SimulatorOptions::default()
    }
    .with_limits(Limits {
        creates_per_minute: 60_000,
        at_once: 10,
    })
}

const CONFIG: &str = "
    [pace]
    poll_min_s = 0.05
    retry_base_s = 0.05
    retry_cap_s = 0.4
    [provider.eachlabs]
    in_flight = 10
    creates_per_minute = 60000
    typical_s = 0.3
    history_delay_s = 1
    [provider.aimlapi]
    in_flight = 10
    creates_per_minute = 60000
    typical_s = 0.3
    history_delay_s = 1
    [provider.fal]
    in_flight = 10
    creates_per_minute = 60000
    typical_s = 0.3
    history_delay_s = 1
";

impl TestEnv {
    pub(crate) fn new(options: SimulatorOptions) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let runtime = Runtime::new().expect("a runtime");
        let simulator = runtime
            .block_on(Simulator::start(options))
            .expect("a simulator");
        fs::write(dir.path().join("overnight.toml"), CONFIG).expect("a config");
        Self {
            dir,
            simulator,
            _runtime: runtime,
        }
    }

    /// Writes a manifest of so many rows.
    pub(crate) fn manifest(&self, name: &str, rows: usize) -> PathBuf {
        let mut text = String::from("id,image,prompt,duration\n");
        for row in 0..rows {
            let duration = if row % 4 == 3 { 10 } else { 5 };
            text.push_str(&format!(
                "row-{row},https://images.example.com/{row}.png,Turn number {row},{duration}\n"
            ));
        }
        self.write(name, &text)
    }

    /// Writes a manifest of so many rows, each with a picture on disk of its own.
    pub(crate) fn manifest_of_files(&self, name: &str, rows: usize) {
        let mut text = String::from("id,image,prompt\n");
        for row in 0..rows {
            fs::write(
                self.dir.path().join(format!("{row}.png")),
                picture(&row.to_string()),
            )
            .expect("written");
            text.push_str(&format!("row-{row},{row}.png,Turn number {row}\n"));
        }
        self.write(name, &text);
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).expect("a file in the temporary folder");
        path
    }

    /// The binary in this workplace, pointed at its simulator and at nothing else.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overnight"));
        command
            .current_dir(self.dir.path())
            .args(args)
            .env_clear()
            .stdin(Stdio::null());
        command.envs(self.simulator.environment());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        Run::of(self.command(args).output().expect("the binary starts"))
    }

    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let quiet =
            |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        quiet(&mut self.command(args)).expect("the binary starts")
    }

    /// Loads so many rows for some providers, and expects that to work.
    pub(crate) fn load(&self, rows: usize, via: &str) {
        self.manifest("batch.csv", rows);
        let loaded = self.run(&[
            "load",
            "batch.csv",
            "--model",
            "kling-v1-standard",
            "--via",
            via,
        ]);
        assert_eq!(loaded.code, 0, "{loaded:?}");
    }

    /// Waits until the simulated providers have taken so many creates.
    pub(crate) fn wait_for_creates(&self, creates: usize) {
        let patience = Instant::now() + Duration::from_secs(30);
        while self.ledger().entries.len() < creates {
            assert!(Instant::now() < patience, "the run does not get on");
            std::thread::yield_now();
        }
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.simulator.ledger()
    }

    pub(crate) fn status(&self) -> Value {
        let status = self.run(&["status", "--json"]);
        serde_json::from_str(&status.stdout).unwrap_or_else(|error| panic!("{error}: {status:?}"))
    }

    pub(crate) fn export(&self) -> Vec<Value> {
        let export = self.run(&["export", "--format", "jsonl"]);
        export
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
            .collect()
    }

    /// Loads so many rows for some providers, and runs until every one is made and paid once.
    pub(crate) fn make_all(&self, rows: usize, via: &str) {
        self.load(rows, via);
        let run = self.run(&["run"]);
        assert_eq!(run.code, 0, "{run:?}");
        self.assert_all_made(rows);
    }

    /// Every row has its clip, exactly one create, and its cost in the books; nothing went over a limit.
    pub(crate) fn assert_all_made(&self, rows: usize) {
        self.assert_clips_and_books(rows);
        self.assert_each_paid_once(rows);
    }

    /// Every row has its clip, and its cost is in the books, whatever was made and not billed on the way.
    pub(crate) fn assert_clips_and_books(&self, rows: usize) {
        let (ledger, jobs) = (self.ledger(), self.export());
        assert_eq!(jobs.len(), rows);
        for job in &jobs {
            assert_eq!(job["state"], "succeeded", "{job}");
            let path = job["output"].as_str().expect("a path");
            let clip = fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(job["bytes"].as_u64(), Some(clip.len() as u64), "{job}");
            // Each simulated clip ends with the id of its prediction.
            let id = job["prediction_id"].as_str().expect("a prediction");
            assert!(clip.ends_with(id.as_bytes()), "{job}");
        }
        let spent: f64 = jobs.iter().map(|job| micros(&job["cost_usd"])).sum();
        assert_eq!(spent, micros_of(ledger.charged()));
        assert_eq!(
            ledger
                .entries
                .iter()
                .filter(|entry| entry.charged > 0)
                .count(),
            rows,
            "paid creates"
        );
        assert_eq!(
            (ledger.over_rate, ledger.over_slots, ledger.leaked_keys),
            (0, 0, 0)
        );
    }

    pub(crate) fn assert_each_paid_once(&self, rows: usize) {
        let mut prompts: Vec<String> = self
            .ledger()
            .entries
            .iter()
            .map(|entry| entry.input["prompt"].to_string())
            .collect();
        assert_eq!(prompts.len(), rows, "creates");
        prompts.sort();
        prompts.dedup();
        assert_eq!(prompts.len(), rows, "different rows");
        assert_eq!(
            micros(&self.status()["batches"][0]["spent_usd"]),
            micros_of(self.ledger().charged())
        );
    }
}

/// A decimal string of dollars in micro-dollars; whole numbers, so that sums of floats are exact.
pub(crate) fn micros(usd: &Value) -> f64 {
    let usd: f64 = usd
        .as_str()
        .expect("money is a string")
        .parse()
        .expect("money is a decimal");
    (usd * 1e6).round()
}

pub(crate) fn micros_of(micros: i64) -> f64 {
    micros.to_string().parse().expect("a number")
}

/// The beginning of a PNG, and something of its own.
pub(crate) fn picture(content: &str) -> Vec<u8> {
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(),
        content.as_bytes(),
    ]
    .concat()
}

/// How the binary ended, and what it said.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}
