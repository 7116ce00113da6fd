//! The queue's promises, on a real SQLite file, with time as an argument.

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

struct QueueFixture {
    dir: TempDir,
    queue: SqliteQueue,
    catalog: Arc<Catalog>,
    limits: ProviderLimits,
    budget: Option<Money>,
}

fn start() -> Timestamp {
    "2026-08-20T10:00:00Z".parse().expect("a time")
}

fn pool(name: &str) -> PoolId {
    PoolId(name.into())
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
        let bench = Self {
            dir,
            queue,
            catalog,
            limits,
            budget: None,
        };
        bench.load(rows);
        bench
            .queue
            .join(
                pool("one"),
                start(),
                start() + SignedDuration::from_secs(45),
            )
            .await
            .expect("a pool");
        bench
    }

    fn load(&self, rows: usize) {
        let inputs: Vec<usize> = (0..rows).collect();
        self.load_inputs(&inputs);
    }

    /// Loads a row for each number; equal numbers make rows that differ only in their ids.
    fn load_inputs(&self, inputs: &[usize]) {
        let batch = NewBatch {
            name: "b".into(),
            model: "kling-v1-standard".into(),
            folder: PathBuf::from("/renders/b"),
            budget: None,
        };
        let mut staging = self.queue.stage(batch).expect("a staging");
        for (row, number) in inputs.iter().enumerate() {
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
            staging.add(&[job], start()).expect("added");
        }
        staging.commit(start()).expect("committed");
    }

    fn request(&self, who: &str, now: Timestamp, steps: usize) -> ClaimRequest {
        ClaimRequest {
            pool_id: pool(who),
            now,
            batch: None,
            budget: self.budget,
            capacity: Capacity::uniform(steps),
            providers: vec![self.limits],
            catalog: Arc::clone(&self.catalog),
        }
    }

    async fn claim(&self, who: &str, now: Timestamp, steps: usize) -> Vec<Claim> {
        self.queue
            .claim(self.request(who, now, steps))
            .await
            .expect("a claim")
            .claims
    }

    async fn accept(&self, claim: &Claim, id: &str, now: Timestamp) {
        let accepted = Outcome::Accepted {
            prediction: PredictionHandle::from_id(id),
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
fn the_schema_knows_the_same_states_as_the_code() {
    let schema = include_str!("../../schema.sql");
    let either = |states: &[&str]| {
        let states: Vec<String> = states
            .iter()
            .map(|state| format!("state = '{state}'"))
            .collect();
        states.join(" OR ")
    };
    let condition = |states: &[&str]| {
        schema
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .contains(&either(states))
    };
    assert!(condition(&JobState::ALL.map(JobState::as_str)));
    assert!(condition(&AttemptState::ALL.map(AttemptState::as_str)));
    let of_jobs = |is: fn(JobState) -> bool| {
        JobState::ALL
            .into_iter()
            .filter(move |state| is(*state))
            .map(JobState::as_str)
    };
    assert!(condition(&of_jobs(JobState::is_final).collect::<Vec<_>>()));
    let open = AttemptState::ALL
        .into_iter()
        .filter(|state| state.is_open())
        .map(AttemptState::as_str);
    assert!(schema.contains(&format!(
        "({}) = (finished_at IS NULL)",
        either(&open.collect::<Vec<_>>())
    )));
}

#[test]
fn every_column_has_a_comment_or_a_name_that_needs_none() {
    let schema = include_str!("../../schema.sql");
    let plain = [
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
                !is_column || plain.contains(&name) || line.contains("--"),
                "{line}"
            );
        }
    }
    assert!(columns > 50, "{columns} columns");
}

#[tokio::test]
async fn no_sixty_seconds_hold_more_creates_than_the_limit() {
    let mut bench = QueueFixture::with_rows(30).await;
    bench.limits.creates_per_minute = 10;
    let first = bench.claim("one", start(), 100).await;
    assert_eq!(first.len(), 10);
    // Their answers come over five seconds; each counts until sixty seconds after its own.
    for (second, claim) in (0..).zip(&first) {
        bench
            .accept(
                claim,
                &format!("p{second}"),
                start() + SignedDuration::from_millis(second * 500),
            )
            .await;
    }
    let at = |seconds| start() + SignedDuration::from_millis(seconds);
    assert_eq!(bench.claim("one", at(59_999), 0).await.len(), 0);
    let creates = |claims: Vec<Claim>| {
        claims
            .iter()
            .filter(|claim| claim.attempt.prediction.is_none())
            .count()
    };
    assert_eq!(creates(bench.claim("one", at(59_900), 100).await), 0);
    assert_eq!(creates(bench.claim("one", at(60_001), 100).await), 1);
    assert_eq!(creates(bench.claim("one", at(62_600), 100).await), 5);
}

#[tokio::test]
async fn the_fraction_of_a_millisecond_that_is_not_stored_does_not_shorten_the_minute() {
    let mut bench = QueueFixture::with_rows(2).await;
    bench.limits.creates_per_minute = 1;
    let first = bench.claim("one", start(), 2).await;
    bench
        .accept(&first[0], "p", start() + SignedDuration::from_micros(900))
        .await;
    let creates = |claims: Vec<Claim>| {
        claims
            .iter()
            .filter(|claim| claim.attempt.prediction.is_none())
            .count()
    };
    let at = |micros| start() + SignedDuration::from_micros(micros);
    assert_eq!(creates(bench.claim("one", at(60_000_100), 2).await), 0);
    assert_eq!(creates(bench.claim("one", at(60_001_000), 2).await), 1);
}

#[tokio::test]
async fn slots_are_counted_over_all_pools() {
    let mut bench = QueueFixture::with_rows(30).await;
    bench.limits.in_flight = 7;
    bench
        .queue
        .join(
            pool("two"),
            start(),
            start() + SignedDuration::from_secs(45),
        )
        .await
        .expect("a pool");
    assert_eq!(bench.claim("one", start(), 4).await.len(), 4);
    assert_eq!(bench.claim("two", start(), 100).await.len(), 3);
    assert_eq!(bench.claim("one", start(), 100).await.len(), 0);
}

#[tokio::test]
async fn reserved_and_spent_never_pass_the_budget() {
    let mut bench = QueueFixture::with_rows(30).await;
    bench.budget = Some(Money::from_micros(PRICE * 3 + PRICE - 1));
    let claims = bench.claim("one", start(), 100).await;
    assert_eq!(claims.len(), 3);
    let refused = Outcome::Refused {
        reason: "busy".into(),
        due_at: start(),
        counted: true,
    };
    bench
        .queue
        .record_outcome(claims[0].lease.clone(), refused, None, start())
        .await
        .expect("refused");
    let status = bench.queue.status(None).await.expect("a status");
    assert_eq!(status.batches[0].reserved, Money::from_micros(PRICE * 2));
    assert_eq!(bench.claim("one", start(), 100).await.len(), 1);
}

#[tokio::test]
async fn a_late_write_changes_nothing_and_is_told_so() {
    let bench = QueueFixture::with_rows(1).await;
    let claim = bench.claim("one", start(), 1).await.remove(0);
    let later = start() + SignedDuration::from_secs(46);
    // The pool has not renewed: its lease is over, although its process lives. Another process sees that twice.
    let other = SqliteQueue::open(&bench.dir.path().join("q.db")).expect("the queue");
    assert_eq!(bench.queue.take_over(later).await.expect("reaped"), 0);
    assert_eq!(other.take_over(later).await.expect("reaped"), 0);
    assert_eq!(other.take_over(later).await.expect("reaped"), 1);
    let accepted = Outcome::Accepted {
        prediction: PredictionHandle::from_id("p"),
        early_cost: None,
        due_at: later,
    };
    let written = bench
        .queue
        .record_outcome(claim.lease, accepted, None, later)
        .await;
    assert!(
        matches!(written, Err(QueueError::LeaseLost(_))),
        "{written:?}"
    );
    let job = bench.queue.find("r0".into(), None).await.expect("the job");
    assert_eq!((job.state, job.prediction_id), (JobState::InDoubt, None));
    assert_eq!(job.at_risk, Money::from_micros(PRICE));
}

#[tokio::test]
async fn a_job_that_takes_ten_pools_with_it_is_left_to_a_person_with_its_prediction() {
    let bench = QueueFixture::with_rows(1).await;
    let claim = bench.claim("one", start(), 1).await.remove(0);
    bench.accept(&claim, "p", start()).await;
    let mut now = start();
    for crash in 0..10 {
        let name = format!("crash-{crash}");
        bench
            .queue
            .join(pool(&name), now, now)
            .await
            .expect("a pool");
        assert_eq!(bench.claim(&name, now, 1).await.len(), 1, "{crash}");
        bench.queue.leave(pool(&name), now).await.expect("gone");
        // At once after the first crash, then later each time, to part it from what it took along.
        if crash == 1 {
            assert_eq!(bench.claim("one", now, 1).await.len(), 0);
        }
        now += SignedDuration::from_secs(if crash == 0 { 0 } else { 32 });
    }
    let job = bench.queue.find("r0".into(), None).await.expect("the job");
    assert_eq!(
        (job.state, job.cost_usd),
        (JobState::Failed, Some(Money::from_micros(PRICE)))
    );
    assert_eq!(
        bench
            .queue
            .retry(Selection::default(), start())
            .await
            .expect("retried"),
        1
    );
    let job = bench.queue.find("r0".into(), None).await.expect("the job");
    assert_eq!(
        (job.state, job.prediction_id.as_deref(), job.cost_usd),
        (JobState::Running, Some("p"), None)
    );
}

#[tokio::test]
async fn a_machine_that_wakes_from_sleep_does_not_take_the_living_for_dead() {
    let bench = QueueFixture::with_rows(1).await;
    let claim = bench.claim("one", start(), 1).await.remove(0);
    let other = SqliteQueue::open(&bench.dir.path().join("q.db")).expect("the queue");
    let woken = start() + SignedDuration::from_hours(8);
    assert_eq!(other.take_over(woken).await.expect("reaped"), 0);
    bench
        .queue
        .heartbeat(pool("one"), woken, woken + SignedDuration::from_secs(45))
        .await
        .expect("renewed");
    assert_eq!(
        other
            .take_over(woken + SignedDuration::from_secs(1))
            .await
            .expect("reaped"),
        0
    );
    bench.accept(&claim, "p", woken).await;
}

#[tokio::test]
async fn a_person_settles_what_is_in_doubt() {
    let bench = QueueFixture::with_rows(3).await;
    for claim in bench.claim("one", start(), 3).await {
        let lost = Outcome::LostResponse {
            reason: "cut".into(),
            due_at: start(),
        };
        bench
            .queue
            .record_outcome(claim.lease, lost, None, start())
            .await
            .expect("lost");
    }
    let mut settled = Vec::new();
    for (row, decision) in [
        ("r0", Decision::Adopt(PredictionHandle::from_id("p0"))),
        ("r1", Decision::Resubmit),
        ("r2", Decision::Fail),
    ] {
        let job = bench.queue.find(row.into(), None).await.expect("the job");
        settled.push(
            bench
                .queue
                .resolve(job.job_id, decision, start())
                .await
                .expect("settled"),
        );
    }
    assert_eq!(
        settled,
        [JobState::Running, JobState::Queued, JobState::Failed]
    );
    let batch = bench
        .queue
        .status(None)
        .await
        .expect("a status")
        .batches
        .remove(0);
    // The adopted one is reserved; the given-up one stays booked, because nobody proved it unpaid.
    assert_eq!(
        (batch.reserved, batch.spent, batch.at_risk),
        (
            Money::from_micros(PRICE),
            Money::from_micros(PRICE),
            Money::ZERO
        )
    );
    let job = bench.queue.find("r0".into(), None).await.expect("the job");
    let again = bench
        .queue
        .resolve(job.job_id, Decision::Resubmit, start())
        .await;
    assert!(matches!(again, Err(QueueError::Conflict(_))), "{again:?}");
}

#[tokio::test]
async fn a_job_is_settled_by_its_number_although_another_row_has_that_number_for_an_id() {
    let bench = QueueFixture::with_rows(2).await;
    let [first, second] = bench
        .claim("one", start(), 2)
        .await
        .try_into()
        .expect("two claims");
    let connection = Connection::open(bench.dir.path().join("q.db")).expect("a connection");
    let rename = "UPDATE jobs SET row_key = ?2 WHERE job_id = ?1";
    let (one, two) = (first.lease.job_id, second.lease.job_id);
    connection
        .execute(rename, [one.to_string(), two.to_string()])
        .expect("renamed");
    for claim in [first, second] {
        let lost = Outcome::LostResponse {
            reason: "cut".into(),
            due_at: start(),
        };
        bench
            .queue
            .record_outcome(claim.lease, lost, None, start())
            .await
            .expect("lost");
    }
    bench
        .queue
        .resolve(two, Decision::Resubmit, start())
        .await
        .expect("settled");
    let states = bench
        .queue
        .jobs(JobFilter::default(), None, 2)
        .await
        .expect("the jobs");
    assert_eq!(
        [states[0].state, states[1].state],
        [JobState::InDoubt, JobState::Queued]
    );
}

#[tokio::test]
async fn one_prediction_never_belongs_to_two_jobs() {
    let bench = QueueFixture::with_rows(2).await;
    let claims = bench.claim("one", start(), 2).await;
    bench.accept(&claims[0], "p", start()).await;
    let lost = Outcome::LostResponse {
        reason: "cut".into(),
        due_at: start(),
    };
    bench
        .queue
        .record_outcome(claims[1].lease.clone(), lost, None, start())
        .await
        .expect("lost");
    let job = bench.queue.find("r1".into(), None).await.expect("the job");
    let adopted = bench
        .queue
        .resolve(
            job.job_id,
            Decision::Adopt(PredictionHandle::from_id("p")),
            start(),
        )
        .await;
    assert!(
        matches!(adopted, Err(QueueError::Conflict(_))),
        "{adopted:?}"
    );
}

#[tokio::test]
async fn a_cost_that_was_reported_is_not_replaced_by_the_rules() {
    let bench = QueueFixture::with_rows(1).await;
    let claim = bench.claim("one", start(), 1).await.remove(0);
    bench.accept(&claim, "p", start()).await;
    for (amount, source) in [(200_000, CostSource::Reported), (PRICE, CostSource::Rule)] {
        let look = bench.claim("one", start(), 1).await.remove(0);
        let (output_url, cost) = (
            "https://e.com/a.mp4".into(),
            Cost {
                amount: Money::from_micros(amount),
                source,
            },
        );
        let finished = Outcome::Finished {
            output_url,
            cost,
            processing: None,
            due_at: start(),
        };
        bench
            .queue
            .record_outcome(look.lease, finished, None, start())
            .await
            .expect("finished");
        let download = bench.claim("one", start(), 1).await.remove(0);
        let expired = Outcome::LinkExpired {
            due_at: start(),
            reason: "403".into(),
        };
        bench
            .queue
            .record_outcome(download.lease, expired, None, start())
            .await
            .expect("expired");
    }
    let job = bench.queue.find("r0".into(), None).await.expect("the job");
    assert_eq!(
        (job.cost_usd, job.cost_source),
        (
            Some(Money::from_micros(200_000)),
            Some(CostSource::Reported)
        )
    );
}

#[tokio::test]
async fn a_run_of_one_batch_looks_at_what_holds_the_slots_it_waits_for() {
    let mut bench = QueueFixture::with_rows(1).await;
    bench.limits.in_flight = 1;
    let other = bench.claim("one", start(), 1).await.remove(0);
    bench
        .accept(&other, "p", start() + SignedDuration::from_secs(5))
        .await;
    let batch = NewBatch {
        name: "a".into(),
        model: "kling-v1-standard".into(),
        folder: PathBuf::from("/renders/a"),
        budget: None,
    };
    let mut staging = bench.queue.stage(batch).expect("a staging");
    let input: Input =
        serde_json::from_str(r#"{"image":"https://e.com/a.png","prompt":"a"}"#).expect("an input");
    let (providers, estimate) = (vec![ProviderName::Eachlabs], Money::from_micros(PRICE));
    let job = NewJob::new(
        "kling-v1-standard",
        "a".into(),
        1,
        input,
        providers,
        estimate,
    );
    staging.add(&[job], start()).expect("added");
    staging.commit(start()).expect("committed");
    let now = start() + SignedDuration::from_secs(2);
    let claimed = bench.queue.claim(ClaimRequest {
        batch: Some("a".into()),
        ..bench.request("one", now, 5)
    });
    let backlog = claimed.await.expect("a claim").backlog;
    assert!(backlog.is_some_and(|backlog| !backlog.is_idle()));
    let later = start() + SignedDuration::from_secs(9);
    let claimed = bench.queue.claim(ClaimRequest {
        batch: Some("a".into()),
        ..bench.request("one", later, 5)
    });
    let claims = claimed.await.expect("a claim").claims;
    assert_eq!(claims.len(), 1);
    assert_eq!(
        (claims[0].lease.job_id, claims[0].job.batch.as_str()),
        (other.lease.job_id, "b")
    );
}

#[tokio::test]
async fn two_equal_submissions_are_never_unsure_at_the_same_time_and_hold_up_nobody_else() {
    let bench = QueueFixture::with_rows(0).await;
    bench.load_inputs(&[7, 7, 7, 8]);
    let rows = |claims: &[Claim]| {
        claims
            .iter()
            .map(|claim| claim.job.row_key.clone())
            .collect::<Vec<_>>()
    };
    let first = bench.claim("one", start(), 10).await;
    assert_eq!(rows(&first), ["r0", "r3"]);
    let lost = Outcome::LostResponse {
        reason: "cut".into(),
        due_at: start() + SignedDuration::from_secs(60),
    };
    bench
        .queue
        .record_outcome(first[0].lease.clone(), lost, None, start())
        .await
        .expect("lost");
    let later = start() + SignedDuration::from_secs(5);
    assert_eq!(rows(&bench.claim("one", later, 10).await), [""; 0]);
    let decision = Decision::Adopt(PredictionHandle::from_id("found"));
    bench
        .queue
        .resolve(first[0].lease.job_id, decision, later)
        .await
        .expect("adopted");
    let later = later + SignedDuration::from_secs(5);
    let next = bench.claim("one", later, 10).await;
    assert_eq!(
        rows(&next),
        ["r0", "r1"],
        "a look at the first, and a create of one of the others"
    );
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_not_touched() {
    let bench = QueueFixture::with_rows(1).await;
    let path = bench.dir.path().join("newer.db");
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
        .expect_err("it is refused")
        .to_string();
    assert!(
        error.contains("newer version of overnight") && error.contains("not modified"),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).expect("the file"), before);
}

#[tokio::test]
async fn files_that_are_no_queues_are_refused() {
    let bench = QueueFixture::with_rows(1).await;
    let text = bench.dir.path().join("text.db");
    std::fs::write(
        &text,
        "this is not a database, but it is long enough to be taken for one".repeat(50),
    )
    .expect("a file");
    let error = SqliteQueue::open(&text)
        .expect_err("it is refused")
        .to_string();
    assert!(error.contains("not a SQLite file"), "{error}");
    let other = bench.dir.path().join("other.db");
    Connection::open(&other)
        .expect("a file")
        .execute_batch("CREATE TABLE t (a)")
        .expect("a table");
    let error = SqliteQueue::open(&other)
        .expect_err("it is refused")
        .to_string();
    assert!(error.contains("another program"), "{error}");
}

#[tokio::test]
async fn the_counters_equal_what_a_count_finds() {
    let bench = QueueFixture::with_rows(20).await;
    let claims = bench.claim("one", start(), 12).await;
    for (number, claim) in claims.iter().enumerate() {
        match number % 4 {
            0 => bench.accept(claim, &format!("p{number}"), start()).await,
            1 => {
                let rejected = Outcome::Rejected {
                    reason: "no".into(),
                };
                bench
                    .queue
                    .record_outcome(claim.lease.clone(), rejected, None, start())
                    .await
                    .expect("rejected");
            }
            2 => {
                let lost = Outcome::LostResponse {
                    reason: "cut".into(),
                    due_at: start(),
                };
                bench
                    .queue
                    .record_outcome(claim.lease.clone(), lost, None, start())
                    .await
                    .expect("lost");
            }
            _ => {}
        }
    }
    let connection = Connection::open(bench.dir.path().join("q.db")).expect("a connection");
    let one = |sql: &str| {
        connection
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .expect(sql)
    };
    assert_eq!(
        one("SELECT in_flight FROM providers"),
        one("SELECT count(*) FROM attempts WHERE state IN ('submitting', 'in_doubt', 'accepted')")
    );
    assert_eq!(
        one("SELECT reserved FROM batches"),
        one(
            "SELECT sum(estimate) FROM attempts WHERE state IN ('submitting', 'in_doubt', 'accepted')"
        )
    );
    assert_eq!(
        one("SELECT at_risk FROM batches"),
        one("SELECT sum(estimate) FROM attempts WHERE state = 'in_doubt'")
    );
    for state in JobState::ALL {
        assert_eq!(
            one(&format!("SELECT {state} FROM batches")),
            one(&format!(
                "SELECT count(*) FROM jobs WHERE state = '{state}'"
            )),
            "{state}"
        );
    }
}

#[tokio::test]
async fn among_many_rows_that_are_added_at_once_each_clash_is_told_and_nothing_else_is_lost() {
    let bench = QueueFixture::with_rows(0).await;
    let batch = NewBatch {
        name: "many".into(),
        model: "kling-v1-standard".into(),
        folder: PathBuf::from("/renders/many"),
        budget: None,
    };
    let mut staging = bench.queue.stage(batch).expect("a staging");
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
    let additions = staging.add(&jobs, start()).expect("added");
    let expected = |row| {
        if row == 100 {
            RowChange::Duplicate { line: 72 }
        } else {
            RowChange::New
        }
    };
    assert_eq!(additions, (0..200).map(expected).collect::<Vec<_>>());
    let plan = staging.commit(start()).expect("committed");
    assert_eq!(
        (plan.new, plan.estimate),
        (199, Money::from_micros(199 * PRICE))
    );
    let filter = JobFilter {
        batch: Some("many".into()),
        ..JobFilter::default()
    };
    let records = bench.queue.jobs(filter, None, 1000).await.expect("jobs");
    let keys: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
    let in_order: Vec<&str> = jobs
        .iter()
        .filter(|job| job.line != 102)
        .map(|job| job.row_key.as_str())
        .collect();
    assert_eq!(keys, in_order);
    let file = Connection::open(bench.dir.path().join("q.db")).expect("the file");
    let name = "SELECT file_name FROM jobs WHERE row_key = ?1";
    let name = |key| {
        file.query_row(name, [key], |row| row.get::<_, String>(0))
            .expect("a name")
    };
    assert_eq!(name("r10"), "r10.mp4");
    assert!(name("R10").starts_with("R10-"), "{}", name("R10"));
}
