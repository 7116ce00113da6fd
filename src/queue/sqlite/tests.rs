//! The statements that a run repeats cost the same however many jobs the queue holds.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use super::open;
use super::stage::SqliteStaging;
use super::transaction::SqliteTransaction;
use crate::catalog;
use crate::clock::ManualClock;
use crate::domain::{
    Catalog, Cost, CostSource, Input, InputComparison, JobId, JobState, Money, NewJob, Outcome,
    PoolId, PredictionHandle, ProviderName, ProviderSignal, SavedFile,
};
use crate::queue::claim_reads::ClaimReads;
use crate::queue::rate_counts::RateCounts;
use crate::queue::storage::Snapshot;
use crate::queue::{
    Capacity, Claim, ClaimRequest, Completed, JobFilter, NewBatch, ProviderLimits, RemovedRows,
    Staging, Step, Turn, pools, turn,
};

const FAL: ProviderName = ProviderName::Fal;

fn start_time() -> Timestamp {
    "2026-08-20T10:00:00Z".parse().unwrap()
}

fn load(staging: &mut SqliteStaging, rows: usize) {
    for row in 0..rows {
        let input = format!(r#"{{"image":"https://e.com/{row}.png","prompt":"p"}}"#);
        let input: Input = serde_json::from_str(&input).unwrap();
        let estimate = Money::from_micros(225_000);
        let job = NewJob::new(
            input.fingerprint("kling-v1-standard"),
            format!("r{row}"),
            row as u64 + 2,
            input,
            vec![FAL],
            estimate,
        );
        staging.add(&[job]).unwrap();
    }
    staging.commit(RemovedRows::Keep).unwrap();
}

fn transaction(tx: &Connection) -> SqliteTransaction<'_> {
    SqliteTransaction::new(tx, Path::new("q.db"), "host")
}

/// A queue that a pool works on, with a submission rate low enough that every claim counts
/// submissions.
struct PoolFixture {
    connection: Connection,
    catalog: Arc<Catalog>,
    rate_counts: RateCounts,
    now: Timestamp,
}

impl PoolFixture {
    /// Takes a turn, and returns the claims.
    fn turn(&mut self, completed: Vec<Completed>, claim: Option<ClaimRequest>) -> Vec<Claim> {
        let turn = Turn {
            pool_id: PoolId("one".into()),
            completed,
            holds_leases_at: Vec::new(),
            claim,
        };
        let mut transaction = transaction(&self.connection);
        let result = turn::take(&mut transaction, &turn, self.now, &mut self.rate_counts).unwrap();
        transaction.finish().unwrap();
        result.claimed.claims
    }

    fn claim(&mut self) -> Vec<Claim> {
        self.now += SignedDuration::from_secs(20);
        let request = ClaimRequest {
            batch: None,
            budget: None,
            capacity: Capacity::uniform(8),
            providers: vec![ProviderLimits {
                provider: FAL,
                in_flight: 4,
                creates_per_minute: 3,
                history_delay: Duration::from_secs(900),
                has_storage: false,
            }],
            catalog: Arc::clone(&self.catalog),
        };
        self.turn(Vec::new(), Some(request))
    }

    /// Completes a step; the number selects its outcome, so that all paths are taken in turn.
    fn complete(&mut self, claim: Claim, number: usize) {
        let due_at = self.now;
        let outcome = match claim.step {
            Step::Submit if number % 3 == 1 => Outcome::LostResponse {
                reason: "connection reset".into(),
                due_at,
            },
            Step::Submit => {
                let prediction = PredictionHandle::from_id(format!("p{}", claim.job.job_id));
                Outcome::Accepted {
                    prediction,
                    early_cost: None,
                    due_at,
                }
            }
            Step::Reconcile => Outcome::Absent {
                due_at,
                is_proven: true,
            },
            Step::Poll if number % 4 == 3 => Outcome::Wait {
                due_at: Some(due_at),
                failure: None,
            },
            Step::Poll => Outcome::Finished {
                output_url: Some("https://e.com/a.mp4".into()),
                cost: Cost {
                    amount: Money::from_micros(225_000),
                    source: CostSource::Rule,
                },
                processing: Some(Duration::from_secs(60)),
                due_at,
            },
            Step::Download if number % 4 == 2 => {
                let claim = Arc::new(claim);
                self.turn(vec![Completed::NotStarted { claim }], None);
                return;
            }
            Step::Download => {
                let file = SavedFile {
                    location: "/renders/a.mp4".into(),
                    bytes: 1,
                    sha256: "0".into(),
                };
                Outcome::Saved { file }
            }
        };
        let signal = if number % 5 == 4 {
            ProviderSignal::HoldAll { until: self.now }
        } else {
            ProviderSignal::Healthy
        };
        let completed = Completed::Step {
            claim: Arc::new(claim),
            unrecorded_polls: 0,
            outcome,
            signal: Some(signal),
        };
        self.turn(vec![completed], None);
    }
}

#[test]
fn no_statement_that_a_run_repeats_scans_every_job_or_sorts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("q.db");
    let batch = NewBatch {
        name: "b".into(),
        model: "kling-v1-standard".into(),
        folder: "/renders/b".into(),
        budget: Some(Money::from_micros(100_000_000)),
        comparison: InputComparison::default(),
        reuses_clips: false,
    };
    let clock = Arc::new(ManualClock::new(start_time()));
    load(&mut SqliteStaging::open(&path, clock, batch).unwrap(), 40);
    let mut connection = open::open_for_writing(&path).unwrap();
    let statements = Arc::new(Mutex::new(BTreeSet::new()));
    let traced = Arc::clone(&statements);
    let trace = move |event: TraceEvent<'_>| {
        if let TraceEvent::Stmt(statement, _) = event {
            traced.lock().unwrap().insert(statement.sql().into_owned());
        }
    };
    connection
        .trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(trace))
        .unwrap();
    let now = start_time();
    let mut fixture = PoolFixture {
        connection,
        catalog: Arc::new(catalog::load(&[]).unwrap()),
        rate_counts: RateCounts::default(),
        now,
    };
    for (round, pool) in ["one", "two"].into_iter().enumerate() {
        let mut tx = transaction(&fixture.connection);
        pools::join(&mut tx, &PoolId(pool.into()), "host", now).unwrap();
        pools::heartbeat(&mut tx, &PoolId(pool.into()), now).unwrap();
        for number in 0..20 {
            for (index, claim) in fixture.claim().into_iter().enumerate() {
                fixture.complete(claim, round + number + index);
            }
        }
    }
    fixture.claim();
    let mut tx = transaction(&fixture.connection);
    let released = pools::remove(&mut tx, &PoolId("one".into()), now).unwrap();
    assert!(released > 0);
    tx.finish().unwrap();
    let tx = transaction(&fixture.connection);
    for batch in tx.batches().unwrap() {
        tx.recent_completions(&batch, 301).unwrap();
    }
    tx.count_held(None).unwrap();
    tx.processing_times((FAL, "m"), 400).unwrap();
    tx.latest(None, 10).unwrap();
    tx.owned_predictions((FAL, "m"), now).unwrap();
    tx.absent_attempts(FAL, now).unwrap();
    let running = JobFilter {
        batch: None,
        state: Some(JobState::Running),
    };
    tx.jobs(&running, JobId(0), 100).unwrap();

    let statements = statements.lock().unwrap().clone();
    assert!(statements.len() > 40, "{} statements", statements.len());
    // The plan of a foreign key check, which does not run while no key is violated.
    let never_runs =
        |sql: &str, step: &str| sql.starts_with("INSERT INTO attempts") && step == "SCAN jobs";
    // Leased jobs are read by a scan of their own index, which has at most one entry per slot.
    let permitted_scans = [
        "SCAN jobs USING COVERING INDEX jobs_leased",
        "SCAN jobs USING INDEX jobs_leased",
    ];
    for sql in statements
        .iter()
        .filter(|sql| !sql.starts_with("BEGIN") && !sql.starts_with("COMMIT"))
    {
        let mut plan = fixture
            .connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let steps: Vec<String> = plan
            .raw_query()
            .mapped(|row| row.get("detail"))
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        for step in steps.iter().filter(|step| !never_runs(sql, step)) {
            let is_full_scan = ["jobs", "j", "attempts", "a"].iter().any(|table| {
                step == &format!("SCAN {table}")
                    || step.starts_with(&format!("SCAN {table} "))
                    || step.starts_with(&format!("SEARCH {table} ")) && step.contains("(rowid>?)")
            });
            assert!(
                !is_full_scan || permitted_scans.contains(&step.as_str()),
                "{step}, of {steps:?}, in\n{sql}"
            );
            // Only a query that merges two short lists may sort.
            let merges_lists = sql.contains("UNION ALL");
            assert!(
                merges_lists || !step.contains("B-TREE"),
                "{step}, in\n{sql}"
            );
        }
    }
}
