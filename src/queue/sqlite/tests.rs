//! What a run asks of the queue every moment costs the same however many jobs there are.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use super::claim::claim;
use super::provider_capacity::RateCache;
use super::record::{record_outcome, release};
use super::stage::SqliteStaging;
use super::{open, pools, query};
use crate::catalog;
use crate::domain::{
    Catalog, Cost, CostSource, Input, Money, NewJob, Outcome, PoolId, PredictionHandle,
    ProviderName, ProviderSignal, SavedFile,
};
use crate::queue::{Capacity, Claim, ClaimRequest, NewBatch, ProviderLimits, Staging, Step};

const FAL: ProviderName = ProviderName::Fal;

fn start() -> Timestamp {
    "2026-08-20T10:00:00Z".parse().unwrap()
}

fn load(staging: &mut SqliteStaging, rows: usize) {
    for row in 0..rows {
        let input = format!(r#"{{"image":"https://e.com/{row}.png","prompt":"p"}}"#);
        let input: Input = serde_json::from_str(&input).unwrap();
        let estimate = Money::from_micros(225_000);
        let job = NewJob::new(
            "kling-v1-standard",
            format!("r{row}"),
            row as u64 + 2,
            input,
            vec![FAL],
            estimate,
        );
        staging.add(&[job], start()).unwrap();
    }
    staging.commit(start()).unwrap();
}

/// A queue with a pool on it, and a pace so tight that everything has to be counted.
struct Work {
    connection: Connection,
    catalog: Arc<Catalog>,
    rate_cache: RateCache,
    now: Timestamp,
}

impl Work {
    fn claim(&mut self) -> Vec<Claim> {
        self.now += SignedDuration::from_secs(20);
        let request = ClaimRequest {
            pool_id: PoolId("one".into()),
            now: self.now,
            batch: None,
            budget: None,
            capacity: Capacity::uniform(8),
            providers: vec![ProviderLimits {
                provider: FAL,
                in_flight: 4,
                creates_per_minute: 3,
                has_storage: false,
            }],
            catalog: Arc::clone(&self.catalog),
        };
        claim(&self.connection, &request, &self.rate_cache)
            .unwrap()
            .claims
    }

    fn end(&self, claim: Claim, number: usize) {
        let due_at = self.now;
        let outcome = match claim.step {
            Step::Submit if number % 3 == 1 => Outcome::LostResponse {
                reason: "cut".into(),
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
            Step::Reconcile => Outcome::ProvenAbsent { due_at },
            Step::Poll if number % 4 == 3 => Outcome::Wait {
                due_at: Some(due_at),
                failure: None,
            },
            Step::Poll => Outcome::Finished {
                output_url: "https://e.com/a.mp4".into(),
                cost: Cost {
                    amount: Money::from_micros(225_000),
                    source: CostSource::Rule,
                },
                processing: Some(Duration::from_secs(60)),
                due_at,
            },
            Step::Download if number % 4 == 2 => {
                return release(&self.connection, &claim.lease, self.now).unwrap();
            }
            Step::Download => {
                let file = SavedFile {
                    path: "/renders/a.mp4".into(),
                    bytes: 1,
                    sha256: "0".into(),
                };
                Outcome::Saved { file }
            }
        };
        let gate = (
            FAL,
            if number % 5 == 4 {
                ProviderSignal::HoldAll { until: self.now }
            } else {
                ProviderSignal::Healthy
            },
        );
        record_outcome(
            &self.connection,
            &claim.lease,
            &outcome,
            Some(&gate),
            self.now,
        )
        .unwrap();
    }
}

#[test]
fn nothing_a_run_does_all_the_time_reads_every_job_or_sorts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("q.db");
    let batch = NewBatch {
        name: "b".into(),
        model: "kling-v1-standard".into(),
        folder: "/renders/b".into(),
        budget: Some(Money::from_micros(100_000_000)),
    };
    load(&mut SqliteStaging::begin(&path, batch).unwrap(), 40);
    let mut connection = open::open_for_writing(&path).unwrap();
    let asked = Arc::new(Mutex::new(BTreeSet::new()));
    let noted = Arc::clone(&asked);
    let note = move |event: TraceEvent<'_>| {
        // What a trigger runs has a comment in its place, and no plan of its own.
        if let TraceEvent::Stmt(statement, text) = event
            && !text.starts_with("--")
        {
            noted.lock().unwrap().insert(statement.sql().into_owned());
        }
    };
    connection
        .trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(note))
        .unwrap();
    let (catalog, now) = (Arc::new(catalog::load(&[]).unwrap()), start());
    let mut work = Work {
        connection,
        catalog,
        rate_cache: RateCache::default(),
        now,
    };
    for (round, pool) in ["one", "two"].into_iter().enumerate() {
        pools::join(&work.connection, &PoolId(pool.into()), "host", now, now).unwrap();
        pools::heartbeat(&work.connection, &PoolId(pool.into()), now, now).unwrap();
        for number in 0..20 {
            for (index, claim) in work.claim().into_iter().enumerate() {
                work.end(claim, round + number + index);
            }
        }
    }
    work.claim();
    pools::gone(&work.connection, &path, "host", now).unwrap();
    assert!(pools::remove(&work.connection, &PoolId("one".into()), now).unwrap() > 0);
    query::status(&work.connection, None).unwrap();
    query::processing_times(&work.connection, FAL, "m", 400).unwrap();

    let asked = asked.lock().unwrap().clone();
    assert!(asked.len() > 40, "{} statements", asked.len());
    // Planned for a foreign key, and left out while none is violated.
    let left_out =
        |sql: &str, step: &str| sql.starts_with("INSERT INTO attempts") && step == "SCAN jobs";
    // How many are leased is counted over those that are; there are no more than workers.
    let may_be_read_through = [
        "SCAN jobs USING COVERING INDEX jobs_leased",
        "SCAN jobs USING INDEX jobs_leased",
    ];
    for sql in asked
        .iter()
        .filter(|sql| !sql.starts_with("BEGIN") && !sql.starts_with("COMMIT"))
    {
        let mut plan = work
            .connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let steps: Vec<String> = plan
            .raw_query()
            .mapped(|row| row.get("detail"))
            .collect::<rusqlite::Result<_>>()
            .unwrap();
        for step in steps.iter().filter(|step| !left_out(sql, step)) {
            let reads_all = ["jobs", "j", "attempts", "a"].iter().any(|table| {
                step == &format!("SCAN {table}") || step.starts_with(&format!("SCAN {table} "))
            });
            assert!(
                !reads_all || may_be_read_through.contains(&step.as_str()),
                "{step}, of {steps:?}, in\n{sql}"
            );
            let of_two_lists = sql.contains("UNION ALL");
            assert!(
                of_two_lists || !step.contains("B-TREE"),
                "{step}, in\n{sql}"
            );
        }
    }
}
