//! What the outcomes of steps leave in the queue.

use std::sync::Arc;

use overnight::domain::{Cost, CostSource, JobState, Money, Outcome, PredictionHandle, SavedFile};
use overnight::queue::{Completed, QueueError, Recorded, Step};

use super::{Harness, PRICE, Store, run_for_each_store, seconds};

run_for_each_store!(
    a_job_goes_from_its_row_to_its_clip_and_books_its_cost,
    an_outcome_that_the_state_does_not_allow_is_refused_and_nothing_is_written,
    a_reported_cost_is_not_replaced_by_a_cost_computed_by_rule,
    a_response_with_the_prediction_of_another_job_leaves_the_submission_in_doubt,
    a_running_job_does_not_adopt_even_the_prediction_of_another_job,
    a_step_that_was_not_started_is_due_again_at_once,
    a_failure_that_was_not_billed_frees_its_reservation_and_submits_again,
);

fn finished(harness: &Harness<impl Store>, micros: i64, source: CostSource) -> Outcome {
    Outcome::Finished {
        output_url: Some("https://e.com/a.mp4".into()),
        cost: Cost {
            amount: Money::from_micros(micros),
            source,
        },
        processing: None,
        due_at: harness.now(),
    }
}

async fn a_job_goes_from_its_row_to_its_clip_and_books_its_cost<S: Store>(harness: Harness<S>) {
    harness.load_rows(1);
    let submit = harness.claim_step(Step::Submit).await;
    let price = Money::from_micros(PRICE);
    let status = harness.batch_status("b").await;
    assert_eq!((status.reserved, status.spent), (price, Money::ZERO));
    harness.accept(&submit, "p").await;
    let poll = harness.claim_step(Step::Poll).await;
    assert_eq!(
        poll.attempt.progress.prediction,
        Some(PredictionHandle::from_id("p"))
    );
    let done = finished(&harness, 200_000, CostSource::Reported);
    assert_eq!(harness.record(&poll, done).await, JobState::Downloading);
    let download = harness.claim_step(Step::Download).await;
    let file = SavedFile {
        location: "/renders/b/r0.mp4".into(),
        bytes: 7,
        sha256: "00".into(),
    };
    let saved = Outcome::Saved { file };
    assert_eq!(harness.record(&download, saved).await, JobState::Succeeded);
    let status = harness.batch_status("b").await;
    let spent = Money::from_micros(200_000);
    assert_eq!((status.reserved, status.spent), (Money::ZERO, spent));
    let job = harness.job("r0").await;
    assert_eq!(
        (job.output.as_deref(), job.bytes, job.attempts, job.cost_usd),
        (Some("/renders/b/r0.mp4"), Some(7), 1, Some(spent))
    );
    let providers = harness
        .queue
        .status(None)
        .await
        .expect("a status")
        .providers;
    assert_eq!(providers[0].in_flight, 0);
}

async fn an_outcome_that_the_state_does_not_allow_is_refused_and_nothing_is_written<S: Store>(
    harness: Harness<S>,
) {
    harness.load_rows(1);
    let submit = harness.claim_step(Step::Submit).await;
    let done = finished(&harness, PRICE, CostSource::Rule);
    let result = harness.try_record(&submit, done).await;
    assert!(
        matches!(result, Err(QueueError::IllegalTransition(_))),
        "{result:?}"
    );
    harness.accept(&submit, "p").await;
}

async fn a_reported_cost_is_not_replaced_by_a_cost_computed_by_rule<S: Store>(harness: Harness<S>) {
    harness.load_rows(1);
    let submit = harness.claim_step(Step::Submit).await;
    harness.accept(&submit, "p").await;
    for (amount, source) in [(200_000, CostSource::Reported), (PRICE, CostSource::Rule)] {
        let poll = harness.claim_step(Step::Poll).await;
        harness
            .record(&poll, finished(&harness, amount, source))
            .await;
        let download = harness.claim_step(Step::Download).await;
        let expired = Outcome::LinkExpired {
            due_at: harness.now(),
            reason: "403".into(),
            counts_as_failure: true,
        };
        harness.record(&download, expired).await;
    }
    let job = harness.job("r0").await;
    let reported = (
        Some(Money::from_micros(200_000)),
        Some(CostSource::Reported),
    );
    assert_eq!((job.cost_usd, job.cost_source), reported);
}

async fn a_response_with_the_prediction_of_another_job_leaves_the_submission_in_doubt<S: Store>(
    harness: Harness<S>,
) {
    harness.load_rows(2);
    let claims = harness.claim("one", 2).await;
    harness.accept(&claims[0], "p").await;
    let accepted = Outcome::Accepted {
        prediction: PredictionHandle::from_id("p"),
        early_cost: None,
        due_at: harness.now(),
    };
    let recorded = harness.try_record(&claims[1], accepted).await;
    let Ok(Recorded::Job { state, instead, .. }) = recorded else {
        panic!("{recorded:?}");
    };
    assert_eq!(state, JobState::InDoubt);
    assert!(matches!(instead, Some(Outcome::LostResponse { .. })));
    let job = harness.job("r1").await;
    assert_eq!(
        (job.prediction_id.as_deref(), job.at_risk()),
        (None, Money::from_micros(PRICE))
    );
    assert!(
        job.error
            .is_some_and(|error| error.contains("already belongs"))
    );
}

async fn a_running_job_does_not_adopt_even_the_prediction_of_another_job<S: Store>(
    harness: Harness<S>,
) {
    harness.load_rows(2);
    for (claim, id) in harness.claim("one", 2).await.iter().zip(["p", "q"]) {
        harness.accept(claim, id).await;
    }
    let poll = harness.claim_step(Step::Poll).await;
    let adopted = Outcome::Adopted {
        prediction: PredictionHandle::from_id("q"),
        due_at: harness.now(),
    };
    let result = harness.try_record(&poll, adopted).await;
    assert!(
        matches!(result, Err(QueueError::IllegalTransition(_))),
        "{result:?}"
    );
}

async fn a_step_that_was_not_started_is_due_again_at_once<S: Store>(harness: Harness<S>) {
    harness.load_rows(1);
    let submit = harness.claim_step(Step::Submit).await;
    let not_started = |claim| {
        vec![Completed::NotStarted {
            claim: Arc::new(claim),
        }]
    };
    harness.at(seconds(5));
    harness
        .complete(not_started(submit))
        .await
        .expect("recorded");
    assert_eq!(harness.batch_status("b").await.reserved, Money::ZERO);
    let submit = harness.claim_step(Step::Submit).await;
    harness.accept(&submit, "p").await;
    let poll = harness.claim_step(Step::Poll).await;
    harness.complete(not_started(poll)).await.expect("recorded");
    harness.claim_step(Step::Poll).await;
    assert_eq!(harness.job("r0").await.attempts, 1);
}

async fn a_failure_that_was_not_billed_frees_its_reservation_and_submits_again<S: Store>(
    harness: Harness<S>,
) {
    harness.load_rows(1);
    let submit = harness.claim_step(Step::Submit).await;
    harness.accept(&submit, "p").await;
    let poll = harness.claim_step(Step::Poll).await;
    let failed = Outcome::FailedUnbilled {
        reason: "internal error".into(),
        source: CostSource::Reported,
        due_at: harness.now(),
    };
    assert_eq!(harness.record(&poll, failed).await, JobState::Queued);
    let status = harness.batch_status("b").await;
    assert_eq!((status.reserved, status.spent), (Money::ZERO, Money::ZERO));
    let again = harness.claim_step(Step::Submit).await;
    assert_eq!(again.attempt.number, 2);
    assert_ne!(again.attempt.client_token, submit.attempt.client_token);
}
