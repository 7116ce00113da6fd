//! Claims submissions.
//!
//! Due time, provider slot, submission rate and budget are checked and reserved in the transaction
//! that claims, so any number of processes together stay within them.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use crate::domain::{
    Attempt, AttemptId, AttemptProgress, AttemptState, Job, JobEvent, JobId, JobProgress, JobState,
    Lease, Money,
};
use crate::failpoint::fail_point;
use crate::queue::{Claim, ClaimRequest, Result, Step};

use super::lanes::{Lane, QueuedJob};
use super::placement::{Placement, PreparedRequest};
use super::provider_capacity::{ProviderCapacity, RateCache};
use super::row::{self, JobCounts, execute, query_value, select};

/// Maximum number of jobs that one claim defers.
///
/// A manifest may contain the same row a million times; the limit bounds the cost of a claim.
const MAX_DEFERRED: u32 = 64;

/// A batch, its money and its job counts, as of this claim.
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

/// The state of one claim: what limits its submissions, and what it has found out about the rest of
/// the work.
///
/// Built first, because polls, downloads and uploads of the same claim read it too: they need the
/// providers' holds and the job counts.
pub(super) struct SubmitClaims<'a> {
    pub(super) tx: &'a Connection,
    pub(super) request: &'a ClaimRequest,
    /// Part of every client token; empty if no job is queued.
    queue_id: String,
    /// The batches that the request includes.
    pub(super) batches: Vec<Batch>,
    /// Job counts over all batches, including those that the request excludes.
    pub(super) total_jobs: JobCounts,
    /// The request's providers, in the request's order.
    pub(super) capacities: Vec<ProviderCapacity>,
    /// The batch whose jobs are polled and reconciled; `None` for all batches.
    ///
    /// Always `None` while a requested batch has queued jobs: the provider slots that they wait for
    /// may be occupied by another batch.
    pub(super) polled_batch: Option<&'a str>,
    /// Number of jobs deferred by this claim; at most [`MAX_DEFERRED`].
    deferred: u32,
    /// Whether an affordable job waits for the upload of its images.
    pub(super) awaits_upload: bool,
    /// The budgets that blocked a submission: the index of a batch, or `None` for the request's
    /// own.
    pub(super) exceeded_budgets: BTreeSet<Option<usize>>,
    /// Description of the first job that a provider of its list has no route for.
    pub(super) unroutable: Option<String>,
}

impl<'a> SubmitClaims<'a> {
    /// Reads what limits the submissions of one claim: batches, provider slots and submission
    /// rates.
    pub(super) fn new(
        tx: &'a Connection,
        request: &'a ClaimRequest,
        rate_cache: &RateCache,
    ) -> Result<Self> {
        let mut batches = read_batches(tx)?;
        let mut total_jobs = JobCounts::default();
        batches.iter().for_each(|batch| total_jobs += batch.jobs);
        let requested_batch = request.batch.as_deref();
        batches.retain(|batch| requested_batch.is_none_or(|name| batch.name == name));
        let has_queued_jobs = batches
            .iter()
            .any(|batch| batch.jobs.count(JobState::Queued) > 0);
        let mut capacities = ProviderCapacity::read(tx, &request.providers)?;
        let mut queue_id = None;
        if has_queued_jobs {
            queue_id = query_value(tx, "SELECT value FROM meta WHERE key = 'queue_id'", [])?;
            let last_attempt =
                query_value(tx, "SELECT max(attempt_id) FROM attempts", [])?.unwrap_or(0);
            for capacity in &mut capacities {
                capacity.refresh_if_near_limit(tx, request.now, last_attempt, rate_cache)?;
            }
        }
        Ok(Self {
            tx,
            request,
            queue_id: queue_id.unwrap_or_default(),
            batches,
            total_jobs,
            capacities,
            polled_batch: requested_batch.filter(|_| !has_queued_jobs),
            deferred: 0,
            awaits_upload: false,
            exceeded_budgets: BTreeSet::new(),
            unroutable: None,
        })
    }

    /// Claims up to `limit` submissions, batch by batch in order of creation.
    ///
    /// Jobs are taken one at a time, each for the first of its providers that can accept it.
    pub(super) fn claim(&mut self, limit: usize) -> Result<Vec<Claim>> {
        let mut claims = Vec::new();
        for batch in 0..self.batches.len() {
            if claims.len() == limit || self.available_submits() == 0 {
                break;
            }
            if self.batches[batch].jobs.count(JobState::Queued) == 0 {
                continue;
            }
            let mut lanes = Lane::for_batch(self.tx, self.batches[batch].batch_id)?;
            while claims.len() < limit
                && let Some(claim) = self.claim_next(batch, &mut lanes, limit - claims.len())?
            {
                claims.push(claim);
            }
        }
        Ok(claims)
    }

    /// Returns the number of submissions that all providers together allow now.
    fn available_submits(&self) -> usize {
        self.capacities
            .iter()
            .map(|capacity| capacity.available_submits(self.request.now) as usize)
            .sum()
    }

    /// Claims the next submission of a batch; `None` if no due job can be submitted and paid for.
    ///
    /// The lane whose first job has been due longest goes first. A lane whose first job is blocked
    /// is skipped as a whole, so that no later job of the same providers overtakes it; a deferred
    /// job makes way for the job behind it. `limit` is the number of submissions still wanted,
    /// which bounds how many jobs are read ahead.
    fn claim_next(
        &mut self,
        batch: usize,
        lanes: &mut [Lane],
        limit: usize,
    ) -> Result<Option<Claim>> {
        loop {
            let read_ahead = self.available_submits().min(limit);
            if read_ahead == 0 {
                return Ok(None);
            }
            for lane in &mut *lanes {
                lane.fill(
                    self.tx,
                    self.batches[batch].batch_id,
                    self.now_ms(),
                    read_ahead,
                )?;
            }
            lanes.sort_by_key(|lane| {
                lane.front()
                    .map_or((i64::MAX, 0), |job| (job.due_at, job.job_id))
            });
            let mut has_deferred = false;
            for lane in &mut *lanes {
                let Some(job) = lane.front() else { continue };
                match self.choose_provider(job, &lane.providers, batch)? {
                    Placement::Submit(provider, prepared) => {
                        let Some(job) = lane.pop() else { continue };
                        return self.start_attempt(job, batch, provider, prepared).map(Some);
                    }
                    Placement::DeferUntil(until) if self.deferred < MAX_DEFERRED => {
                        self.deferred += 1;
                        self.defer(job, until)?;
                        lane.pop();
                        has_deferred = true;
                        break;
                    }
                    Placement::DeferUntil(_) | Placement::Blocked => {}
                }
            }
            if !has_deferred {
                return Ok(None);
            }
        }
    }

    /// Returns the request's time in milliseconds, as the database stores it.
    pub(super) fn now_ms(&self) -> i64 {
        self.request.now.as_millisecond()
    }

    /// Moves a job's due time to `until`, in milliseconds, so that the jobs behind it can go first.
    fn defer(&self, job: &QueuedJob, until: i64) -> Result<()> {
        execute(
            self.tx,
            "UPDATE jobs SET due_at = ?2 WHERE job_id = ?1",
            params![job.job_id, until],
        )?;
        Ok(())
    }

    /// Writes the intent to submit: inserts the attempt with its reserved price, moves the job to
    /// `submitting` and leases it.
    ///
    /// The provider may be called only after this is committed. A crash in between then
    /// leaves the job in doubt instead of paying for it twice.
    fn start_attempt(
        &mut self,
        queued: QueuedJob,
        batch: usize,
        provider_index: usize,
        prepared: PreparedRequest,
    ) -> Result<Claim> {
        let PreparedRequest {
            quote,
            request_text,
            digest,
            rejection,
        } = prepared;
        let tx = self.tx;
        let now = self.now_ms();
        let provider = self.capacities[provider_index].limits.provider;
        let state = JobState::Queued.after(JobEvent::Submit)?;
        let number = queued.last_attempt_number + 1;
        let client_token = format!(
            "ovn-{}.job-{}.attempt-{number}",
            self.queue_id, queued.job_id
        );
        execute(
            tx,
            "INSERT INTO attempts (job_id, batch_id, number, state, provider, wire_model, request,
                                   request_digest, clip_s, client_token, estimate, submitted_at)
             VALUES (?1, ?2, ?3, 'submitting', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                queued.job_id,
                self.batches[batch].batch_id,
                number,
                provider.as_str(),
                quote.wire_model,
                request_text,
                digest,
                queued.input.duration(),
                client_token,
                quote.price.micros(),
                now,
            ],
        )?;
        let attempt_id = tx.last_insert_rowid();
        let token = fastrand::i64(1..);
        execute(
            tx,
            "UPDATE jobs SET state = ?2, state_since = ?3, due_at = NULL, attempt_id = ?4,
                    submitted_at = ?3, at_provider = ?5, lease_token = ?6, lease_pool = ?7
             WHERE job_id = ?1",
            params![
                queued.job_id,
                state.as_str(),
                now,
                attempt_id,
                provider.as_str(),
                token,
                self.request.pool_id.0
            ],
        )?;
        self.capacities[provider_index].reserve(tx, self.request.now)?;
        self.batches[batch].reserved += quote.price;
        self.batches[batch].jobs.move_one(JobState::Queued, state);
        self.total_jobs.move_one(JobState::Queued, state);
        fail_point!("Submit written");
        let batch = &self.batches[batch];
        let submitted_at = row::timestamp_from_millis(now)?;
        let job = Job {
            job_id: JobId(queued.job_id),
            batch: batch.name.clone(),
            row_key: queued.row_key,
            model: batch.model.clone(),
            input: queued.input,
            folder: batch.folder.clone().into(),
            file_name: queued.file_name,
            absent_attempts: queued.absent_attempts,
            progress: JobProgress {
                state,
                state_since: submitted_at,
                due_at: None,
                ..queued.progress
            },
        };
        let attempt = Attempt {
            attempt_id: AttemptId(attempt_id),
            number,
            provider,
            wire_model: quote.wire_model,
            request: quote.request,
            client_token,
            submitted_at,
            progress: AttemptProgress {
                state: AttemptState::Submitting,
                estimate: quote.price,
                answered_at: None,
                prediction: None,
                early_cost: None,
                output_url: None,
                processing: None,
                cost: None,
                error: None,
                finished_at: None,
            },
        };
        let lease = Lease {
            job_id: job.job_id,
            token,
        };
        let provider_failures = self.capacities[provider_index].failures;
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

fn read_batches(tx: &Connection) -> Result<Vec<Batch>> {
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
                jobs: JobCounts::from_columns(columns)?,
            })
        },
    )
}
