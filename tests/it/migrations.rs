//! Queue files that older versions wrote are migrated, and their runs continue. `queue_files/README.md`
//! says where the files are from.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use overnight::clock::{Clock, SystemClock};
use overnight::queue::Operator;
use overnight::queue::sqlite::SqliteQueue;
use overnight_simulator::Entry;
use rusqlite::Connection;
use serde_json::Value;

use crate::support::{TestEnv, high_limits, micros, micros_as_f64};

const VERSIONS: std::ops::RangeInclusive<usize> = 1..=6;

/// How the batches were loaded: manifest, providers, rows.
const LOADS: [(&str, &str, usize); 2] = [
    ("mugs.csv", "eachlabs,fal,aimlapi", 14),
    ("lamps.csv", "fal,aimlapi", 8),
];

/// Number of jobs in each file.
const JOBS: usize = 22;

/// Returns the path of a file that was written with a queue file.
fn queue_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/queue_files")
        .join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(queue_file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns the values of a file with one JSON object per line.
fn read_lines(name: &str) -> Vec<Value> {
    let text = read(name);
    let values = text.lines().map(serde_json::from_str);
    values.collect::<Result<_, _>>().expect("JSON")
}

/// Copies the queue file of a version.
fn copy_queue(version: usize, to: &Path) {
    let from = queue_file(&format!("version-{version}.db"));
    fs::copy(from, to).expect("copied");
}

/// Returns an environment whose queue is a migrated copy of the file of a version.
fn migrated(version: usize) -> TestEnv {
    let env = TestEnv::new(high_limits());
    copy_queue(version, &queue_path(&env));
    drop(open(&queue_path(&env)));
    env
}

fn queue_path(env: &TestEnv) -> PathBuf {
    env.dir.path().join("overnight.db")
}

/// Opens a queue, which migrates it.
fn open(path: &Path) -> SqliteQueue {
    SqliteQueue::open_or_create(path, Arc::new(SystemClock)).expect("a queue")
}

/// Returns the name and the SQL, without comments, of every table, index and trigger.
fn schema(queue: &Path) -> Vec<(String, Option<String>)> {
    let connection = Connection::open(queue).expect("a queue");
    let mut statement = connection
        .prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")
        .expect("the schema");
    let items = statement
        .query_map([], |row| {
            let sql: Option<String> = row.get(1)?;
            Ok((row.get(0)?, sql.map(|sql| without_comments(&sql))))
        })
        .expect("the schema");
    items.collect::<Result<_, _>>().expect("names")
}

fn without_comments(sql: &str) -> String {
    let code = sql.lines().flat_map(|line| line.split("--").next());
    code.flat_map(str::split_whitespace)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_file_of_any_version_gets_the_current_schema() {
    let dir = tempfile::tempdir().expect("a folder");
    let fresh = dir.path().join("fresh.db");
    drop(open(&fresh));
    let current = schema(&fresh);
    for version in VERSIONS {
        let older = dir.path().join(format!("{version}.db"));
        copy_queue(version, &older);
        assert!(schema(&older) != current, "{version}");
        drop(open(&older));
        assert_eq!(schema(&older), current, "{version}");
    }
}

#[tokio::test]
async fn the_counters_of_a_migrated_file_agree_with_its_rows() {
    let dir = tempfile::tempdir().expect("a folder");
    for version in VERSIONS {
        let older = dir.path().join(format!("{version}.db"));
        copy_queue(version, &older);
        let mismatches = open(&older).verify_counters().await;
        assert_eq!(mismatches.expect("the counters"), [], "{version}");
    }
}

#[test]
fn a_migrated_file_shows_the_jobs_and_the_money_that_its_own_program_showed() {
    for version in VERSIONS {
        let env = migrated(version);

        let jobs = env.export();
        assert_eq!(jobs.len(), JOBS);
        let before = read_lines(&format!("version-{version}.jobs.jsonl"));
        for (job, before) in jobs.iter().zip(&before) {
            for (field, value) in before.as_object().expect("an object") {
                let same = match (field.as_str(), job[field].as_str(), value.as_str()) {
                    // Relative since version 6.
                    ("output", Some(path), Some(before)) => Path::new(path).ends_with(before),
                    _ => job[field] == *value,
                };
                assert!(same, "{version}: {field} of {before} is {}", job[field]);
            }
        }

        let status = env.status();
        let before: Value =
            serde_json::from_str(&read(&format!("version-{version}.status.json"))).expect("JSON");
        for (list, fields) in [
            (
                "batches",
                &[
                    "batch",
                    "jobs",
                    "budget_usd",
                    "reserved_usd",
                    "spent_usd",
                    "at_risk_usd",
                ][..],
            ),
            ("providers", &["provider", "in_flight"]),
        ] {
            let before = before[list].as_array().expect("a list");
            assert_eq!(status[list].as_array().map(Vec::len), Some(before.len()));
            for (index, before) in before.iter().enumerate() {
                for field in fields {
                    let now = &status[list][index][field];
                    assert_eq!(now, &before[field], "{version}: {field}");
                }
            }
        }
    }
}

/// Moves a migrated queue into this test: the output folders are in its temporary folder, the clips
/// on its simulator, and what happened in the queue did so within the last minutes.
fn move_here(env: &TestEnv, entries: &mut [Entry]) {
    let latest = entries.iter().map(|entry| entry.accepted_at).max();
    // Longer than the leases and the delays of the killed run.
    let end = SystemClock.now().as_millisecond() - 5 * 60 * 1000;
    let shift = end - latest.expect("an entry");
    for entry in entries {
        entry.accepted_at += shift;
    }
    let connection = Connection::open(queue_path(env)).expect("a queue");
    let mut times = connection
        .prepare(
            "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c
             WHERE t.type = 'table'
               AND (c.name LIKE '%\\_at' ESCAPE '\\' OR c.name LIKE '%\\_since' ESCAPE '\\'
                    OR c.name LIKE '%\\_until' ESCAPE '\\')",
        )
        .expect("the columns");
    let columns = times.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    let columns: Vec<(String, String)> = columns
        .expect("the columns")
        .collect::<Result<_, _>>()
        .expect("names");
    for (table, column) in columns {
        let shifted = format!("UPDATE {table} SET {column} = {column} + ?1 WHERE {column} > 0");
        connection.execute(&shifted, [shift]).expect("shifted");
    }
    let seen_at = "UPDATE meta SET value = value + ?1 WHERE key LIKE '%\\_at' ESCAPE '\\'";
    connection.execute(seen_at, [shift]).expect("shifted");
    let folder = env.dir.path().join("renders");
    connection
        .execute(
            "UPDATE batches SET folder = ?1 || '/' || name",
            [folder.to_str()],
        )
        .expect("moved");
    let address = env.simulator.address().to_string();
    connection
        .execute(
            "UPDATE attempts
             SET output_url = 'http://' || ?1 || substr(output_url, instr(output_url, '/cdn/'))
             WHERE output_url IS NOT NULL",
            [address],
        )
        .expect("moved");
}

#[test]
fn a_killed_run_of_any_version_continues_and_pays_for_nothing_twice() {
    for version in VERSIONS {
        let env = migrated(version);
        let entries = read_lines(&format!("version-{version}.ledger.jsonl"));
        let entries = entries.into_iter().map(serde_json::from_value);
        let mut entries: Vec<Entry> = entries.collect::<Result<_, _>>().expect("a ledger");
        move_here(&env, &mut entries);
        env.simulator.restore(entries);

        for (manifest, providers, rows) in LOADS {
            env.write(manifest, &read(manifest));
            let args = [
                "load",
                manifest,
                "--model",
                "kling-v1-standard",
                "--via",
                providers,
            ];
            let load = env.run(&args);
            let unchanged = format!("{rows} rows: 0 new, 0 changed, {rows} same");
            assert!(load.stdout.contains(&unchanged), "{version}: {load:?}");
        }
        let run = env.run(&["run"]);
        assert_eq!(run.code, 0, "{version}: {run:?}");
        assert!(!run.stderr.contains("did not agree"), "{version}: {run:?}");
        let jobs = env.export();
        assert_eq!(jobs.len(), JOBS);
        for job in &jobs {
            assert_eq!(job["state"], "succeeded", "{version}: {job}");
        }
        let ledger = env.ledger();
        let prompts: BTreeSet<String> = ledger
            .entries
            .iter()
            .map(|entry| entry.input["prompt"].to_string())
            .collect();
        assert_eq!(
            (ledger.entries.len(), prompts.len()),
            (JOBS, JOBS),
            "{version}"
        );
        let spent: f64 = jobs.iter().map(|job| micros(&job["cost_usd"])).sum();
        assert_eq!(spent, micros_as_f64(ledger.charged()), "{version}");
    }
}
