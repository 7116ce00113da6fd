//! The guarantees of the queue, tested on a real SQLite file with an explicit clock.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use overnight::catalog;
use overnight::domain::{
    AttemptState, Catalog, Cost, CostSource, Input, JobState, Money, NewJob, Outcome, PoolId,
    PredictionHandle, ProviderName,
};
use overnight::queue::sqlite::SqliteQueue;
use overnight::queue::{
    Capacity, Claim, ClaimRequest, Decision, JobFilter, NewBatch, ProviderLimits, Queue,
    QueueError, RowChange, Selection,
};
use rusqlite::Connection;
use tempfile::TempDir;

const PRICE: i64 = 225_000;

/// A queue of one batch, and the pool `one` that works on it.
struct QueueFixture {
    dir: TempDir,
    queue: SqliteQueue,
    catalog: Arc<Catalog>,
    limits: ProviderLimits,
    budget: Option<Money>,
}

fn start_time() -> Timestamp {
    "2026-08-20T10:00:00Z".parse().expect("a time")
}

fn pool(name: &str) -> PoolId {
    PoolId(name.into())
}

/// Counts the claims of jobs that have no prediction yet.
fn count_submits(claims: Vec<Claim>) -> usize {
    claims
        .iter()
        .filter(|claim| claim.attempt.progress.prediction.is_none())
        .count()
}

impl QueueFixture {
    async fn with_rows(rows: usize) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let queue = SqliteQueue::open_or_create(&dir.path().join("q.db")).expect("a queue");
        let limits = ProviderLimits {
            provider: ProviderName::Eachlabs,
            in_flight: 1000,
            creates_per_minute: 1000,
            has_storage: true,
        };
        let catalog = Arc::new(catalog::load(&[]).expect("the catalogue"));
        let fixture = Self {
            dir,
            queue,
            catalog,
            limits,
            budget: None,
        };
        fixture.load(rows);
        fixture
            .queue
            .join(
                pool("one"),
                start_time(),
                start_time() + SignedDuration::from_secs(45),
            )
            .await
            .expect("a pool");
        fixture
    }

    fn load(&self, rows: usize) {
        let numbers: Vec<usize> = (0..rows).collect();
        self.load_inputs(&numbers);
    }

    /// Loads a row for each number; rows with equal numbers differ only in their ids.
    fn load_inputs(&self, numbers: &[usize]) {
        let batch = NewBatch {
            name: "b".into(),
            model: "kling-v1-standard".into(),
            folder: PathBuf::from("/renders/b"),
            budget: None,
        };
        let mut staging = self.queue.stage(batch).expect("a staging");
        for (row, number) in numbers.iter().enumerate() {
            let input = format!(r#"{{"image":"https://e.com/{number}.png","prompt":"{number}"}}"#);
            let input: Input = serde_json::from_str(&input).expect("an input");
            let providers = vec![ProviderName::Eachlabs];
            let estimate = Money::from_micros(PRICE);
            let job = NewJob::new(
                "kling-v1-standard",
                format!("r{row}"),
                1,
                input,
                providers,
                estimate,
            );
            staging.add(&[job], start_time()).expect("added");
        }
        staging.commit(start_time()).expect("committed");
    }

    fn request(&self, pool_name: &str, now: Timestamp, steps: usize) -> ClaimRequest {
        ClaimRequest {
            pool_id: pool(pool_name),
            now,
            batch: None,
            budget: self.budget,
            capacity: Capacity::uniform(steps),
            providers: vec![self.limits],
            catalog: Arc::clone(&self.catalog),
        }
    }

    async fn claim(&self, pool_name: &str, now: Timestamp, steps: usize) -> Vec<Claim> {
        self.queue
            .claim(self.request(pool_name, now, steps))
            .await
            .expect("a claim")
            .claims
    }

    async fn accept(&self, claim: &Claim, prediction_id: &str, now: Timestamp) {
        let accepted = Outcome::Accepted {
            prediction: PredictionHandle::from_id(prediction_id),
            early_cost: None,
            due_at: now,
        };
        self.queue
            .record_outcome(claim.lease.clone(), accepted, None, now)
            .await
            .expect("accepted");
    }
}

#[test]
fn the_schema_lists_the_same_states_as_the_code() {
    let schema = include_str!("../../schema.sql");
    let condition = |states: &[&str]| {
        let states: Vec<String> = states
            .iter()
            .map(|state| format!("state = '{state}'"))
            .collect();
        states.join(" OR ")
    };
    let schema_contains = |states: &[&str]| {
        schema
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .contains(&condition(states))
    };
    assert!(schema_contains(&JobState::ALL.map(JobState::as_str)));
    assert!(schema_contains(
        &AttemptState::ALL.map(AttemptState::as_str)
    ));
    let final_states: Vec<&str> = JobState::ALL
        .into_iter()
        .filter(|state| state.is_final())
        .map(JobState::as_str)
        .collect();
    assert!(schema_contains(&final_states));
    let open = AttemptState::ALL
        .into_iter()
        .filter(|state| state.is_open())
        .map(AttemptState::as_str);
    assert!(schema.contains(&format!(
        "({}) = (finished_at IS NULL)",
        condition(&open.collect::<Vec<_>>())
    )));
}

#[test]
fn every_column_has_a_comment_or_a_self_explanatory_name() {
    let schema = include_str!("../../schema.sql");
    let self_explanatory = [
        "job_id",
        "batch_id",
        "attempt_id",
        "provider",
        "started_at",
        "state",
    ];
    let mut columns = 0;
    for table in schema.split("CREATE TABLE ").skip(1) {
        for line in table
            .split("\n)")
            .next()
            .unwrap_or_default()
            .lines()
            .skip(1)
        {
            let name = line.trim_start().split(' ').next().unwrap_or_default();
            let is_column = name.starts_with(|c: char| c.is_ascii_lowercase());
            columns += usize::from(is_column);
            assert!(
                !is_column || self_explanatory.contains(&name) || line.contains("--"),
                "{line}"
            );
        }
    }
    assert!(columns > 50, "{columns} columns");
}

#[tokio::test]
async fn no_sixty_second_window_contains_more_submits_than_the_limit() {
    let mut fixture = QueueFixture::with_rows(30).await;
    fixture.limits.creates_per_minute = 10;
    let first = fixture.claim("one", start_time(), 100).await;
    assert_eq!(first.len(), 10);
    // The answers arrive 500 ms apart; each submit counts until 60 seconds after its answer.
    for (number, claim) in (0..).zip(&first) {
        fixture
            .accept(
                claim,
                &format!("p{number}"),
                start_time() + SignedDuration::from_millis(number * 500),
            )
            .await;
    }
    let at = |millis| start_time() + SignedDuration::from_millis(millis);
    assert_eq!(fixture.claim("one", at(59_999), 0).await.len(), 0);
    assert_eq!(
        count_submits(fixture.claim("one", at(59_900), 100).await),
        0
    );
    assert_eq!(
        count_submits(fixture.claim("one", at(60_001), 100).await),
        1
    );
    assert_eq!(
        count_submits(fixture.claim("one", at(62_600), 100).await),
        5
    );
}

#[tokio::test]
async fn truncating_times_to_milliseconds_does_not_shorten_the_rate_window() {
    let mut fixture = QueueFixture::with_rows(2).await;
    fixture.limits.creates_per_minute = 1;
    let first = fixture.claim("one", start_time(), 2).await;
    fixture
        .accept(
            &first[0],
            "p",
            start_time() + SignedDuration::from_micros(900),
        )
        .await;
    let at = |micros| start_time() + SignedDuration::from_micros(micros);
    assert_eq!(
        count_submits(fixture.claim("one", at(60_000_100), 2).await),
        0
    );
    assert_eq!(
        count_submits(fixture.claim("one", at(60_001_000), 2).await),
        1
    );
}

#[tokio::test]
async fn slots_are_counted_over_all_pools() {
    let mut fixture = QueueFixture::with_rows(30).await;
    fixture.limits.in_flight = 7;
    fixture
        .queue
        .join(
            pool("two"),
            start_time(),
            start_time() + SignedDuration::from_secs(45),
        )
        .await
        .expect("a pool");
    assert_eq!(fixture.claim("one", start_time(), 4).await.len(), 4);
    assert_eq!(fixture.claim("two", start_time(), 100).await.len(), 3);
    assert_eq!(fixture.claim("one", start_time(), 100).await.len(), 0);
}

#[tokio::test]
async fn reserved_and_spent_never_exceed_the_budget() {
    let mut fixture = QueueFixture::with_rows(30).await;
    fixture.budget = Some(Money::from_micros(PRICE * 3 + PRICE - 1));
    let claims = fixture.claim("one", start_time(), 100).await;
    assert_eq!(claims.len(), 3);
    let refused = Outcome::Refused {
        reason: "busy".into(),
        due_at: start_time(),
        counts_as_failure: true,
    };
    fixture
        .queue
        .record_outcome(claims[0].lease.clone(), refused, None, start_time())
        .await
        .expect("refused");
    let status = fixture.queue.status(None).await.expect("a status");
    assert_eq!(status.batches[0].reserved, Money::from_micros(PRICE * 2));
    assert_eq!(fixture.claim("one", start_time(), 100).await.len(), 1);
}

#[tokio::test]
async fn a_write_after_the_lease_is_lost_fails_and_changes_nothing() {
    let fixture = QueueFixture::with_rows(1).await;
    let claim = fixture.claim("one", start_time(), 1).await.remove(0);
    let later = start_time() + SignedDuration::from_secs(46);
    // The pool has not renewed, so its lease has expired although its process is alive. Another
    // process takes over on its second check.
    let other = SqliteQueue::open(&fixture.dir.path().join("q.db")).expect("the queue");
    assert_eq!(fixture.queue.take_over(later).await.expect("taken over"), 0);
    assert_eq!(other.take_over(later).await.expect("taken over"), 0);
    assert_eq!(other.take_over(later).await.expect("taken over"), 1);
    let accepted = Outcome::Accepted {
        prediction: PredictionHandle::from_id("p"),
        early_cost: None,
        due_at: later,
    };
    let written = fixture
        .queue
        .record_outcome(claim.lease, accepted, None, later)
        .await;
    assert!(
        matches!(written, Err(QueueError::LeaseLost(_))),
        "{written:?}"
    );
    let job = fixture
        .queue
        .find("r0".into(), None)
        .await
        .expect("the job");
    assert_eq!((job.state, job.prediction_id), (JobState::InDoubt, None));
    assert_eq!(job.at_risk, Money::from_micros(PRICE));
}

#[tokio::test]
async fn a_job_that_crashes_ten_pools_in_a_row_fails_and_keeps_its_prediction() {
    let fixture = QueueFixture::with_rows(1).await;
    let claim = fixture.claim("one", start_time(), 1).await.remove(0);
    fixture.accept(&claim, "p", start_time()).await;
    let mut now = start_time();
    for crash in 0..10 {
        let name = format!("crash-{crash}");
        fixture
            .queue
            .join(pool(&name), now, now)
            .await
            .expect("a pool");
        assert_eq!(fixture.claim(&name, now, 1).await.len(), 1, "{crash}");
        fixture.queue.leave(pool(&name), now).await.expect("left");
        // Due at once after the first crash, and with growing delays after that.
        if crash == 1 {
            assert_eq!(fixture.claim("one", now, 1).await.len(), 0);
        }
        now += SignedDuration::from_secs(if crash == 0 { 0 } else { 32 });
    }
    let job = fixture
        .queue
        .find("r0".into(), None)
        .await
        .expect("the job");
    assert_eq!(
        (job.state, job.cost_usd),
        (JobState::Failed, Some(Money::from_micros(PRICE)))
    );
    assert_eq!(
        fixture
            .queue
            .retry(Selection::default(), start_time())
            .await
            .expect("retried"),
        1
    );
    let job = fixture
        .queue
        .find("r0".into(), None)
        .await
        .expect("the job");
    assert_eq!(
        (job.state, job.prediction_id.as_deref(), job.cost_usd),
        (JobState::Running, Some("p"), None)
    );
}

#[tokio::test]
async fn a_pool_that_renews_after_its_machine_slept_is_not_taken_over() {
    let fixture = QueueFixture::with_rows(1).await;
    let claim = fixture.claim("one", start_time(), 1).await.remove(0);
    let other = SqliteQueue::open(&fixture.dir.path().join("q.db")).expect("the queue");
    let wake_time = start_time() + SignedDuration::from_hours(8);
    assert_eq!(other.take_over(wake_time).await.expect("taken over"), 0);
    fixture
        .queue
        .heartbeat(
            pool("one"),
            wake_time,
            wake_time + SignedDuration::from_secs(45),
        )
        .await
        .expect("renewed");
    assert_eq!(
        other
            .take_over(wake_time + SignedDuration::from_secs(1))
            .await
            .expect("taken over"),
        0
    );
    fixture.accept(&claim, "p", wake_time).await;
}

#[tokio::test]
async fn an_operator_resolves_jobs_in_doubt() {
    let fixture = QueueFixture::with_rows(3).await;
    for claim in fixture.claim("one", start_time(), 3).await {
        let lost = Outcome::LostResponse {
            reason: "connection reset".into(),
            due_at: start_time(),
        };
        fixture
            .queue
            .record_outcome(claim.lease, lost, None, start_time())
            .await
            .expect("lost");
    }
    let mut states = Vec::new();
    for (row, decision) in [
        ("r0", Decision::Adopt(PredictionHandle::from_id("p0"))),
        ("r1", Decision::Resubmit),
        ("r2", Decision::Fail),
    ] {
        let job = fixture.queue.find(row.into(), None).await.expect("the job");
        states.push(
            fixture
                .queue
                .resolve(job.job_id, decision, start_time())
                .await
                .expect("resolved"),
        );
    }
    assert_eq!(
        states,
        [JobState::Running, JobState::Queued, JobState::Failed]
    );
    let batch = fixture
        .queue
        .status(None)
        .await
        .expect("a status")
        .batches
        .remove(0);
    // The adopted job is reserved. The price of the failed one stays booked: nothing proves that it
    // was not paid.
    assert_eq!(
        (batch.reserved, batch.spent, batch.at_risk),
        (
            Money::from_micros(PRICE),
            Money::from_micros(PRICE),
            Money::ZERO
        )
    );
    let job = fixture
        .queue
        .find("r0".into(), None)
        .await
        .expect("the job");
    let second_decision = fixture
        .queue
        .resolve(job.job_id, Decision::Resubmit, start_time())
        .await;
    assert!(
        matches!(second_decision, Err(QueueError::Conflict(_))),
        "{second_decision:?}"
    );
}

#[tokio::test]
async fn a_job_is_resolved_by_its_number_even_if_another_row_has_that_number_as_its_key() {
    let fixture = QueueFixture::with_rows(2).await;
    let [first, second] = fixture
        .claim("one", start_time(), 2)
        .await
        .try_into()
        .expect("two claims");
    let connection = Connection::open(fixture.dir.path().join("q.db")).expect("a connection");
    let rename = "UPDATE jobs SET row_key = ?2 WHERE job_id = ?1";
    let first_id = first.lease.job_id;
    let second_id = second.lease.job_id;
    connection
        .execute(rename, [first_id.to_string(), second_id.to_string()])
        .expect("renamed");
    for claim in [first, second] {
        let lost = Outcome::LostResponse {
            reason: "connection reset".into(),
            due_at: start_time(),
        };
        fixture
            .queue
            .record_outcome(claim.lease, lost, None, start_time())
            .await
            .expect("lost");
    }
    fixture
        .queue
        .resolve(second_id, Decision::Resubmit, start_time())
        .await
        .expect("resolved");
    let jobs = fixture
        .queue
        .jobs(JobFilter::default(), None, 2)
        .await
        .expect("the jobs");
    assert_eq!(
        [jobs[0].state, jobs[1].state],
        [JobState::InDoubt, JobState::Queued]
    );
}

#[tokio::test]
async fn one_prediction_never_belongs_to_two_jobs() {
    let fixture = QueueFixture::with_rows(2).await;
    let claims = fixture.claim("one", start_time(), 2).await;
    fixture.accept(&claims[0], "p", start_time()).await;
    let lost = Outcome::LostResponse {
        reason: "connection reset".into(),
        due_at: start_time(),
    };
    fixture
        .queue
        .record_outcome(claims[1].lease.clone(), lost, None, start_time())
        .await
        .expect("lost");
    let job = fixture
        .queue
        .find("r1".into(), None)
        .await
        .expect("the job");
    let adopted = fixture
        .queue
        .resolve(
            job.job_id,
            Decision::Adopt(PredictionHandle::from_id("p")),
            start_time(),
        )
        .await;
    assert!(
        matches!(adopted, Err(QueueError::Conflict(_))),
        "{adopted:?}"
    );
}

#[tokio::test]
async fn a_reported_cost_is_not_replaced_by_a_cost_computed_by_rule() {
    let fixture = QueueFixture::with_rows(1).await;
    let claim = fixture.claim("one", start_time(), 1).await.remove(0);
    fixture.accept(&claim, "p", start_time()).await;
    for (amount, source) in [(200_000, CostSource::Reported), (PRICE, CostSource::Rule)] {
        let poll = fixture.claim("one", start_time(), 1).await.remove(0);
        let finished = Outcome::Finished {
            output_url: "https://e.com/a.mp4".into(),
            cost: Cost {
                amount: Money::from_micros(amount),
                source,
            },
            processing: None,
            due_at: start_time(),
        };
        fixture
            .queue
            .record_outcome(poll.lease, finished, None, start_time())
            .await
            .expect("finished");
        let download = fixture.claim("one", start_time(), 1).await.remove(0);
        let expired = Outcome::LinkExpired {
            due_at: start_time(),
            reason: "403".into(),
        };
        fixture
            .queue
            .record_outcome(download.lease, expired, None, start_time())
            .await
            .expect("expired");
    }
    let job = fixture
        .queue
        .find("r0".into(), None)
        .await
        .expect("the job");
    assert_eq!(
        (job.cost_usd, job.cost_source),
        (
            Some(Money::from_micros(200_000)),
            Some(CostSource::Reported)
        )
    );
}

#[tokio::test]
async fn a_run_of_one_batch_polls_the_jobs_that_hold_the_slots_it_waits_for() {
    let mut fixture = QueueFixture::with_rows(1).await;
    fixture.limits.in_flight = 1;
    let other = fixture.claim("one", start_time(), 1).await.remove(0);
    fixture
        .accept(&other, "p", start_time() + SignedDuration::from_secs(5))
        .await;
    let batch = NewBatch {
        name: "a".into(),
        model: "kling-v1-standard".into(),
        folder: PathBuf::from("/renders/a"),
        budget: None,
    };
    let mut staging = fixture.queue.stage(batch).expect("a staging");
    let input: Input =
        serde_json::from_str(r#"{"image":"https://e.com/a.png","prompt":"a"}"#).expect("an input");
    let providers = vec![ProviderName::Eachlabs];
    let estimate = Money::from_micros(PRICE);
    let job = NewJob::new(
        "kling-v1-standard",
        "a".into(),
        1,
        input,
        providers,
        estimate,
    );
    staging.add(&[job], start_time()).expect("added");
    staging.commit(start_time()).expect("committed");
    let now = start_time() + SignedDuration::from_secs(2);
    let claimed = fixture.queue.claim(ClaimRequest {
        batch: Some("a".into()),
        ..fixture.request("one", now, 5)
    });
    let backlog = claimed.await.expect("a claim").backlog;
    assert!(backlog.is_some_and(|backlog| !backlog.is_idle()));
    let later = start_time() + SignedDuration::from_secs(9);
    let claimed = fixture.queue.claim(ClaimRequest {
        batch: Some("a".into()),
        ..fixture.request("one", later, 5)
    });
    let claims = claimed.await.expect("a claim").claims;
    assert_eq!(claims.len(), 1);
    assert_eq!(
        (claims[0].lease.job_id, claims[0].job.batch.as_str()),
        (other.lease.job_id, "b")
    );
}

#[tokio::test]
async fn identical_requests_are_submitted_one_at_a_time_without_blocking_others() {
    let fixture = QueueFixture::with_rows(0).await;
    fixture.load_inputs(&[7, 7, 7, 8]);
    let rows = |claims: &[Claim]| {
        claims
            .iter()
            .map(|claim| claim.job.row_key.clone())
            .collect::<Vec<_>>()
    };
    let first = fixture.claim("one", start_time(), 10).await;
    assert_eq!(rows(&first), ["r0", "r3"]);
    let lost = Outcome::LostResponse {
        reason: "connection reset".into(),
        due_at: start_time() + SignedDuration::from_secs(60),
    };
    fixture
        .queue
        .record_outcome(first[0].lease.clone(), lost, None, start_time())
        .await
        .expect("lost");
    let later = start_time() + SignedDuration::from_secs(5);
    assert_eq!(rows(&fixture.claim("one", later, 10).await), [""; 0]);
    let decision = Decision::Adopt(PredictionHandle::from_id("found"));
    fixture
        .queue
        .resolve(first[0].lease.job_id, decision, later)
        .await
        .expect("adopted");
    let later = later + SignedDuration::from_secs(5);
    let next = fixture.claim("one", later, 10).await;
    assert_eq!(
        rows(&next),
        ["r0", "r1"],
        "a poll of the first job, and a submit of one of the others"
    );
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_rejected_and_not_changed() {
    let fixture = QueueFixture::with_rows(1).await;
    let path = fixture.dir.path().join("newer.db");
    {
        SqliteQueue::open_or_create(&path).expect("a queue");
        let connection = Connection::open(&path).expect("a connection");
        connection
            .pragma_update(None, "user_version", 99)
            .expect("a version");
        connection
            .pragma_update(None, "journal_mode", "DELETE")
            .expect("one file");
    }
    let before = std::fs::read(&path).expect("the file");
    let error = SqliteQueue::open(&path)
        .expect_err("it is rejected")
        .to_string();
    assert!(
        error.contains("newer version of overnight") && error.contains("not modified"),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).expect("the file"), before);
}

#[tokio::test]
async fn files_that_are_not_queues_are_rejected() {
    let fixture = QueueFixture::with_rows(1).await;
    let text = fixture.dir.path().join("text.db");
    std::fs::write(
        &text,
        "this is not a database, but it is long enough to be taken for one".repeat(50),
    )
    .expect("a file");
    let error = SqliteQueue::open(&text)
        .expect_err("it is rejected")
        .to_string();
    assert!(error.contains("not a SQLite file"), "{error}");
    let other = fixture.dir.path().join("other.db");
    Connection::open(&other)
        .expect("a file")
        .execute_batch("CREATE TABLE t (a)")
        .expect("a table");
    let error = SqliteQueue::open(&other)
        .expect_err("it is rejected")
        .to_string();
    assert!(error.contains("another program"), "{error}");
}

#[tokio::test]
async fn the_counters_match_the_rows() {
    let fixture = QueueFixture::with_rows(20).await;
    let claims = fixture.claim("one", start_time(), 12).await;
    for (number, claim) in claims.iter().enumerate() {
        match number % 4 {
            0 => {
                fixture
                    .accept(claim, &format!("p{number}"), start_time())
                    .await
            }
            1 => {
                let rejected = Outcome::Rejected {
                    reason: "no".into(),
                };
                fixture
                    .queue
                    .record_outcome(claim.lease.clone(), rejected, None, start_time())
                    .await
                    .expect("rejected");
            }
            2 => {
                let lost = Outcome::LostResponse {
                    reason: "connection reset".into(),
                    due_at: start_time(),
                };
                fixture
                    .queue
                    .record_outcome(claim.lease.clone(), lost, None, start_time())
                    .await
                    .expect("lost");
            }
            _ => {}
        }
    }
    let connection = Connection::open(fixture.dir.path().join("q.db")).expect("a connection");
    let query = |sql: &str| {
        connection
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .expect(sql)
    };
    assert_eq!(
        query("SELECT in_flight FROM providers"),
        query(
            "SELECT count(*) FROM attempts WHERE state IN ('submitting', 'in_doubt', 'accepted')"
        )
    );
    assert_eq!(
        query("SELECT reserved FROM batches"),
        query(
            "SELECT sum(estimate) FROM attempts
             WHERE state IN ('submitting', 'in_doubt', 'accepted')"
        )
    );
    assert_eq!(
        query("SELECT at_risk FROM batches"),
        query("SELECT sum(estimate) FROM attempts WHERE state = 'in_doubt'")
    );
    for state in JobState::ALL {
        assert_eq!(
            query(&format!("SELECT {state} FROM batches")),
            query(&format!(
                "SELECT count(*) FROM jobs WHERE state = '{state}'"
            )),
            "{state}"
        );
    }
}

#[tokio::test]
async fn adding_many_rows_at_once_reports_each_clash_and_loses_no_other_row() {
    let fixture = QueueFixture::with_rows(0).await;
    let batch = NewBatch {
        name: "many".into(),
        model: "kling-v1-standard".into(),
        folder: PathBuf::from("/renders/many"),
        budget: None,
    };
    let mut staging = fixture.queue.stage(batch).expect("a staging");
    let job = |row: u64| {
        let row_key = match row {
            100 => "r70".into(),
            130 => "R10".into(),
            row => format!("r{row}"),
        };
        let input = format!(r#"{{"image":"https://e.com/{row}.png","prompt":"{row}"}}"#);
        let input: Input = serde_json::from_str(&input).expect("an input");
        let estimate = Money::from_micros(PRICE);
        NewJob::new(
            "kling-v1-standard",
            row_key,
            row + 2,
            input,
            vec![ProviderName::Eachlabs],
            estimate,
        )
    };
    let jobs: Vec<NewJob> = (0..200).map(job).collect();
    let changes = staging.add(&jobs, start_time()).expect("added");
    let expected = |row| {
        if row == 100 {
            RowChange::Duplicate { line: 72 }
        } else {
            RowChange::New
        }
    };
    assert_eq!(changes, (0..200).map(expected).collect::<Vec<_>>());
    let plan = staging.commit(start_time()).expect("committed");
    assert_eq!(
        (plan.new, plan.estimate),
        (199, Money::from_micros(199 * PRICE))
    );
    let filter = JobFilter {
        batch: Some("many".into()),
        ..JobFilter::default()
    };
    let records = fixture.queue.jobs(filter, None, 1000).await.expect("jobs");
    let keys: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
    let expected_keys: Vec<&str> = jobs
        .iter()
        .filter(|job| job.line != 102)
        .map(|job| job.row_key.as_str())
        .collect();
    assert_eq!(keys, expected_keys);
    let connection = Connection::open(fixture.dir.path().join("q.db")).expect("the file");
    let sql = "SELECT file_name FROM jobs WHERE row_key = ?1";
    let file_name = |key| {
        connection
            .query_row(sql, [key], |row| row.get::<_, String>(0))
            .expect("a name")
    };
    assert_eq!(file_name("r10"), "r10.mp4");
    let renamed = file_name("R10");
    assert!(renamed.starts_with("R10-"), "{renamed}");
}
