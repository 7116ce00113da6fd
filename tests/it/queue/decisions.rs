//! What the user decides: resolve, retry, cancel, and downloading again.

use overnight::domain::{Cost, CostSource, JobId, JobState, Money, Outcome, PredictionHandle};
use overnight::queue::{
    BatchClips, Decision, NotApplicable, QueueError, Remedy, RemovedRows, Selection, Step,
};

use super::{Harness, PRICE, Store, run_for_each_store};

run_for_each_store!(
    an_operator_resolves_jobs_in_doubt,
    a_job_is_resolved_by_its_number_even_if_another_row_has_that_number_as_its_key,
    one_prediction_never_belongs_to_two_jobs,
    a_command_that_does_not_apply_to_one_of_its_jobs_changes_none,
    an_unknown_or_ambiguous_job_is_reported_with_what_the_queue_has,
    a_stopped_job_says_what_the_user_can_do_about_it,
    only_the_budget_of_a_batch_can_be_set_without_an_active_run,
    the_folder_of_a_batch_changes_only_without_an_active_run_and_only_to_a_free_one,
);

async fn an_operator_resolves_jobs_in_doubt<S: Store>(harness: Harness<S>) {
    harness.load_rows(3);
    for claim in harness.claim("one", 3).await {
        harness.lose_response(&claim).await;
    }
    let mut states = Vec::new();
    for (row, decision) in [
        ("r0", Decision::Adopt(PredictionHandle::from_id("p0"))),
        ("r1", Decision::Resubmit),
        ("r2", Decision::Fail),
    ] {
        let job = harness.job(row).await;
        let resolved = harness.queue.resolve(job.job_id, decision).await;
        states.push(resolved.expect("resolved"));
    }
    assert_eq!(
        states,
        [JobState::Running, JobState::Queued, JobState::Failed]
    );
    let batch = harness.batch_status("b").await;
    // The adopted job is reserved. The price of the failed one stays booked: nothing proves that it
    // was not paid.
    let price = Money::from_micros(PRICE);
    assert_eq!(
        (batch.reserved, batch.spent, batch.at_risk),
        (price, price, Money::ZERO)
    );
    let job = harness.job("r0").await;
    let second_decision = harness.queue.resolve(job.job_id, Decision::Resubmit).await;
    assert_not_applicable(
        second_decision,
        (job.job_id, JobState::Running, NotApplicable::NotInDoubt),
    );
    let unknown = JobId(job.job_id.0 + 100);
    let resolved = harness.queue.resolve(unknown, Decision::Fail).await;
    assert!(
        matches!(&resolved, Err(QueueError::NoSuchJob { job, .. }) if *job == unknown.to_string()),
        "{resolved:?}"
    );
}

async fn a_job_is_resolved_by_its_number_even_if_another_row_has_that_number_as_its_key<
    S: Store,
>(
    harness: Harness<S>,
) {
    let mut staging = harness.queue.stage(super::batch("b")).expect("a staging");
    let eachlabs = [overnight::domain::ProviderName::Eachlabs];
    // The first job has the number of the second as its key, whatever the numbers are.
    let rows: Vec<_> = (1..=20)
        .map(|row| super::row(&row.to_string(), row, row as usize, &eachlabs))
        .collect();
    staging.add(&rows).expect("added");
    staging.commit(RemovedRows::Keep).expect("committed");
    let claims = harness.claim("one", 20).await;
    for claim in &claims {
        harness.lose_response(claim).await;
    }
    let job_id = claims[7].lease.job_id;
    let resolved = harness.queue.resolve(job_id, Decision::Resubmit).await;
    assert_eq!(resolved.expect("resolved"), JobState::Queued);
    let jobs = harness.queue.jobs(Default::default(), None, 100).await;
    for job in jobs.expect("the jobs") {
        let expected = if job.job_id == job_id {
            JobState::Queued
        } else {
            JobState::InDoubt
        };
        assert_eq!(job.state, expected);
    }
}

async fn one_prediction_never_belongs_to_two_jobs<S: Store>(harness: Harness<S>) {
    harness.load_rows(2);
    let claims = harness.claim("one", 2).await;
    harness.accept(&claims[0], "p").await;
    harness.lose_response(&claims[1]).await;
    let job = harness.job("r1").await;
    let decision = Decision::Adopt(PredictionHandle::from_id("p"));
    let adopted = harness.queue.resolve(job.job_id, decision).await;
    match adopted {
        Err(QueueError::PredictionTaken { prediction_id, job }) => {
            assert_eq!((prediction_id.as_str(), job), ("p", claims[0].lease.job_id));
        }
        other => panic!("{other:?}"),
    }
}

async fn a_command_that_does_not_apply_to_one_of_its_jobs_changes_none<S: Store>(
    harness: Harness<S>,
) {
    harness.load_rows(2);
    let claim = harness.claim("one", 1).await.remove(0);
    harness.lose_response(&claim).await;
    let both = || Selection {
        jobs: vec!["r1".into(), "r0".into()],
        ..Selection::default()
    };
    let cancelled = harness.queue.cancel(both()).await;
    let in_doubt = claim.lease.job_id;
    assert_not_applicable(
        cancelled,
        (in_doubt, JobState::InDoubt, NotApplicable::InDoubt),
    );
    let retried = harness.queue.retry(both()).await;
    let queued = harness.job("r1").await.job_id;
    assert_not_applicable(
        retried,
        (queued, JobState::Queued, NotApplicable::NothingToRetry),
    );
    let states = [harness.job("r0").await.state, harness.job("r1").await.state];
    assert_eq!(states, [JobState::InDoubt, JobState::Queued]);
    let unknown = Selection {
        batch: Some("no such batch".into()),
        ..Selection::default()
    };
    let cancelled = harness.queue.cancel(unknown).await;
    match cancelled {
        Err(QueueError::NoSuchBatch {
            name,
            nearest,
            existing,
        }) => {
            assert_eq!((name.as_str(), nearest), ("no such batch", None));
            assert_eq!(existing, ["b"]);
        }
        other => panic!("{other:?}"),
    }
}

async fn an_unknown_or_ambiguous_job_is_reported_with_what_the_queue_has<S: Store>(
    harness: Harness<S>,
) {
    harness.load_rows(1);
    harness.load("c", &[0, 1]);
    match harness.queue.find("r0".into(), None).await {
        Err(QueueError::AmbiguousJob { job, batches }) => {
            assert_eq!((job.as_str(), batches.len()), ("r0", 2));
            assert!(batches.contains(&"b".to_owned()), "{batches:?}");
        }
        other => panic!("{other:?}"),
    }
    match harness.queue.find("r11".into(), Some("c".into())).await {
        Err(QueueError::NoSuchJob {
            job,
            batch,
            nearest,
        }) => {
            assert_eq!((job.as_str(), batch.as_deref()), ("r11", Some("c")));
            assert_eq!(nearest.as_deref(), Some("r1"));
        }
        other => panic!("{other:?}"),
    }
}

async fn a_stopped_job_says_what_the_user_can_do_about_it<S: Store>(harness: Harness<S>) {
    harness.load_rows(3);
    let claims = harness.claim("one", 3).await;
    for claim in &claims[..2] {
        harness.accept(claim, &claim.job.row_key).await;
    }
    let gave_up = Outcome::GaveUp {
        reason: "never done".into(),
    };
    let failed = Outcome::PredictionFailed {
        reason: "no".into(),
        cost: Cost {
            amount: Money::ZERO,
            source: CostSource::Rule,
        },
    };
    for outcome in [gave_up, failed] {
        let poll = harness.claim_step(Step::Poll).await;
        harness.record(&poll, outcome).await;
    }
    harness.lose_response(&claims[2]).await;
    let [first, second, third] = [0, 1, 2].map(|index| claims[index].job.row_key.as_str());
    assert_eq!(harness.job(first).await.remedy(), Some(Remedy::Retry));
    assert_eq!(harness.job(second).await.remedy(), None);
    assert_eq!(harness.job(third).await.remedy(), None);
    let search = harness.claim_step(Step::Reconcile).await;
    let held = Outcome::Wait {
        due_at: None,
        failure: Some("no history".into()),
    };
    harness.record(&search, held).await;
    assert_eq!(harness.job(third).await.remedy(), Some(Remedy::Resolve));
}

/// Asserts that a command was not applied because of this job, in this state, for this reason.
fn assert_not_applicable<T: std::fmt::Debug>(
    result: Result<T, QueueError>,
    expected: (JobId, JobState, NotApplicable),
) {
    match result {
        Err(QueueError::NotApplicable { job, state, reason }) => {
            assert_eq!((job, state, reason), expected);
        }
        other => panic!("{other:?}"),
    }
}

async fn only_the_budget_of_a_batch_can_be_set_without_an_active_run<S: Store>(
    harness: Harness<S>,
) {
    use overnight::queue::LiveSetting;
    harness.load_rows(1);
    harness.queue.leave(super::pool("one")).await.expect("left");
    let set = |setting| {
        harness
            .queue
            .set_live_settings(vec![setting], "test".into())
    };
    let workers = set(LiveSetting::Workers(3)).await;
    assert!(
        matches!(workers, Err(QueueError::NoActiveRun)),
        "{workers:?}"
    );
    let budget = Some(Money::from_micros(7));
    let set_budget = set(LiveSetting::BatchBudget("b".into(), budget)).await;
    assert!(set_budget.expect("set").is_empty());
    assert_eq!(harness.batch_status("b").await.budget, budget);
    let unknown = set(LiveSetting::BatchBudget("c".into(), budget)).await;
    assert!(
        matches!(&unknown, Err(QueueError::NoSuchBatch { name, .. }) if name == "c"),
        "{unknown:?}"
    );
}

async fn the_folder_of_a_batch_changes_only_without_an_active_run_and_only_to_a_free_one<
    S: Store,
>(
    harness: Harness<S>,
) {
    harness.load_rows(1);
    let mut other = harness.queue.stage(super::batch("c")).expect("a staging");
    other.commit(RemovedRows::Keep).expect("a second batch");
    harness.render("p").await;
    let clips = |folder: &str| BatchClips {
        folder: folder.into(),
        clips: Vec::new(),
    };
    let set = |batch: &str, folder: &str, clips| {
        harness.queue.set_folder(batch.into(), clips, folder.into())
    };
    let active = set("b", "/archive/b", clips("/renders/b")).await;
    assert!(matches!(active, Err(QueueError::RunIsActive)), "{active:?}");
    harness.queue.leave(super::pool("one")).await.expect("left");
    let taken = set("b", "/renders/C", clips("/renders/b")).await;
    assert!(
        matches!(&taken, Err(QueueError::FolderTaken { batch, .. }) if batch == "c"),
        "{taken:?}"
    );
    let unknown = set("d", "/archive/d", clips("/renders/d")).await;
    assert!(
        matches!(unknown, Err(QueueError::NoSuchBatch { .. })),
        "{unknown:?}"
    );

    // A clip that was added meanwhile would be left behind.
    let changed = set("b", "/archive/b", clips("/renders/b")).await;
    assert!(
        matches!(changed, Err(QueueError::ClipsChanged)),
        "{changed:?}"
    );
    let clips = harness
        .queue
        .clips_to_move("b".into(), "/archive/b".into())
        .await;
    let clips = clips.expect("the clips");
    assert_eq!(clips.folder, "/renders/b".into());
    assert_eq!(clips.clips.len(), 1);
    set("b", "/archive/b", clips).await.expect("set");
    assert_eq!(harness.batch_status("b").await.folder, "/archive/b");
    let jobs = harness.queue.jobs(Default::default(), None, 10).await;
    let jobs = jobs.expect("the jobs").into_iter();
    let outputs: Vec<_> = jobs.filter_map(|job| job.output).collect();
    assert_eq!(outputs, ["/archive/b/p.mp4"]);
}
