//! Refusals that pass by themselves, and learned prices: gates that every process shares and that
//! survive a restart.

use overnight::domain::{Cost, CostSource, Money, Outcome, ProviderName, ProviderSignal};
use overnight::queue::{Claim, Step};

use super::{Harness, PRICE, Store, count_submits, run_for_each_store, seconds};

const WIRE_MODEL: &str = "kling-v1-standard-image-to-video";

run_for_each_store!(
    a_balance_in_use_is_waited_for_until_a_prediction_ends,
    a_held_route_gets_one_submission_after_its_time,
    repeated_limits_let_polls_through_and_then_one_submission,
    a_bill_far_above_the_price_stops_the_route_until_it_is_accepted,
);

fn refused(harness: &Harness<impl Store>) -> Outcome {
    Outcome::Refused {
        reason: "refused".into(),
        due_at: harness.now(),
        counts_as_failure: false,
    }
}

async fn refuse<S: Store>(harness: &Harness<S>, claim: &Claim, signal: ProviderSignal) {
    let recorded = harness.record_with_signal(claim, refused(harness), Some(signal));
    recorded.await.expect("recorded");
}

async fn finish<S: Store>(harness: &Harness<S>, claim: &Claim, micros: i64) {
    let finished = Outcome::Finished {
        output_url: Some("https://e.com/a.mp4".into()),
        cost: Cost {
            amount: Money::from_micros(micros),
            source: CostSource::Reported,
        },
        processing: None,
        due_at: harness.now() + seconds(9_999),
    };
    harness.record(claim, finished).await;
}

async fn a_balance_in_use_is_waited_for_until_a_prediction_ends<S: Store>(harness: Harness<S>) {
    harness.load_rows(4);
    let claims = harness.claim("one", 2).await;
    harness.accept(&claims[0], "p").await;
    let in_use = || ProviderSignal::BalanceInUse {
        reason: "402".into(),
    };
    refuse(&harness, &claims[1], in_use()).await;
    let polls = harness.claim("one", 9).await;
    assert_eq!((polls.len(), count_submits(&polls)), (1, 0));
    let status = harness.store.open().status(None).await.expect("a status");
    assert!(status.providers[0].waits_for_end && status.providers[0].paused.is_none());
    finish(&harness, &polls[0], PRICE).await;
    let alone = harness.claim("one", 9).await;
    assert_eq!(count_submits(&alone), 1);
    // Nothing else is under way: the balance is used up.
    refuse(&harness, &alone[0], in_use()).await;
    let alone = harness.claim("one", 9).await;
    refuse(&harness, &alone[0], in_use()).await;
    let status = harness.queue.status(None).await.expect("a status");
    assert_eq!(status.providers[0].paused.as_deref(), Some("402"));
    assert!(harness.claim("one", 9).await.is_empty());
}

async fn a_held_route_gets_one_submission_after_its_time<S: Store>(harness: Harness<S>) {
    harness.load_rows(4);
    let claim = harness.claim_step(Step::Submit).await;
    let lock = ProviderSignal::HoldRoute {
        until: harness.now() + seconds(3600),
        reason: "User is locked".into(),
    };
    refuse(&harness, &claim, lock).await;
    let response = harness.try_claim("one", 9).await.expect("a claim");
    assert!(response.claims.is_empty());
    let next_due = response.backlog.expect("a backlog").next_due;
    assert_eq!(next_due, Some(harness.now() + seconds(3600)));
    let status = harness.store.open().status(None).await.expect("a status");
    assert_eq!(status.routes[0].wire_model, WIRE_MODEL);
    let reason = status.routes[0].gate.hold_reason.as_deref();
    assert_eq!(reason, Some("User is locked"));
    harness.at(seconds(3600));
    let alone = harness.claim("one", 9).await;
    assert_eq!(count_submits(&alone), 1);
    let accepted = Outcome::Accepted {
        prediction: overnight::domain::PredictionHandle::from_id("p"),
        early_cost: None,
        due_at: harness.now() + seconds(60),
    };
    let healthy = Some(ProviderSignal::Healthy);
    let recorded = harness.record_with_signal(&alone[0], accepted, healthy);
    recorded.await.expect("recorded");
    assert_eq!(count_submits(&harness.claim("one", 9).await), 3);
}

async fn repeated_limits_let_polls_through_and_then_one_submission<S: Store>(harness: Harness<S>) {
    harness.load_rows(4);
    let claims = harness.claim("one", 2).await;
    harness.accept(&claims[0], "p").await;
    let limit = ProviderSignal::LimitSubmits {
        until: harness.now() + seconds(120),
        reason: "429".into(),
        is_repeated: true,
    };
    refuse(&harness, &claims[1], limit).await;
    let polls = harness.claim("one", 9).await;
    assert_eq!((polls.len(), count_submits(&polls)), (1, 0));
    harness.at(seconds(120));
    assert_eq!(count_submits(&harness.claim("one", 9).await), 1);
    assert_eq!(count_submits(&harness.claim("one", 9).await), 0);
    // A process that died with that submission keeps the others back only for a while.
    harness.at(seconds(300));
    assert_eq!(count_submits(&harness.claim("one", 9).await), 1);
}

async fn a_bill_far_above_the_price_stops_the_route_until_it_is_accepted<S: Store>(
    harness: Harness<S>,
) {
    harness.load_rows(4);
    let claims = harness.claim("one", 2).await;
    for (claim, id) in claims.iter().zip(["p", "q"]) {
        harness.accept(claim, id).await;
    }
    harness.at(seconds(1));
    let polls = harness.claim("one", 9).await;
    assert_eq!(count_submits(&polls), 2);
    let (submits, polls): (Vec<_>, Vec<_>) = polls
        .into_iter()
        .partition(|claim| claim.step == Step::Submit);
    for submit in &submits {
        harness.record(submit, refused(&harness)).await;
    }
    finish(&harness, &polls[0], 10 * PRICE).await;
    finish(&harness, &polls[1], 10 * PRICE).await;
    let response = harness.try_claim("one", 9).await.expect("a claim");
    assert!(response.claims.is_empty());
    let status = harness.store.open().status(None).await.expect("a status");
    let price = status.routes[0].gate.unaccepted_price().expect("a price");
    let figures = (price.priced.micros(), price.billed.micros());
    assert_eq!(figures, (PRICE, 10 * PRICE));
    let accept = || {
        harness
            .queue
            .accept_price(ProviderName::Eachlabs, WIRE_MODEL.into())
    };
    assert!(accept().await.expect("accepted"));
    assert_eq!(harness.claim("one", 9).await.len(), 2);
    let reserved = harness.batch_status("b").await.reserved;
    assert_eq!(reserved.micros(), 2 * 10 * PRICE);
}
