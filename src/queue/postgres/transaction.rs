//! An open transaction, as the shared scripts use it.

use std::cell::Cell;
use std::collections::HashMap;

use jiff::Timestamp;

use super::connection::Connection;
use super::job_row::JOB_AND_ATTEMPT;
use super::lane_heads::LaneHeads;
use super::own_steps::OwnSteps;
use super::read_ahead::ReadAhead;
use super::row::params;
use super::usual_reads::Read;
use super::{attempts, change, clips, gates, meta, pools, tallies, uploads};
use crate::domain::{
    Attempt, AttemptId, AttemptProgress, AttemptState, Job, JobClips, JobId, JobProgress, JobState,
    Lease, Location, Money, PoolId, ProviderName,
};
use crate::policy::Change;
use crate::policy::claim::{BatchView, PARKED_FOR, PARKED_FROM};
use crate::policy::gate::ProviderGate;
use crate::policy::route_gate::RouteGate;
use crate::policy::tally::Tally;
use crate::policy::upload::{Upload, UploadProgress};
use crate::queue::claim_reads::{ClaimReads, RouteId};
use crate::queue::storage::{NewAttempt, StoredJob, Transaction};
use crate::queue::stored_update::{LeaseChange, StoredValue, Update};
use crate::queue::stored_values::read_job_and_attempt;
use crate::queue::{Claim, PoolRecord, QueueError, Result, SettingChange, UploadLease};

/// An open transaction; one that only reads never calls a method of [`Transaction`].
pub(super) struct PostgresTransaction<'a> {
    pub(super) tx: &'a Connection,
    /// What has changed in the sums so far.
    pub(super) tally: Tally,
    /// What is known about the steps of a turn.
    own: OwnSteps,
    /// Whether a limit, a gate or a setting was written.
    sets_limits: bool,
    pub(super) ahead: ReadAhead,
    /// The attempts that were recorded, by their numbers, with their states after that.
    pub(super) recorded: HashMap<i64, AttemptState>,
    /// The highest number of an attempt, once it was read.
    pub(super) last_attempt: Cell<Option<i64>>,
}

impl<'a> PostgresTransaction<'a> {
    pub(super) fn new(tx: &'a Connection) -> Self {
        Self::of_turn(tx, OwnSteps::default(), ReadAhead::default())
    }

    /// Returns the transaction of a turn, with what was read about it.
    pub(super) fn of_turn(tx: &'a Connection, own: OwnSteps, ahead: ReadAhead) -> Self {
        Self {
            tx,
            tally: Tally::default(),
            own,
            sets_limits: false,
            ahead,
            recorded: HashMap::new(),
            last_attempt: Cell::default(),
        }
    }

    /// Forgets what was read ahead, because anything may be written next.
    fn forget_ahead(&self) {
        self.ahead.forget(|_| true);
    }

    /// Notes what the change of a job makes wrong of what was read ahead. The sums stay right: what is in the
    /// tally is added to them.
    fn note_recorded(&mut self, claim: &Claim, change: &Change, held: bool) {
        let job = &change.job;
        let changes_queue = job.state == JobState::Queued;
        if changes_queue {
            self.tx.usual().heads = LaneHeads::default();
        }
        let is_due = job.state.is_in_progress() && !held;
        let becomes_unresolved = job.state == JobState::InDoubt;
        self.ahead.forget(|read| match read {
            Read::Lanes(_) | Read::Queued(_) => changes_queue,
            Read::Due(..) => is_due,
            Read::Unresolved => becomes_unresolved,
            Read::Batches | Read::Providers | Read::Routes | Read::LastAttempt => false,
        });
        if let Some(attempt) = &change.attempt {
            let Attempt {
                attempt_id: AttemptId(attempt_id),
                provider,
                ..
            } = claim.attempt;
            self.recorded.insert(attempt_id, attempt.state);
            if let Some(prediction) = &attempt.prediction {
                let owner = (claim.lease.job_id.0, attempt_id);
                self.own
                    .set_owner(provider, &prediction.prediction_id, owner);
            }
        }
    }

    /// Returns whether there are fewer open attempts at a provider than before.
    pub(super) fn frees_slots(&self) -> bool {
        self.tally.in_flight.values().any(|moved| *moved < 0)
    }

    /// Returns whether something has changed that another process may wait for.
    pub(super) fn has_news(&self) -> bool {
        self.sets_limits || !self.tally.batches.is_empty()
    }

    /// Writes the sums, which must be the last write of the transaction.
    pub(super) fn finish(self) -> Result<()> {
        tallies::write(self.tx, &self.tally)
    }
}

impl Transaction for PostgresTransaction<'_> {
    fn is_registered(&self, pool: &PoolId) -> Result<bool> {
        Ok(self.own.has_pool(pool) || pools::is_registered(self.tx, pool)?)
    }

    fn put_pool(&mut self, pool: &PoolId, record: &PoolRecord) -> Result<()> {
        pools::put(self.tx, pool, record)
    }

    fn remove_pool(&mut self, pool: &PoolId) -> Result<()> {
        self.forget_ahead();
        self.own = OwnSteps::default();
        pools::remove(self.tx, pool)
    }

    fn write_leased(&mut self, claim: &Claim, change: &Change, held: bool) -> Result<bool> {
        let key = (claim.lease.job_id, claim.lease.token);
        let Some(is_current) = self.own.leases.get_mut(&key) else {
            return Err(QueueError::Fault(format!(
                "job {} was not announced",
                key.0
            )));
        };
        if !*is_current {
            return Ok(false);
        }
        *is_current = held;
        self.note_recorded(claim, change, held);
        let lease = LeaseChange::after(claim, held);
        change::post(self.tx, &claim.into(), change, lease, &mut self.tally)?;
        Ok(true)
    }

    fn write(&mut self, job: &StoredJob, change: &Change) -> Result<()> {
        self.forget_ahead();
        self.tx.usual().heads = LaneHeads::default();
        self.own.end_lease(job.job_id);
        let (before, lease) = (job.into(), LeaseChange::End);
        change::post(self.tx, &before, change, lease, &mut self.tally)
    }

    fn write_attempt(
        &mut self,
        job: &StoredJob,
        attempt: &Attempt,
        new: &AttemptProgress,
    ) -> Result<()> {
        self.forget_ahead();
        change::write_attempt(self.tx, attempt, new)?;
        let before = Some(&attempt.progress);
        self.tally
            .add_attempt(&job.batch, attempt.provider, before, new);
        Ok(())
    }

    fn prediction_owner(&self, prediction_id: &str, attempt: &Attempt) -> Result<Option<JobId>> {
        let provider = attempt.provider;
        if let Some(owner) = self.own.owner(provider, prediction_id) {
            let owner = owner.filter(|(_, owner)| *owner != attempt.attempt_id.0);
            return Ok(owner.map(|(job, _)| JobId(job)));
        }
        let owner: Option<i64> = self.tx.value(
            "SELECT job_id FROM attempts
             WHERE provider = $1 AND prediction_id = $2 AND attempt_id <> $3",
            params![provider.as_str(), prediction_id, attempt.attempt_id.0],
        )?;
        Ok(owner.map(JobId))
    }

    fn set_gate(&mut self, provider: ProviderName, gate: &ProviderGate) -> Result<()> {
        self.sets_limits = true;
        self.ahead.forget(|read| read == Read::Providers);
        gates::write_provider(self.tx, provider, gate)
    }

    fn set_route(&mut self, route: &RouteId, gate: &RouteGate) -> Result<()> {
        self.sets_limits = true;
        self.ahead.forget(|read| read == Read::Routes);
        gates::write_route(self.tx, route, gate)
    }

    fn resume_parked(&mut self) -> Result<()> {
        self.forget_ahead();
        self.tx.usual().heads = LaneHeads::default();
        self.tx.execute(
            "UPDATE jobs SET due_at = due_at - $1
             WHERE lane_id IN (SELECT lane_id FROM lanes) AND state = 'queued' AND due_at >= $2",
            params![PARKED_FOR.as_secs() * 1000, PARKED_FROM.as_millisecond()],
        )?;
        Ok(())
    }

    fn defer(&mut self, job: JobId, due_at: Timestamp) -> Result<()> {
        self.forget_ahead();
        let mut update = Update::new("jobs", ("job_id", job.0));
        let due_at = due_at.as_millisecond();
        update.set("due_at", StoredValue::Integer(Some(due_at)));
        self.tx.post_update(update)
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
        self.forget_ahead();
        let mut update = Update::new("jobs", ("job_id", lease.job_id.0));
        for (column, number) in [
            ("lease_token", lease.token),
            ("polls", i64::from(job.polls)),
            ("downloads", i64::from(job.downloads)),
        ] {
            update.set(column, StoredValue::Integer(Some(number)));
        }
        update.set("lease_pool", StoredValue::Text(Some(pool.0.clone())));
        self.tx.post_update(update)
    }

    fn start_attempt(&mut self, new: &NewAttempt<'_>) -> Result<AttemptId> {
        let started = self.start_attempts(std::slice::from_ref(new))?.pop();
        started.ok_or_else(|| QueueError::corrupt(format!("job {} is gone", new.lease.job_id)))
    }

    fn start_attempts(&mut self, new: &[NewAttempt<'_>]) -> Result<Vec<AttemptId>> {
        let first = self.last_attempt_id()? + 1;
        self.forget_ahead();
        let values = attempts::values_of_new(new, first);
        self.tx.post(attempts::START, values)?;
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
        let attempt_ids: Vec<AttemptId> = (first..).map(AttemptId).take(new.len()).collect();
        let last = attempt_ids.last().map_or(first - 1, |last| last.0);
        self.last_attempt.set(Some(last));
        Ok(attempt_ids)
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
        clips::set_folder(
            self.tx,
            batch.batch_id,
            &batch.folder.as_str().into(),
            folder,
        )
    }

    fn set_budget(&mut self, batch: &BatchView, budget: Option<Money>) -> Result<()> {
        self.sets_limits = true;
        self.tx.execute(
            "UPDATE batches SET budget = $2 WHERE batch_id = $1",
            params![batch.batch_id, budget.map(Money::micros)],
        )?;
        Ok(())
    }

    fn set_settings(&mut self, settings: &[SettingChange]) -> Result<()> {
        self.sets_limits = true;
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

    fn set_run_setup(&mut self, setup: &str) -> Result<()> {
        meta::set_text(self.tx, meta::RUN_SETUP, setup)
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
