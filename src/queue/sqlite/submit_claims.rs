//! Claims creates: due time, slot, rate and money are checked and taken in the same transaction, so any number of
//! processes together stay within them.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use crate::domain::{
    Attempt, AttemptId, AttemptState, Job, JobEvent, JobId, JobState, Lease, Money,
};
use crate::failpoint::fail_point;
use crate::queue::{Claim, ClaimRequest, Result, Step};

use super::lanes::{Lane, QueuedJob};
use super::placement::{Placement, PreparedRequest};
use super::provider_capacity::{ProviderCapacity, RateCache};
use super::row::{self, JobCounts, execute, select, value};

/// The most jobs one claim puts behind: a manifest may hold one row a million times.
const MOST_BEHIND: u32 = 64;

/// A batch that may have work, with its money.
pub(super) struct Batch {
    pub(super) batch_id: i64,
    pub(super) name: String,
    pub(super) model: String,
    folder: String,
    pub(super) budget: Option<Money>,
    /// Whether its rows may name images on disk.
    pub(super) has_local_images: bool,
    pub(super) spent: Money,
    pub(super) reserved: Money,
    pub(super) jobs: JobCounts,
}

/// The creates of one claim.
pub(super) struct SubmitClaims<'a> {
    pub(super) tx: &'a Connection,
    pub(super) request: &'a ClaimRequest,
    queue_id: String,
    pub(super) batches: Vec<Batch>,
    /// The jobs of all batches, those that are not asked for as well.
    pub(super) in_all: JobCounts,
    pub(super) capacities: Vec<ProviderCapacity>,
    /// The batch whose predictions are looked at; all, while creates wait: the slots they wait for may be another's.
    pub(super) looks_at: Option<&'a str>,
    /// Jobs put behind others, because they have to wait for their twins or their images.
    defer: u32,
    /// Whether a job that could be paid waits for its images to be uploaded.
    pub(super) awaits_upload: bool,
    /// The budgets that a create had to wait for: a batch's, or the request's own, which is `None`.
    pub(super) exceeded_budgets: BTreeSet<Option<usize>>,
    pub(super) unroutable: Option<String>,
}

impl<'a> SubmitClaims<'a> {
    /// Reads what limits the creates of one claim.
    pub(super) fn begin(
        tx: &'a Connection,
        request: &'a ClaimRequest,
        rate_cache: &RateCache,
    ) -> Result<Self> {
        let mut batches = batches(tx)?;
        let mut in_all = JobCounts::default();
        batches.iter().for_each(|batch| in_all += batch.jobs);
        let only = request.batch.as_deref();
        batches.retain(|batch| only.is_none_or(|only| batch.name == only));
        let some_wait = batches
            .iter()
            .any(|batch| batch.jobs.of(JobState::Queued) > 0);
        let mut capacities = ProviderCapacity::read(tx, &request.providers)?;
        let mut queue_id = None;
        if some_wait {
            queue_id = value(tx, "SELECT value FROM meta WHERE key = 'queue_id'", [])?;
            let last_attempt = value(tx, "SELECT max(attempt_id) FROM attempts", [])?.unwrap_or(0);
            for pace in &mut capacities {
                pace.refresh_if_near_limit(tx, request.now, last_attempt, rate_cache)?;
            }
        }
        let looks_at = only.filter(|_| !some_wait);
        let (defer, awaits_upload, exceeded_budgets, unroutable) =
            (0, false, BTreeSet::new(), None);
        let queue_id = queue_id.unwrap_or_default();
        Ok(Self {
            tx,
            request,
            queue_id,
            batches,
            in_all,
            capacities,
            looks_at,
            defer,
            awaits_upload,
            exceeded_budgets,
            unroutable,
        })
    }

    /// Claims creates one at a time: each job in its turn, on the first of its providers that has room.
    pub(super) fn claim(&mut self, most: usize) -> Result<Vec<Claim>> {
        let mut claims = Vec::new();
        for batch in 0..self.batches.len() {
            if claims.len() == most || self.room() == 0 {
                break;
            }
            if self.batches[batch].jobs.of(JobState::Queued) == 0 {
                continue;
            }
            let mut lines = Lane::all(self.tx, self.batches[batch].batch_id)?;
            while claims.len() < most
                && let Some(claim) = self.claim_from(batch, &mut lines, most - claims.len())?
            {
                claims.push(claim);
            }
        }
        Ok(claims)
    }

    /// For how many creates there is room, at all providers together.
    fn room(&self) -> usize {
        self.capacities
            .iter()
            .map(|pace| pace.room(self.request.now) as usize)
            .sum()
    }

    /// Claims the next create of a batch, if there is one that can be sent and paid for.
    fn claim_from(
        &mut self,
        batch: usize,
        lines: &mut [Lane],
        most: usize,
    ) -> Result<Option<Claim>> {
        loop {
            let at_once = self.room().min(most);
            if at_once == 0 {
                return Ok(None);
            }
            for line in &mut *lines {
                line.fill(self.tx, self.batches[batch].batch_id, self.now(), at_once)?;
            }
            lines.sort_by_key(|line| {
                line.first()
                    .map_or((i64::MAX, 0), |job| (job.due_at, job.job_id))
            });
            let mut has_stepped_back = false;
            for line in &mut *lines {
                let Some(job) = line.first() else { continue };
                match self.choose_provider(job, &line.providers, batch)? {
                    Placement::Submit(pace, quote) => {
                        let Some(job) = line.take() else { continue };
                        return self.begin_attempt(job, batch, pace, quote).map(Some);
                    }
                    Placement::DeferUntil(until) if self.defer < MOST_BEHIND => {
                        self.defer += 1;
                        self.defer(job, until)?;
                        line.take();
                        has_stepped_back = true;
                        break;
                    }
                    Placement::DeferUntil(_) | Placement::Blocked => {}
                }
            }
            if !has_stepped_back {
                return Ok(None);
            }
        }
    }

    pub(super) fn now(&self) -> i64 {
        self.request.now.as_millisecond()
    }

    /// Lets a job that has to wait stand back, so that those behind it need not wait as well.
    fn defer(&self, job: &QueuedJob, until: i64) -> Result<()> {
        execute(
            self.tx,
            "UPDATE jobs SET due_at = ?2 WHERE job_id = ?1",
            params![job.job_id, until],
        )?;
        Ok(())
    }

    /// Writes the intent: the attempt with its reserved price, and the job's new state.
    fn begin_attempt(
        &mut self,
        waiting: QueuedJob,
        batch: usize,
        pace: usize,
        quote: PreparedRequest,
    ) -> Result<Claim> {
        let PreparedRequest {
            quote,
            text,
            digest,
            rejection,
        } = quote;
        let (tx, now, provider) = (self.tx, self.now(), self.capacities[pace].limits.provider);
        let state = JobState::Queued.after(JobEvent::Submit)?;
        let number = waiting.submissions + 1;
        let client_token = format!(
            "ovn-{}.job-{}.attempt-{number}",
            self.queue_id, waiting.job_id
        );
        execute(
            tx,
            "INSERT INTO attempts (job_id, batch_id, number, state, provider, wire_model, request, request_digest, clip_s,
                                   client_token, estimate, submitted_at)
             VALUES (?1, ?2, ?3, 'submitting', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                waiting.job_id,
                self.batches[batch].batch_id,
                number,
                provider.as_str(),
                quote.wire_model,
                text,
                digest,
                waiting.input.duration(),
                client_token,
                quote.price.micros(),
                now,
            ],
        )?;
        let attempt_id = tx.last_insert_rowid();
        let token = fastrand::i64(1..);
        execute(
            tx,
            "UPDATE jobs SET state = ?2, state_since = ?3, due_at = NULL, attempt_id = ?4, submitted_at = ?3,
                    at_provider = ?5, lease_token = ?6, lease_pool = ?7
             WHERE job_id = ?1",
            params![
                waiting.job_id,
                state.as_str(),
                now,
                attempt_id,
                provider.as_str(),
                token,
                self.request.pool_id.0
            ],
        )?;
        self.capacities[pace].take(tx, self.request.now)?;
        self.batches[batch].reserved += quote.price;
        self.batches[batch].jobs.step(JobState::Queued, state);
        self.in_all.step(JobState::Queued, state);
        fail_point!("Submit written");
        let batch = &self.batches[batch];
        let began = row::time(now)?;
        let job = Job {
            job_id: JobId(waiting.job_id),
            batch: batch.name.clone(),
            row_key: waiting.row_key,
            model: batch.model.clone(),
            input: waiting.input,
            state,
            folder: batch.folder.clone().into(),
            file_name: waiting.file_name,
            attempts: waiting.attempts,
            failures: waiting.failures,
            state_since: began,
        };
        let attempt = Attempt {
            attempt_id: AttemptId(attempt_id),
            number,
            state: AttemptState::Submitting,
            provider,
            wire_model: quote.wire_model,
            request: quote.request,
            client_token,
            estimate: quote.price,
            submitted_at: began,
            prediction: None,
            early_cost: None,
            output_url: None,
            polls: waiting.polls,
        };
        let lease = Lease {
            job_id: job.job_id,
            token,
        };
        let provider_failures = self.capacities[pace].failures;
        Ok(Claim {
            lease,
            job,
            attempt,
            step: Step::Submit,
            provider_failures,
            rejection,
        })
    }
}

fn batches(tx: &Connection) -> Result<Vec<Batch>> {
    select(
        tx,
        "SELECT * FROM batches ORDER BY batch_id",
        [],
        |columns| {
            Ok(Batch {
                batch_id: columns.get("batch_id")?,
                name: columns.get("name")?,
                model: columns.get("model")?,
                folder: columns.get("folder")?,
                budget: columns
                    .get::<Option<i64>>("budget")?
                    .map(Money::from_micros),
                has_local_images: columns.get("has_files")?,
                spent: columns.money("spent")?,
                reserved: columns.money("reserved")?,
                jobs: JobCounts::read(columns)?,
            })
        },
    )
}
