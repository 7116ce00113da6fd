//! What a store is to the ports: it reads and writes, and knows no rule. The ports are built on
//! [`Storage`] once, so that every store answers alike.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::{
    Attempt, AttemptId, AttemptProgress, Job, JobClips, JobId, JobProgress, JobState, KeptClip,
    Lease, Location, Money, OwnedPrediction, PoolId, ProviderName,
};
use crate::policy::Change;
use crate::policy::claim::BatchView;
use crate::policy::gate::ProviderGate;
use crate::policy::route_gate::RouteGate;
use crate::policy::upload::{Upload, UploadProgress};

use super::claim_reads::{ClaimReads, RouteId};
use super::rate_counts::RateCounts;
use super::{
    AbsentAttempt, BillGrouping, BillLine, Claim, Completion, CounterMismatch, JobFilter,
    JobRecord, Lineage, PoolRecord, QueueError, Result, SettingChange, UploadLease,
};

/// A job with its current attempt, as the rules see them.
#[derive(Clone, Debug)]
pub struct StoredJob {
    /// The job's number.
    pub job_id: JobId,
    /// The name of its batch.
    pub batch: String,
    /// Its lease; `None` if no pool has leased it.
    pub lease: Option<Lease>,
    /// What its steps have changed so far.
    pub progress: JobProgress,
    /// The current or last attempt at its present input; `None` before the first.
    pub attempt: Option<Attempt>,
}

impl StoredJob {
    /// Returns whether the job is in a final state or waits for the user's decision.
    pub(super) fn is_settled(&self) -> bool {
        self.progress.state.is_final() || (self.progress.due_at.is_none() && self.lease.is_none())
    }

    /// Returns the attempt, which every job that is in progress has.
    pub(super) fn current_attempt(&self) -> Result<&Attempt> {
        self.attempt
            .as_ref()
            .ok_or_else(|| QueueError::corrupt(format!("job {} has no attempt", self.job_id)))
    }
}

/// The jobs to read.
#[derive(Clone, Copy, Debug)]
pub enum JobSet<'a> {
    /// The job with this number.
    Number(JobId),
    /// The jobs in this state, of a batch or of every batch, in ascending order of their numbers.
    InState(JobState, Option<&'a str>),
    /// The jobs that a pool has leased.
    LeasedBy(&'a PoolId),
}

/// A provider, and its name for a model.
pub type RouteName<'a> = (ProviderName, &'a str);

/// How long predictions took, each with the length of its clip in seconds.
pub type ProcessingTimes = Vec<(Option<u32>, Duration)>;

/// How the user names a job.
#[derive(Clone, Copy, Debug)]
pub enum JobName<'a> {
    /// By the key of its row.
    Key(&'a str),
    /// By its number.
    Number(JobId),
}

/// An attempt to start, and what a store keeps of it beside its fields.
#[derive(Clone, Copy, Debug)]
pub struct NewAttempt<'a> {
    /// The pool that leases the job.
    pub pool: &'a PoolId,
    /// The lease.
    pub lease: &'a Lease,
    /// The number of the job's batch.
    pub batch_id: i64,
    /// The name of the job's batch.
    pub batch: &'a str,
    /// The job after the claim.
    pub job: &'a JobProgress,
    /// The length of the clip, in seconds; `None` if the input leaves it to the provider.
    pub clip_s: Option<u32>,
    /// The attempt; its id is chosen by the store.
    pub attempt: &'a Attempt,
    /// The request as JSON.
    pub request_text: &'a str,
    /// The [digest](crate::policy::claim::request_digest) of that.
    pub request_digest: i64,
}

/// What a turn is known to need before it begins.
#[derive(Clone, Debug)]
pub struct TurnReads {
    /// The pool that takes it.
    pub pool: PoolId,
    /// The leases of the steps that it records.
    pub leases: Vec<Lease>,
    /// The predictions that these steps have found, with their providers.
    pub predictions: Vec<(ProviderName, String)>,
    /// Whether it claims.
    pub has_claim: bool,
}

/// A queue as of one instant.
pub trait Snapshot: ClaimReads {
    /// Returns the registered pools, oldest first.
    fn pools(&self) -> Result<Vec<(PoolId, PoolRecord)>>;

    /// Returns whether the process of a pool is known to have ended; `false` if that cannot be known.
    /// Changes nothing.
    fn is_dead(&self, pool: &PoolId, record: &PoolRecord) -> bool {
        let _ = (pool, record);
        false
    }

    /// Returns the settings that were changed, in the order of their changes.
    fn settings(&self) -> Result<Vec<SettingChange>>;

    /// Returns which queue this is, and how old.
    fn lineage(&self) -> Result<Lineage>;

    /// Returns the random id of the queue.
    fn queue_id(&self) -> Result<String> {
        Ok(self.lineage()?.queue_id)
    }

    /// Returns the mark of a provider's key, and when it was found to differ from the one before;
    /// `None` if no key was noted.
    fn key_mark(&self, provider: ProviderName) -> Result<Option<(String, Option<Timestamp>)>>;

    /// Returns what the active runs agree on, as text; `None` if no run has noted it.
    fn run_setup(&self) -> Result<Option<String>>;

    /// Returns when this machine's clock was last changed.
    fn last_clock_change(&self) -> Result<Option<Timestamp>>;

    /// Returns the jobs of this name, of a batch or of every batch, each with its batch.
    fn jobs_named(&self, name: JobName<'_>, batch: Option<&str>) -> Result<Vec<(JobId, String)>>;

    /// Returns the row keys of the last jobs, of a batch or of every batch, at most `limit`.
    fn row_keys(&self, batch: Option<&str>, limit: usize) -> Result<Vec<String>>;

    /// Returns the jobs of a set. Those in a state are in ascending order of their numbers.
    fn stored_jobs(&self, set: JobSet<'_>) -> Result<Vec<StoredJob>>;

    /// Returns the jobs that match a filter in ascending order of their numbers: those after `after`,
    /// at most `limit`.
    fn jobs(&self, filter: &JobFilter, after: JobId, limit: usize) -> Result<Vec<JobRecord>>;

    /// Returns the jobs of a batch, or of every batch, that succeeded or failed most recently, newest
    /// first and at most `limit`.
    fn latest(&self, batch: Option<&str>, limit: usize) -> Result<Vec<JobRecord>>;

    /// Returns the times of the latest jobs of a batch that succeeded or failed, newest first. Of the
    /// last `limit`, those that were never submitted are left out.
    fn recent_completions(&self, batch: &BatchView, limit: usize) -> Result<Vec<Completion>> {
        let jobs = self.latest(Some(&batch.name), limit)?;
        let completion = |job: JobRecord| {
            Some(Completion {
                submitted_at: job.submitted_at?,
                finished_at: job.finished_at?,
            })
        };
        Ok(jobs.into_iter().filter_map(completion).collect())
    }

    /// Returns the clips of a batch: those of its jobs, with the number 0, and those that are kept.
    fn batch_clips(&self, batch: &BatchView) -> Result<Vec<KeptClip>>;

    /// Returns the attempts of a job, oldest first.
    fn attempts(&self, job: JobId) -> Result<Vec<Attempt>>;

    /// As [`PoolLookups::absent_attempts`](super::PoolLookups::absent_attempts).
    fn absent_attempts(
        &self,
        provider: ProviderName,
        since: Timestamp,
    ) -> Result<Vec<AbsentAttempt>>;

    /// Returns the cost of the attempts of a batch, or of every batch.
    fn bill(&self, by: BillGrouping, batch: Option<&str>) -> Result<Vec<BillLine>>;

    /// Returns the sum of the estimates of the queued jobs of a batch, or of every batch.
    fn queued_estimate(&self, batch: Option<&str>) -> Result<Money>;

    /// As [`PoolLookups::owned_predictions`](super::PoolLookups::owned_predictions).
    fn owned_predictions(
        &self,
        route: RouteName<'_>,
        since: Timestamp,
    ) -> Result<BTreeMap<String, OwnedPrediction>>;

    /// As [`PoolLookups::processing_times`](super::PoolLookups::processing_times).
    fn processing_times(&self, route: RouteName<'_>, limit: usize) -> Result<ProcessingTimes>;

    /// As [`PoolLookups::leases_unless`](super::PoolLookups::leases_unless).
    fn leases_unless(&self, pool: &PoolId, expected: usize) -> Result<Option<Vec<Lease>>>;

    /// Checks the store for damage, and returns its version and the one that this program writes.
    ///
    /// # Errors
    ///
    /// [`QueueError::Store`] if the store is damaged.
    fn check(&self) -> Result<(usize, usize)>;

    /// Returns the stored sums and counts that differ from the rows; none if the store keeps none.
    fn counter_mismatches(&self) -> Result<Vec<CounterMismatch>> {
        Ok(Vec::new())
    }
}

/// An open transaction of a store, which has the right to write until it is committed.
pub trait Transaction: Snapshot {
    /// Returns whether a pool is registered.
    fn is_registered(&self, pool: &PoolId) -> Result<bool> {
        let pools = self.pools()?;
        Ok(pools.iter().any(|(pool_id, _)| pool_id == pool))
    }

    /// Registers a pool, or replaces what is known of it.
    fn put_pool(&mut self, pool: &PoolId, record: &PoolRecord) -> Result<()>;

    /// Removes a pool, and ends the leases of its uploads.
    fn remove_pool(&mut self, pool: &PoolId) -> Result<()>;

    /// Writes a change of a leased job, unless the lease is no longer current. Ends the lease unless
    /// it is `held` further. Returns whether it was written.
    ///
    /// Whoever changes a leased job in another way ends its lease. A current lease therefore proves
    /// that the job is as it was claimed, and nothing need be read before this.
    fn write_leased(&mut self, claim: &Claim, change: &Change, held: bool) -> Result<bool>;

    /// Writes a change of a job and ends its lease, if there is one.
    fn write(&mut self, job: &StoredJob, change: &Change) -> Result<()>;

    /// Writes a change of an attempt alone, which need not be its job's current one. The job and its
    /// lease stay as they are.
    fn write_attempt(
        &mut self,
        job: &StoredJob,
        attempt: &Attempt,
        new: &AttemptProgress,
    ) -> Result<()>;

    /// Returns the job to which a prediction belongs through an attempt other than this one.
    fn prediction_owner(&self, prediction_id: &str, attempt: &Attempt) -> Result<Option<JobId>>;

    /// Writes the gate of a provider.
    fn set_gate(&mut self, provider: ProviderName, gate: &ProviderGate) -> Result<()>;

    /// Writes the gate of a route.
    fn set_route(&mut self, route: &RouteId, gate: &RouteGate) -> Result<()>;

    /// Gives the queued jobs that are [parked](crate::policy::claim::PARKED_FOR) their own due times back.
    fn resume_parked(&mut self) -> Result<()>;

    /// Moves the due time of a queued job.
    fn defer(&mut self, job: JobId, due_at: Timestamp) -> Result<()>;

    /// Reads a job in progress and its attempt.
    fn read_job(&self, job: JobId) -> Result<(Job, Attempt)>;

    /// Returns the clips that a download of a job may find on disk.
    fn clips(&self, job: JobId) -> Result<JobClips>;

    /// Forgets the clip that the attempt of this number keeps.
    fn forget_clip(&mut self, job: JobId, attempt: u32) -> Result<()>;

    /// Leases a job for its next step, and writes how often it was polled and downloaded.
    fn lease(&mut self, pool: &PoolId, lease: &Lease, job: &JobProgress) -> Result<()>;

    /// Writes a new attempt and its job, and leases the job.
    fn start_attempt(&mut self, new: &NewAttempt<'_>) -> Result<AttemptId>;

    /// As [`start_attempt`](Self::start_attempt), for several jobs.
    fn start_attempts(&mut self, new: &[NewAttempt<'_>]) -> Result<Vec<AttemptId>> {
        new.iter().map(|new| self.start_attempt(new)).collect()
    }

    /// Writes a new upload, or replaces a known one, and returns its number. Leases it, if a pool and
    /// a token are given.
    fn put_upload(&mut self, upload: &Upload, lease: Option<(&PoolId, i64)>) -> Result<i64>;

    /// Ends the lease of an upload and writes what has changed, unless the lease is no longer
    /// current.
    fn write_upload(&mut self, lease: UploadLease, new: Option<&UploadProgress>) -> Result<()>;

    /// Removes the [rejected](UploadProgress::is_rejected) uploads that are not leased.
    fn clear_rejected_uploads(&mut self) -> Result<()>;

    /// Sets the folder of a batch, and the paths of those of its clips that are in the old one.
    fn set_folder(&mut self, batch: &BatchView, folder: &Location) -> Result<()>;

    /// Sets the budget of a batch.
    fn set_budget(&mut self, batch: &BatchView, budget: Option<Money>) -> Result<()>;

    /// Replaces the settings that were changed. Batch budgets stay as they are.
    fn set_settings(&mut self, settings: &[SettingChange]) -> Result<()>;

    /// Stores the mark of a provider's key, and when it was found to differ from the one before.
    fn set_key_mark(
        &mut self,
        provider: ProviderName,
        mark: &str,
        changed_at: Option<Timestamp>,
    ) -> Result<()>;

    /// Stores what the active runs agree on.
    fn set_run_setup(&mut self, setup: &str) -> Result<()>;

    /// Sets the number of runs in the queue's [`Lineage`], and the server on which the last begins.
    fn set_generation(&mut self, generation: u64) -> Result<()>;

    /// Sets since when the queue may not know what was paid for.
    fn set_doubt(&mut self, since: Option<Timestamp>) -> Result<()>;

    /// Sets since when another queue has paid for what may be loaded yet.
    fn set_unclaimed(&mut self, since: Option<Timestamp>) -> Result<()>;

    /// Stores the time of a heartbeat, and returns that of the last one.
    fn replace_last_heartbeat(&mut self, now: Timestamp) -> Result<Option<Timestamp>>;

    /// Records that the clock was changed at `now`, in its new time. Moves every due time, expiry and
    /// gate that is later than `latest` to that, and every answer and unanswered submission that is
    /// later than `now` to that.
    fn change_clock(&mut self, now: Timestamp, latest: Timestamp) -> Result<()>;

    /// Computes the stored sums and counts from the rows, if the store keeps any.
    fn correct_counters(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A write, in a transaction of its own or with others. It may run again from the start if the
/// transaction fails.
pub trait WriteOperation<T>:
    Fn(&mut dyn Transaction, Timestamp) -> Result<T> + Send + Sync + 'static
{
}

impl<T, F: Fn(&mut dyn Transaction, Timestamp) -> Result<T> + Send + Sync + 'static>
    WriteOperation<T> for F
{
}

/// A read of one instant. It may run again from the start if the connection to the store is lost.
pub trait ReadOperation<T>:
    Fn(&dyn Snapshot, Timestamp) -> Result<T> + Send + Sync + 'static
{
}

impl<T, F: Fn(&dyn Snapshot, Timestamp) -> Result<T> + Send + Sync + 'static> ReadOperation<T>
    for F
{
}

/// What the process of a pool holds until the pool leaves. Dropping it releases it, as does the end of
/// the process.
pub type PoolLock = Box<dyn Send>;

/// A store, as one process has it open.
pub trait Storage: Send + Sync {
    /// Returns what the process keeps beside the store.
    fn process(&self) -> &Process;

    /// Returns the name of the machine.
    fn host(&self) -> String;

    /// Locks a new pool of this process.
    fn lock_pool(&self, pool: &PoolId) -> Result<PoolLock> {
        let _ = pool;
        Ok(Box::new(()))
    }

    /// Locks a pool whose process is known to have ended; `None` if it may run, or if that cannot be
    /// known.
    fn lock_dead_pool(&self, pool: &PoolId, record: &PoolRecord) -> Option<PoolLock> {
        let _ = (pool, record);
        None
    }

    /// Runs a write, and returns its result after the commit. An error rolls it back.
    fn write<T: Send + 'static>(
        &self,
        operation: impl WriteOperation<T>,
    ) -> impl Future<Output = Result<T>> + Send;

    /// As [`write`](Self::write), for a write that takes a turn. A store that pays for every statement reads
    /// at once what the turn will need.
    fn write_turn<T: Send + 'static>(
        &self,
        reads: TurnReads,
        operation: impl WriteOperation<T>,
    ) -> impl Future<Output = Result<T>> + Send {
        let _ = reads;
        self.write(operation)
    }

    /// As [`PoolLookups::wait_for_change`](super::PoolLookups::wait_for_change).
    fn wait_for_change(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Runs a read.
    fn read<T: Send + 'static>(
        &self,
        operation: impl ReadOperation<T>,
    ) -> impl Future<Output = Result<T>> + Send;
}

/// What a process keeps beside the store.
#[derive(Default)]
pub struct Process {
    /// The locks of its pools.
    locks: Mutex<HashMap<PoolId, PoolLock>>,
    /// The pools that its last takeover found expired, with when. A machine that wakes from sleep
    /// finds every pool expired and must give the living ones time to renew. Only a pool that is
    /// still expired at the next takeover is removed.
    suspects: Mutex<HashSet<(PoolId, Timestamp)>>,
    /// The submissions that its last claim counted.
    rate_counts: Mutex<RateCounts>,
}

impl Process {
    pub(super) fn locks(&self) -> MutexGuard<'_, HashMap<PoolId, PoolLock>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn suspects(&self) -> MutexGuard<'_, HashSet<(PoolId, Timestamp)>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rate_counts(&self) -> MutexGuard<'_, RateCounts> {
        self.rate_counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
