//! Loading manifests.

use overnight::domain::{JobState, Money, NewJob, ProviderName};
use overnight::queue::{JobFilter, QueueError, RemovedRows, RowChange, Step};

use super::{Harness, PRICE, Store, batch, row, run_for_each_store};

run_for_each_store!(
    loading_again_queues_only_the_difference,
    a_changed_row_of_a_job_in_progress_is_left_alone,
    adding_many_rows_at_once_reports_each_clash_and_loses_no_other_row,
    new_rows_among_known_ones_are_queued_and_each_clash_is_reported,
    nothing_is_queued_before_the_commit,
    what_a_load_discards_is_not_queued_and_others_can_write_meanwhile,
    a_batch_keeps_its_model_and_its_folder,
    the_estimate_of_an_unknown_batch_is_an_error,
);

const EACHLABS: [ProviderName; 1] = [ProviderName::Eachlabs];

async fn loading_again_queues_only_the_difference<S: Store>(harness: Harness<S>) {
    let first = harness.load("b", &[0, 1, 2]);
    assert_eq!(
        (first.new, first.estimate),
        (3, Money::from_micros(3 * PRICE))
    );
    let again = harness.load("b", &[0, 9]);
    assert_eq!(
        (again.new, again.changed, again.unchanged, again.removed),
        (0, 1, 1, 1)
    );
    let estimate = harness.queue.queued_estimate(Some("b".into())).await;
    assert_eq!(
        estimate.expect("an estimate"),
        Money::from_micros(3 * PRICE)
    );
}

async fn a_changed_row_of_a_job_in_progress_is_left_alone<S: Store>(harness: Harness<S>) {
    harness.load_rows(1);
    let submit = harness.claim_step(Step::Submit).await;
    let plan = harness.load("b", &[9]);
    assert_eq!((plan.in_progress, plan.changed), (1, 0));
    harness.accept(&submit, "p").await;
    let poll = harness.claim_step(Step::Poll).await;
    assert_eq!(poll.job.input, submit.job.input);
}

async fn adding_many_rows_at_once_reports_each_clash_and_loses_no_other_row<S: Store>(
    harness: Harness<S>,
) {
    let mut staging = harness.queue.stage(batch("many")).expect("a staging");
    let job = |number: u64| {
        let row_key = match number {
            100 => "r70".into(),
            130 => "R10".into(),
            number => format!("r{number}"),
        };
        row(&row_key, number + 2, number as usize, &EACHLABS)
    };
    let jobs: Vec<NewJob> = (0..200).map(job).collect();
    let changes = staging.add(&jobs).expect("added");
    let expected = |number| {
        if number == 100 {
            RowChange::Duplicate { line: 72 }
        } else {
            RowChange::New
        }
    };
    assert_eq!(changes, (0..200).map(expected).collect::<Vec<_>>());
    let plan = staging.commit(RemovedRows::Keep).expect("committed");
    let estimate = Money::from_micros(199 * PRICE);
    assert_eq!((plan.new, plan.estimate), (199, estimate));
    let filter = JobFilter {
        batch: Some("many".into()),
        ..JobFilter::default()
    };
    let records = harness.queue.jobs(filter, None, 1000).await.expect("jobs");
    let keys: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
    let expected_keys: Vec<&str> = jobs
        .iter()
        .filter(|job| job.line != 102)
        .map(|job| job.row_key.as_str())
        .collect();
    assert_eq!(keys, expected_keys);
    // Two file names that differ only in case would be one file on some disks.
    let claims = harness.claim("one", 300).await;
    let file_name = |key: &str| {
        let claim = claims.iter().find(|claim| claim.job.row_key == key);
        claim.expect("a claim").job.file_name.clone()
    };
    assert_eq!(file_name("r10"), "r10.mp4");
    assert!(file_name("R10").starts_with("R10-"), "{}", file_name("R10"));
}

async fn new_rows_among_known_ones_are_queued_and_each_clash_is_reported<S: Store>(
    harness: Harness<S>,
) {
    let load = |rows: &[NewJob]| {
        let mut staging = harness.queue.stage(batch("many")).expect("a staging");
        let changes = staging.add(rows).expect("added");
        let plan = staging.commit(RemovedRows::Keep).expect("committed");
        (changes, plan)
    };
    let job = |key: &str, number: usize| row(key, number as u64 + 2, number, &EACHLABS);
    let numbered = |number| job(&format!("r{number}"), number);
    load(&(0..30).map(numbered).collect::<Vec<_>>());
    let mut rows: Vec<NewJob> = (20..50).map(numbered).collect();
    rows[3] = job("r23", 99); // Asks for another clip.
    rows[15] = job("r21", 35); // A known row once more.
    rows[25] = job("r31", 45); // A new row once more.
    rows[28] = job("R40", 48); // The file name of a new row, apart from case.
    let (changes, plan) = load(&rows);
    for (index, change) in changes.iter().enumerate() {
        let expected = match index {
            3 => RowChange::Changed,
            15 => RowChange::Duplicate { line: 23 },
            25 => RowChange::Duplicate { line: 33 },
            0..10 => RowChange::Unchanged,
            _ => RowChange::New,
        };
        assert_eq!(*change, expected, "row {index}");
    }
    let counts = (plan.new, plan.changed, plan.unchanged, plan.removed);
    assert_eq!(counts, (18, 1, 9, 20));
    assert_eq!(plan.queued, 48);
    let claims = harness.claim("one", 100).await;
    assert_eq!(claims.len(), 48);
    let mut names = claims.iter().map(|claim| &claim.job.file_name);
    assert!(names.any(|name| name.starts_with("R40-")));
    assert_eq!(harness.queue.verify_counters().await.expect("checked"), []);
}

async fn nothing_is_queued_before_the_commit<S: Store>(harness: Harness<S>) {
    let mut staging = harness.queue.stage(batch("b")).expect("a staging");
    staging.add(&[row("r0", 1, 0, &EACHLABS)]).expect("added");
    assert_eq!(staging.plan().expect("a plan").new, 1);
    drop(staging);
    assert_eq!(harness.batch_status("b").await.count(JobState::Queued), 0);
    assert!(harness.claim("one", 5).await.is_empty());
}

async fn what_a_load_discards_is_not_queued_and_others_can_write_meanwhile<S: Store>(
    harness: Harness<S>,
) {
    let mut staging = harness.queue.stage(batch("b")).expect("a staging");
    staging.add(&[row("r0", 1, 0, &EACHLABS)]).expect("added");
    staging.discard().expect("discarded");
    harness
        .queue
        .join(super::pool("two"))
        .await
        .expect("a pool");
    assert_eq!(staging.plan().expect("a plan").new, 0);
    staging.add(&[row("r1", 1, 1, &EACHLABS)]).expect("added");
    let plan = staging.commit(RemovedRows::Keep).expect("committed");
    assert_eq!(plan.new, 1);
    let jobs = harness.queue.jobs(JobFilter::default(), None, 10).await;
    let keys: Vec<String> = jobs.expect("jobs").into_iter().map(|job| job.id).collect();
    assert_eq!(keys, ["r1"]);
}

async fn a_batch_keeps_its_model_and_its_folder<S: Store>(harness: Harness<S>) {
    harness.load_rows(1);
    let mut other_model = batch("b");
    other_model.model = "kling-v2.1-standard".into();
    let mut other_folder = batch("b");
    other_folder.folder = "/elsewhere".into();
    let mut taken_folder = batch("c");
    taken_folder.folder = batch("b").folder;
    let error = |new_batch| {
        let staged = harness.queue.stage(new_batch).map(drop);
        staged.expect_err("it contradicts the queue")
    };
    match error(other_model) {
        QueueError::BatchHasOtherModel {
            batch,
            model,
            requested,
        } => assert_eq!(
            [batch, model, requested],
            ["b", "kling-v1-standard", "kling-v2.1-standard"]
        ),
        other => panic!("{other:?}"),
    }
    match error(other_folder) {
        QueueError::BatchHasOtherFolder {
            batch: name,
            folder,
            requested,
        } => {
            assert_eq!(name, "b");
            assert_eq!(
                [folder, requested],
                [batch("b").folder, "/elsewhere".into()]
            );
        }
        other => panic!("{other:?}"),
    }
    match error(taken_folder) {
        QueueError::FolderTaken {
            folder,
            batch: name,
        } => {
            assert_eq!((name.as_str(), folder), ("b", batch("b").folder));
        }
        other => panic!("{other:?}"),
    }
}

async fn the_estimate_of_an_unknown_batch_is_an_error<S: Store>(harness: Harness<S>) {
    harness.load_rows(1);
    let estimate = harness.queue.queued_estimate(Some("c".into())).await;
    assert!(
        matches!(&estimate, Err(QueueError::NoSuchBatch { name, .. }) if name == "c"),
        "{estimate:?}"
    );
}
