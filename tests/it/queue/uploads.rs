//! Uploads of local images, which the submissions that need them wait for.

use overnight::domain::{Input, Money, NewJob, ProviderName};
use overnight::queue::{ClaimResponse, Completed, RemovedRows, Step, UploadClaim, UploadOutcome};

use super::{Harness, PRICE, Store, run_for_each_store, seconds};

run_for_each_store!(
    an_image_is_uploaded_once_and_its_link_is_submitted_for_every_row_that_names_it,
    a_failed_upload_is_repeated_when_it_is_due,
    a_row_whose_image_is_rejected_is_rejected_and_is_tried_again_in_a_new_run,
);

/// Loads rows that all name the same image on disk.
fn load_rows_with_image(harness: &Harness<impl Store>, rows: u64) {
    let mut staging = harness.queue.stage(super::batch("b")).expect("a staging");
    for row in 0..rows {
        let image = format!("file:///shop/cup.jpg#sha256={}", "1".repeat(64));
        let input = format!(r#"{{"image":"{image}","prompt":"{row}"}}"#);
        let input: Input = serde_json::from_str(&input).expect("an input");
        let job = NewJob::new(
            input.fingerprint("kling-v1-standard"),
            format!("r{row}"),
            row + 2,
            input,
            vec![ProviderName::Eachlabs],
            Money::from_micros(PRICE),
        );
        staging.add(&[job]).expect("added");
    }
    staging.commit(RemovedRows::Keep).expect("committed");
}

async fn claim(harness: &Harness<impl Store>) -> ClaimResponse {
    harness.try_claim("one", 8).await.expect("a claim")
}

/// Claims the only upload that is due; nothing may be submitted before it.
async fn claim_upload(harness: &Harness<impl Store>) -> UploadClaim {
    let mut claimed = claim(harness).await;
    assert!(claimed.claims.is_empty(), "{:?}", claimed.claims);
    assert_eq!(claimed.uploads.len(), 1);
    claimed.uploads.remove(0)
}

async fn record(harness: &Harness<impl Store>, claim: UploadClaim, outcome: UploadOutcome) {
    let upload = Completed::Upload {
        claim,
        outcome,
        signal: None,
    };
    harness.complete(vec![upload]).await.expect("recorded");
}

async fn an_image_is_uploaded_once_and_its_link_is_submitted_for_every_row_that_names_it<
    S: Store,
>(
    harness: Harness<S>,
) {
    load_rows_with_image(&harness, 2);
    let upload = claim_upload(&harness).await;
    assert!(claim(&harness).await.uploads.is_empty(), "it is leased");
    let link = "https://cdn.e.com/cup.jpg";
    let stored = UploadOutcome::Stored {
        link: link.into(),
        expires_at: None,
    };
    record(&harness, upload, stored).await;
    let claimed = claim(&harness).await;
    assert!(claimed.uploads.is_empty());
    assert_eq!(super::count_submits(&claimed.claims), 2);
    for submit in &claimed.claims {
        let request = submit.attempt.request.to_string();
        assert!(request.contains(link), "{request}");
    }
}

async fn a_failed_upload_is_repeated_when_it_is_due<S: Store>(harness: Harness<S>) {
    load_rows_with_image(&harness, 1);
    let upload = claim_upload(&harness).await;
    let failed = UploadOutcome::Failed {
        reason: "502".into(),
        due_at: harness.now() + seconds(5),
        counts_as_failure: true,
    };
    record(&harness, upload.clone(), failed).await;
    let claimed = claim(&harness).await;
    assert!(claimed.uploads.is_empty() && claimed.claims.is_empty());
    harness.at(seconds(5));
    let again = claim_upload(&harness).await;
    assert_eq!(again.failures, 1);
    // The first lease is no longer current: what it brings is dropped.
    let late = UploadOutcome::Rejected {
        reason: "late".into(),
    };
    record(&harness, upload, late).await;
    record(&harness, again, UploadOutcome::NotStarted).await;
    claim_upload(&harness).await;
}

async fn a_row_whose_image_is_rejected_is_rejected_and_is_tried_again_in_a_new_run<S: Store>(
    harness: Harness<S>,
) {
    load_rows_with_image(&harness, 1);
    let upload = claim_upload(&harness).await;
    let rejected = UploadOutcome::Rejected {
        reason: "not an image".into(),
    };
    record(&harness, upload, rejected).await;
    let submit = harness.claim_step(Step::Submit).await;
    let rejection = submit.rejection.as_deref().expect("a rejection");
    assert!(rejection.contains("not an image"), "{rejection}");
    let completed = Completed::NotStarted {
        claim: submit.into(),
    };
    harness.complete(vec![completed]).await.expect("recorded");
    harness.queue.reopen_providers().await.expect("reopened");
    claim_upload(&harness).await;
}
