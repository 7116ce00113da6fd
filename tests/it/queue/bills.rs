//! What attempts have cost, summed up.

use overnight::domain::{Attempt, AttemptState, Cost, CostSource, Job, Money, Outcome};
use overnight::policy::claim::BatchView;
use overnight::queue::{BillGrouping, BillLine, BillSums, Step};

use super::{Harness, PRICE, Store, run_for_each_store, seconds};

run_for_each_store!(a_bill_sums_up_the_attempts_by_batch_day_model_or_route);

/// Returns the bill of these attempts, as every store must answer it: by batch, with a line for each of
/// the given batches in their order, or by anything else, in order of its name.
pub(super) fn bill<'a>(
    by: BillGrouping,
    batches: impl Iterator<Item = &'a BatchView>,
    attempts: impl Iterator<Item = (&'a Job, &'a Attempt)>,
) -> Vec<BillLine> {
    let new_line = |name: String| BillLine {
        name,
        sums: BillSums::default(),
    };
    let mut lines: Vec<BillLine> = match by {
        BillGrouping::Batch => batches.map(|batch| new_line(batch.name.clone())).collect(),
        _ => Vec::new(),
    };
    for (job, attempt) in attempts {
        let name = match by {
            BillGrouping::Batch => job.batch.clone(),
            BillGrouping::Day => attempt.submitted_at.strftime("%Y-%m-%d").to_string(),
            BillGrouping::Model => job.model.clone(),
            BillGrouping::Route => format!("{}/{}", attempt.provider, attempt.wire_model),
        };
        let index = lines.iter().position(|line| line.name == name);
        let index = index.unwrap_or_else(|| {
            lines.push(new_line(name));
            lines.len() - 1
        });
        lines[index].sums = lines[index].sums + sums_of(attempt);
    }
    if by != BillGrouping::Batch {
        lines.sort_by(|line, other| line.name.cmp(&other.name));
    }
    lines
}

fn sums_of(attempt: &Attempt) -> BillSums {
    let progress = &attempt.progress;
    let estimate = |counts: bool| {
        if counts {
            progress.estimate
        } else {
            Money::ZERO
        }
    };
    let is_presumed = progress.state == AttemptState::PresumedAbsent;
    let is_refused =
        is_presumed || matches!(progress.state, AttemptState::Refused | AttemptState::Absent);
    let cost = progress.cost.map(|cost| cost.amount);
    let is_refund = cost == Some(Money::ZERO);
    BillSums {
        attempts: u64::from(!is_refused),
        refused: u64::from(is_refused),
        estimate_usd: estimate(cost.is_some()),
        cost_usd: cost.unwrap_or(Money::ZERO),
        refunds: u64::from(is_refund),
        refunded_usd: estimate(is_refund),
        reserved_usd: estimate(progress.state.is_open() || is_presumed),
        at_risk_usd: estimate(progress.state == AttemptState::InDoubt || is_presumed),
        first_submitted_at: Some(attempt.submitted_at),
        last_finished_at: progress.finished_at,
    }
}

async fn a_bill_sums_up_the_attempts_by_batch_day_model_or_route<S: Store>(harness: Harness<S>) {
    harness.load("c", &[10, 11]);
    harness.load("a", &[]);
    harness.load_rows(4);
    let claims = harness.claim("one", 5).await;
    harness.accept(&claims[0], "p0").await;
    harness.lose_response(&claims[1]).await;
    let rejected = Outcome::Rejected {
        reason: "no".into(),
    };
    harness.record(&claims[2], rejected).await;
    let poll = harness.claim_step(Step::Poll).await;
    harness.at(seconds(24 * 3600));
    let failed = Outcome::PredictionFailed {
        reason: "no".into(),
        cost: Cost {
            amount: Money::ZERO,
            source: CostSource::Reported,
        },
    };
    harness.record(&poll, failed).await;
    harness.claim("one", 5).await;
    let price = Money::from_micros(PRICE);
    let mut bills = Vec::new();
    for by in BillGrouping::ALL {
        let bill = harness.queue.bill(by, None).await.expect("a bill");
        let total: BillSums = bill.iter().map(|line| line.sums).sum();
        assert_eq!((total.attempts, total.refused), (5, 1), "{by:?}");
        assert_eq!((total.refunds, total.refunded_usd), (1, price), "{by:?}");
        assert_eq!(total.reserved_usd, Money::from_micros(4 * PRICE), "{by:?}");
        assert_eq!(total.at_risk_usd, price, "{by:?}");
        bills.push(bill);
    }
    let names = |bill: &Vec<BillLine>| -> Vec<String> {
        bill.iter().map(|line| line.name.clone()).collect()
    };
    assert_eq!(names(&bills[0]), ["b", "c", "a"]);
    assert_eq!(names(&bills[1]), ["2026-08-20", "2026-08-21"]);
    assert_eq!(names(&bills[2]), ["kling-v1-standard"]);
    assert_eq!(bills[3].len(), 1);
    let of_batch = harness.queue.bill(BillGrouping::Day, Some("c".into()));
    let of_batch = of_batch.await.expect("a bill");
    assert_eq!(
        of_batch.iter().map(|line| line.sums.attempts).sum::<u64>(),
        2
    );
}
