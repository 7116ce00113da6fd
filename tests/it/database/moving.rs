//! Queues that are copied between a file and a database.

#[cfg(debug_assertions)]
use std::process::Stdio;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use overnight::clock::SystemClock;
use overnight::domain::{PoolId, ProviderName};
use overnight::queue::copy::{self, CopyStore};
use overnight::queue::postgres::{Database, PostgresCopy, PostgresQueue};
use overnight::queue::sqlite::SqliteQueue;
use overnight::queue::{Loader as _, Queue, QueueError, RemovedRows, Staging};
use overnight_simulator::SimulatorOptions;

use crate::postgres_server;
use crate::queue::{batch, row};
use crate::support::{TestEnv, high_limits, wait_until};

const ROWS: usize = 12;

/// Returns an environment whose run was killed in the middle of a season: some rows are rendered, others at a
/// provider.
fn killed_in_the_middle() -> TestEnv {
    let env = TestEnv::new(SimulatorOptions {
        speed: 300.0,
        ..high_limits()
    });
    env.load(ROWS, "eachlabs,fal,aimlapi");
    let mut run = env.start(&["run", "--workers", "3"]);
    env.await_submissions(ROWS / 2);
    run.kill().expect("the process is killed");
    run.wait().expect("the process exits");
    env
}

#[test]
fn a_season_in_a_file_goes_on_in_a_database_from_two_machines_and_comes_back() {
    if !postgres_server::is_available() {
        return;
    }
    let env = killed_in_the_middle();
    let before = env.export();
    let url = postgres_server::create_database();
    let moved = env.run(&["queue", "copy", "overnight.db", &url]);
    assert_eq!(moved.code, 0, "{moved:?}");
    let old = env.run(&["run"]);
    assert_eq!(old.code, 1, "{old:?}");
    assert!(
        old.stderr.contains("overnight.db was moved to postgres://"),
        "{old:?}"
    );

    let env = env.on_database(url.clone());
    // What was under way is in doubt now, as after any kill.
    let states = |jobs: &[serde_json::Value]| {
        let states = jobs
            .iter()
            .map(|job| (job["id"].clone(), job["state"] == "succeeded"));
        states.collect::<Vec<_>>()
    };
    assert_eq!(states(&env.export()), states(&before));
    let mut other = env.start(&["run"]);
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(other.wait().expect("the process exits").success());
    env.assert_all_rendered_once(ROWS);
    let in_database = env.export();

    let back = env.run(&["queue", "copy", &url, "back.db"]);
    assert_eq!(back.code, 0, "{back:?}");
    let gone = env.run(&["status"]);
    assert_eq!(gone.code, 1, "{gone:?}");
    let env = env.on_file("back.db");
    assert_eq!(env.export(), in_database);
    env.assert_all_rendered_once(ROWS);
    assert_eq!(env.run(&["verify"]).code, 0);
    let doctor = env.run(&["doctor"]);
    assert!(
        doctor.stdout.contains("every stored counter agrees"),
        "{doctor:?}"
    );
}

#[test]
fn a_queue_is_never_copied_over_another_or_while_a_run_is_active() {
    if !postgres_server::is_available() {
        return;
    }
    let env = killed_in_the_middle();
    let url = postgres_server::create_database();
    let mut run = env.start(&["run", "--watch"]);
    env.await_submissions(ROWS);
    let refused = env.run(&["queue", "copy", "overnight.db", &url]);
    run.kill().expect("the process is killed");
    run.wait().expect("the process exits");
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("a run is active"), "{refused:?}");

    let other = TestEnv::new(high_limits()).on_database(url.clone());
    other.load(1, "fal");
    let refused = env.run(&["queue", "copy", "overnight.db", &url]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("there is a queue at postgres://"),
        "{refused:?}"
    );
    assert_eq!(other.export().len(), 1);
    assert_eq!(env.run(&["run"]).code, 0);
    env.assert_all_rendered_once(ROWS);
}

/// Asserts that a queue takes no run and no rows when it is moved while a run and a load have it open.
fn assert_takes_nothing_after(queue: &impl Queue, move_it: impl FnOnce()) {
    let mut staging = queue.stage(batch("late")).expect("nothing is written yet");
    move_it();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let joined = runtime.block_on(queue.join(PoolId("late".into())));
    let rows = [row("late", 1, 1, &[ProviderName::Fal])];
    let mut load = || {
        staging.add(&rows)?;
        staging.commit(RemovedRows::Keep)
    };
    let loaded = load();
    let again = load();
    for refused in [joined.err(), loaded.err(), again.err()] {
        let refused = refused.expect("an error").to_string();
        assert!(refused.contains(" was moved to "), "{refused}");
    }
}

#[test]
fn a_queue_that_is_moved_takes_no_run_and_no_rows_from_a_program_that_has_it_open() {
    if !postgres_server::is_available() {
        return;
    }
    let env = killed_in_the_middle();
    let url = postgres_server::create_database();
    let path = env.dir.path().join("overnight.db");
    let copy = |from: &str, to: &str| assert_eq!(env.run(&["queue", "copy", from, to]).code, 0);
    let file = SqliteQueue::open(&path, Arc::new(SystemClock)).expect("a queue");
    assert_takes_nothing_after(&file, || copy("overnight.db", &url));

    let address = url.clone().into();
    let database = Database::new(&address, &BTreeMap::new()).expect("a URL");
    let database = PostgresQueue::open(database, Arc::default()).expect("a queue");
    assert_takes_nothing_after(&database, || copy(&url, "back.db"));
}

/// Starts a copy of queues on a thread.
fn start_copy(
    mut from: impl CopyStore + 'static,
    mut to: impl CopyStore + 'static,
) -> JoinHandle<overnight::queue::Result<usize>> {
    std::thread::spawn(move || copy::copy(&mut from, &mut to))
}

fn database(url: &str) -> Database {
    Database::new(&url.to_owned().into(), &BTreeMap::new()).expect("a URL")
}

fn copy_store(url: &str) -> PostgresCopy {
    PostgresCopy::open(database(url)).expect("a connection")
}

/// Waits until connections to a database wait for locks.
fn await_waiting(url: &str, connections: i64) {
    let waiting = "(SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event_type = 'Lock')";
    wait_until("waiting for locks", || {
        postgres_server::number(url, waiting) == connections
    });
}

/// Opens the queue of a database, and a load into it that has added a row.
fn open_load(url: &str) -> (PostgresQueue, Box<dyn Staging>) {
    let queue = PostgresQueue::open_or_create(database(url), Arc::default()).expect("a queue");
    let mut staging = queue.stage(batch("night")).expect("a load");
    let rows = [row("chair", 1, 1, &[ProviderName::Fal])];
    staging.add(&rows).expect("a row");
    (queue, staging)
}

#[test]
fn of_two_copies_of_one_queue_at_once_one_is_made() {
    if !postgres_server::is_available() {
        return;
    }
    let places: Vec<String> = (0..3).map(|_| postgres_server::create_database()).collect();
    let (queue, mut staging) = open_load(&places[0]);
    staging.commit(RemovedRows::Keep).expect("the load");
    let (other, staging) = open_load(&places[0]);
    let copies = [1, 2].map(|to| start_copy(copy_store(&places[0]), copy_store(&places[to])));
    await_waiting(&places[0], 2);
    drop((staging, queue, other));
    let copied = copies.map(|copy| copy.join().expect("a copy"));
    let messages = copied.iter().filter_map(|copied| copied.as_ref().err());
    let messages: Vec<String> = messages.map(ToString::to_string).collect();
    assert_eq!(messages.len(), 1, "{copied:?}");
    assert!(messages[0].contains("was moved to"), "{messages:?}");
}

#[test]
fn a_queue_is_not_copied_to_where_rows_are_loaded_meanwhile() {
    if !postgres_server::is_available() {
        return;
    }
    let from = postgres_server::create_database();
    let to = postgres_server::create_database();
    let (_queue, mut staging) = open_load(&from);
    staging.commit(RemovedRows::Keep).expect("the load");
    let (_other, mut staging) = open_load(&to);
    let copy = start_copy(copy_store(&from), copy_store(&to));
    await_waiting(&to, 1);
    staging.commit(RemovedRows::Keep).expect("the load");
    let refused = copy.join().expect("a copy").expect_err("there is a queue");
    assert!(matches!(refused, QueueError::CopyExists(_)), "{refused:?}");
    assert_eq!(
        postgres_server::number(&to, "(SELECT count(*) FROM jobs)"),
        1
    );
}

#[cfg(debug_assertions)]
#[test]
fn a_copy_that_was_cut_leaves_one_usable_queue_and_is_finished_by_the_same_command() {
    if !postgres_server::is_available() {
        return;
    }
    for (point, is_moved) in [("copy committed", false), ("original marked", true)] {
        let env = killed_in_the_middle();
        let url = postgres_server::create_database();
        let copy = ["queue", "copy", "overnight.db", &url];
        let mut command = env.command(&copy);
        command
            .env("OVERNIGHT_FAILPOINT", point)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        assert!(!command.status().expect("the binary starts").success());
        let in_database = env.run(&["status", "--queue", &url]);
        assert_eq!(in_database.code, 1, "{in_database:?}");
        assert!(
            in_database.stderr.contains("unfinished copy"),
            "{in_database:?}"
        );
        assert_eq!(env.run(&["status"]).code, i32::from(is_moved));
        let finished = env.run(&copy);
        assert_eq!(finished.code, 0, "{point}: {finished:?}");
        let env = env.on_database(url);
        assert_eq!(env.run(&["run"]).code, 0);
        env.assert_all_rendered_once(ROWS);
    }
}

/// Creates a queue in a database as the first version of the schema had it. Returns its URL.
fn queue_of_the_first_version() -> String {
    let url = postgres_server::create_database();
    let first = include_str!("../../../src/queue/postgres/migrations/1.sql");
    let meta = "INSERT INTO meta VALUES ('queue_id', 'old'), ('schema_version', '1')";
    let schema = "CREATE SCHEMA overnight; SET search_path = overnight";
    postgres_server::execute(&url, &format!("{schema}; {first}; {meta}"));
    url
}

#[test]
fn a_queue_of_an_older_version_is_used_after_it_was_migrated() {
    if !postgres_server::is_available() {
        return;
    }
    let url = queue_of_the_first_version();
    let env = TestEnv::new(high_limits()).on_database(url.clone());
    let status = env.run(&["status"]);
    assert!(
        status.stderr.contains("run `overnight migrate` once"),
        "{status:?}"
    );
    let migrated = env.run(&["migrate"]);
    assert_eq!(migrated.code, 0, "{migrated:?}");
    env.load(3, "fal");
    assert_eq!(env.run(&["run"]).code, 0);
    env.assert_all_rendered_once(3);
    // Runs of the older version let the server number their attempts.
    assert_eq!(postgres_server::number(&url, "next_attempt()"), 4);
}

#[test]
fn a_queue_is_not_migrated_while_a_run_is_at_work_that_could_not_go_on() {
    if !postgres_server::is_available() {
        return;
    }
    let url = queue_of_the_first_version();
    let env = TestEnv::new(high_limits()).on_database(url.clone());
    let run = "INSERT INTO overnight.pools
        SELECT 'old', 'host', 1, 0, extract(epoch FROM clock_timestamp()) * 1000 + 60000";
    postgres_server::execute(&url, run);
    let refused = env.run(&["migrate"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("a run is active"), "{refused:?}");
    let ended = "UPDATE overnight.pools SET expires_at = expires_at - 60001";
    postgres_server::execute(&url, ended);
    assert_eq!(env.run(&["migrate"]).code, 0);
}

#[test]
fn a_newer_queue_is_used_by_the_versions_that_it_serves_and_copied_by_none_of_them() {
    if !postgres_server::is_available() {
        return;
    }
    let url = postgres_server::create_database();
    let env = TestEnv::new(high_limits()).on_database(url.clone());
    env.load(2, "fal");
    let migrated = "SET search_path = overnight;
        UPDATE meta SET value = '99' WHERE key = 'schema_version';
        ALTER TABLE rows ADD added TEXT;
        ALTER TABLE jobs ADD added TEXT;
        ALTER TABLE attempts ADD added BIGINT DEFAULT 5";
    postgres_server::execute(&url, migrated);
    env.load(4, "fal");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(4);
    assert_eq!(env.run(&["doctor"]).code, 0);
    let migrated = env.run(&["migrate"]);
    assert!(migrated.stdout.contains("version 99"), "{migrated:?}");
    let copied = env.run(&["queue", "copy", &url, "overnight.db"]);
    assert_eq!(copied.code, 1, "{copied:?}");
    assert!(copied.stderr.contains("newer version"), "{copied:?}");

    let narrowed = "UPDATE overnight.meta SET value = '99' WHERE key = 'oldest_version_served'";
    postgres_server::execute(&url, narrowed);
    for command in ["run", "status", "migrate"] {
        let refused = env.run(&[command]);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains("newer version"), "{refused:?}");
    }
}
