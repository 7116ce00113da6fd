//! The stored sums and counts agree with the rows.

use overnight::domain::Outcome;

use super::{Harness, Store, run_for_each_store};

run_for_each_store!(
    the_counters_match_the_rows,
    the_status_of_all_batches_is_the_sum_of_each,
);

/// Leaves the jobs of the batch in as many states as there are.
async fn spread_over_states<S: Store>(harness: &Harness<S>) {
    harness.load_rows(20);
    for (number, claim) in harness.claim("one", 12).await.iter().enumerate() {
        match number % 4 {
            0 => harness.accept(claim, &format!("p{number}")).await,
            1 => {
                let reason = "no".into();
                harness.record(claim, Outcome::Rejected { reason }).await;
            }
            2 => harness.lose_response(claim).await,
            _ => {}
        }
    }
}

async fn the_counters_match_the_rows<S: Store>(harness: Harness<S>) {
    spread_over_states(&harness).await;
    let health = harness.queue.health().await.expect("a health");
    assert_eq!(health.counter_mismatches, []);
    let corrected = harness.queue.verify_counters().await.expect("verified");
    assert_eq!(corrected, []);
}

async fn the_status_of_all_batches_is_the_sum_of_each<S: Store>(harness: Harness<S>) {
    spread_over_states(&harness).await;
    let status = harness.batch_status("b").await;
    let jobs = harness.queue.jobs(Default::default(), None, 100).await;
    let jobs = jobs.expect("the jobs");
    for (state, count) in &status.jobs {
        let in_state = jobs.iter().filter(|job| job.state == *state).count();
        assert_eq!(*count, in_state as u64, "{state}");
    }
    let at_risk: overnight::domain::Money = jobs.iter().map(|job| job.at_risk()).sum();
    assert_eq!(status.at_risk, at_risk);
    let in_progress = jobs.iter().filter(|job| job.state.is_in_progress());
    let providers = harness
        .queue
        .status(None)
        .await
        .expect("a status")
        .providers;
    assert_eq!(providers[0].in_flight as usize, in_progress.count());
}
