//! Refusals of money and rate that pass by themselves, and bills that differ from the catalogue. The
//! judge is the simulator's ledger.

use overnight_simulator::{Call, Fault, Faults, SimulatorOptions};
use serde_json::json;

use crate::support::{TestEnv, high_limits, micros, micros_as_f64, wait_until};

/// The route of the tests at fal.
const FAL_MODEL: &str = "fal-ai/kling-video/v1/standard/image-to-video";

/// The route of the tests at each::labs.
const EACHLABS_ROUTE: &str = "eachlabs/kling-v1-standard-image-to-video";

#[test]
fn a_balance_that_the_predictions_in_progress_use_up_is_waited_for() {
    let env = TestEnv::new(SimulatorOptions {
        affordable_at_once: Some(3),
        ..high_limits()
    });
    env.load(9, "eachlabs");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(9);
    let held = "submits to eachlabs are held: eachlabs returned 402";
    assert!(run.stderr.contains(held), "{run:?}");
    assert!(!run.stderr.contains("is paused"), "{run:?}");
}

#[test]
fn repeated_rate_limits_are_answered_with_silence_and_one_submission() {
    let env = TestEnv::new(SimulatorOptions {
        silence_s: Some(0.9),
        ..high_limits()
    });
    env.load(3, "eachlabs");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(3);
    // Three at once, those that were refused once more, and one alone; the same for the last two.
    let creates = env.ledger().creates_seen;
    assert!(creates <= 14, "{creates} submissions for 3 rows");
}

#[test]
fn a_locked_model_is_tried_again_by_itself_with_one_submission() {
    let env = TestEnv::new(SimulatorOptions {
        locked_models: vec![FAL_MODEL.into()],
        ..high_limits()
    });
    env.load(4, "fal");
    let mut run = env.start(&["run"]);
    // At most four at once before the lock is known, then one each time.
    wait_until("another try", || env.ledger().creates_seen >= 6);
    let status = env.status();
    let held = status["routes"][0]["held"].as_str().unwrap_or("");
    let is_held = held.contains("User is locked. Reason: Admin lock") || held.is_empty();
    assert!(is_held, "{status}");
    assert_eq!(status["providers"][2]["paused"], json!(null), "{status}");
    assert_eq!(env.ledger().entries.len(), 0);
    env.simulator
        .update_options(|options| options.locked_models.clear());
    assert_eq!(run.wait().expect("it ended").code(), Some(0));
    env.assert_all_rendered_once(4);
}

#[test]
fn a_quota_of_hours_holds_submissions_and_not_the_predictions_in_progress() {
    let env = TestEnv::new(high_limits());
    env.load(30, "eachlabs");
    let mut run = env.start(&["run"]);
    env.await_submissions(5);
    let mut faults = Faults::default().with(Some(Call::Create), Fault::RateLimited, 1.0);
    faults.retry_after_s = 7200;
    env.simulator.set_faults(faults);
    let jobs = |state: &str| env.status()["batches"][0]["jobs"][state].as_u64();
    wait_until("the end of what is in progress", || {
        let accepted = u64::try_from(env.ledger().entries.len()).ok();
        jobs("succeeded") == accepted && env.status()["providers"][0]["held"].is_string()
    });
    let status = env.status();
    let held = status["providers"][0]["held"].as_str().expect("a reason");
    assert!(
        held.contains("submits held for") && held.contains("429"),
        "{held}"
    );
    assert_eq!(env.ledger().ignored_retry_after, 0);
    run.kill().expect("killed");
    run.wait().expect("it ended");
    // Another run holds its submissions as well.
    let creates = env.ledger().creates_seen;
    let mut run = env.start(&["run"]);
    wait_until("a run", || {
        !env.run(&["status"]).stdout.contains("no run is active")
    });
    run.kill().expect("killed");
    run.wait().expect("it ended");
    assert_eq!(env.ledger().creates_seen, creates);
}

#[test]
fn a_price_ten_times_the_catalogs_stops_the_model_until_it_is_accepted() {
    let env = TestEnv::new(SimulatorOptions {
        price_factor: 10,
        ..high_limits()
    });
    env.load(40, "eachlabs");
    let run = env.run(&["run", "--budget", "3"]);
    assert_eq!(run.code, 1, "{run:?}");
    for figure in ["where the catalog says", "ctl accept-price", EACHLABS_ROUTE] {
        assert!(run.stderr.contains(figure), "{figure}: {run:?}");
    }
    let ledger = env.ledger();
    let first_bill = ledger.entries.len();
    assert!(first_bill < 40, "{first_bill} submissions");
    // Without an answer nothing more is submitted.
    assert_eq!(env.run(&["run", "--budget", "3"]).code, 1);
    assert_eq!(env.ledger().entries.len(), first_bill);

    let accepted = env.run(&["ctl", "accept-price", EACHLABS_ROUTE]);
    assert_eq!(accepted.code, 0, "{accepted:?}");
    // What is reserved now is what is billed: the budget holds.
    let charged = micros_as_f64(ledger.charged());
    let run = env.run(&["run", "--budget", &format!("{}", charged / 1e6 + 2.3)]);
    assert_eq!(run.code, 4, "{run:?}");
    let spent = micros(&env.status()["batches"][0]["spent_usd"]);
    assert!(spent <= charged + 2.3e6, "{spent}");
    assert_eq!(spent, micros_as_f64(env.ledger().charged()));
}
