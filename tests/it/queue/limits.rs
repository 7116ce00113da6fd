//! Slots, rates, gates and budgets.

use std::sync::Arc;

use jiff::SignedDuration;
use overnight::domain::{Money, Outcome, ProviderSignal};
use overnight::queue::{Claim, Completed, Turn};

use super::{Harness, PRICE, Store, count_submits, pool, run_for_each_store, seconds};

run_for_each_store!(
    no_sixty_second_window_contains_more_submits_than_the_limit,
    truncating_times_to_milliseconds_does_not_shorten_the_rate_window,
    slots_are_counted_over_all_pools,
    pools_of_several_processes_share_slots_and_budget,
    reserved_and_spent_never_exceed_the_budget,
    the_budget_of_a_run_covers_all_its_batches,
    a_claim_sees_what_the_records_of_its_turn_free,
    a_held_provider_gets_no_submission_before_its_time,
    a_suspended_provider_gets_no_submission_until_it_is_reopened,
    what_a_late_response_says_about_the_provider_is_recorded_without_the_lease,
);

async fn no_sixty_second_window_contains_more_submits_than_the_limit<S: Store>(
    mut harness: Harness<S>,
) {
    harness.load_rows(30);
    harness.limits.creates_per_minute = 10;
    let first = harness.claim("one", 100).await;
    assert_eq!(first.len(), 10);
    // The answers arrive 500 ms apart; each submission counts until 60 seconds after its answer.
    for (number, claim) in (0..).zip(&first) {
        harness.at(SignedDuration::from_millis(number * 500));
        harness.accept(claim, &format!("p{number}")).await;
    }
    let submits = async |millis| {
        harness.at(SignedDuration::from_millis(millis));
        count_submits(&harness.claim("one", 100).await)
    };
    assert_eq!(submits(59_900).await, 0);
    assert_eq!(submits(60_001).await, 1);
    assert_eq!(submits(62_600).await, 5);
}

async fn truncating_times_to_milliseconds_does_not_shorten_the_rate_window<S: Store>(
    mut harness: Harness<S>,
) {
    harness.load_rows(2);
    harness.limits.creates_per_minute = 1;
    let first = harness.claim("one", 2).await;
    harness.at(SignedDuration::from_micros(900));
    harness.accept(&first[0], "p").await;
    let submits = async |micros| {
        harness.at(SignedDuration::from_micros(micros));
        count_submits(&harness.claim("one", 2).await)
    };
    assert_eq!(submits(60_000_100).await, 0);
    assert_eq!(submits(60_001_000).await, 1);
}

async fn slots_are_counted_over_all_pools<S: Store>(mut harness: Harness<S>) {
    harness.load_rows(30);
    harness.limits.in_flight = 7;
    harness.queue.join(pool("two")).await.expect("a pool");
    assert_eq!(harness.claim("one", 4).await.len(), 4);
    assert_eq!(harness.claim("two", 100).await.len(), 3);
    assert_eq!(harness.claim("one", 100).await.len(), 0);
}

/// Claims from many tasks, half of them in another process, until nothing is granted.
async fn pools_of_several_processes_share_slots_and_budget<S: Store>(mut harness: Harness<S>) {
    harness.load_rows(60);
    harness.limits.in_flight = 20;
    harness.budget = Some(Money::from_micros(PRICE * 17));
    let other = harness.store.open();
    other.join(pool("two")).await.expect("a pool");
    let claim = |number: usize| {
        let (queue, name) = if number.is_multiple_of(2) {
            (&harness.queue, "one")
        } else {
            (&other, "two")
        };
        let turn = Turn {
            pool_id: pool(name),
            completed: Vec::new(),
            holds_leases_at: Vec::new(),
            claim: Some(harness.request(3)),
        };
        queue.turn(Arc::new(turn))
    };
    let results = futures_util::future::join_all((0..16).map(claim)).await;
    let claims: Vec<Claim> = results
        .into_iter()
        .flat_map(|result| result.expect("a turn").claimed.claims)
        .collect();
    assert_eq!(claims.len(), 17);
    let reserved = harness.batch_status("b").await.reserved;
    assert_eq!(reserved, Money::from_micros(PRICE * 17));
}

async fn reserved_and_spent_never_exceed_the_budget<S: Store>(mut harness: Harness<S>) {
    harness.load_rows(30);
    harness.budget = Some(Money::from_micros(PRICE * 3 + PRICE - 1));
    let claims = harness.claim("one", 100).await;
    assert_eq!(claims.len(), 3);
    let refused = Outcome::Refused {
        reason: "busy".into(),
        due_at: harness.now(),
        counts_as_failure: true,
    };
    harness.record(&claims[0], refused).await;
    let reserved = harness.batch_status("b").await.reserved;
    assert_eq!(reserved, Money::from_micros(PRICE * 2));
    assert_eq!(harness.claim("one", 100).await.len(), 1);
}

async fn the_budget_of_a_run_covers_all_its_batches<S: Store>(mut harness: Harness<S>) {
    harness.load_rows(3);
    harness.load("c", &[10, 11, 12]);
    harness.budget = Some(Money::from_micros(PRICE * 4));
    let response = harness.try_claim("one", 100).await.expect("a claim");
    let batches: Vec<&str> = response
        .claims
        .iter()
        .map(|claim| claim.job.batch.as_str())
        .collect();
    assert_eq!(batches, ["b", "b", "b", "c"]);
    let exceeded = response.backlog.expect("a backlog").exceeded_budgets;
    assert_eq!(exceeded.len(), 1);
    assert_eq!(
        (exceeded[0].batch.as_deref(), exceeded[0].queued),
        (None, 2)
    );
}

async fn a_claim_sees_what_the_records_of_its_turn_free<S: Store>(mut harness: Harness<S>) {
    harness.load_rows(2);
    harness.limits.in_flight = 1;
    let claim = harness.claim("one", 2).await.remove(0);
    let turn = Turn {
        pool_id: pool("one"),
        completed: vec![Completed::NotStarted {
            claim: Arc::new(claim.clone()),
        }],
        holds_leases_at: Vec::new(),
        claim: Some(harness.request(2)),
    };
    let result = harness.queue.turn(Arc::new(turn)).await.expect("a turn");
    let claimed = &result.claimed.claims;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].lease.job_id, claim.lease.job_id);
    assert_eq!(claimed[0].attempt.number, 2);
}

async fn a_held_provider_gets_no_submission_before_its_time<S: Store>(harness: Harness<S>) {
    harness.load_rows(3);
    let claims = harness.claim("one", 2).await;
    harness.accept(&claims[0], "p").await;
    let refused = Outcome::Refused {
        reason: "429".into(),
        due_at: harness.now(),
        counts_as_failure: false,
    };
    let until = harness.now() + seconds(30);
    let hold = Some(ProviderSignal::HoldAll { until });
    harness
        .record_with_signal(&claims[1], refused, hold)
        .await
        .expect("recorded");
    let response = harness.try_claim("one", 10).await.expect("a claim");
    assert!(
        response.claims.is_empty(),
        "neither a submission nor a poll"
    );
    assert_eq!(response.backlog.expect("a backlog").next_due, Some(until));
    harness.at(seconds(30));
    let next = harness.claim("one", 10).await;
    assert_eq!((next.len(), count_submits(&next)), (3, 2));
}

async fn a_suspended_provider_gets_no_submission_until_it_is_reopened<S: Store>(
    harness: Harness<S>,
) {
    harness.load_rows(3);
    let claims = harness.claim("one", 2).await;
    harness.accept(&claims[0], "p").await;
    let refused = Outcome::Refused {
        reason: "402".into(),
        due_at: harness.now(),
        counts_as_failure: false,
    };
    let suspend = Some(ProviderSignal::Suspend {
        reason: "no balance".into(),
        polls_too: false,
    });
    harness
        .record_with_signal(&claims[1], refused, suspend)
        .await
        .expect("recorded");
    let status = harness.queue.status(None).await.expect("a status");
    assert_eq!(status.providers[0].paused.as_deref(), Some("no balance"));
    let polls = harness.claim("one", 10).await;
    assert_eq!((polls.len(), count_submits(&polls)), (1, 0));
    harness.queue.reopen_providers().await.expect("reopened");
    assert_eq!(count_submits(&harness.claim("one", 10).await), 2);
}

async fn what_a_late_response_says_about_the_provider_is_recorded_without_the_lease<S: Store>(
    harness: Harness<S>,
) {
    harness.load_rows(1);
    let claim = harness.claim("one", 1).await.remove(0);
    harness.queue.leave(pool("one")).await.expect("left");
    let refused = Outcome::Refused {
        reason: "402".into(),
        due_at: harness.now(),
        counts_as_failure: false,
    };
    let suspend = Some(ProviderSignal::Suspend {
        reason: "no balance".into(),
        polls_too: false,
    });
    let recorded = harness.record_with_signal(&claim, refused, suspend).await;
    assert_eq!(
        recorded.expect("a turn"),
        overnight::queue::Recorded::LeaseLost
    );
    let status = harness.queue.status(None).await.expect("a status");
    assert_eq!(status.providers[0].paused.as_deref(), Some("no balance"));
}
