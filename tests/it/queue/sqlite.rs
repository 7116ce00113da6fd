//! What is true of SQLite files alone: the schema, and files that are no queues.

use std::sync::Arc;

use overnight::clock::{ManualClock, SystemClock};
use overnight::domain::{AttemptState, JobState};
use overnight::queue::Queue;
use overnight::queue::sqlite::SqliteQueue;
use rusqlite::Connection;
use tempfile::TempDir;

use super::Store;

/// A queue file in a temporary folder.
pub(crate) struct SqliteStore {
    dir: TempDir,
    clock: Arc<ManualClock>,
}

impl Store for SqliteStore {
    fn create(clock: Arc<ManualClock>) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        Self { dir, clock }
    }

    fn open(&self) -> Arc<dyn Queue> {
        let path = self.dir.path().join("q.db");
        let clock = Arc::clone(&self.clock) as _;
        Arc::new(SqliteQueue::open_or_create(&path, clock).expect("a queue"))
    }
}

#[test]
fn the_schema_lists_the_same_states_as_the_code() {
    let schema = include_str!("../../../schema.sql");
    let condition = |states: &[&str]| {
        let states: Vec<String> = states
            .iter()
            .map(|state| format!("state = '{state}'"))
            .collect();
        states.join(" OR ")
    };
    let schema_contains = |states: &[&str]| {
        schema
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .contains(&condition(states))
    };
    assert!(schema_contains(&JobState::ALL.map(JobState::as_str)));
    assert!(schema_contains(
        &AttemptState::ALL.map(AttemptState::as_str)
    ));
    let final_states: Vec<&str> = JobState::ALL
        .into_iter()
        .filter(|state| state.is_final())
        .map(JobState::as_str)
        .collect();
    assert!(schema_contains(&final_states));
    let open = AttemptState::ALL
        .into_iter()
        .filter(|state| state.is_open())
        .map(AttemptState::as_str);
    assert!(schema.contains(&format!(
        "({}) = (finished_at IS NULL)",
        condition(&open.collect::<Vec<_>>())
    )));
}

#[test]
fn every_column_has_a_comment_or_a_self_explanatory_name() {
    let schema = include_str!("../../../schema.sql");
    let self_explanatory = [
        "job_id",
        "batch_id",
        "attempt_id",
        "provider",
        "started_at",
        "state",
    ];
    let mut columns = 0;
    for table in schema.split("CREATE TABLE ").skip(1) {
        for line in table
            .split("\n)")
            .next()
            .unwrap_or_default()
            .lines()
            .skip(1)
        {
            let name = line.trim_start().split(' ').next().unwrap_or_default();
            let is_column = name.starts_with(|c: char| c.is_ascii_lowercase());
            columns += usize::from(is_column);
            assert!(
                !is_column || self_explanatory.contains(&name) || line.contains("--"),
                "{line}"
            );
        }
    }
    assert!(columns > 50, "{columns} columns");
}

#[test]
fn a_file_of_a_newer_version_is_rejected_and_not_changed() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("newer.db");
    {
        SqliteQueue::open_or_create(&path, Arc::new(SystemClock)).expect("a queue");
        let connection = Connection::open(&path).expect("a connection");
        connection
            .pragma_update(None, "user_version", 99)
            .expect("a version");
        connection
            .pragma_update(None, "journal_mode", "DELETE")
            .expect("one file");
    }
    let before = std::fs::read(&path).expect("the file");
    let error = SqliteQueue::open(&path, Arc::new(SystemClock))
        .err()
        .expect("it is rejected")
        .to_string();
    assert!(
        error.contains("newer version of overnight") && error.contains("not modified"),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).expect("the file"), before);
}

#[test]
fn files_that_are_not_queues_are_rejected() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = dir.path().join("text.db");
    std::fs::write(
        &text,
        "this is not a database, but it is long enough to be taken for one".repeat(50),
    )
    .expect("a file");
    let error = SqliteQueue::open(&text, Arc::new(SystemClock))
        .err()
        .expect("it is rejected")
        .to_string();
    assert!(error.contains("not a SQLite file"), "{error}");
    let other = dir.path().join("other.db");
    Connection::open(&other)
        .expect("a file")
        .execute_batch("CREATE TABLE t (a)")
        .expect("a table");
    let error = SqliteQueue::open(&other, Arc::new(SystemClock))
        .err()
        .expect("it is rejected")
        .to_string();
    assert!(error.contains("another program"), "{error}");
}
