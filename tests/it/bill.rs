//! The bill adds up to the totals of `status`, whatever it is grouped by.

use overnight::clock::SystemClock;
use overnight::queue::sqlite::SqliteQueue;
use overnight::queue::{BillGrouping, BillSums, Reports};
use overnight_simulator::{Call, Fault, Faults, SimulatorOptions};
use serde_json::{Value, json};

use crate::support::{TestEnv, high_limits, micros, micros_as_f64};

const GROUPINGS: [&str; 4] = ["batch", "day", "model", "route"];

fn bill(env: &TestEnv, args: &[&str]) -> Value {
    let bill = env.run(&[&["bill", "--json"], args].concat());
    assert_eq!(bill.code, 0, "{bill:?}");
    serde_json::from_str(&bill.stdout).expect("one JSON object")
}

/// Asserts that the lines add up to the total, and that the total equals the sums of `status`.
fn assert_matches_status(env: &TestEnv) {
    let status = env.status();
    for by in GROUPINGS {
        let bill = bill(env, &["--by", by]);
        let lines = bill["lines"].as_array().expect("lines");
        for sum in [
            "cost_usd",
            "reserved_usd",
            "at_risk_usd",
            "estimate_usd",
            "refunded_usd",
        ] {
            let line_sum: f64 = lines.iter().map(|line| micros(&line[sum])).sum();
            assert_eq!(
                line_sum,
                micros(&bill["total"][sum]),
                "{sum} by {by}: {bill}"
            );
        }
        for (sum, status_field) in [
            ("cost_usd", "spent_usd"),
            ("reserved_usd", "reserved_usd"),
            ("at_risk_usd", "at_risk_usd"),
        ] {
            let batches = status["batches"].as_array().expect("batches");
            let status_sum: f64 = batches
                .iter()
                .map(|batch| micros(&batch[status_field]))
                .sum();
            assert_eq!(
                status_sum,
                micros(&bill["total"][sum]),
                "{sum} by {by}: {bill} {status}"
            );
        }
    }
}

#[test]
fn every_grouping_of_the_bill_matches_status_after_a_run_with_faults() {
    let faults = Faults::default()
        .with(Some(Call::Create), Fault::ServerError, 0.1)
        .with(Some(Call::Create), Fault::DropAfter, 0.06)
        .with(None, Fault::FailedPrediction, 0.3);
    // Without a history dropped submissions stay in doubt, so that money is spent, refunded and at
    // risk.
    let env = TestEnv::new(SimulatorOptions {
        faults,
        history: false,
        ..high_limits()
    });
    env.load(40, "eachlabs,fal");
    env.write_manifest("other.csv", 10);
    let load = ["load", "other.csv", "--model", "kling-v2.1-standard"];
    let loaded = env.run(&load);
    assert_eq!(loaded.code, 0, "{loaded:?}");
    assert_matches_status(&env);
    let run = env.run(&["run", "--attempts", "2"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert_matches_status(&env);

    let by_route = bill(&env, &["--by", "route"]);
    let total = &by_route["total"];
    assert!(total["refunds"].as_u64() > Some(0), "{total}");
    assert!(micros(&total["at_risk_usd"]) > 0.0, "{total}");
    assert!(total["refused"].as_u64() > Some(0), "{total}");
    assert_eq!(
        by_route["lines"].as_array().map(Vec::len),
        Some(3),
        "{by_route}"
    );
    // A submission in doubt may have been charged, at most once.
    let in_doubt = micros_as_f64(env.ledger().charged()) - micros(&total["cost_usd"]);
    assert!(
        (0.0..=micros(&total["at_risk_usd"])).contains(&in_doubt),
        "{in_doubt}: {total}"
    );
    let attempts: u64 = env
        .export()
        .iter()
        .filter_map(|job| job["attempts"].as_u64())
        .sum();
    assert_eq!(total["attempts"].as_u64(), Some(attempts));

    let of_one_batch = bill(&env, &["--batch", "other"]);
    assert_eq!(of_one_batch["lines"].as_array().map(Vec::len), Some(1));
    let spent = env.status()["batches"][1]["spent_usd"].clone();
    assert_eq!(of_one_batch["total"]["cost_usd"], spent);
}

#[test]
fn the_bill_prints_a_line_per_batch_and_a_total() {
    let env = TestEnv::new(high_limits());
    env.run_all(4, "eachlabs");
    let bill = env.run(&["bill"]);
    let expected = "\
batch  attempts  refused  estimate  cost    not charged  reserved  at risk
batch  4         0        $1.125    $1.125  -            $0.00     $0.00
total  4         0        $1.125    $1.125  -            $0.00     $0.00
";
    assert_eq!((bill.code, bill.stdout.as_str()), (0, expected), "{bill:?}");
}

#[test]
fn the_json_fields_of_the_bill_are_stable() {
    let env = TestEnv::new(high_limits());
    env.load(1, "fal");
    let sums = json!({
        "attempts": 0,
        "refused": 0,
        "estimate_usd": "0",
        "cost_usd": "0",
        "refunds": 0,
        "refunded_usd": "0",
        "reserved_usd": "0",
        "at_risk_usd": "0",
    });
    let mut line = sums.clone();
    line["batch"] = json!("batch");
    assert_eq!(
        bill(&env, &[]),
        json!({ "by": "batch", "lines": [line], "total": sums })
    );
    assert_eq!(
        bill(&env, &["--by", "day"]),
        json!({ "by": "day", "lines": [], "total": sums })
    );
}

#[test]
fn the_bill_of_an_unknown_batch_fails_and_names_the_known_ones() {
    let env = TestEnv::new(high_limits());
    env.load(1, "fal");
    let bill = env.run(&["bill", "--batch", "sprong"]);
    assert_eq!(bill.code, 2);
    assert!(
        bill.stderr
            .contains("there is no batch `sprong`; existing batches: batch"),
        "{bill:?}"
    );
}

#[test]
fn the_period_of_a_bill_starts_before_it_ends() {
    let env = TestEnv::new(high_limits());
    env.run_all(3, "fal");
    let clock = std::sync::Arc::new(SystemClock);
    let queue = SqliteQueue::open(&env.dir.path().join("overnight.db"), clock).expect("the queue");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let lines = runtime
        .block_on(queue.bill(BillGrouping::Route, None))
        .expect("a bill");
    let total: BillSums = lines.into_iter().map(|line| line.sums).sum();
    assert!(
        total.first_submitted_at.is_some() && total.first_submitted_at < total.last_finished_at,
        "{total:?}"
    );
    assert_eq!(BillGrouping::ALL.map(BillGrouping::as_str), GROUPINGS);
}
