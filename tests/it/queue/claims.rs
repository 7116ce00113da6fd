//! Which steps are claimed, in which order.

use overnight::domain::{JobState, Outcome, PredictionHandle};
use overnight::queue::{Claim, Decision, Step};

use super::{Harness, Store, lost_response, run_for_each_store, seconds};

run_for_each_store!(
    jobs_are_submitted_in_the_order_of_their_rows_batch_by_batch,
    a_run_of_one_batch_polls_the_jobs_that_hold_the_slots_it_waits_for,
    identical_requests_are_submitted_one_at_a_time_without_blocking_others,
    an_empty_queue_is_idle_and_a_held_job_does_not_keep_a_run,
    a_run_with_two_identical_rows_in_front_reads_on_to_those_behind,
    a_row_that_waits_for_an_identical_held_one_keeps_no_run_and_goes_on_after_the_decision,
);

fn rows(claims: &[Claim]) -> Vec<&str> {
    claims
        .iter()
        .map(|claim| claim.job.row_key.as_str())
        .collect()
}

async fn jobs_are_submitted_in_the_order_of_their_rows_batch_by_batch<S: Store>(
    harness: Harness<S>,
) {
    harness.load("c", &[5, 6]);
    harness.load_rows(3);
    let claims = harness.claim("one", 4).await;
    let keys: Vec<(&str, &str)> = claims
        .iter()
        .map(|claim| (claim.job.batch.as_str(), claim.job.row_key.as_str()))
        .collect();
    assert_eq!(keys, [("b", "r0"), ("b", "r1"), ("b", "r2"), ("c", "r0")]);
    assert!(claims.iter().all(|claim| claim.step == Step::Submit));
}

async fn a_run_of_one_batch_polls_the_jobs_that_hold_the_slots_it_waits_for<S: Store>(
    mut harness: Harness<S>,
) {
    harness.load_rows(1);
    harness.limits.in_flight = 1;
    let other = harness.claim("one", 1).await.remove(0);
    let accepted = Outcome::Accepted {
        prediction: PredictionHandle::from_id("p"),
        early_cost: None,
        due_at: harness.now() + seconds(5),
    };
    harness.record(&other, accepted).await;
    harness.load("a", &[10]);
    harness.batch = Some("a".into());
    harness.at(seconds(2));
    let response = harness.try_claim("one", 5).await.expect("a claim");
    assert!(response.backlog.is_some_and(|backlog| !backlog.is_idle()));
    harness.at(seconds(9));
    let claims = harness.claim("one", 5).await;
    assert_eq!(claims.len(), 1);
    assert_eq!(
        (claims[0].lease.job_id, claims[0].job.batch.as_str()),
        (other.lease.job_id, "b")
    );
}

async fn identical_requests_are_submitted_one_at_a_time_without_blocking_others<S: Store>(
    harness: Harness<S>,
) {
    harness.load("b", &[7, 7, 7, 8]);
    let first = harness.claim("one", 10).await;
    assert_eq!(rows(&first), ["r0", "r3"]);
    let lost = lost_response(harness.now() + seconds(60));
    harness.record(&first[0], lost).await;
    harness.at(seconds(5));
    assert_eq!(rows(&harness.claim("one", 10).await), [""; 0]);
    let decision = Decision::Adopt(PredictionHandle::from_id("found"));
    let resolved = harness.queue.resolve(first[0].lease.job_id, decision).await;
    assert_eq!(resolved.expect("adopted"), JobState::Running);
    harness.at(seconds(10));
    assert_eq!(
        rows(&harness.claim("one", 10).await),
        ["r0", "r1"],
        "a poll of the first job, and a submission of one of the others"
    );
}

async fn an_empty_queue_is_idle_and_a_held_job_does_not_keep_a_run<S: Store>(harness: Harness<S>) {
    let backlog = |response: overnight::queue::ClaimResponse| response.backlog.expect("a backlog");
    assert!(backlog(harness.try_claim("one", 5).await.expect("a claim")).is_idle());
    harness.load_rows(1);
    let submit = harness.claim_step(Step::Submit).await;
    harness.lose_response(&submit).await;
    let search = harness.claim_step(Step::Reconcile).await;
    let hold = Outcome::Wait {
        due_at: None,
        failure: Some("no history".into()),
    };
    harness.record(&search, hold).await;
    let backlog = backlog(harness.try_claim("one", 5).await.expect("a claim"));
    assert!(backlog.is_idle());
    assert_eq!((backlog.held, backlog.in_progress), (1, 0));
}

async fn a_run_with_two_identical_rows_in_front_reads_on_to_those_behind<S: Store>(
    harness: Harness<S>,
) {
    // One worker at a time, so that a claim reads one row first.
    harness.load("b", &[7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8]);
    assert_eq!(rows(&harness.claim("one", 1).await), ["r0"]);
    assert_eq!(rows(&harness.claim("one", 1).await), ["r10"]);
}

async fn a_row_that_waits_for_an_identical_held_one_keeps_no_run_and_goes_on_after_the_decision<
    S: Store,
>(
    harness: Harness<S>,
) {
    let claim = async || harness.try_claim("one", 5).await.expect("a claim");
    harness.load("b", &[7, 7, 8]);
    let first = claim().await.claims;
    assert_eq!(rows(&first), ["r0", "r2"]);
    harness.lose_response(&first[0]).await;
    harness.accept(&first[1], "p").await;
    let steps = claim().await.claims;
    let search = steps.iter().find(|claim| claim.step == Step::Reconcile);
    let held = Outcome::Wait {
        due_at: None,
        failure: Some("the history lists none".into()),
    };
    harness.record(search.expect("a search"), held).await;
    let poll = steps.iter().find(|claim| claim.step == Step::Poll);
    let failed = Outcome::GaveUp {
        reason: "no".into(),
    };
    harness.record(poll.expect("a poll"), failed).await;
    for second in 1..5 {
        harness.at(seconds(second * 10));
        let response = claim().await;
        assert_eq!(rows(&response.claims), [""; 0]);
        let backlog = response.backlog.expect("a backlog");
        assert!(backlog.is_idle(), "{backlog:?}");
        assert_eq!((backlog.queued, backlog.held), (1, 1));
        if second == 3 {
            // What every run does at its start.
            harness.queue.reopen_providers().await.expect("reopened");
        }
    }
    let job = first[0].lease.job_id;
    let resolved = harness.queue.resolve(job, Decision::Fail).await;
    assert_eq!(resolved.expect("a decision"), JobState::Failed);
    assert_eq!(rows(&claim().await.claims), ["r1"]);
}
