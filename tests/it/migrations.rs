//! Queue files written by older versions are migrated and their runs continue.

use std::path::Path;
use std::sync::Arc;

use overnight::clock::SystemClock;
use overnight::domain::JobState;
use overnight::queue::sqlite::SqliteQueue;
use rusqlite::Connection;

use crate::support::{TestEnv, high_limits};

const SCHEMAS: [&str; 3] = [
    include_str!("schema-1.sql"),
    include_str!("schema-2.sql"),
    include_str!("schema-3.sql"),
];

/// Copies the rows of `queue` into a new file `older` with the schema of an older version.
fn write_as_version(version: usize, queue: &Path, older: &Path) {
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
    // Tables that triggers update come last, so that the copied values replace theirs.
    for table in ["pools", "meta", "attempts", "jobs", "batches", "providers"] {
        let columns = columns(table);
        let values: Vec<String> = columns
            .iter()
            .map(|column| match (table, column.as_str()) {
                ("jobs", "model") => "'kling-v1-standard'".into(),
                ("jobs", "fingerprint") if version == 1 => "fingerprint || fingerprint".into(),
                _ => column.clone(),
            })
            .collect();
        let columns = columns.join(", ");
        let values = values.join(", ");
        connection
            .execute_batch(&format!(
                "DELETE FROM {table};
                 INSERT INTO {table} ({columns}) SELECT {values} FROM new.{table}"
            ))
            .unwrap_or_else(|error| panic!("{table}: {error}"));
    }
    // Since version 3 the batches hold the job counts; before, a table `job_counts` did.
    for state in JobState::ALL.into_iter().filter(|_| version < 3) {
        let count = format!(
            "DELETE FROM job_counts WHERE state = '{state}';
             INSERT INTO job_counts
             SELECT batch_id, '{state}', {state} FROM new.batches WHERE {state} > 0"
        );
        connection.execute_batch(&count).expect("counted");
    }
    let finish =
        format!("DETACH new; PRAGMA user_version = {version}; PRAGMA application_id = 0x6f766e74");
    connection.execute_batch(&finish).expect("set");
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        .expect("set");
}

/// Returns the name and the SQL of every table, index and trigger.
fn schema(queue: &Path) -> Vec<(String, Option<String>)> {
    let connection = Connection::open(queue).expect("a queue");
    let mut statement = connection
        .prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")
        .expect("the schema");
    let items = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("the schema");
    items.collect::<Result<_, _>>().expect("names")
}

#[test]
fn a_killed_run_of_an_older_version_is_migrated_and_continues() {
    for version in 1..=SCHEMAS.len() {
        assert_run_continues(version);
    }
}

fn assert_run_continues(version: usize) {
    let env = TestEnv::new(high_limits());
    env.load(30, "eachlabs,fal");
    let mut run = env.start(&["run"]);
    env.await_submissions(12);
    run.kill().expect("killed");
    run.wait().expect("an exit status");
    let queue = env.dir.path().join("overnight.db");
    let fresh = env.dir.path().join("fresh.db");
    let killed = env.dir.path().join("killed.db");
    for suffix in ["", "-wal", "-shm"] {
        let file = |name: &str| env.dir.path().join(format!("{name}.db{suffix}"));
        if file("overnight").exists() {
            std::fs::rename(file("overnight"), file("killed")).expect("moved");
        }
    }
    write_as_version(version, &killed, &queue);

    let load = env.run(&[
        "load",
        "batch.csv",
        "--model",
        "kling-v1-standard",
        "--via",
        "eachlabs,fal",
    ]);
    assert!(
        load.stdout.contains("30 rows: 0 new, 0 changed, 30 same"),
        "{load:?}"
    );
    drop(SqliteQueue::open_or_create(&fresh, Arc::new(SystemClock)).expect("a queue"));
    assert_eq!(schema(&queue), schema(&fresh));

    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(!run.stderr.contains("did not agree"), "{run:?}");
    env.assert_all_rendered_once(30);
}

#[test]
fn a_file_of_the_current_version_gets_the_index_that_it_lacks() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = dir.path().join("q.db");
    drop(SqliteQueue::open_or_create(&queue, Arc::new(SystemClock)).expect("a queue"));
    let complete = schema(&queue);
    let connection = Connection::open(&queue).expect("a queue");
    connection
        .execute_batch("DROP INDEX attempts_unresolved")
        .expect("dropped");
    drop(connection);
    assert_ne!(schema(&queue), complete);
    drop(SqliteQueue::open_or_create(&queue, Arc::new(SystemClock)).expect("a queue"));
    assert_eq!(schema(&queue), complete);
}
