//! A provider's queue that does not move: what waits in it is cancelled before anything else is
//! tried, and nothing is paid for it.

use std::process::Child;

use overnight_simulator::{Api, Entry, SimulatorOptions};
use rusqlite::Connection;
use serde_json::json;

use crate::support::{TestEnv, high_limits, micros, micros_as_f64, wait_until};

const MINUTE_MS: i64 = 60 * 1000;

/// A run that is killed when it is dropped, also if the test fails.
struct BackgroundRun(Child);

impl BackgroundRun {
    fn start(env: &TestEnv) -> Self {
        Self(env.start(&["run"]))
    }
}

impl Drop for BackgroundRun {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An environment in which fal's queue stands still, and `rows` rows wait in it for an hour: longer
/// than a prediction is waited for.
fn waiting_in_queue(rows: usize, via: &str, ignores_cancellations: bool) -> TestEnv {
    waiting_in_queue_for(60 * MINUTE_MS, rows, via, ignores_cancellations)
}

fn waiting_in_queue_for(
    age_ms: i64,
    rows: usize,
    via: &str,
    ignores_cancellations: bool,
) -> TestEnv {
    let env = TestEnv::new(SimulatorOptions {
        fal_queue_stalls: true,
        ignores_cancellations,
        ..high_limits()
    });
    env.load(rows, via);
    let run = BackgroundRun::start(&env);
    env.await_submissions(rows);
    let is_polled = |entry: &Entry| entry.polls > 0;
    wait_until("a poll of every row", || {
        env.ledger().entries.iter().all(is_polled)
    });
    drop(run);
    age_attempts(&env, age_ms);
    env
}

/// Makes each attempt older.
fn age_attempts(env: &TestEnv, by_ms: i64) {
    let queue = Connection::open(env.dir.path().join("overnight.db")).expect("the queue");
    let older = "UPDATE attempts SET submitted_at = submitted_at - ?1";
    queue.execute(older, [by_ms]).expect("updated");
}

#[test]
fn what_never_leaves_the_queue_is_cancelled_unpaid_and_rendered_elsewhere() {
    let env = waiting_in_queue(2, "fal,eachlabs", false);
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    let ledger = env.ledger();
    let at_fal: Vec<_> = ledger
        .entries
        .iter()
        .filter(|entry| entry.api == Api::Fal)
        .collect();
    assert_eq!(at_fal.len(), 2);
    assert!(at_fal.iter().all(|entry| !entry.succeeds), "{at_fal:?}");
    assert_eq!(ledger.entries.len(), 4);
    env.assert_clips_and_costs(2);
    for job in env.export() {
        assert_eq!(job["provider"], "eachlabs", "{job}");
    }
}

#[test]
fn a_cancellation_that_is_not_confirmed_stays_booked_and_a_retry_polls_it_again() {
    let env = waiting_in_queue(1, "fal", true);
    let run = env.run(&["run"]);
    assert_eq!(run.code, 3, "{run:?}");
    let job = &env.export()[0];
    let id = env.ledger().entries[0].prediction_id.clone();
    assert_eq!(
        (&job["state"], &job["prediction_id"]),
        (&json!("failed"), &json!(id))
    );
    let error = job["error"].as_str().expect("a reason");
    for part in ["in fal's queue at position ", "not confirmed", &id] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let price = micros_as_f64(env.ledger().entries[0].price);
    assert_eq!(micros(&env.status()["batches"][0]["spent_usd"]), price);
    for command in [&["jobs"][..], &["show", "row-0"]] {
        let shown = env.run(command);
        assert!(shown.stdout.contains("at position 0"), "{shown:?}");
    }
    env.simulator
        .update_options(|options| options.fal_queue_stalls = false);
    wait_until("the clip", || {
        env.run(&["retry"]);
        env.run(&["run"]).code == 0
    });
    env.assert_all_rendered_once(1);
}

#[test]
fn a_queue_that_moves_again_renders_what_was_cancelled_without_paying_for_it() {
    let env = waiting_in_queue(2, "fal", false);
    let mut run = BackgroundRun::start(&env);
    // Both are cancelled and submitted again.
    env.await_submissions(4);
    env.simulator
        .update_options(|options| options.fal_queue_stalls = false);
    let code = run.0.wait().expect("ended").code();
    assert_eq!(code, Some(0));
    assert_eq!(env.ledger().entries.len(), 4);
    env.assert_clips_and_costs(2);
}

#[test]
fn a_long_wait_in_the_queue_is_shown_with_its_position_and_holds_submissions() {
    // Longer than a wait is usual, shorter than it is given up.
    let env = waiting_in_queue_for(20 * MINUTE_MS, 2, "fal", false);
    let run = BackgroundRun::start(&env);
    for command in [&["status"][..], &["jobs"], &["show", "row-0"]] {
        wait_until("the position", || {
            let shown = env.run(command);
            shown.stdout.contains("in fal's queue at position ")
        });
    }
    drop(run);
    assert!(env.run(&["status"]).stdout.contains("submits held"));
    assert_eq!(env.ledger().entries.len(), 2);
}
