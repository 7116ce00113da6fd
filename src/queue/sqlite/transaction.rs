//! The open transaction of a turn, as the shared script uses it.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{Attempt, AttemptId, Job, JobId, Lease, PoolId, ProviderName};
use crate::policy::Change;
use crate::policy::claim::{
    self, BacklogView, ClaimPlan, ClaimRequest, ClaimView, DueStep, Missing, PlannedSubmission,
    PlannedUpload, Step,
};
use crate::policy::gate::ProviderGate;
use crate::policy::tally::Tally;
use crate::queue::turn::Transaction;
use crate::queue::{Claim, QueueError, Result, UploadClaim, UploadLease, UploadOutcome};

use super::backlog::read_backlog;
use super::change::{self, Before, BeforeAttempt};
use super::claim_view::ViewReader;
use super::job_row::{JOB_AND_ATTEMPT, read_job_and_attempt};
use super::rate_counts::RateCounts;
use super::row::{execute, query_value, select};
use super::{gate, tallies, uploads};

/// An open write transaction.
pub(super) struct SqliteTransaction<'a> {
    tx: &'a Connection,
    now: Timestamp,
    /// From the last claim of this process, until a view is read.
    rate_counts: RateCounts,
    /// Reads more into the view of this turn's claim.
    reader: Option<ViewReader<'a>>,
    /// Part of every client token; read when the first attempt is started.
    queue_id: Option<String>,
    /// What has changed in the sums so far.
    tally: Tally,
}

impl<'a> SqliteTransaction<'a> {
    pub(super) fn new(tx: &'a Connection, now: Timestamp, rate_counts: RateCounts) -> Self {
        Self {
            tx,
            now,
            rate_counts,
            reader: None,
            queue_id: None,
            tally: Tally::default(),
        }
    }

    /// Writes the sums, which must be the last write of the transaction. Returns the rate counts for
    /// the next claim, which are valid once the transaction is committed.
    pub(super) fn finish(self) -> Result<RateCounts> {
        tallies::write(self.tx, &self.tally)?;
        let reader = self.reader;
        Ok(reader.map_or(self.rate_counts, ViewReader::into_rate_counts))
    }

    fn queue_id(&mut self) -> Result<&str> {
        if self.queue_id.is_none() {
            let sql = "SELECT value FROM meta WHERE key = 'queue_id'";
            self.queue_id = query_value(self.tx, sql, [])?;
        }
        Ok(self.queue_id.as_deref().unwrap_or_default())
    }
}

impl Transaction for SqliteTransaction<'_> {
    fn is_registered(&mut self, pool: &PoolId) -> Result<bool> {
        let sql = "SELECT pid FROM pools WHERE pool_id = ?1";
        Ok(query_value::<i64>(self.tx, sql, [&pool.0])?.is_some())
    }

    fn write_leased(&mut self, claim: &Claim, change: &Change, held: bool) -> Result<bool> {
        let before = Before {
            job_id: claim.job.job_id.0,
            batch: &claim.job.batch,
            job: &claim.job.progress,
            attempt: Some(BeforeAttempt {
                attempt_id: claim.attempt.attempt_id,
                provider: claim.attempt.provider,
                progress: &claim.attempt.progress,
            }),
        };
        let tally = &mut self.tally;
        change::write_leased(self.tx, &before, change, &claim.lease, held, tally)
    }

    fn is_current(&mut self, lease: &Lease) -> Result<bool> {
        let sql = "SELECT job_id FROM jobs WHERE job_id = ?1 AND lease_token = ?2";
        let job_id: Option<i64> = query_value(self.tx, sql, params![lease.job_id.0, lease.token])?;
        Ok(job_id.is_some())
    }

    fn is_prediction_taken(&mut self, prediction_id: &str, attempt: &Attempt) -> Result<bool> {
        let owner =
            change::prediction_owner(self.tx, attempt.provider, prediction_id, attempt.attempt_id)?;
        Ok(owner.is_some())
    }

    fn gate(&mut self, provider: ProviderName) -> Result<ProviderGate> {
        gate::read(self.tx, provider)
    }

    fn set_gate(&mut self, provider: ProviderName, gate: &ProviderGate) -> Result<()> {
        gate::write(self.tx, provider, gate)
    }

    fn write_upload(&mut self, lease: UploadLease, outcome: &UploadOutcome) -> Result<()> {
        uploads::record_upload(self.tx, lease, outcome)
    }

    fn read_view(&mut self, request: &ClaimRequest) -> Result<ClaimView> {
        let rate_counts = std::mem::take(&mut self.rate_counts);
        let (reader, view) =
            ViewReader::read(self.tx, request, self.now, rate_counts, &self.tally)?;
        self.reader = Some(reader);
        Ok(view)
    }

    fn read_missing(&mut self, view: &mut ClaimView, missing: Missing) -> Result<()> {
        match &mut self.reader {
            Some(reader) => reader.read_missing(view, missing),
            None => Err(QueueError::Fault("no view was read".into())),
        }
    }

    fn defer(&mut self, job: JobId, due_at: Timestamp) -> Result<()> {
        execute(
            self.tx,
            "UPDATE jobs SET due_at = ?2 WHERE job_id = ?1",
            params![job.0, due_at.as_millisecond()],
        )?;
        Ok(())
    }

    fn lease(&mut self, pool: &PoolId, due: &DueStep) -> Result<Claim> {
        let JobId(job_id) = due.job_id;
        let (mut job, attempt) = select(self.tx, JOB_AND_ATTEMPT, [job_id], read_job_and_attempt)?
            .pop()
            .ok_or_else(|| QueueError::corrupt(format!("job {job_id} has no attempt")))?;
        job.progress = claim::start(&job.progress, due.step);
        let token = fastrand::i64(1..);
        execute(
            self.tx,
            "UPDATE jobs SET lease_token = ?2, lease_pool = ?3, polls = ?4, downloads = ?5
             WHERE job_id = ?1",
            params![
                job_id,
                token,
                pool.0,
                job.progress.polls,
                job.progress.downloads
            ],
        )?;
        Ok(Claim {
            lease: Lease {
                job_id: due.job_id,
                token,
            },
            job,
            attempt,
            step: due.step,
            provider_failures: 0,
            rejection: None,
        })
    }

    fn start_attempt(
        &mut self,
        pool: &PoolId,
        view: &ClaimView,
        submission: PlannedSubmission,
    ) -> Result<Claim> {
        let now = view.now;
        let batch = &view.batches[submission.batch];
        let queued = submission.job;
        let prepared = submission.prepared;
        let (progress, attempt_progress) =
            claim::submit(&queued.progress, prepared.quote.price, now)?;
        let number = queued.last_attempt_number + 1;
        let job_id = queued.job_id;
        let queue_id = self.queue_id()?;
        let client_token = format!("ovn-{queue_id}.job-{job_id}.attempt-{number}");
        execute(
            self.tx,
            "INSERT INTO attempts (job_id, batch_id, number, state, provider, wire_model, request,
                                   request_digest, clip_s, client_token, estimate, submitted_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                job_id.0,
                batch.batch_id,
                number,
                attempt_progress.state.as_str(),
                submission.provider.as_str(),
                prepared.quote.wire_model,
                prepared.request_text,
                prepared.digest,
                queued.input.duration(),
                client_token,
                attempt_progress.estimate.micros(),
                now.as_millisecond(),
            ],
        )?;
        let attempt_id = self.tx.last_insert_rowid();
        let token = fastrand::i64(1..);
        execute(
            self.tx,
            "UPDATE jobs SET state = ?2, state_since = ?3, due_at = NULL, attempt_id = ?4,
                    submitted_at = ?3, at_provider = ?5, lease_token = ?6, lease_pool = ?7
             WHERE job_id = ?1",
            params![
                job_id.0,
                progress.state.as_str(),
                now.as_millisecond(),
                attempt_id,
                submission.provider.as_str(),
                token,
                pool.0
            ],
        )?;
        self.tally
            .add_job(&batch.name, queued.progress.state, progress.state);
        self.tally
            .add_attempt(&batch.name, submission.provider, None, &attempt_progress);
        let job = Job {
            job_id,
            batch: batch.name.clone(),
            row_key: queued.row_key,
            model: batch.model.clone(),
            input: queued.input,
            folder: batch.folder.clone().into(),
            file_name: queued.file_name,
            absent_attempts: queued.absent_attempts,
            progress,
        };
        let attempt = Attempt {
            attempt_id: AttemptId(attempt_id),
            number,
            provider: submission.provider,
            wire_model: prepared.quote.wire_model,
            request: prepared.quote.request,
            client_token,
            submitted_at: now,
            progress: attempt_progress,
        };
        Ok(Claim {
            lease: Lease { job_id, token },
            job,
            attempt,
            step: Step::Submit,
            provider_failures: submission.provider_failures,
            rejection: prepared.rejection,
        })
    }

    fn queue_upload(&mut self, upload: &PlannedUpload, due_at: Timestamp) -> Result<()> {
        execute(
            self.tx,
            "INSERT INTO uploads (provider, sha256, file, due_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (provider, sha256) DO UPDATE
                SET file = excluded.file, url = NULL, expires_at = NULL, due_at = excluded.due_at",
            params![
                upload.provider.as_str(),
                upload.image.sha256(),
                upload.image.to_string(),
                due_at.as_millisecond(),
            ],
        )?;
        Ok(())
    }

    fn lease_upload(&mut self, pool: &PoolId, upload: &PlannedUpload) -> Result<UploadClaim> {
        let token = fastrand::i64(1..);
        let upload_id: Option<i64> = query_value(
            self.tx,
            "UPDATE uploads SET lease_token = ?3, lease_pool = ?4
             WHERE provider = ?1 AND sha256 = ?2 RETURNING upload_id",
            params![
                upload.provider.as_str(),
                upload.image.sha256(),
                token,
                pool.0
            ],
        )?;
        let upload_id = upload_id
            .ok_or_else(|| QueueError::corrupt(format!("upload of {} is gone", upload.image)))?;
        Ok(UploadClaim {
            lease: UploadLease { upload_id, token },
            provider: upload.provider,
            image: upload.image.clone(),
            failures: upload.failures,
        })
    }

    fn read_backlog(
        &mut self,
        view: &ClaimView,
        plan: &ClaimPlan,
        request: &ClaimRequest,
    ) -> Result<BacklogView> {
        read_backlog(self.tx, view, plan, request)
    }
}
