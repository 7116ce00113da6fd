//! An open transaction of a queue file, as the shared scripts use it.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{
    Attempt, AttemptId, AttemptProgress, Job, JobClips, JobId, JobProgress, JobState, Lease,
    Location, Money, PoolId, ProviderName,
};
use crate::policy::Change;
use crate::policy::claim::{BatchView, PARKED_FOR, PARKED_FROM};
use crate::policy::gate::ProviderGate;
use crate::policy::route_gate::RouteGate;
use crate::policy::tally::Tally;
use crate::policy::upload::{Upload, UploadProgress};
use crate::queue::claim_reads::RouteId;
use crate::queue::storage::{NewAttempt, StoredJob, Transaction};
use crate::queue::stored_update::LeaseChange;
use crate::queue::stored_values::read_job_and_attempt;
use crate::queue::{Claim, PoolRecord, QueueError, Result, SettingChange, UploadLease};

use super::job_row::JOB_AND_ATTEMPT;
use super::row::{execute, select};
use super::{
    change, clips, clock_changes, counters, gate, lineage, live_settings, paths, pools, routes,
    tallies, uploads,
};

/// An open transaction; one that only reads never calls a method of [`Transaction`].
pub(super) struct SqliteTransaction<'a> {
    pub(super) tx: &'a Connection,
    /// The queue's file.
    pub(super) path: &'a Path,
    /// The name of this machine.
    pub(super) host: &'a str,
    /// What has changed in the sums so far.
    pub(super) tally: Tally,
}

impl<'a> SqliteTransaction<'a> {
    pub(super) fn new(tx: &'a Connection, path: &'a Path, host: &'a str) -> Self {
        Self {
            tx,
            path,
            host,
            tally: Tally::default(),
        }
    }

    /// Writes the sums, which must be the last write of the transaction.
    pub(super) fn finish(self) -> Result<()> {
        tallies::write(self.tx, &self.tally)
    }
}

impl Transaction for SqliteTransaction<'_> {
    fn is_registered(&self, pool: &PoolId) -> Result<bool> {
        pools::is_registered(self.tx, pool)
    }

    fn put_pool(&mut self, pool: &PoolId, record: &PoolRecord) -> Result<()> {
        pools::put(self.tx, pool, record)
    }

    fn remove_pool(&mut self, pool: &PoolId) -> Result<()> {
        pools::remove(self.tx, pool)
    }

    fn write_leased(&mut self, claim: &Claim, change: &Change, held: bool) -> Result<bool> {
        let lease = LeaseChange::after(claim, held);
        change::write(self.tx, &claim.into(), change, lease, &mut self.tally)
    }

    fn write(&mut self, job: &StoredJob, change: &Change) -> Result<()> {
        let (before, lease) = (job.into(), LeaseChange::End);
        change::write(self.tx, &before, change, lease, &mut self.tally).map(drop)
    }

    fn write_attempt(
        &mut self,
        job: &StoredJob,
        attempt: &Attempt,
        new: &AttemptProgress,
    ) -> Result<()> {
        change::write_attempt(self.tx, attempt, new)?;
        let before = Some(&attempt.progress);
        self.tally
            .add_attempt(&job.batch, attempt.provider, before, new);
        Ok(())
    }

    fn prediction_owner(&self, prediction_id: &str, attempt: &Attempt) -> Result<Option<JobId>> {
        let owner =
            change::prediction_owner(self.tx, attempt.provider, prediction_id, attempt.attempt_id)?;
        Ok(owner.map(JobId))
    }

    fn set_gate(&mut self, provider: ProviderName, gate: &ProviderGate) -> Result<()> {
        gate::write(self.tx, provider, gate)
    }

    fn set_route(&mut self, route: &RouteId, gate: &RouteGate) -> Result<()> {
        routes::write(self.tx, route, gate)
    }

    fn resume_parked(&mut self) -> Result<()> {
        execute(
            self.tx,
            "UPDATE jobs SET due_at = due_at - ?1
             WHERE lane_id IN (SELECT lane_id FROM lanes) AND state = 'queued' AND due_at >= ?2",
            params![PARKED_FOR.as_secs() * 1000, PARKED_FROM.as_millisecond()],
        )?;
        Ok(())
    }

    fn defer(&mut self, job: JobId, due_at: Timestamp) -> Result<()> {
        execute(
            self.tx,
            "UPDATE jobs SET due_at = ?2 WHERE job_id = ?1",
            params![job.0, due_at.as_millisecond()],
        )?;
        Ok(())
    }

    fn read_job(&self, job: JobId) -> Result<(Job, Attempt)> {
        select(self.tx, JOB_AND_ATTEMPT, [job.0], |columns| {
            read_job_and_attempt(columns)
        })?
        .pop()
        .ok_or_else(|| QueueError::corrupt(format!("job {job} has no attempt")))
    }

    fn clips(&self, job: JobId) -> Result<JobClips> {
        clips::of_job(self.tx, job)
    }

    fn forget_clip(&mut self, job: JobId, attempt: u32) -> Result<()> {
        clips::forget(self.tx, job, attempt)
    }

    fn lease(&mut self, pool: &PoolId, lease: &Lease, job: &JobProgress) -> Result<()> {
        execute(
            self.tx,
            "UPDATE jobs SET lease_token = ?2, lease_pool = ?3, polls = ?4, downloads = ?5
             WHERE job_id = ?1",
            params![
                lease.job_id.0,
                lease.token,
                pool.0,
                job.polls,
                job.downloads
            ],
        )?;
        Ok(())
    }

    fn start_attempt(&mut self, new: &NewAttempt<'_>) -> Result<AttemptId> {
        let NewAttempt { job, attempt, .. } = new;
        let submitted_at = attempt.submitted_at.as_millisecond();
        execute(
            self.tx,
            "INSERT INTO attempts (job_id, batch_id, number, state, provider, wire_model, request,
                                   request_digest, clip_s, client_token, estimate, submitted_at,
                                   fingerprint)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,
                     (SELECT fingerprint FROM jobs WHERE job_id = ?1))",
            params![
                new.lease.job_id.0,
                new.batch_id,
                attempt.number,
                attempt.progress.state.as_str(),
                attempt.provider.as_str(),
                attempt.wire_model,
                new.request_text,
                new.request_digest,
                new.clip_s,
                attempt.client_token,
                attempt.progress.estimate.micros(),
                submitted_at,
            ],
        )?;
        let attempt_id = self.tx.last_insert_rowid();
        execute(
            self.tx,
            "UPDATE jobs SET state = ?2, state_since = ?3, due_at = NULL, attempt_id = ?4,
                    submitted_at = ?3, at_provider = ?5, lease_token = ?6, lease_pool = ?7
             WHERE job_id = ?1",
            params![
                new.lease.job_id.0,
                job.state.as_str(),
                submitted_at,
                attempt_id,
                attempt.provider.as_str(),
                new.lease.token,
                new.pool.0
            ],
        )?;
        self.tally.add_job(new.batch, JobState::Queued, job.state);
        self.tally
            .add_attempt(new.batch, attempt.provider, None, &attempt.progress);
        Ok(AttemptId(attempt_id))
    }

    fn put_upload(&mut self, upload: &Upload, lease: Option<(&PoolId, i64)>) -> Result<i64> {
        uploads::put(self.tx, upload, lease)
    }

    fn write_upload(&mut self, lease: UploadLease, new: Option<&UploadProgress>) -> Result<()> {
        uploads::record(self.tx, lease, new)
    }

    fn clear_rejected_uploads(&mut self) -> Result<()> {
        uploads::clear_rejected(self.tx)
    }

    fn set_folder(&mut self, batch: &BatchView, folder: &Location) -> Result<()> {
        let folder = paths::normalize_folder(self.tx, folder);
        clips::set_folder(
            self.tx,
            batch.batch_id,
            &batch.folder.as_str().into(),
            &folder,
        )
    }

    fn set_budget(&mut self, batch: &BatchView, budget: Option<Money>) -> Result<()> {
        execute(
            self.tx,
            "UPDATE batches SET budget = ?2 WHERE batch_id = ?1",
            params![batch.batch_id, budget.map(Money::micros)],
        )?;
        Ok(())
    }

    fn set_settings(&mut self, settings: &[SettingChange]) -> Result<()> {
        live_settings::replace(self.tx, settings)
    }

    fn set_key_mark(
        &mut self,
        provider: ProviderName,
        mark: &str,
        changed_at: Option<Timestamp>,
    ) -> Result<()> {
        lineage::set_key_mark(self.tx, provider, mark, changed_at)
    }

    fn set_run_setup(&mut self, setup: &str) -> Result<()> {
        lineage::set_run_setup(self.tx, setup)
    }

    fn set_generation(&mut self, generation: u64) -> Result<()> {
        lineage::set_generation(self.tx, generation)
    }

    fn set_doubt(&mut self, since: Option<Timestamp>) -> Result<()> {
        lineage::set_doubt(self.tx, since)
    }

    fn set_unclaimed(&mut self, since: Option<Timestamp>) -> Result<()> {
        lineage::set_unclaimed(self.tx, since)
    }

    fn replace_last_heartbeat(&mut self, now: Timestamp) -> Result<Option<Timestamp>> {
        clock_changes::replace_last_heartbeat(self.tx, now)
    }

    fn change_clock(&mut self, now: Timestamp, latest: Timestamp) -> Result<()> {
        clock_changes::record_change(self.tx, now, latest)
    }

    fn correct_counters(&mut self) -> Result<()> {
        counters::correct(self.tx)
    }
}
