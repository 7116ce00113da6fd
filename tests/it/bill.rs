//! The bill adds up to the books, whatever it is summed by.

use overnight::queue::sqlite::SqliteQueue;
use overnight::queue::{BillBy, BillSums, Queue};
use overnight::simulator::{Call, Fault, Faults, SimulatorOptions};
use serde_json::{Value, json};

use crate::support::{TestEnv, high_limits, micros, micros_of};

const WAYS: [&str; 4] = ["batch", "day", "model", "route"];

fn bill(workplace: &TestEnv, args: &[&str]) -> Value {
    let bill = workplace.run(&[&["bill", "--json"], args].concat());
    assert_eq!(bill.code, 0, "{bill:?}");
    serde_json::from_str(&bill.stdout).expect("one JSON object")
}

/// Every line together is the total, and the total is what the batches have in their books.
fn assert_is_the_books(workplace: &TestEnv) {
    let books = workplace.status();
    for by in WAYS {
        let bill = bill(workplace, &["--by", by]);
        let lines = bill["lines"].as_array().expect("lines");
        for sum in [
            "cost_usd",
            "reserved_usd",
            "at_risk_usd",
            "estimate_usd",
            "refunded_usd",
        ] {
            let of_lines: f64 = lines.iter().map(|line| micros(&line[sum])).sum();
            assert_eq!(
                of_lines,
                micros(&bill["total"][sum]),
                "{sum} by {by}: {bill}"
            );
        }
        for (sum, kept) in [
            ("cost_usd", "spent_usd"),
            ("reserved_usd", "reserved_usd"),
            ("at_risk_usd", "at_risk_usd"),
        ] {
            let batches = books["batches"].as_array().expect("batches");
            let kept: f64 = batches.iter().map(|batch| micros(&batch[kept])).sum();
            assert_eq!(
                kept,
                micros(&bill["total"][sum]),
                "{sum} by {by}: {bill} {books}"
            );
        }
    }
}

#[test]
fn a_bill_is_the_books_by_batch_day_model_and_route_after_a_night_of_faults() {
    let faults = Faults::default()
        .with(Some(Call::Create), Fault::ServerError, 0.1)
        .with(Some(Call::Create), Fault::DropAfter, 0.06)
        .with(None, Fault::FailedPrediction, 0.3);
    // Without a history what was dropped stays in doubt: the books have money spent, refunded and at risk.
    let workplace = TestEnv::new(SimulatorOptions {
        faults,
        history: false,
        ..high_limits()
    });
    workplace.load(40, "eachlabs,fal");
    workplace.manifest("other.csv", 10);
    let other = ["load", "other.csv", "--model", "kling-v2.1-standard"];
    let loaded = workplace.run(&other);
    assert_eq!(loaded.code, 0, "{loaded:?}");
    assert_is_the_books(&workplace);
    let run = workplace.run(&["run", "--attempts", "2"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert_is_the_books(&workplace);

    let by_route = bill(&workplace, &["--by", "route"]);
    let total = &by_route["total"];
    assert!(
        total["refunds"].as_u64() > Some(0) && micros(&total["at_risk_usd"]) > 0.0,
        "{total}"
    );
    assert!(total["refused"].as_u64() > Some(0), "{total}");
    assert_eq!(
        by_route["lines"].as_array().map(Vec::len),
        Some(3),
        "{by_route}"
    );
    // What is in doubt may have been paid, and was paid once at most.
    let in_doubt = micros_of(workplace.ledger().charged()) - micros(&total["cost_usd"]);
    assert!(
        (0.0..=micros(&total["at_risk_usd"])).contains(&in_doubt),
        "{in_doubt}: {total}"
    );
    let attempts: u64 = workplace
        .export()
        .iter()
        .filter_map(|job| job["attempts"].as_u64())
        .sum();
    assert_eq!(total["attempts"].as_u64(), Some(attempts));

    let one = bill(&workplace, &["--batch", "other"]);
    assert_eq!(one["lines"].as_array().map(Vec::len), Some(1));
    let spent = workplace.status()["batches"][1]["spent_usd"].clone();
    assert_eq!(one["total"]["cost_usd"], spent);
}

#[test]
fn a_bill_in_dollars_has_a_line_each_and_a_total() {
    let workplace = TestEnv::new(high_limits());
    workplace.make_all(4, "eachlabs");
    let bill = workplace.run(&["bill"]);
    let said = "\
batch  attempts  refused  estimate  cost    refunds  reserved  at risk
batch  4         0        $1.125    $1.125  -        $0.00     $0.00
total  4         0        $1.125    $1.125  -        $0.00     $0.00
";
    assert_eq!((bill.code, bill.stdout.as_str()), (0, said), "{bill:?}");
}

#[test]
fn the_keys_of_a_bill_do_not_change() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(1, "fal");
    let sums = json!({
        "attempts": 0, "refused": 0, "estimate_usd": "0", "cost_usd": "0", "refunds": 0, "refunded_usd": "0",
        "reserved_usd": "0", "at_risk_usd": "0",
    });
    let mut line = sums.clone();
    line["batch"] = json!("batch");
    assert_eq!(
        bill(&workplace, &[]),
        json!({ "by": "batch", "lines": [line], "total": sums })
    );
    assert_eq!(
        bill(&workplace, &["--by", "day"]),
        json!({ "by": "day", "lines": [], "total": sums })
    );
}

#[test]
fn a_bill_of_a_batch_that_is_not_there_names_those_that_are() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(1, "fal");
    let bill = workplace.run(&["bill", "--batch", "sprong"]);
    assert_eq!(bill.code, 2);
    assert!(
        bill.stderr
            .contains("there is no batch `sprong`; there is batch"),
        "{bill:?}"
    );
}

#[test]
fn the_time_of_a_bill_goes_from_the_first_submission_to_the_last_end() {
    let workplace = TestEnv::new(high_limits());
    workplace.make_all(3, "fal");
    let queue = SqliteQueue::open(&workplace.dir.path().join("overnight.db")).expect("the queue");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let lines = runtime
        .block_on(queue.bill(BillBy::Route, None))
        .expect("a bill");
    let total: BillSums = lines.into_iter().map(|line| line.sums).sum();
    assert!(
        total.from.is_some() && total.from < total.until,
        "{total:?}"
    );
    assert_eq!(BillBy::ALL.map(BillBy::as_str), WAYS);
}
