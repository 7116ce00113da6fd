//! Queue files that an older program wrote.

use std::path::Path;

use overnight::domain::JobState;
use overnight::queue::sqlite::SqliteQueue;
use rusqlite::Connection;

use crate::support::{TestEnv, high_limits};

const SCHEMAS: [&str; 3] = [
    include_str!("schema-1.sql"),
    include_str!("schema-2.sql"),
    include_str!("schema-3.sql"),
];

/// Writes what a queue holds into a file of an older version, as the program of that time would have.
fn as_version(version: usize, queue: &Path, older: &Path) {
    let connection = Connection::open(older).expect("a file");
    connection
        .pragma_update(None, "foreign_keys", false)
        .expect("set");
    connection
        .execute_batch(SCHEMAS[version - 1])
        .expect("the schema of that version");
    connection
        .execute("ATTACH ?1 AS new", [queue.to_str().expect("a path")])
        .expect("the queue");
    let columns = |table: &str| -> Vec<String> {
        let sql = format!("SELECT name FROM pragma_table_info('{table}')");
        let mut statement = connection.prepare(&sql).expect("the columns");
        let names = statement
            .query_map([], |row| row.get(0))
            .expect("the columns");
        names.collect::<Result<_, _>>().expect("names")
    };
    // Tables that triggers keep come last.
    for table in ["pools", "meta", "attempts", "jobs", "batches", "providers"] {
        let columns = columns(table);
        let kept: Vec<String> = columns
            .iter()
            .map(|column| match (table, column.as_str()) {
                ("jobs", "model") => "'kling-v1-standard'".into(),
                ("jobs", "fingerprint") if version == 1 => "fingerprint || fingerprint".into(),
                _ => column.clone(),
            })
            .collect();
        let (columns, kept) = (columns.join(", "), kept.join(", "));
        connection
            .execute_batch(&format!(
                "DELETE FROM {table}; INSERT INTO {table} ({columns}) SELECT {kept} FROM new.{table}"
            ))
            .unwrap_or_else(|error| panic!("{table}: {error}"));
    }
    // Version 3 began to count jobs in their batches.
    for state in JobState::ALL.into_iter().filter(|_| version < 3) {
        let count = format!(
            "DELETE FROM job_counts WHERE state = '{state}';
             INSERT INTO job_counts SELECT batch_id, '{state}', {state} FROM new.batches WHERE {state} > 0"
        );
        connection.execute_batch(&count).expect("counted");
    }
    let end =
        format!("DETACH new; PRAGMA user_version = {version}; PRAGMA application_id = 0x6f766e74");
    connection.execute_batch(&end).expect("set");
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        .expect("set");
}

/// Tables, indexes and triggers, as they were written down.
fn schema(queue: &Path) -> Vec<(String, Option<String>)> {
    let connection = Connection::open(queue).expect("a queue");
    let mut statement = connection
        .prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")
        .expect("the schema");
    let found = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("the schema");
    found.collect::<Result<_, _>>().expect("names")
}

#[test]
fn a_killed_run_of_an_older_version_is_brought_over_and_goes_on() {
    for version in 1..=SCHEMAS.len() {
        goes_on(version);
    }
}

fn goes_on(version: usize) {
    let workplace = TestEnv::new(high_limits());
    workplace.load(30, "eachlabs,fal");
    let mut run = workplace.start(&["run"]);
    workplace.wait_for_submissions(12);
    run.kill().expect("killed");
    run.wait().expect("gone");
    let queue = workplace.dir.path().join("overnight.db");
    let fresh = workplace.dir.path().join("fresh.db");
    let killed = workplace.dir.path().join("killed.db");
    for ending in ["", "-wal", "-shm"] {
        let named = |name: &str| workplace.dir.path().join(format!("{name}.db{ending}"));
        if named("overnight").exists() {
            std::fs::rename(named("overnight"), named("killed")).expect("moved");
        }
    }
    as_version(version, &killed, &queue);

    let again = workplace.run(&[
        "load",
        "batch.csv",
        "--model",
        "kling-v1-standard",
        "--via",
        "eachlabs,fal",
    ]);
    assert!(
        again.stdout.contains("30 rows: 0 new, 0 changed, 30 same"),
        "{again:?}"
    );
    drop(SqliteQueue::open_or_create(&fresh).expect("a queue"));
    assert_eq!(schema(&queue), schema(&fresh));

    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(!run.stderr.contains("did not agree"), "{run:?}");
    workplace.assert_all_rendered_once(30);
}
