//! Loading a manifest again whose rows were saved by another program, edited, or taken out.

use overnight::domain::{
    Cost, CostSource, IgnoredQuery, Input, InputComparison, JobState, Money, NewJob, Outcome,
    ProviderName, SavedFile,
};
use overnight::queue::{LoadPlan, NewBatch, RemovedRows, RowChange, Step};
use serde_json::{Value, json};

use super::{Harness, PRICE, Store, batch, run_for_each_store};

run_for_each_store!(
    a_row_saved_by_another_program_is_unchanged_whatever_fingerprint_its_job_has,
    a_row_without_an_id_keeps_the_key_that_an_earlier_version_gave_it,
    changed_rows_are_counted_by_what_differs,
    an_ignored_parameter_changes_no_row_but_an_unsubmitted_job_takes_the_new_link,
    rows_that_are_gone_are_priced_and_cancelled_only_if_asked,
    only_queued_jobs_of_a_list_are_cancelled,
    a_row_takes_a_clip_that_was_made_once_for_each_batch_and_pays_nothing,
    a_changed_row_keeps_its_clip_and_takes_it_again,
);

const MODEL: &str = "kling-v1-standard";

impl<S: Store> Harness<S> {
    /// Returns a row of the batch `b` as this version loads it.
    fn new_job(&self, row_key: &str, input: Value) -> NewJob {
        let input = Input(input.as_object().expect("an object").clone());
        let model = self.catalog.model(MODEL).expect("the model");
        let providers = vec![ProviderName::Eachlabs];
        let fingerprint = model.fingerprint(&input);
        let estimate = Money::from_micros(PRICE);
        NewJob::new(fingerprint, row_key.into(), 1, input, providers, estimate)
    }

    /// Returns the same row as earlier versions loaded it.
    fn earlier_job(&self, row_key: &str, input: Value) -> NewJob {
        let job = self.new_job(row_key, input);
        NewJob {
            fingerprint: job.input.fingerprint(MODEL),
            ..job
        }
    }

    fn new_batch(&self, ignored_query: IgnoredQuery) -> NewBatch {
        let model = self.catalog.model(MODEL).expect("the model");
        NewBatch {
            comparison: InputComparison {
                fields: model.fields.as_slice().into(),
                ignored_query,
            },
            ..batch("b")
        }
    }

    fn reload(&self, rows: &[NewJob], ignored: IgnoredQuery) -> (Vec<RowChange>, LoadPlan) {
        let mut staging = self
            .queue
            .stage(self.new_batch(ignored))
            .expect("a staging");
        let changes = staging.add(rows).expect("added");
        (
            changes,
            staging.commit(RemovedRows::Keep).expect("committed"),
        )
    }

    /// Renders the only queued job up to its saved clip.
    pub(super) async fn render(&self, prediction: &str) {
        let submit = self.claim_step(Step::Submit).await;
        self.accept(&submit, prediction).await;
        self.finish_and_save(prediction, 0).await;
    }

    /// Finishes and saves the only job in progress, which keeps a number of earlier clips.
    async fn finish_and_save(&self, prediction: &str, kept: usize) {
        let poll = self.claim_step(Step::Poll).await;
        let finished = Outcome::Finished {
            output_url: Some("https://e.com/a.mp4".into()),
            cost: Cost {
                amount: Money::from_micros(PRICE),
                source: CostSource::Rule,
            },
            processing: None,
            due_at: self.now(),
        };
        self.record(&poll, finished).await;
        let download = self.claim_step(Step::Download).await;
        assert_eq!(download.clips.kept.len(), kept);
        let file = SavedFile {
            location: format!("/renders/b/{prediction}.mp4").as_str().into(),
            bytes: 7,
            sha256: "00".into(),
        };
        let state = self.record(&download, Outcome::Saved { file }).await;
        assert_eq!(state, JobState::Succeeded);
    }
}

fn row(image: &str, prompt: &str) -> Value {
    json!({ "image": image, "prompt": prompt })
}

async fn a_row_saved_by_another_program_is_unchanged_whatever_fingerprint_its_job_has<S: Store>(
    harness: Harness<S>,
) {
    let stored = json!({
        "image": "HTTPS://Shop.example:443/a b.jpg", "prompt": "Caf\u{e9}\r\nturn ", "duration": 5
    });
    let saved = row("https://shop.example/a%20b.jpg", "Cafe\u{301}\nturn");
    harness.reload(&[harness.earlier_job("r0", stored)], IgnoredQuery::Nothing);
    let reload = || {
        let job = harness.new_job("r0", saved.clone());
        let (changes, plan) = harness.reload(&[job], IgnoredQuery::Nothing);
        assert_eq!(changes, [RowChange::Unchanged]);
        assert_eq!(plan.estimate, Money::ZERO);
    };
    reload();
    harness.render("p").await;
    reload();
    assert_eq!(harness.job("r0").await.state, JobState::Succeeded);
}

async fn a_row_without_an_id_keeps_the_key_that_an_earlier_version_gave_it<S: Store>(
    harness: Harness<S>,
) {
    let input = json!({ "image": "https://a/1.jpg", "prompt": "Turn", "duration": 5 });
    harness.reload(
        &[harness.earlier_job("earlier", input.clone())],
        IgnoredQuery::Nothing,
    );
    let job = NewJob {
        earlier_key: Some("earlier".into()),
        ..harness.new_job("canonical", input)
    };
    let (changes, plan) = harness.reload(&[job], IgnoredQuery::Nothing);
    assert_eq!((changes, plan.removed), (vec![RowChange::Unchanged], 0));
}

async fn changed_rows_are_counted_by_what_differs<S: Store>(harness: Harness<S>) {
    let rows = |rows: [(&str, &str, u32); 4]| {
        rows.map(|(image, prompt, seconds)| {
            json!({ "image": image, "prompt": prompt, "duration": seconds })
        })
    };
    let load = |rows: [Value; 4]| {
        let keys = ["r0", "r1", "r2", "r3"];
        let jobs = keys.iter().zip(rows);
        let jobs: Vec<NewJob> = jobs.map(|(key, row)| harness.new_job(key, row)).collect();
        harness.reload(&jobs, IgnoredQuery::Nothing).1
    };
    let link = "https://a/1.jpg?v=1";
    load(rows([
        (link, "a", 5),
        (link, "b", 5),
        (link, "c", 5),
        (link, "d", 5),
    ]));
    let edited = "https://a/1.jpg?v=2";
    let plan = load(rows([
        (link, "a", 5),
        (link, "B", 10),
        (edited, "C", 5),
        (edited, "d", 5),
    ]));
    assert_eq!((plan.changed, plan.unchanged), (3, 1));
    let differences = plan.differences;
    let expected = [("duration".to_owned(), 1), ("prompt".to_owned(), 2)];
    assert_eq!(differences.by_field, expected.into());
    assert_eq!(differences.only_query.rows, 1);
    assert_eq!(differences.only_query.parameters, ["v".to_owned()].into());
}

async fn an_ignored_parameter_changes_no_row_but_an_unsubmitted_job_takes_the_new_link<S: Store>(
    harness: Harness<S>,
) {
    let rows = |version: u32| {
        let link = |name: &str| format!("https://a/{name}.jpg?v={version}");
        let row = |key: &str| harness.new_job(key, row(&link(key), "Turn"));
        [row("done"), row("queued")]
    };
    harness.reload(&rows(1)[..1], IgnoredQuery::Nothing);
    harness.render("p").await;
    harness.reload(&rows(1), IgnoredQuery::Nothing);
    let ignored = IgnoredQuery::Names(["v".to_owned()].into());
    for version in [2, 3] {
        let (changes, plan) = harness.reload(&rows(version), ignored.clone());
        assert_eq!(changes, [RowChange::Unchanged, RowChange::Unchanged]);
        assert_eq!((plan.changed, plan.differences.ignored.rows), (0, 2));
    }
    let image = |job: overnight::queue::JobRecord| job.input.0["image"].clone();
    assert_eq!(
        image(harness.job("queued").await),
        "https://a/queued.jpg?v=3"
    );
    assert_eq!(image(harness.job("done").await), "https://a/done.jpg?v=1");
    let (changes, _) = harness.reload(&rows(3), IgnoredQuery::Nothing);
    assert_eq!(changes, [RowChange::Changed, RowChange::Unchanged]);
}

async fn rows_that_are_gone_are_priced_and_cancelled_only_if_asked<S: Store>(harness: Harness<S>) {
    let row = |key: &str| harness.new_job(key, row(&format!("https://a/{key}.jpg"), "Turn"));
    let all = ["done", "running", "gone-1", "gone-2", "kept"].map(row);
    harness.reload(&all[..1], IgnoredQuery::Nothing);
    harness.render("p").await;
    harness.reload(&all, IgnoredQuery::Nothing);
    let running = harness.claim_step(Step::Submit).await;
    assert_eq!(running.job.row_key, "running");
    let left = [row("kept"), row("new")];
    let (_, plan) = harness.reload(&left, IgnoredQuery::Nothing);
    let price = |jobs: i64| Money::from_micros(jobs * PRICE);
    assert_eq!((plan.new, plan.unchanged, plan.removed), (1, 1, 4));
    assert_eq!(plan.removed_queued.len(), 2);
    assert_eq!(
        (plan.removed_estimate, plan.queued_estimate),
        (price(2), price(4))
    );

    let mut staging = harness
        .queue
        .stage(harness.new_batch(IgnoredQuery::Nothing));
    let staging = staging.as_mut().expect("a staging");
    staging.add(&left).expect("added");
    let checked = staging.plan().expect("a plan");
    assert_eq!((checked.removed_queued.len(), checked.queued), (2, 4));
    let plan = staging.commit(RemovedRows::Cancel).expect("committed");
    assert_eq!((plan.queued, plan.queued_estimate), (2, price(2)));
    let states = ["done", "running", "gone-1", "gone-2", "kept", "new"]
        .map(async |key| harness.job(key).await.state);
    let mut found = Vec::new();
    for state in states {
        found.push(state.await);
    }
    use JobState::{Cancelled, Queued, Submitting, Succeeded};
    assert_eq!(
        found,
        [Succeeded, Submitting, Cancelled, Cancelled, Queued, Queued]
    );
    assert_eq!(harness.queue.verify_counters().await.expect("counters"), []);
}

async fn only_queued_jobs_of_a_list_are_cancelled<S: Store>(harness: Harness<S>) {
    harness.load_rows(3);
    let submit = harness.claim_step(Step::Submit).await;
    let jobs = ["r0", "r1"].map(async |key| harness.job(key).await.job_id);
    let mut ids = Vec::new();
    for job in jobs {
        ids.push(job.await);
    }
    let cancelled = harness.queue.cancel_queued(ids).await.expect("cancelled");
    assert_eq!(cancelled, 1);
    assert_eq!(submit.job.row_key, "r0");
    assert_eq!(harness.job("r0").await.state, JobState::Submitting);
    assert_eq!(harness.job("r1").await.state, JobState::Cancelled);
    assert_eq!(harness.job("r2").await.state, JobState::Queued);
}

async fn a_row_takes_a_clip_that_was_made_once_for_each_batch_and_pays_nothing<S: Store>(
    harness: Harness<S>,
) {
    let turn = || row("https://a/1.jpg", "Turn");
    harness.reload(&[harness.new_job("made", turn())], IgnoredQuery::Nothing);
    harness.render("p").await;
    let twins = ["first", "second"].map(|key| harness.new_job(key, turn()));
    let reusing = |name: &str| NewBatch {
        reuses_clips: true,
        comparison: harness.new_batch(IgnoredQuery::Nothing).comparison,
        ..batch(name)
    };
    let mut staging = harness.queue.stage(reusing("other")).expect("a staging");
    let changes = staging.add(&twins).expect("added");
    assert_eq!(
        changes,
        [RowChange::Reused { is_new: true }, RowChange::New]
    );
    let plan = staging.commit(RemovedRows::Keep).expect("committed");
    assert_eq!(
        (plan.new, plan.reused, plan.estimate),
        (2, 1, Money::from_micros(PRICE))
    );
    assert_eq!(plan.reused_from, ["b".to_owned()].into());
    assert_eq!(harness.queue.verify_counters().await.expect("counters"), []);

    let claims = harness.claim("one", 9).await;
    let download = claims.iter().find(|claim| claim.step == Step::Download);
    let download = download.expect("a download");
    assert_eq!(download.job.row_key, "first");
    let source = download.clips.reused.as_ref().expect("a clip to take");
    assert_eq!(source.file.location, "/renders/b/p.mp4".into());
    assert_eq!(download.clips.kept, []);
    let file = SavedFile {
        location: "/renders/other/first.mp4".into(),
        ..source.file.clone()
    };
    harness.record(download, Outcome::Saved { file }).await;
    let job = harness.job("first").await;
    assert_eq!((job.attempts, job.cost_usd), (0, Some(Money::ZERO)));
    assert_eq!(job.cost_source, Some(CostSource::Reused));
    let status = harness.batch_status("other").await;
    assert_eq!(
        (status.spent, status.reserved),
        (Money::ZERO, Money::from_micros(PRICE))
    );
}

async fn a_changed_row_keeps_its_clip_and_takes_it_again<S: Store>(harness: Harness<S>) {
    let load = |prompt: &str| {
        let new_batch = NewBatch {
            reuses_clips: true,
            ..harness.new_batch(IgnoredQuery::Nothing)
        };
        let mut staging = harness.queue.stage(new_batch).expect("a staging");
        let job = harness.new_job("r0", row("https://a/1.jpg", prompt));
        let changes = staging.add(&[job]).expect("added");
        staging.commit(RemovedRows::Keep).expect("committed");
        changes[0]
    };
    load("left");
    harness.render("left").await;
    assert_eq!(load("right"), RowChange::Changed);
    let submit = harness.claim_step(Step::Submit).await;
    harness.accept(&submit, "right").await;
    harness.finish_and_save("right", 1).await;
    assert_eq!(load("left"), RowChange::Reused { is_new: false });
    let download = harness.claim_step(Step::Download).await;
    let number = download.clips.reused.as_ref().map(|clip| clip.number);
    assert_eq!(number, Some(1));
    let kept: Vec<u32> = download.clips.kept.iter().map(|clip| clip.number).collect();
    assert_eq!(kept, [1, 2]);
    // Neither the file nor the provider has it any more: only then is it rendered again.
    let gone = Outcome::GaveUp {
        reason: "the clip is gone".into(),
    };
    assert_eq!(harness.record(&download, gone).await, JobState::Failed);
    let selection = overnight::queue::Selection::default();
    assert_eq!(harness.queue.retry(selection).await.expect("a retry"), 1);
    assert_eq!(harness.job("r0").await.state, JobState::Queued);
    assert_eq!(harness.queue.verify_counters().await.expect("counters"), []);
}
