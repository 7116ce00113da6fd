//! What a provider's history shows beside the searches for lost submissions.

use overnight::domain::{JobState, Money, NewJob, Outcome, PredictionHandle, ProviderName};
use overnight::policy::late_match::LateFinding;
use overnight::queue::{Claim, HistoryFinding, JobRecord, RemovedRows, Step, UnknownPrediction};
use serde_json::json;

use super::{Harness, PRICE, Store, pool, run_for_each_store};

const EACHLABS: ProviderName = ProviderName::Eachlabs;

run_for_each_store! {
    what_is_presumed_absent_stays_reserved_until_the_history_settles_it,
    a_submission_that_is_listed_late_is_polled_if_its_job_is_queued,
    a_submission_that_is_listed_late_is_booked_if_its_job_was_submitted_again,
    a_submission_that_is_listed_late_is_not_taken_for_an_identical_one_in_doubt,
    a_queued_job_takes_a_prediction_that_the_queue_does_not_know_once,
    a_job_in_doubt_takes_a_prediction_of_another_provider_and_its_own_submission_stays_at_risk,
    a_job_whose_row_was_changed_since_takes_no_prediction,
}

/// Loses the response to the first submission of one row, and presumes it absent.
async fn presume_absent<S: Store>(harness: &Harness<S>) -> Claim {
    harness.load_rows(1);
    let submit = harness.claim_step(Step::Submit).await;
    harness.lose_response(&submit).await;
    let search = harness.claim_step(Step::Reconcile).await;
    let presumed = Outcome::Absent {
        due_at: harness.now(),
        is_proven: false,
    };
    assert_eq!(harness.record(&search, presumed).await, JobState::Queued);
    submit
}

/// Records what the history shows of a submission, and returns whether that was news.
async fn settle<S: Store>(harness: &Harness<S>, claim: &Claim, finding: LateFinding) -> bool {
    let finding = HistoryFinding::Absent {
        job: claim.lease.job_id,
        attempt: claim.attempt.attempt_id,
        finding,
    };
    let news = harness
        .queue
        .record_findings(pool("one"), vec![finding])
        .await;
    news.expect("recorded") == 1
}

async fn assert_sums<S: Store>(harness: &Harness<S>, spent: i64, reserved: i64, at_risk: i64) {
    let status = harness.batch_status("b").await;
    let money = |clips| Money::from_micros(clips * PRICE);
    assert_eq!(
        (status.spent, status.reserved, status.at_risk),
        (money(spent), money(reserved), money(at_risk))
    );
    let mismatches = harness.queue.verify_counters().await.expect("verified");
    assert_eq!(mismatches, []);
}

async fn what_is_presumed_absent_stays_reserved_until_the_history_settles_it<S: Store>(
    harness: Harness<S>,
) {
    let lost = presume_absent(&harness).await;
    assert_sums(&harness, 0, 1, 1).await;
    assert_eq!(
        harness.batch_status("b").await.presumed,
        Money::from_micros(PRICE)
    );
    let again = harness.claim_step(Step::Submit).await;
    assert_eq!(again.job.absent_attempts, 1);
    assert_sums(&harness, 0, 2, 1).await;
    assert!(settle(&harness, &lost, LateFinding::Absent).await);
    assert_sums(&harness, 0, 1, 0).await;
    assert!(
        !settle(&harness, &lost, LateFinding::Absent).await,
        "settled already"
    );
    // Its lease is still current.
    harness.accept(&again, "p").await;
}

async fn a_submission_that_is_listed_late_is_polled_if_its_job_is_queued<S: Store>(
    harness: Harness<S>,
) {
    let lost = presume_absent(&harness).await;
    let found = LateFinding::Accepted(PredictionHandle::from_id("late"));
    assert!(settle(&harness, &lost, found).await);
    assert_sums(&harness, 0, 1, 0).await;
    let job = harness.job("r0").await;
    assert_eq!((job.state, job.attempts), (JobState::Running, 1));
    harness.claim_step(Step::Poll).await;
}

async fn a_submission_that_is_listed_late_is_booked_if_its_job_was_submitted_again<S: Store>(
    harness: Harness<S>,
) {
    let lost = presume_absent(&harness).await;
    let again = harness.claim_step(Step::Submit).await;
    let found = LateFinding::Accepted(PredictionHandle::from_id("late"));
    let is_searched = !settle(&harness, &lost, found.clone()).await;
    assert!(is_searched, "it may be the second submission");
    harness.accept(&again, "p").await;
    assert!(settle(&harness, &lost, found.clone()).await);
    assert_sums(&harness, 1, 1, 0).await;
    let job = harness.job("r0").await;
    assert_eq!((job.prediction_id.as_deref(), job.attempts), (Some("p"), 1));
    assert!(!settle(&harness, &lost, found).await, "booked already");
}

async fn a_submission_that_is_listed_late_is_not_taken_for_an_identical_one_in_doubt<S: Store>(
    harness: Harness<S>,
) {
    let lost = presume_absent(&harness).await;
    harness.render("first").await;
    // Another batch asks for the same.
    let mut other = harness.queue.stage(super::batch("c")).expect("a staging");
    let input = harness.job("r0").await.input;
    let fingerprint = input.fingerprint("kling-v1-standard");
    let estimate = Money::from_micros(PRICE);
    let job = NewJob::new(fingerprint, "r0".into(), 2, input, vec![EACHLABS], estimate);
    other.add(&[job]).expect("added");
    other.commit(RemovedRows::Keep).expect("loaded");
    let identical = harness.claim_step(Step::Submit).await;
    assert_eq!(identical.attempt.request, lost.attempt.request);
    harness.lose_response(&identical).await;
    let listed = LateFinding::Accepted(PredictionHandle::from_id("second"));
    assert!(!settle(&harness, &lost, listed.clone()).await);
    let search = harness.claim_step(Step::Reconcile).await;
    let adopted = Outcome::Adopted {
        prediction: PredictionHandle::from_id("second"),
        due_at: harness.now(),
    };
    assert_eq!(harness.record(&search, adopted).await, JobState::Running);
    assert!(!settle(&harness, &lost, listed).await, "it has an owner");
}

/// Returns what a history shows that lists a prediction for a job that the queue does not know.
fn unknown(job: &JobRecord, provider: ProviderName) -> HistoryFinding {
    HistoryFinding::Unknown(Box::new(UnknownPrediction {
        job: job.job_id,
        input: job.input.clone(),
        provider,
        wire_model: "kling-v1-standard-image-to-video".into(),
        prediction: PredictionHandle::from_id("unknown"),
        request: json!({ "prompt": "p" }),
        estimate: Money::from_micros(PRICE),
        clip_s: Some(5),
    }))
}

async fn a_queued_job_takes_a_prediction_that_the_queue_does_not_know_once<S: Store>(
    harness: Harness<S>,
) {
    harness.load_rows(2);
    let first = harness.job("r0").await;
    let second = harness.job("r1").await;
    let record = |findings| harness.queue.record_findings(pool("one"), findings);
    let news = record(vec![unknown(&first, EACHLABS), unknown(&second, EACHLABS)]).await;
    assert_eq!(news.expect("recorded"), 1, "one prediction for one job");
    assert_sums(&harness, 0, 1, 0).await;
    let job = harness.job("r0").await;
    assert_eq!(
        (job.state, job.prediction_id.as_deref(), job.attempts),
        (JobState::Running, Some("unknown"), 1)
    );
    assert_eq!(
        record(vec![unknown(&first, EACHLABS)])
            .await
            .expect("recorded"),
        0
    );
    let poll = harness.claim_step(Step::Poll).await;
    assert_eq!(poll.job.row_key, "r0");
    let submit = harness.claim_step(Step::Submit).await;
    assert_eq!(submit.job.row_key, "r1");
}

async fn a_job_in_doubt_takes_a_prediction_of_another_provider_and_its_own_submission_stays_at_risk<
    S: Store,
>(
    harness: Harness<S>,
) {
    harness.load_rows(1);
    let submit = harness.claim_step(Step::Submit).await;
    harness.lose_response(&submit).await;
    let finding = unknown(&harness.job("r0").await, ProviderName::Fal);
    let record = |finding| harness.queue.record_findings(pool("one"), vec![finding]);
    // A search that is under way settles it.
    let search = harness.claim_step(Step::Reconcile).await;
    assert_eq!(record(finding.clone()).await.expect("recorded"), 0);
    let again = Outcome::Wait {
        due_at: Some(harness.now()),
        failure: None,
    };
    harness.record(&search, again).await;
    assert_eq!(record(finding).await.expect("recorded"), 1);
    let job = harness.job("r0").await;
    assert_eq!(
        (job.state, job.provider, job.attempts),
        (JobState::Running, Some(ProviderName::Fal), 1)
    );
    assert_sums(&harness, 0, 2, 1).await;
    assert!(settle(&harness, &submit, LateFinding::Absent).await);
    assert_sums(&harness, 0, 1, 0).await;
}

async fn a_job_whose_row_was_changed_since_takes_no_prediction<S: Store>(harness: Harness<S>) {
    harness.load_rows(1);
    let HistoryFinding::Unknown(mut finding) = unknown(&harness.job("r0").await, EACHLABS) else {
        panic!("a prediction");
    };
    let earlier = json!({ "image": "https://e.com/0.png", "prompt": "earlier" });
    finding.input = serde_json::from_value(earlier).expect("an input");
    let finding = HistoryFinding::Unknown(finding);
    let record = harness.queue.record_findings(pool("one"), vec![finding]);
    assert_eq!(record.await.expect("recorded"), 0);
    assert_eq!(harness.job("r0").await.state, JobState::Queued);
}
