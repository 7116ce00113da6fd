//! Rehearsals: simulated runs in virtual time, without keys, network or clips.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use overnight::catalog;
use overnight::clock::ManualClock;
use overnight::domain::{
    Backoff, Input, InputComparison, Money, NewJob, ProviderName, RetryPolicy,
};
use overnight::queue::sqlite::SqliteQueue;
use overnight::queue::{Loader, NewBatch, ProviderLimits, RemovedRows};
use overnight::rehearsal::{
    Latency, RehearsalReport, Scenario, SimulatedHost, TimeDistribution, simulate,
};
use overnight::worker::ProcessingTimes;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::support::{CommandOutput, TestEnv, high_limits};

const SECOND: Duration = Duration::from_secs(1);

fn start_time() -> Timestamp {
    "2026-08-20T22:00:00Z".parse().expect("a timestamp")
}

/// Returns a scenario with one provider and the rate limit of each::labs.
fn scenario(
    provider: ProviderName,
    in_flight: u32,
    at_once: u32,
    times: Option<TimeDistribution>,
) -> Scenario {
    let limits = ProviderLimits {
        provider,
        in_flight,
        creates_per_minute: 100,
        history_delay: Duration::from_secs(900),
        has_storage: false,
    };
    let mut processing_times = ProcessingTimes::default();
    processing_times.poll_min = 2 * SECOND;
    // The configured typical time is the true mean.
    if let Some(TimeDistribution::Normal { mean, .. }) = times {
        processing_times.typical = BTreeMap::from([(provider, mean)]);
    }
    Scenario {
        starts_at: start_time(),
        catalog: Arc::new(catalog::load(&[]).expect("the catalogue")),
        hosts: vec![SimulatedHost {
            limits,
            at_once,
            is_measured: false,
        }],
        policy: RetryPolicy {
            backoff: Backoff {
                base: SECOND,
                cap: 60 * SECOND,
            },
            max_attempts: 3,
            max_downloads: 8,
            ..RetryPolicy::default()
        },
        processing_times,
        times,
        latency: Latency::default(),
        workers: 16,
        budget: None,
    }
}

/// Simulates a scenario with `rows` rows.
fn simulate_rows(scenario: Scenario, rows: usize, seed: u64) -> RehearsalReport {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("rehearsal.db");
    let clock = Arc::new(ManualClock::new(start_time()));
    let queue = SqliteQueue::open_or_create(&path, clock).expect("a queue");
    let batch = NewBatch {
        name: "batch".into(),
        model: "kling-v1-standard".into(),
        folder: dir.path().to_owned().into(),
        budget: None,
        comparison: InputComparison::default(),
        reuses_clips: false,
    };
    let mut staging = queue.stage(batch).expect("a staging");
    let providers: Vec<ProviderName> = scenario
        .hosts
        .iter()
        .map(|host| host.limits.provider)
        .collect();
    for row in 0..rows {
        let input = format!(
            r#"{{"image":"https://images.example.com/{row}.png","prompt":"{row}","duration":5}}"#
        );
        let input: Input = serde_json::from_str(&input).expect("an input");
        let row_key = row.to_string();
        // The header is line 1.
        let line = row as u64 + 2;
        let estimate = Money::from_micros(225_000);
        let job = NewJob::new(
            input.fingerprint("kling-v1-standard"),
            row_key,
            line,
            input,
            providers.clone(),
            estimate,
        );
        staging.add(&[job]).expect("a row");
    }
    staging.commit(RemovedRows::Keep).expect("a load");
    drop((staging, queue));
    let open = move |clock| Ok(Arc::new(SqliteQueue::for_rehearsal(&path, clock)?) as _);
    let (_stop, stopped) = watch::channel(false);
    simulate(&Arc::new(scenario), open, seed, stopped).expect("a finished run")
}

/// Returns normally distributed processing times; both parameters are in seconds.
fn normal(mean: u32, deviation: u32) -> Option<TimeDistribution> {
    Some(TimeDistribution::Normal {
        mean: mean * SECOND,
        deviation: deviation * SECOND,
    })
}

/// A folder with the manifest `batch.csv`, and the binary in it without any keys or URLs in its
/// environment.
struct ManifestDir {
    temp_dir: TempDir,
}

impl ManifestDir {
    fn new(rows: usize) -> Self {
        let temp_dir = tempfile::tempdir().expect("a temporary folder");
        let mut text = String::from("id,image,prompt,duration\n");
        for row in 0..rows {
            text.push_str(&format!(
                "row-{row},https://images.example.com/{row}.png,Turn number {row},5\n"
            ));
        }
        fs::write(temp_dir.path().join("batch.csv"), text).expect("a manifest");
        fs::create_dir(temp_dir.path().join("tmp")).expect("a folder");
        Self { temp_dir }
    }

    /// Returns `overnight rehearse batch.csv` with more arguments.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overnight"));
        command
            .current_dir(self.temp_dir.path())
            .args(["rehearse", "batch.csv"])
            .args(args);
        command
            .env_clear()
            .env("TMPDIR", self.temp_dir.path().join("tmp"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> CommandOutput {
        CommandOutput::from_output(self.command(args).output().expect("the binary starts"))
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.temp_dir.path().join(name), text).expect("a file in the temporary folder");
    }

    fn file_names(&self, folder: &str) -> Vec<String> {
        file_names(&self.temp_dir.path().join(folder))
    }
}

fn file_names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

fn parse_json(run: &CommandOutput) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        simulate_rows(
            scenario(ProviderName::Eachlabs, 10, 10, normal(60, 10)),
            60,
            seed,
        )
    };
    let first = run(1);
    assert_eq!(first, run(1));
    assert_ne!(first, run(2));
    assert_eq!(
        (first.rows, first.clips, first.waiting, &first.stop),
        (60, 60, 0, &None)
    );
}

#[test]
fn two_hundred_rows_over_ten_slots_finish_close_to_the_ideal() {
    for (provider, in_flight) in [(ProviderName::Eachlabs, 10), (ProviderName::Fal, 12)] {
        let report = simulate_rows(scenario(provider, in_flight, 10, normal(270, 40)), 200, 1);
        let ratio = report.makespan.as_secs_f64() / report.ideal.as_secs_f64();
        assert!((1.0..1.04).contains(&ratio), "{ratio}: {report:?}");
        assert_eq!(
            (report.clips, report.cost),
            (200, Money::from_micros(45_000_000))
        );
        assert!(
            (0.9..=1.0).contains(&report.providers[0].utilization()),
            "{report:?}"
        );
        assert!(
            (1.0..20.0).contains(&report.providers[0].polls_per_clip()),
            "{report:?}"
        );
    }
}

#[test]
fn submissions_beyond_the_providers_slots_are_refused_and_retried() {
    let report = simulate_rows(
        scenario(ProviderName::Eachlabs, 12, 10, normal(60, 10)),
        40,
        1,
    );
    assert_eq!(report.clips, 40);
    assert!(report.providers[0].refused > 0, "{report:?}");
}

#[test]
fn a_rehearsal_needs_no_key_and_no_network_and_leaves_nothing_behind() {
    let dir = ManifestDir::new(20);
    let run = dir.run(&["--model", "kling-v1-standard", "--seeds", "2"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.stdout.contains("batch: 20 rows, 2 simulated runs"),
        "{run:?}"
    );
    assert!(run.stdout.contains("nothing would stop it"), "{run:?}");
    assert!(
        run.stderr
            .contains("not set, but needed by `overnight run`: EACHLABS_API_KEY"),
        "{run:?}"
    );
    assert_eq!(dir.file_names("."), ["batch.csv", "tmp"]);
    assert_eq!(dir.file_names("tmp"), [""; 0]);
}

#[test]
fn a_budget_that_would_stop_the_run_is_reported_with_the_number_of_rows_finished_before() {
    let dir = ManifestDir::new(20);
    let args = [
        "--model",
        "kling-v1-standard",
        "--via",
        "eachlabs",
        "--seeds",
        "1",
        "--budget",
        "1",
    ];
    let run = dir.run(&args);
    assert_eq!(run.code, 4, "{run:?}");
    let expected = "would stop at the budget of $1.00 after 4 rows; 16 would wait";
    assert!(
        run.stdout.contains(expected) && run.stdout.contains("cost  $0.90\n"),
        "{run:?}"
    );
    let run = dir.run(&[&args[..], &["--json"]].concat());
    let summary = parse_json(&run);
    assert_eq!(run.code, 4, "{run:?}");
    assert_eq!(
        (&summary["stop"]["reason"], &summary["stop"]["after_rows"]),
        (&"budget".into(), &4.into())
    );
    assert_eq!(summary["cost_usd"]["median"], "0.9");
}

#[test]
fn a_manifest_error_is_reported_as_by_load() {
    let dir = ManifestDir::new(2);
    dir.write("batch.csv", "id,image,prompt\na,photo.jpg,turn\n");
    let run = dir.run(&["--model", "kling-v1-standard"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(
        run.stderr.contains("batch.csv:2: image: there is no file "),
        "{run:?}"
    );
    assert_eq!(dir.file_names("tmp"), [""; 0]);
}

#[test]
fn if_any_key_is_set_providers_without_a_key_are_left_out() {
    let dir = ManifestDir::new(4);
    let mut command = dir.command(&["--model", "kling-v1-standard", "--seeds", "1", "--json"]);
    let summary = parse_json(&CommandOutput::from_output(
        command
            .env("FAL_KEY", "k")
            .output()
            .expect("the binary starts"),
    ));
    let providers = summary["providers"].as_array().expect("providers");
    assert_eq!(providers.len(), 1, "{summary}");
    // A new account of fal.ai runs two of the four predictions in flight.
    let figures = [
        &providers[0]["provider"],
        &providers[0]["slots"],
        &providers[0]["in_flight"],
    ];
    assert_eq!(
        figures,
        [&Value::from("fal"), &Value::from(2), &Value::from(4)]
    );
}

#[test]
fn processing_times_measured_by_the_queue_replace_those_of_the_catalogue() {
    let env = TestEnv::new(high_limits());
    env.run_all(20, "eachlabs");
    env.write("overnight.toml", "");
    let before = file_names(env.dir.path());
    let rehearse = [
        "rehearse",
        "batch.csv",
        "--model",
        "kling-v1-standard",
        "--via",
        "eachlabs",
        "--seeds",
        "1",
        "--json",
    ];
    let summary = parse_json(&env.run(&rehearse));
    assert_eq!(summary["providers"][0]["times_measured"], true);
    assert!(
        summary["takes_s"]["median"].as_f64().expect("seconds") < 60.0,
        "{summary}"
    );
    assert_eq!(file_names(env.dir.path()), before);
    let with_new_queue = [&rehearse[..], &["--queue", "none.db"]].concat();
    let summary = parse_json(&env.run(&with_new_queue));
    assert_eq!(summary["providers"][0]["times_measured"], false);
    assert!(
        summary["takes_s"]["median"].as_f64().expect("seconds") > 500.0,
        "{summary}"
    );
}

#[test]
fn a_route_from_the_users_own_catalogue_is_rehearsed_with_its_price_and_typical_time() {
    let dir = ManifestDir::new(10);
    let catalog = r#"
        name = "mine"
        title = "Mine"
        [fields.image]
        type = "image"
        required = true
        help = "x"
        [fields.prompt]
        type = "text"
        help = "x"
        [fields.duration]
        type = "integer"
        help = "x"
        [[routes]]
        provider = "aimlapi"
        model = "me/mine"
        price = { base = "0.30" }
        typical_s = 9
        [routes.fields]
        image = "picture"
        prompt = "text"
        duration = "length"
    "#;
    dir.write("mine.toml", catalog);
    dir.write(
        "overnight.toml",
        "catalog = [\"mine.toml\"]\n[provider.aimlapi]\nin_flight = 5\n",
    );
    let run = dir.run(&["--model", "mine", "--seeds", "1", "--json"]);
    assert_eq!(run.code, 0, "{run:?}");
    let summary = parse_json(&run);
    assert_eq!(
        (
            &summary["cost_usd"]["median"],
            &summary["providers"][0]["slots"]
        ),
        (&"3".into(), &5.into())
    );
    assert!(
        (18.0..40.0).contains(&summary["takes_s"]["median"].as_f64().expect("seconds")),
        "{summary}"
    );
}
