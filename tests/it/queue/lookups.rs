//! What a pool and the user look up, and what a changed clock does to it.

use std::time::Duration;

use jiff::SignedDuration;
use overnight::domain::{
    AttemptState, Cost, CostSource, JobState, Money, Outcome, OwnedPrediction, ProviderName,
    SavedFile,
};
use overnight::policy::claim::attempt_digest;
use overnight::queue::{Claim, Step};

use super::{Harness, PRICE, Store, run_for_each_store, seconds};

run_for_each_store!(
    the_jobs_that_ended_last_are_listed_newest_first,
    processing_times_are_those_of_the_route_newest_first,
    a_pool_knows_its_own_predictions_and_which_jobs_are_settled,
    a_missing_clip_is_downloaded_again_at_no_cost,
    a_clock_that_is_set_back_brings_what_is_due_near_and_keeps_the_rate,
);

/// Returns the outcome of a poll that found the clip. The provider took `seconds` for it.
fn finished(harness: &Harness<impl Store>, seconds: u64) -> Outcome {
    Outcome::Finished {
        output_url: Some("https://e.com/a.mp4".into()),
        cost: Cost {
            amount: Money::from_micros(PRICE),
            source: CostSource::Rule,
        },
        processing: Some(Duration::from_secs(seconds)),
        due_at: harness.now(),
    }
}

/// Saves the clip of the job whose download is due.
async fn save(harness: &Harness<impl Store>) {
    let download = harness.claim_step(Step::Download).await;
    let saved = Outcome::Saved {
        file: SavedFile {
            location: "/renders/b/a.mp4".into(),
            bytes: 7,
            sha256: "00".into(),
        },
    };
    assert_eq!(harness.record(&download, saved).await, JobState::Succeeded);
}

async fn the_jobs_that_ended_last_are_listed_newest_first<S: Store>(harness: Harness<S>) {
    harness.load_rows(4);
    harness.load("c", &[9]);
    for (second, row) in ["r0", "r1", "r2"].into_iter().enumerate() {
        harness.at(seconds(second as i64));
        let submit = harness.claim_step(Step::Submit).await;
        assert_eq!(submit.job.row_key, row);
        let rejected = Outcome::Rejected { reason: row.into() };
        harness.record(&submit, rejected).await;
    }
    let latest = |batch: Option<&str>, limit| harness.queue.latest(batch.map(Into::into), limit);
    let newest = latest(None, 2).await.expect("the latest jobs");
    let errors: Vec<_> = newest.iter().map(|job| job.error.as_deref()).collect();
    assert_eq!(errors, [Some("r2"), Some("r1")]);
    assert_eq!(
        latest(Some("c"), 9).await.expect("the latest jobs").len(),
        0
    );
    let attempts = harness.queue.attempts(newest[0].job_id).await;
    let attempts = attempts.expect("the attempts");
    assert_eq!(attempts.len(), 1);
    assert_eq!(
        (attempts[0].number, attempts[0].state),
        (1, AttemptState::Refused)
    );
}

async fn processing_times_are_those_of_the_route_newest_first<S: Store>(harness: Harness<S>) {
    harness.load_rows(3);
    for claim in harness.claim("one", 3).await {
        harness.accept(&claim, &claim.job.row_key).await;
    }
    let polls = harness.claim("one", 3).await;
    for (poll, minute) in polls.iter().zip([2, 3, 1]) {
        harness.at(seconds(60 * minute));
        let finished = finished(&harness, 10 * minute as u64);
        harness.record(poll, finished).await;
    }
    let wire_model = polls[0].attempt.wire_model.clone();
    let times = |provider, model: &str| {
        let model = model.to_owned();
        harness.queue.processing_times(provider, model, 2)
    };
    let found = times(ProviderName::Eachlabs, &wire_model).await;
    let found: Vec<u64> = found
        .expect("times")
        .iter()
        .map(|time| time.1.as_secs())
        .collect();
    assert_eq!(found, [30, 20]);
    for other in [
        times(ProviderName::Fal, &wire_model).await,
        times(ProviderName::Eachlabs, "other").await,
    ] {
        assert!(other.expect("times").is_empty());
    }
}

async fn a_pool_knows_its_own_predictions_and_which_jobs_are_settled<S: Store>(
    harness: Harness<S>,
) {
    harness.load_rows(2);
    let first = harness.claim_step(Step::Submit).await;
    harness.accept(&first, "early").await;
    harness.at(seconds(60));
    let poll = harness.claim_step(Step::Poll).await;
    let submit = harness.claim_step(Step::Submit).await;
    harness.accept(&submit, "late").await;
    let model = first.attempt.wire_model.clone();
    let owned = |provider, since| {
        let model = model.clone();
        harness.queue.owned_predictions(provider, model, since)
    };
    let all = owned(ProviderName::Eachlabs, super::start_time()).await;
    let known = |id: &str, submitted_at, claim: &Claim| {
        let request_digest = Some(attempt_digest(&claim.attempt));
        let owned = OwnedPrediction {
            submitted_at,
            request_digest,
        };
        (id.to_owned(), owned)
    };
    let early = known("early", super::start_time(), &first);
    let late = known("late", harness.now(), &submit);
    assert_eq!(all.expect("ids"), [early, late.clone()].into());
    let recent = owned(ProviderName::Eachlabs, harness.now()).await;
    assert_eq!(recent.expect("ids"), [late].into());
    let elsewhere = owned(ProviderName::Fal, super::start_time()).await;
    assert!(elsewhere.expect("ids").is_empty());

    let jobs = vec![first.lease.job_id, submit.lease.job_id];
    let settled = || harness.queue.all_settled(jobs.clone());
    let given_up = |reason: &str| Outcome::GaveUp {
        reason: reason.into(),
    };
    harness.record(&poll, given_up("too long")).await;
    assert!(!settled().await.expect("an answer"));
    let poll = harness.claim_step(Step::Poll).await;
    harness.record(&poll, given_up("too long")).await;
    assert!(settled().await.expect("an answer"));
}

async fn a_missing_clip_is_downloaded_again_at_no_cost<S: Store>(harness: Harness<S>) {
    harness.load_rows(1);
    let submit = harness.claim_step(Step::Submit).await;
    harness.accept(&submit, "p").await;
    let poll = harness.claim_step(Step::Poll).await;
    harness.record(&poll, finished(&harness, 30)).await;
    save(&harness).await;
    let spent = harness.batch_status("b").await.spent;
    let again = harness.queue.requeue_downloads(vec![poll.lease.job_id]);
    assert_eq!(again.await.expect("requeued"), 1);
    // While it is downloaded, it is no clip that can be missing.
    let again = harness.queue.requeue_downloads(vec![poll.lease.job_id]);
    assert_eq!(again.await.expect("requeued"), 0);
    save(&harness).await;
    let status = harness.batch_status("b").await;
    assert_eq!((status.spent, status.reserved), (spent, Money::ZERO));
}

async fn a_clock_that_is_set_back_brings_what_is_due_near_and_keeps_the_rate<S: Store>(
    mut harness: Harness<S>,
) {
    harness.limits.creates_per_minute = 2;
    harness.load_rows(3);
    let hour = SignedDuration::from_hours(1);
    harness.at(hour);
    for claim in harness.claim("one", 3).await {
        harness.accept(&claim, &claim.job.row_key).await;
    }
    let wait = Outcome::Wait {
        due_at: Some(harness.now() + hour),
        failure: None,
    };
    for poll in harness.claim("one", 2).await {
        harness.record(&poll, wait.clone()).await;
    }
    harness.at(seconds(0));
    assert_eq!(
        harness.queue.last_clock_change().await.expect("a time"),
        None
    );
    harness.queue.record_clock_change().await.expect("recorded");
    assert_eq!(
        harness.queue.last_clock_change().await.expect("a time"),
        Some(harness.now())
    );
    // The submissions of the last minute still count.
    assert!(harness.claim("one", 3).await.is_empty());
    harness.at(seconds(61));
    let steps = harness.claim("one", 3).await;
    let mut kinds: Vec<_> = steps.iter().map(|claim| claim.step.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["poll", "poll", "submit"]);
}
