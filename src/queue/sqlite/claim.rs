//! Claims due steps in one transaction: reads a view, lets the policy plan, and writes the plan.

use rusqlite::{Connection, params};

use crate::domain::{Attempt, AttemptId, Job, JobId, Lease};
use crate::failpoint::fail_point;
use crate::policy::claim::{
    self, ClaimPlan, ClaimRequest, ClaimView, DueStep, PlannedSubmission, PlannedUpload, Step,
};
use crate::queue::{Claim, ClaimResponse, QueueError, Result, UploadClaim, UploadLease};

use super::backlog::read_backlog;
use super::claim_view::{RateCounts, ViewReader};
use super::row::{JOB_AND_ATTEMPT, execute, query_value, read_job_and_attempt, select};

/// Claims the due steps and uploads that fit the request's capacity. Returns the rate counts for
/// the next claim as well, which are valid once the transaction is committed.
///
/// Fails with [`QueueError::PoolLost`] if the pool is no longer registered.
pub(super) fn claim(
    tx: &Connection,
    request: &ClaimRequest,
    rate_counts: RateCounts,
) -> Result<(ClaimResponse, RateCounts)> {
    let is_registered = query_value::<i64>(
        tx,
        "SELECT pid FROM pools WHERE pool_id = ?1",
        [&request.pool_id.0],
    )?;
    if is_registered.is_none() {
        return Err(QueueError::PoolLost(request.pool_id.clone()));
    }
    let (mut reader, mut view) = ViewReader::read(tx, request, rate_counts)?;
    let plan = loop {
        match claim::plan(&view, request) {
            Ok(plan) => break plan,
            Err(missing) => reader.read_missing(&mut view, missing)?,
        }
    };
    let response = PlanWriter { tx, request }.write(&view, plan)?;
    Ok((response, reader.rate_counts))
}

/// Writes a plan.
struct PlanWriter<'a> {
    tx: &'a Connection,
    request: &'a ClaimRequest,
}

impl PlanWriter<'_> {
    fn write(&self, view: &ClaimView, mut plan: ClaimPlan) -> Result<ClaimResponse> {
        let is_full = plan.len() >= self.request.capacity.steps;
        for (job_id, due_at) in &plan.deferred {
            execute(
                self.tx,
                "UPDATE jobs SET due_at = ?2 WHERE job_id = ?1",
                params![job_id.0, due_at.as_millisecond()],
            )?;
        }
        let steps = plan.steps.iter().map(|due| self.lease_job(due));
        let mut claims = steps.collect::<Result<Vec<Claim>>>()?;
        if !plan.submissions.is_empty() {
            let queue_id: Option<String> =
                query_value(self.tx, "SELECT value FROM meta WHERE key = 'queue_id'", [])?;
            let queue_id = queue_id.unwrap_or_default();
            for submission in std::mem::take(&mut plan.submissions) {
                claims.push(self.start_attempt(view, submission, &queue_id)?);
            }
        }
        plan.new_uploads
            .iter()
            .try_for_each(|upload| self.queue_upload(view, upload))?;
        let uploads = plan.uploads.iter().map(|upload| self.lease_upload(upload));
        let uploads = uploads.collect::<Result<Vec<UploadClaim>>>()?;
        let backlog = if is_full {
            None
        } else {
            let rest = read_backlog(self.tx, view, &plan, self.request)?;
            Some(claim::backlog(view, &plan, &rest, self.request))
        };
        Ok(ClaimResponse {
            claims,
            uploads,
            backlog,
        })
    }

    /// Leases a job to the requesting pool.
    fn lease_job(&self, due: &DueStep) -> Result<Claim> {
        let JobId(job_id) = due.job_id;
        let (mut job, attempt) = select(self.tx, JOB_AND_ATTEMPT, [job_id], read_job_and_attempt)?
            .pop()
            .ok_or_else(|| QueueError::Corrupt(format!("job {job_id} has no attempt")))?;
        job.progress = claim::start(&job.progress, due.step);
        let token = fastrand::i64(1..);
        execute(
            self.tx,
            "UPDATE jobs SET lease_token = ?2, lease_pool = ?3, polls = ?4, downloads = ?5
             WHERE job_id = ?1",
            params![
                job_id,
                token,
                self.request.pool_id.0,
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

    /// Writes the intent to submit: inserts the attempt with its reserved price, moves the job to
    /// `submitting` and leases it.
    ///
    /// The provider may be called only after this is committed. A crash in between then
    /// leaves the job in doubt instead of paying for it twice.
    fn start_attempt(
        &self,
        view: &ClaimView,
        submission: PlannedSubmission,
        queue_id: &str,
    ) -> Result<Claim> {
        let now = view.now;
        let batch = &view.batches[submission.batch];
        let queued = submission.job;
        let prepared = submission.prepared;
        let (progress, attempt_progress) =
            claim::submit(&queued.progress, prepared.quote.price, now)?;
        let number = queued.last_attempt_number + 1;
        let job_id = queued.job_id;
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
                self.request.pool_id.0
            ],
        )?;
        fail_point!("Submit written");
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

    /// Queues an upload, or queues one again whose link expires too soon.
    fn queue_upload(&self, view: &ClaimView, upload: &PlannedUpload) -> Result<()> {
        execute(
            self.tx,
            "INSERT INTO uploads (provider, sha256, file, due_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (provider, sha256) DO UPDATE
                SET file = excluded.file, url = NULL, expires_at = NULL, due_at = excluded.due_at",
            params![
                upload.provider.as_str(),
                upload.image.sha256(),
                upload.image.to_string(),
                view.now.as_millisecond(),
            ],
        )?;
        Ok(())
    }

    fn lease_upload(&self, upload: &PlannedUpload) -> Result<UploadClaim> {
        let token = fastrand::i64(1..);
        let upload_id: Option<i64> = query_value(
            self.tx,
            "UPDATE uploads SET lease_token = ?3, lease_pool = ?4
             WHERE provider = ?1 AND sha256 = ?2 RETURNING upload_id",
            params![
                upload.provider.as_str(),
                upload.image.sha256(),
                token,
                self.request.pool_id.0
            ],
        )?;
        let upload_id = upload_id
            .ok_or_else(|| QueueError::Corrupt(format!("upload of {} is gone", upload.image)))?;
        Ok(UploadClaim {
            lease: UploadLease { upload_id, token },
            provider: upload.provider,
            image: upload.image.clone(),
            failures: upload.failures,
        })
    }
}
