//! Leases, heartbeats, and the takeover of pools that are gone.

use std::sync::Arc;

use overnight::domain::{JobState, Money, Outcome, PredictionHandle};
use overnight::queue::{Claim, Completed, Decision, QueueError, Recorded, Selection, Step};

use super::{Harness, PRICE, Store, pool, run_for_each_store, seconds};

run_for_each_store!(
    a_write_after_the_lease_is_lost_is_refused_and_changes_nothing,
    a_prediction_accepted_after_the_lease_was_lost_is_polled_by_the_job_in_doubt,
    a_prediction_accepted_after_its_submission_was_taken_to_be_absent_is_not_paid_again,
    a_prediction_accepted_after_its_job_was_given_up_is_kept_for_a_retry,
    a_late_response_about_an_attempt_that_was_followed_by_another_changes_nothing,
    a_record_with_a_lost_lease_undoes_no_other_record_of_its_turn,
    a_cancelled_job_ends_the_lease_of_its_step,
    a_job_that_crashes_ten_pools_in_a_row_fails_and_keeps_its_prediction,
    a_pool_that_renews_after_its_machine_slept_is_not_taken_over,
    a_pool_that_was_removed_claims_nothing_more,
    a_held_lease_outlasts_the_records_of_a_running_job,
    a_held_job_that_is_not_due_keeps_its_due_time_when_its_pool_is_gone,
    a_pool_finds_out_that_a_job_it_holds_was_cancelled,
);

async fn a_write_after_the_lease_is_lost_is_refused_and_changes_nothing<S: Store>(
    harness: Harness<S>,
) {
    harness.load_rows(1);
    let claim = harness.claim("one", 1).await.remove(0);
    harness.at(seconds(46));
    // The pool has not renewed, so its lease has expired although its process is alive. Another
    // process takes over on its second check.
    let other = harness.store.open();
    assert_eq!(harness.queue.take_over().await.expect("taken over"), 0);
    assert_eq!(other.take_over().await.expect("taken over"), 0);
    assert_eq!(other.take_over().await.expect("taken over"), 1);
    let rejected = Outcome::Rejected {
        reason: "422".into(),
    };
    let recorded = harness.try_record(&claim, rejected).await;
    assert_eq!(recorded.expect("a turn"), Recorded::LeaseLost);
    let job = harness.job("r0").await;
    assert_eq!(
        (job.state, job.prediction_id.as_deref()),
        (JobState::InDoubt, None)
    );
    assert_eq!(job.at_risk(), Money::from_micros(PRICE));
}

/// Submits the only row and loses its lease during the call.
async fn lose_lease_of_submission<S: Store>(harness: &Harness<S>) -> Claim {
    harness.load_rows(1);
    let claim = harness.claim_step(Step::Submit).await;
    harness.queue.leave(pool("one")).await.expect("left");
    harness.queue.join(pool("one")).await.expect("a pool");
    assert_eq!(harness.job("r0").await.state, JobState::InDoubt);
    claim
}

async fn resolve<S: Store>(harness: &Harness<S>, claim: &Claim, decision: Decision) {
    let resolved = harness.queue.resolve(claim.lease.job_id, decision).await;
    resolved.expect("resolved");
}

async fn a_prediction_accepted_after_the_lease_was_lost_is_polled_by_the_job_in_doubt<S: Store>(
    harness: Harness<S>,
) {
    let claim = lose_lease_of_submission(&harness).await;
    // Another step searches the history at this moment.
    let search = harness.claim_step(Step::Reconcile).await;
    harness.accept(&claim, "p").await;
    let absent = Outcome::Absent {
        is_proven: true,
        due_at: harness.now(),
    };
    let recorded = harness.try_record(&search, absent).await;
    assert_eq!(recorded.expect("a turn"), Recorded::LeaseLost);
    let poll = harness.claim_step(Step::Poll).await;
    assert_eq!(
        poll.attempt.progress.prediction,
        Some(PredictionHandle::from_id("p"))
    );
    let status = harness.batch_status("b").await;
    assert_eq!(
        (status.reserved, status.at_risk),
        (Money::from_micros(PRICE), Money::ZERO)
    );
    assert_eq!(harness.job("r0").await.attempts, 1);
}

async fn a_prediction_accepted_after_its_submission_was_taken_to_be_absent_is_not_paid_again<
    S: Store,
>(
    harness: Harness<S>,
) {
    let claim = lose_lease_of_submission(&harness).await;
    resolve(&harness, &claim, Decision::Resubmit).await;
    assert_eq!(harness.job("r0").await.state, JobState::Queued);
    harness.accept(&claim, "p").await;
    let job = harness.job("r0").await;
    assert_eq!(
        (job.state, job.prediction_id.as_deref(), job.attempts),
        (JobState::Running, Some("p"), 1)
    );
    let status = harness.batch_status("b").await;
    assert_eq!(status.reserved, Money::from_micros(PRICE));
    let mismatches = harness.queue.verify_counters().await.expect("verified");
    assert_eq!(mismatches, []);
    harness.claim_step(Step::Poll).await;
}

async fn a_prediction_accepted_after_its_job_was_given_up_is_kept_for_a_retry<S: Store>(
    harness: Harness<S>,
) {
    let claim = lose_lease_of_submission(&harness).await;
    resolve(&harness, &claim, Decision::Fail).await;
    let accepted = Outcome::Accepted {
        prediction: PredictionHandle::from_id("p"),
        early_cost: None,
        due_at: harness.now(),
    };
    assert_eq!(harness.record(&claim, accepted).await, JobState::Failed);
    let spent = harness.batch_status("b").await.spent;
    assert_eq!(spent, Money::from_micros(PRICE));
    let retried = harness.queue.retry(Selection::default()).await;
    assert_eq!(retried.expect("retried"), 1);
    let poll = harness.claim_step(Step::Poll).await;
    assert_eq!(
        poll.attempt.progress.prediction,
        Some(PredictionHandle::from_id("p"))
    );
}

async fn a_late_response_about_an_attempt_that_was_followed_by_another_changes_nothing<S: Store>(
    harness: Harness<S>,
) {
    let claim = lose_lease_of_submission(&harness).await;
    resolve(&harness, &claim, Decision::Resubmit).await;
    let again = harness.claim_step(Step::Submit).await;
    let accepted = Outcome::Accepted {
        prediction: PredictionHandle::from_id("late"),
        early_cost: None,
        due_at: harness.now(),
    };
    let recorded = harness.try_record(&claim, accepted).await;
    assert_eq!(recorded.expect("a turn"), Recorded::LeaseLost);
    harness.accept(&again, "p").await;
    let job = harness.job("r0").await;
    assert_eq!(job.prediction_id.as_deref(), Some("p"));
}

async fn a_record_with_a_lost_lease_undoes_no_other_record_of_its_turn<S: Store>(
    harness: Harness<S>,
) {
    harness.load_rows(2);
    let claims = harness.claim("one", 2).await;
    harness.accept(&claims[0], "p0").await;
    let completed = claims.iter().zip(["late", "p1"]).map(|(claim, id)| {
        let prediction = PredictionHandle::from_id(id);
        Completed::Step {
            claim: claim.clone().into(),
            unrecorded_polls: 0,
            outcome: Outcome::Accepted {
                prediction,
                early_cost: None,
                due_at: harness.now(),
            },
            signal: None,
        }
    });
    let recorded = harness.complete(completed.collect()).await;
    let recorded = recorded.expect("a turn");
    assert_eq!(recorded[0], Recorded::LeaseLost);
    assert!(matches!(
        recorded[1],
        Recorded::Job {
            state: JobState::Running,
            ..
        }
    ));
    let ids = [harness.job("r0").await, harness.job("r1").await].map(|job| job.prediction_id);
    assert_eq!(ids, [Some("p0".into()), Some("p1".into())]);
}

async fn a_cancelled_job_ends_the_lease_of_its_step<S: Store>(harness: Harness<S>) {
    harness.load_rows(1);
    let submit = harness.claim_step(Step::Submit).await;
    harness.accept(&submit, "p").await;
    let poll = harness.claim_step(Step::Poll).await;
    let selection = Selection {
        jobs: vec!["r0".into()],
        ..Selection::default()
    };
    let cancelled = harness.queue.cancel(selection).await.expect("cancelled");
    assert_eq!(cancelled.in_progress.len(), 1);
    let wait = Outcome::Wait {
        due_at: Some(harness.now()),
        failure: None,
    };
    let recorded = harness.try_record(&poll, wait).await;
    assert_eq!(recorded.expect("a turn"), Recorded::LeaseLost);
    assert_eq!(harness.job("r0").await.state, JobState::Cancelled);
}

async fn a_job_that_crashes_ten_pools_in_a_row_fails_and_keeps_its_prediction<S: Store>(
    harness: Harness<S>,
) {
    harness.load_rows(1);
    let claim = harness.claim("one", 1).await.remove(0);
    harness.accept(&claim, "p").await;
    let mut elapsed = seconds(0);
    for crash in 0..10 {
        let name = format!("crash-{crash}");
        harness.queue.join(pool(&name)).await.expect("a pool");
        assert_eq!(harness.claim(&name, 1).await.len(), 1, "{crash}");
        harness.queue.leave(pool(&name)).await.expect("left");
        // Due at once after the first crash, and with growing delays after that.
        if crash == 1 {
            assert_eq!(harness.claim("one", 1).await.len(), 0);
        }
        elapsed += seconds(if crash == 0 { 0 } else { 32 });
        harness.at(elapsed);
    }
    let job = harness.job("r0").await;
    let cost = Some(Money::from_micros(PRICE));
    assert_eq!((job.state, job.cost_usd), (JobState::Failed, cost));
    let retried = harness.queue.retry(Selection::default()).await;
    assert_eq!(retried.expect("retried"), 1);
    let job = harness.job("r0").await;
    assert_eq!(
        (job.state, job.prediction_id.as_deref(), job.cost_usd),
        (JobState::Running, Some("p"), None)
    );
}

async fn a_pool_that_renews_after_its_machine_slept_is_not_taken_over<S: Store>(
    harness: Harness<S>,
) {
    harness.load_rows(1);
    let claim = harness.claim("one", 1).await.remove(0);
    let other = harness.store.open();
    harness.at(seconds(8 * 3600));
    assert_eq!(other.take_over().await.expect("taken over"), 0);
    harness.queue.heartbeat(pool("one")).await.expect("renewed");
    harness.at(seconds(8 * 3600 + 1));
    assert_eq!(other.take_over().await.expect("taken over"), 0);
    harness.accept(&claim, "p").await;
}

async fn a_pool_that_was_removed_claims_nothing_more<S: Store>(harness: Harness<S>) {
    harness.load_rows(1);
    harness.queue.leave(pool("one")).await.expect("left");
    let lost = |result: Result<(), QueueError>| matches!(result, Err(QueueError::PoolLost(_)));
    assert!(lost(harness.try_claim("one", 1).await.map(drop)));
    assert!(lost(harness.queue.heartbeat(pool("one")).await));
    assert_eq!(harness.job("r0").await.state, JobState::Queued);
}

/// Submits the only row and holds its job, whose first poll is due after `due_in` seconds.
async fn hold_first_job<S: Store>(harness: &Harness<S>, due_in: i64) -> Arc<Claim> {
    harness.load_rows(1);
    let submit = harness.claim_step(Step::Submit).await;
    let accepted = Outcome::Accepted {
        prediction: PredictionHandle::from_id("p"),
        early_cost: None,
        due_at: harness.now() + seconds(due_in),
    };
    let held = harness.record_and_hold(&submit, accepted).await;
    held.expect("a held claim")
}

async fn a_held_lease_outlasts_the_records_of_a_running_job<S: Store>(harness: Harness<S>) {
    let held = hold_first_job(&harness, 10).await;
    assert_eq!(held.step, Step::Poll);
    harness.at(seconds(20));
    assert!(
        harness.claim("one", 5).await.is_empty(),
        "the job is leased"
    );
    let failed = Outcome::Wait {
        due_at: Some(harness.now() + seconds(5)),
        failure: Some("503".into()),
    };
    let held = harness.record_and_hold(&held, failed).await;
    let held = held.expect("held again");
    assert_eq!(held.job.progress.failures, 1);
    let released = Completed::Released {
        claim: held,
        unrecorded_polls: 7,
        due_at: harness.now() + seconds(30),
    };
    harness.complete(vec![released]).await.expect("released");
    harness.at(seconds(49));
    assert!(harness.claim("one", 5).await.is_empty(), "not due yet");
    harness.at(seconds(50));
    let poll = harness.claim_step(Step::Poll).await;
    assert_eq!(poll.job.progress.polls, 8, "with the one that is claimed");
}

async fn a_held_job_that_is_not_due_keeps_its_due_time_when_its_pool_is_gone<S: Store>(
    harness: Harness<S>,
) {
    hold_first_job(&harness, 100).await;
    harness.queue.leave(pool("one")).await.expect("left");
    harness.queue.join(pool("one")).await.expect("a pool");
    harness.at(seconds(99));
    assert!(harness.claim("one", 5).await.is_empty());
    harness.at(seconds(100));
    let poll = harness.claim_step(Step::Poll).await;
    assert_eq!(poll.job.progress.crashes, 0, "no step was under way");
}

async fn a_pool_finds_out_that_a_job_it_holds_was_cancelled<S: Store>(harness: Harness<S>) {
    let held = hold_first_job(&harness, 10).await;
    let leases = async |expected| {
        let leases = harness.queue.leases_unless(pool("one"), expected).await;
        leases.expect("the leases")
    };
    assert_eq!(leases(1).await, None);
    assert_eq!(leases(2).await, Some(vec![held.lease.clone()]));
    let selection = Selection {
        jobs: vec!["r0".into()],
        ..Selection::default()
    };
    harness.queue.cancel(selection).await.expect("cancelled");
    assert_eq!(leases(1).await, Some(Vec::new()));
}
