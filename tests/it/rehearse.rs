//! Nights that are only played: in virtual time, with no key, no network and no clip.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use overnight::catalog;
use overnight::domain::{Backoff, Input, Money, NewJob, ProviderName, RetryPolicy};
use overnight::queue::sqlite::SqliteQueue;
use overnight::queue::{NewBatch, ProviderLimits, Queue};
use overnight::rehearsal::{
    Latency, RehearsalReport, Scenario, SimulatedHost, TimeDistribution, simulate,
};
use overnight::worker::ProcessingTimes;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::support::{Run, TestEnv, high_limits};

const SECOND: Duration = Duration::from_secs(1);

fn begins_at() -> Timestamp {
    "2026-08-20T22:00:00Z".parse().expect("a time")
}

/// A night at one provider, with as many creates a minute as each::labs allows.
fn night(
    provider: ProviderName,
    in_flight: u32,
    at_once: u32,
    times: Option<TimeDistribution>,
) -> Scenario {
    let limits = ProviderLimits {
        provider,
        in_flight,
        creates_per_minute: 100,
        has_storage: false,
    };
    let mut processing_times = ProcessingTimes::default();
    processing_times.poll_min = 2 * SECOND;
    // What is said of the route is right.
    if let Some(TimeDistribution::Normal { mean, .. }) = times {
        processing_times.typical = BTreeMap::from([(provider, mean)]);
    }
    Scenario {
        begins_at: begins_at(),
        catalog: Arc::new(catalog::load(&[]).expect("the catalogue")),
        hosts: vec![SimulatedHost { limits, at_once }],
        policy: RetryPolicy {
            backoff: Backoff {
                base: SECOND,
                cap: 60 * SECOND,
            },
            attempts: 3,
            downloads: 8,
        },
        processing_times,
        times,
        latency: Latency::default(),
        workers: 16,
        budget: None,
    }
}

/// Plays a night of so many rows.
fn play_rows(night: Scenario, rows: usize, seed: u64) -> RehearsalReport {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("night.db");
    let queue = SqliteQueue::open_or_create(&path).expect("a queue");
    let batch = NewBatch {
        name: "night".into(),
        model: "kling-v1-standard".into(),
        folder: dir.path().to_owned(),
        budget: None,
    };
    let mut staging = queue.stage(batch).expect("a staging");
    let providers: Vec<ProviderName> = night
        .hosts
        .iter()
        .map(|host| host.limits.provider)
        .collect();
    for row in 0..rows {
        let input = format!(
            r#"{{"image":"https://images.example.com/{row}.png","prompt":"{row}","duration":5}}"#
        );
        let input: Input = serde_json::from_str(&input).expect("an input");
        let (row_key, line) = (row.to_string(), row as u64 + 2);
        let estimate = Money::from_micros(225_000);
        let job = NewJob::new(
            "kling-v1-standard",
            row_key,
            line,
            input,
            providers.clone(),
            estimate,
        );
        staging.add(&[job], begins_at()).expect("a row");
    }
    staging.commit(begins_at()).expect("a load");
    drop((staging, queue));
    let queue = SqliteQueue::for_rehearsal(&path).expect("a queue");
    let (_stop, stopped) = watch::channel(false);
    simulate(&Arc::new(night), Arc::new(queue), seed, stopped).expect("a night without faults")
}

fn normal(mean: u32, deviation: u32) -> Option<TimeDistribution> {
    Some(TimeDistribution::Normal {
        mean: mean * SECOND,
        deviation: deviation * SECOND,
    })
}

/// A folder with a manifest, and the binary in it with no key and no address but what a test gives it.
struct Desk {
    dir: TempDir,
}

impl Desk {
    fn new(rows: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut text = String::from("id,image,prompt,duration\n");
        for row in 0..rows {
            text.push_str(&format!(
                "row-{row},https://images.example.com/{row}.png,Turn number {row},5\n"
            ));
        }
        fs::write(dir.path().join("batch.csv"), text).expect("a manifest");
        fs::create_dir(dir.path().join("tmp")).expect("a folder");
        Self { dir }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overnight"));
        command
            .current_dir(self.dir.path())
            .args(["rehearse", "batch.csv"])
            .args(args);
        command
            .env_clear()
            .env("TMPDIR", self.dir.path().join("tmp"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Run {
        Run::of(self.command(args).output().expect("the binary starts"))
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).expect("a file in the temporary folder");
    }

    fn names(&self, folder: &str) -> Vec<String> {
        names(&self.dir.path().join(folder))
    }
}

fn names(folder: &Path) -> Vec<String> {
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

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

#[test]
fn the_same_seed_makes_the_same_night() {
    let simulate = |seed| {
        play_rows(
            night(ProviderName::Eachlabs, 10, 10, normal(60, 10)),
            60,
            seed,
        )
    };
    let first = simulate(1);
    assert_eq!(first, simulate(1));
    assert_ne!(first, simulate(2));
    assert_eq!(
        (first.rows, first.clips, first.waiting, &first.stop),
        (60, 60, 0, &None)
    );
}

#[test]
fn two_hundred_rows_over_ten_slots_end_close_to_the_ideal() {
    for (provider, in_flight) in [(ProviderName::Eachlabs, 10), (ProviderName::Fal, 12)] {
        let report = play_rows(night(provider, in_flight, 10, normal(270, 40)), 200, 1);
        let ratio = report.makespan.as_secs_f64() / report.ideal.as_secs_f64();
        assert!((1.0..1.04).contains(&ratio), "{ratio}: {report:?}");
        assert_eq!(
            (report.clips, report.cost),
            (200, Money::from_micros(45_000_000))
        );
        assert!(
            (0.9..=1.0).contains(&report.providers[0].busy()),
            "{report:?}"
        );
        assert!(
            (1.0..20.0).contains(&report.providers[0].polls_per_clip()),
            "{report:?}"
        );
    }
}

#[test]
fn creates_beyond_what_a_provider_works_on_are_refused_and_sent_again() {
    let report = play_rows(night(ProviderName::Eachlabs, 12, 10, normal(60, 10)), 40, 1);
    assert_eq!(report.clips, 40);
    assert!(report.providers[0].refused > 0, "{report:?}");
}

#[test]
fn a_rehearsal_needs_no_key_and_no_network_and_leaves_nothing_behind() {
    let desk = Desk::new(20);
    let run = desk.run(&["--model", "kling-v1-standard", "--seeds", "2"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.stdout.contains("batch: 20 rows, 2 nights played"),
        "{run:?}"
    );
    assert!(run.stdout.contains("nothing would stop it"), "{run:?}");
    assert!(
        run.stderr
            .contains("as if these were set, which `run` will need: EACHLABS_API_KEY"),
        "{run:?}"
    );
    assert_eq!(desk.names("."), ["batch.csv", "tmp"]);
    assert_eq!(desk.names("tmp"), [""; 0]);
}

#[test]
fn a_budget_that_would_stop_it_is_told_with_the_rows_made_until_then() {
    let desk = Desk::new(20);
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
    let run = desk.run(&args);
    assert_eq!(run.code, 4, "{run:?}");
    let told = "would stop: at the budget of $1.00, after 4 rows; 16 would wait";
    assert!(
        run.stdout.contains(told) && run.stdout.contains("costs   $0.90\n"),
        "{run:?}"
    );
    let run = desk.run(&[&args[..], &["--json"]].concat());
    let outlook = json(&run);
    assert_eq!(run.code, 4, "{run:?}");
    assert_eq!(
        (&outlook["stop"]["reason"], &outlook["stop"]["after_rows"]),
        (&"budget".into(), &4.into())
    );
    assert_eq!(outlook["cost_usd"]["median"], "0.9");
}

#[test]
fn a_mistake_in_the_manifest_is_told_as_load_tells_it() {
    let desk = Desk::new(2);
    desk.write("batch.csv", "id,image,prompt\na,photo.jpg,turn\n");
    let run = desk.run(&["--model", "kling-v1-standard"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(
        run.stderr.contains("batch.csv:2: image: there is no file "),
        "{run:?}"
    );
    assert_eq!(desk.names("tmp"), [""; 0]);
}

#[test]
fn where_a_key_is_set_the_providers_without_one_take_no_part() {
    let desk = Desk::new(4);
    let mut command = desk.command(&["--model", "kling-v1-standard", "--seeds", "1", "--json"]);
    let outlook = json(&Run::of(
        command
            .env("FAL_KEY", "k")
            .output()
            .expect("the binary starts"),
    ));
    let providers = outlook["providers"].as_array().expect("providers");
    assert_eq!(providers.len(), 1, "{outlook}");
    // Of four in flight a new account of fal.ai runs two.
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
fn what_the_queue_has_measured_takes_the_place_of_what_the_catalogue_says() {
    let workplace = TestEnv::new(high_limits());
    workplace.make_all(20, "eachlabs");
    workplace.write("overnight.toml", "");
    let before = names(workplace.dir.path());
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
    let outlook = json(&workplace.run(&rehearse));
    assert_eq!(outlook["providers"][0]["times_measured"], true);
    assert!(
        outlook["takes_s"]["median"].as_f64().expect("seconds") < 60.0,
        "{outlook}"
    );
    assert_eq!(names(workplace.dir.path()), before);
    let elsewhere = [&rehearse[..], &["--queue", "none.db"]].concat();
    let outlook = json(&workplace.run(&elsewhere));
    assert_eq!(outlook["providers"][0]["times_measured"], false);
    assert!(
        outlook["takes_s"]["median"].as_f64().expect("seconds") > 500.0,
        "{outlook}"
    );
}

#[test]
fn a_route_of_the_users_own_catalogue_is_rehearsed_at_its_price_and_pace() {
    let desk = Desk::new(10);
    let mine = "name = \"mine\"\ntitle = \"Mine\"\n[fields.image]\ntype = \"image\"\nrequired = true\nhelp = \"x\"\n\
                [fields.prompt]\ntype = \"text\"\nhelp = \"x\"\n[fields.duration]\ntype = \"integer\"\nhelp = \"x\"\n\
                [[routes]]\nprovider = \"aimlapi\"\nmodel = \"me/mine\"\nprice = { base = \"0.30\" }\ntypical_s = 9\n\
                [routes.fields]\nimage = \"picture\"\nprompt = \"text\"\nduration = \"length\"\n";
    desk.write("mine.toml", mine);
    desk.write(
        "overnight.toml",
        "catalog = [\"mine.toml\"]\n[provider.aimlapi]\nin_flight = 5\n",
    );
    let run = desk.run(&["--model", "mine", "--seeds", "1", "--json"]);
    assert_eq!(run.code, 0, "{run:?}");
    let outlook = json(&run);
    assert_eq!(
        (
            &outlook["cost_usd"]["median"],
            &outlook["providers"][0]["slots"]
        ),
        (&"3".into(), &5.into())
    );
    assert!(
        (18.0..40.0).contains(&outlook["takes_s"]["median"].as_f64().expect("seconds")),
        "{outlook}"
    );
}
