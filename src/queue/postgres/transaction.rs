//! An open transaction, as the shared scripts use it.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use jiff::Timestamp;

use super::connection::Connection;
use super::job_row::JOB_AND_ATTEMPT;
use super::row::{params, values};
use super::{attempts, change, clips, gates, meta, pools, tallies, uploads};
use crate::domain::{
    Attempt, AttemptId, AttemptProgress, Job, JobClips, JobId, JobProgress, JobState, Lease, Money,
    PoolId, ProviderName,
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

/// An open transaction; one that only reads never calls a method of [`Transaction`].
pub(super) struct PostgresTransaction<'a> {
    pub(super) tx: &'a Connection,
    /// What has changed in the sums so far.
    pub(super) tally: Tally,
    /// The leases that were expected, by job and token, and whether they are current.
    leases: HashMap<(JobId, i64), bool>,
}

impl<'a> PostgresTransaction<'a> {
    pub(super) fn new(tx: &'a Connection) -> Self {
        Self {
            tx,
            tally: Tally::default(),
            leases: HashMap::new(),
        }
    }

    /// Writes the sums, which must be the last write of the transaction.
    pub(super) fn finish(self) -> Result<()> {
        tallies::write(self.tx, &self.tally)
    }
}

impl Transaction for PostgresTransaction<'_> {
    fn is_registered(&self, pool: &PoolId) -> Result<bool> {
        pools::is_registered(self.tx, pool)
    }

    fn put_pool(&mut self, pool: &PoolId, record: &PoolRecord) -> Result<()> {
        pools::put(self.tx, pool, record)
    }

    fn remove_pool(&mut self, pool: &PoolId) -> Result<()> {
        pools::remove(self.tx, pool)
    }

    fn expect_leases(&mut self, leases: &[&Lease]) -> Result<()> {
        if leases.is_empty() {
            return Ok(());
        }
        let jobs: Vec<i64> = leases.iter().map(|lease| lease.job_id.0).collect();
        let current = self.tx.select(
            "SELECT job_id, lease_token FROM jobs WHERE job_id = ANY($1) AND lease_token IS NOT NULL FOR UPDATE",
            params![jobs],
            |columns| Ok((JobId(columns.get("job_id")?), columns.get("lease_token")?)),
        )?;
        let current: HashSet<(JobId, i64)> = current.into_iter().collect();
        let leases = leases.iter().map(|lease| (lease.job_id, lease.token));
        self.leases = leases
            .map(|lease| (lease, current.contains(&lease)))
            .collect();
        Ok(())
    }

    fn write_leased(&mut self, claim: &Claim, change: &Change, held: bool) -> Result<bool> {
        let lease = LeaseChange::after(claim, held);
        let before = claim.into();
        let key = (claim.lease.job_id, claim.lease.token);
        let Some(is_current) = self.leases.get_mut(&key) else {
            return change::write(self.tx, &before, change, lease, &mut self.tally);
        };
        if !*is_current {
            return Ok(false);
        }
        *is_current = held;
        change::post(self.tx, &before, change, lease, &mut self.tally)?;
        Ok(true)
    }

    fn write(&mut self, job: &StoredJob, change: &Change) -> Result<()> {
        // Its lease ends.
        let mut leases = self.leases.iter_mut();
        leases
            .by_ref()
            .filter(|((job_id, _), _)| *job_id == job.job_id)
            .for_each(|(_, is_current)| *is_current = false);
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
        let owner: Option<i64> = self.tx.value(
            "SELECT job_id FROM attempts
             WHERE provider = $1 AND prediction_id = $2 AND attempt_id <> $3",
            params![
                attempt.provider.as_str(),
                prediction_id,
                attempt.attempt_id.0
            ],
        )?;
        Ok(owner.map(JobId))
    }

    fn set_gate(&mut self, provider: ProviderName, gate: &ProviderGate) -> Result<()> {
        gates::write_provider(self.tx, provider, gate)
    }

    fn set_route(&mut self, route: &RouteId, gate: &RouteGate) -> Result<()> {
        gates::write_route(self.tx, route, gate)
    }

    fn resume_parked(&mut self) -> Result<()> {
        self.tx.execute(
            "UPDATE jobs SET due_at = due_at - $1
             WHERE lane_id IN (SELECT lane_id FROM lanes) AND state = 'queued' AND due_at >= $2",
            params![PARKED_FOR.as_secs() * 1000, PARKED_FROM.as_millisecond()],
        )?;
        Ok(())
    }

    fn defer(&mut self, job: JobId, due_at: Timestamp) -> Result<()> {
        self.tx.post(
            "UPDATE jobs SET due_at = $2 WHERE job_id = $1",
            values![job.0, due_at.as_millisecond()],
        )
    }

    fn read_job(&self, job: JobId) -> Result<(Job, Attempt)> {
        self.tx
            .select(JOB_AND_ATTEMPT, params![job.0], |columns| {
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
        self.tx.post(
            "UPDATE jobs SET lease_token = $2, lease_pool = $3, polls = $4, downloads = $5
             WHERE job_id = $1",
            values![
                lease.job_id.0,
                lease.token,
                pool.0.clone(),
                i64::from(job.polls),
                i64::from(job.downloads)
            ],
        )
    }

    fn start_attempt(&mut self, new: &NewAttempt<'_>) -> Result<AttemptId> {
        let started = self.start_attempts(std::slice::from_ref(new))?.pop();
        started.ok_or_else(|| QueueError::corrupt(format!("job {} is gone", new.lease.job_id)))
    }

    fn start_attempts(&mut self, new: &[NewAttempt<'_>]) -> Result<Vec<AttemptId>> {
        let values = new.iter().map(attempts::values_of_new).collect();
        let attempt_ids = self.tx.values::<i64>(attempts::START, values)?;
        for NewAttempt {
            batch,
            job,
            attempt,
            ..
        } in new
        {
            self.tally.add_job(batch, JobState::Queued, job.state);
            self.tally
                .add_attempt(batch, attempt.provider, None, &attempt.progress);
        }
        let jobs = new.iter().map(|new| new.lease.job_id);
        let started = attempt_ids.into_iter().zip(jobs).map(|(attempt_id, job)| {
            let attempt_id = attempt_id.map(AttemptId);
            attempt_id.ok_or_else(|| QueueError::corrupt(format!("job {job} is gone")))
        });
        started.collect()
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

    fn set_folder(&mut self, batch: &BatchView, folder: &Path) -> Result<()> {
        clips::set_folder(self.tx, batch.batch_id, Path::new(&batch.folder), folder)
    }

    fn set_budget(&mut self, batch: &BatchView, budget: Option<Money>) -> Result<()> {
        self.tx.execute(
            "UPDATE batches SET budget = $2 WHERE batch_id = $1",
            params![batch.batch_id, budget.map(Money::micros)],
        )?;
        Ok(())
    }

    fn set_settings(&mut self, settings: &[SettingChange]) -> Result<()> {
        pools::replace_settings(self.tx, settings)
    }

    fn set_key_mark(
        &mut self,
        provider: ProviderName,
        mark: &str,
        changed_at: Option<Timestamp>,
    ) -> Result<()> {
        meta::set_key_mark(self.tx, provider, mark, changed_at)
    }

    fn set_generation(&mut self, generation: u64) -> Result<()> {
        meta::set_generation(self.tx, generation)
    }

    fn set_doubt(&mut self, since: Option<Timestamp>) -> Result<()> {
        meta::set_time(self.tx, meta::DOUBT, since)
    }

    fn set_unclaimed(&mut self, since: Option<Timestamp>) -> Result<()> {
        meta::set_time(self.tx, meta::UNCLAIMED, since)
    }

    fn replace_last_heartbeat(&mut self, now: Timestamp) -> Result<Option<Timestamp>> {
        meta::replace_last_heartbeat(self.tx, now)
    }

    fn change_clock(&mut self, now: Timestamp, latest: Timestamp) -> Result<()> {
        meta::record_clock_change(self.tx, now, latest)
    }

    fn correct_counters(&mut self) -> Result<()> {
        tallies::correct(self.tx)
    }
}
