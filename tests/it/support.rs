//! An isolated environment for each test: a temporary folder, three simulated providers, and the
//! real binary.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use overnight_simulator::{BoundSimulator, Ledger, Limits, Simulator, SimulatorOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::storage_server::{self, BUCKET, Conditions, StorageServer};

/// Speed-up of the simulated providers: a typical processing time of 270 seconds takes 0.3 seconds.
pub(crate) const SPEED: f64 = 900.0;

/// Time after which a test that waits has hung.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Time between two looks at what another process does.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A temporary folder with a config, and a simulator for the binary to talk to.
pub(crate) struct TestEnv {
    /// The working directory of the binary.
    pub(crate) dir: TempDir,
    pub(crate) simulator: Simulator,
    /// Where the queue is; `None` for the usual file in the folder.
    pub(crate) queue: Option<String>,
    /// Where the clips are; `None` for the usual folder.
    pub(crate) storage: Option<StorageServer>,
    /// More variables of the binary.
    pub(crate) variables: Vec<(&'static str, &'static str)>,
    /// Runs the simulator's tasks until the environment is dropped.
    runtime: Runtime,
}

/// Returns options whose limits no test exceeds by accident.
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
    silence_s = 1
    locked_s = 0.5
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

/// The command that loads `batch.csv` for clips of the same price.
pub(crate) fn load_args(via: &str) -> [&str; 6] {
    [
        "load",
        "batch.csv",
        "--model",
        "kling-v1-standard",
        "--via",
        via,
    ]
}

/// Runs a test at the three providers at the same time: it mostly waits.
pub(crate) fn at_each_provider(test: impl Fn(&str) + Sync) {
    std::thread::scope(|scope| {
        for provider in ["eachlabs", "aimlapi", "fal"] {
            let test = &test;
            scope.spawn(move || test(provider));
        }
    });
}

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
            queue: None,
            storage: None,
            variables: Vec::new(),
            runtime,
        }
    }

    /// Puts the queue into a database, on a server that was started just now and that may lose commits if this
    /// machine fails.
    pub(crate) fn on_database(mut self, url: String) -> Self {
        self.queue = Some(url);
        self.variables = vec![("OVERNIGHT_MIN_UPTIME_MS", "0")];
        self.accept_loss();
        self
    }

    /// Puts the clips into object storage.
    pub(crate) fn in_storage(mut self) -> Self {
        self.storage = Some(StorageServer::start(Conditions::Meant));
        self.prepend_config(&format!("out = \"s3://{BUCKET}/renders\""));
        self
    }

    /// Returns the storage of the clips.
    pub(crate) fn storage(&self) -> &StorageServer {
        self.storage.as_ref().expect("a storage")
    }

    /// Returns the content of a clip, by its path or URL.
    pub(crate) fn clip(&self, output: &str) -> Vec<u8> {
        match output.strip_prefix(&format!("s3://{BUCKET}/")) {
            Some(name) => self.storage().content(name),
            None => fs::read(output).unwrap_or_else(|error| panic!("{output}: {error}")),
        }
    }

    /// Returns the names of the clips and other files of a batch, in order.
    pub(crate) fn clip_names(&self, batch: &str) -> Vec<String> {
        let Some(storage) = &self.storage else {
            return storage_server::list(&self.dir.path().join("renders").join(batch));
        };
        let prefix = format!("renders/{batch}/");
        let names = storage.names().into_iter();
        names
            .filter_map(|name| Some(name.strip_prefix(&prefix)?.to_owned()))
            .collect()
    }

    fn prepend_config(&self, line: &str) {
        let path = self.dir.path().join("overnight.toml");
        let config = fs::read_to_string(path).expect("the config");
        self.write("overnight.toml", &format!("{line}\n{config}"));
    }

    /// Replaces a part of the config.
    pub(crate) fn set_config(&self, part: &str, by: &str) {
        let path = self.dir.path().join("overnight.toml");
        let config = fs::read_to_string(path).expect("the config");
        assert!(config.contains(part), "{config}");
        self.write("overnight.toml", &config.replace(part, by));
    }

    /// Lets runs use a server that may forget what it has committed.
    pub(crate) fn accept_loss(&self) {
        self.prepend_config("accept_loss = true");
    }

    /// Puts the queue into another file.
    pub(crate) fn on_file(mut self, name: &str) -> Self {
        self.queue = Some(name.to_owned());
        self
    }

    /// Writes a CSV manifest with `rows` rows, a quarter of them for clips of 10 seconds.
    pub(crate) fn write_manifest(&self, name: &str, rows: usize) -> PathBuf {
        let mut text = String::from("id,image,prompt,duration\n");
        for row in 0..rows {
            let duration = if row % 4 == 3 { 10 } else { 5 };
            text.push_str(&format!(
                "row-{row},https://images.example.com/{row}.png,Turn number {row},{duration}\n"
            ));
        }
        self.write(name, &text)
    }

    /// Writes a CSV manifest with `rows` rows, and a different image file for each.
    pub(crate) fn write_image_manifest(&self, name: &str, rows: usize) {
        let mut text = String::from("id,image,prompt\n");
        for row in 0..rows {
            fs::write(
                self.dir.path().join(format!("{row}.png")),
                png(&row.to_string()),
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

    /// Returns the binary with arguments, in the folder, with only the variables that point it at
    /// the simulator.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overnight"));
        command
            .current_dir(self.dir.path())
            .args(args)
            .env_clear()
            .stdin(Stdio::null());
        command.envs(self.simulator.environment());
        command.envs(self.variables.iter().copied());
        command.envs(self.storage.iter().flat_map(StorageServer::environment));
        command.envs(self.queue.iter().map(|url| ("OVERNIGHT_QUEUE", url)));
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn run(&self, args: &[&str]) -> CommandOutput {
        CommandOutput::from_output(self.command(args).output().expect("the binary starts"))
    }

    /// Runs a line as a user would who pastes it into a shell, with the binary on the path.
    pub(crate) fn shell(&self, line: &str) -> CommandOutput {
        let binary = Path::new(env!("CARGO_BIN_EXE_overnight"));
        let mut command = Command::new("/bin/sh");
        command
            .current_dir(self.dir.path())
            .args(["-c", line])
            .env_clear()
            .envs(self.simulator.environment())
            .env("PATH", binary.parent().expect("a folder"))
            .stdin(Stdio::null());
        CommandOutput::from_output(command.output().expect("a shell starts"))
    }

    /// Runs the binary on a pseudo-terminal with `typed` as keyboard input.
    #[cfg(target_os = "linux")]
    pub(crate) fn run_on_terminal(&self, args: &str, typed: &str) -> CommandOutput {
        let command = format!("{} {args}", env!("CARGO_BIN_EXE_overnight"));
        let mut script = Command::new("script");
        script
            .args(["-qec", &command, "/dev/null"])
            .current_dir(self.dir.path());
        script
            .env_clear()
            .envs(self.simulator.environment())
            .env("PATH", "/usr/bin:/bin")
            .env("TERM", "xterm");
        let mut running = script
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`script` of util-linux");
        let mut keyboard = running.stdin.take().expect("a pipe");
        keyboard
            .write_all(typed.as_bytes())
            .expect("the input is written");
        // The input stays open until the end, so that a prompt reads no end of file.
        let run = CommandOutput::from_output(running.wait_with_output().expect("`script` ends"));
        drop(keyboard);
        run
    }

    /// Starts the binary without output.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts")
    }

    /// Loads `batch.csv` with `rows` rows for the given providers, and expects success.
    pub(crate) fn load(&self, rows: usize, via: &str) {
        self.write_manifest("batch.csv", rows);
        let loaded = self.run(&load_args(via));
        assert_eq!(loaded.code, 0, "{loaded:?}");
    }

    /// Lets another simulator serve until the environment is dropped.
    pub(crate) fn serve(&self, simulator: BoundSimulator) -> Simulator {
        self.runtime
            .block_on(simulator.serve())
            .expect("a simulator")
    }

    /// Waits until the simulated providers have accepted `count` submissions in total.
    pub(crate) fn await_submissions(&self, count: usize) {
        let accepted = self.simulator.await_submissions(count);
        self.runtime
            .block_on(async { tokio::time::timeout(MAX_WAIT, accepted).await })
            .expect("the run makes no progress");
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.simulator.ledger()
    }

    /// Returns the output of `status --json`.
    pub(crate) fn status(&self) -> Value {
        let status = self.run(&["status", "--json"]);
        serde_json::from_str(&status.stdout).unwrap_or_else(|error| panic!("{error}: {status:?}"))
    }

    /// Returns the records of `export`, one per job.
    pub(crate) fn export(&self) -> Vec<Value> {
        let export = self.run(&["export", "--format", "jsonl"]);
        export
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).expect("one JSON object per line"))
            .collect()
    }

    /// Resolves every job in doubt in the same way, and returns how many there were.
    pub(crate) fn resolve_jobs_in_doubt(&self, decision: &str) -> usize {
        let mut jobs = self.export();
        jobs.retain(|job| job["state"] == "in_doubt");
        for job in &jobs {
            let id = job["id"].as_str().expect("an id");
            let resolved = self.run(&["resolve", id, decision]);
            assert_eq!(resolved.code, 0, "{resolved:?}");
        }
        jobs.len()
    }

    /// Loads `rows` rows for the given providers, runs, and expects each row to be rendered and paid
    /// for once.
    pub(crate) fn run_all(&self, rows: usize, via: &str) {
        self.load(rows, via);
        let run = self.run(&["run"]);
        assert_eq!(run.code, 0, "{run:?}");
        self.assert_all_rendered_once(rows);
    }

    /// Asserts the same as [`assert_clips_and_costs`](Self::assert_clips_and_costs), and that every
    /// row was submitted exactly once.
    pub(crate) fn assert_all_rendered_once(&self, rows: usize) {
        self.assert_clips_and_costs(rows);
        self.assert_each_paid_once(rows);
    }

    /// Asserts that every row has its clip, that the costs are what the providers billed, and that
    /// no limit was exceeded. Predictions that failed unbilled are allowed.
    pub(crate) fn assert_clips_and_costs(&self, rows: usize) {
        let ledger = self.ledger();
        let jobs = self.export();
        assert_eq!(jobs.len(), rows);
        for job in &jobs {
            assert_eq!(job["state"], "succeeded", "{job}");
            let path = job["output"].as_str().expect("a path");
            let clip = self.clip(path);
            assert_eq!(job["bytes"].as_u64(), Some(clip.len() as u64), "{job}");
            // Each simulated clip contains the id of its prediction.
            let id = job["prediction_id"].as_str().expect("a prediction");
            let has_id = clip.windows(id.len()).any(|part| part == id.as_bytes());
            assert!(has_id, "{job}");
        }
        let spent: f64 = jobs.iter().map(|job| micros(&job["cost_usd"])).sum();
        assert_eq!(spent, micros_as_f64(ledger.charged()));
        assert_eq!(
            ledger
                .entries
                .iter()
                .filter(|entry| entry.charged > 0)
                .count(),
            rows,
            "billed submissions"
        );
        assert_eq!(
            (ledger.over_rate, ledger.over_slots, ledger.leaked_keys),
            (0, 0, 0)
        );
    }

    /// Asserts that every row was submitted exactly once, and that the batch's cost is what the
    /// providers billed.
    pub(crate) fn assert_each_paid_once(&self, rows: usize) {
        self.assert_each_accepted_once(rows);
        assert_eq!(
            micros(&self.status()["batches"][0]["spent_usd"]),
            micros_as_f64(self.ledger().charged())
        );
    }

    /// Asserts that every row was submitted exactly once, by whichever queue.
    pub(crate) fn assert_each_accepted_once(&self, rows: usize) {
        let entries = self.ledger().entries;
        let mut prompts: Vec<String> = entries
            .iter()
            .map(|entry| entry.input["prompt"].to_string())
            .collect();
        assert_eq!(prompts.len(), rows, "submissions: {entries:#?}");
        prompts.sort();
        prompts.dedup();
        assert_eq!(prompts.len(), rows, "distinct rows");
    }
}

/// Waits until a condition holds that only another process can bring about. What the simulator can
/// report is awaited instead: see [`TestEnv::await_submissions`].
pub(crate) fn wait_until(what: &str, reached: impl Fn() -> bool) {
    let deadline = Instant::now() + MAX_WAIT;
    while !reached() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Sends a signal, such as `INT`, to a process that has not been waited for.
pub(crate) fn send_signal(name: &str, pid: u32) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(status.expect("`kill` starts").success());
}

/// Returns the number in an environment variable.
pub(crate) fn number_from_env(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{variable}={text}"))
    })
}

/// Converts a decimal string of dollars to micro-dollars. They are whole numbers, so that sums of
/// floats are exact.
pub(crate) fn micros(usd: &Value) -> f64 {
    let usd: f64 = usd
        .as_str()
        .expect("money is a string")
        .parse()
        .expect("money is a decimal");
    (usd * 1e6).round()
}

/// Converts micro-dollars from the simulator's ledger for comparison with [`micros`].
pub(crate) fn micros_as_f64(micros: i64) -> f64 {
    micros.to_string().parse().expect("a number")
}

/// Returns a PNG of 320 × 320 pixels with `content` in a comment, which makes the file unique.
pub(crate) fn png(content: &str) -> Vec<u8> {
    const HEADER_END: usize = 33;
    let mut plain = std::io::Cursor::new(Vec::new());
    image::GrayImage::new(320, 320)
        .write_to(&mut plain, image::ImageFormat::Png)
        .expect("a picture");
    let plain = plain.into_inner();
    let text = [b"tEXtComment\0", content.as_bytes()].concat();
    let mut checksum = flate2::Crc::new();
    checksum.update(&text);
    let length = u32::try_from(text.len() - 4).expect("a short text");
    [
        &plain[..HEADER_END],
        &length.to_be_bytes(),
        &text,
        &checksum.sum().to_be_bytes(),
        &plain[HEADER_END..],
    ]
    .concat()
}

/// The exit code and the output of a finished command.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    /// -1 if a signal ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl CommandOutput {
    pub(crate) fn from_output(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}
