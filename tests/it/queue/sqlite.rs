//! What is true of SQLite files alone: the schema, and files that are no queues.

use std::path::Path;
use std::sync::Arc;

use overnight::clock::{ManualClock, SystemClock};
use overnight::domain::{AttemptState, JobState};
use overnight::queue::sqlite::SqliteQueue;
use overnight::queue::{Queue, QueueError, Reports, StoreErrorKind};
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
        .expect("it is rejected");
    let kind = StoreErrorKind::NewerVersion {
        version: 99,
        supported: 7,
    };
    assert_unusable(error, &path, &kind);
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
        .expect("it is rejected");
    assert_unusable(error, &text, &StoreErrorKind::NotADatabase);
    let other = dir.path().join("other.db");
    Connection::open(&other)
        .expect("a file")
        .execute_batch("CREATE TABLE t (a)")
        .expect("a table");
    let error = SqliteQueue::open(&other, Arc::new(SystemClock))
        .err()
        .expect("it is rejected");
    assert_unusable(error, &other, &StoreErrorKind::ForeignFile);
    let missing = dir.path().join("missing.db");
    let error = SqliteQueue::open(&missing, Arc::new(SystemClock))
        .err()
        .expect("it is rejected");
    assert_unusable(error, &missing, &StoreErrorKind::Missing);
}

/// Asserts that a store error is about this file, of this kind.
fn assert_unusable(error: QueueError, path: &Path, kind: &StoreErrorKind) {
    assert!(error.is_store_failure());
    let QueueError::Store(error) = error else {
        panic!("{error:?}");
    };
    assert_eq!((error.path.as_path(), &error.kind), (path, kind));
}

#[tokio::test]
async fn a_health_check_leaves_the_lock_files_of_dead_pools_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("q.db");
    let queue = SqliteQueue::open_or_create(&path, Arc::new(SystemClock)).expect("a queue");
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    let connection = Connection::open(&path).expect("a connection");
    for pool in ["killed", "locked"] {
        let insert = "INSERT INTO pools (pool_id, host, pid, started_at, expires_at)
                      VALUES (?1, ?2, 1, 0, 4102444800000)";
        connection.execute(insert, [pool, &host]).expect("a pool");
    }
    let lock_file = dir.path().join("q.db-pool-locked");
    std::fs::write(&lock_file, "").expect("a lock file");
    let files = || -> Vec<_> {
        let mut names: Vec<_> = std::fs::read_dir(dir.path())
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        names
    };
    let before = files();
    let health = queue.health().await.expect("healthy");
    assert_eq!(health.dead_pools, 2);
    assert_eq!(files(), before);
    assert!(lock_file.exists());
}
