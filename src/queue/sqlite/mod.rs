//! The queue in a SQLite file.
//!
//! All SQL is in this folder, one file per operation. One thread owns the write connection. A write
//! returns to its caller after the commit, so a result that a caller has seen is on disk.

mod backlog;
mod bill;
mod claim;
mod clock;
mod counters;
mod health;
mod insert;
mod lanes;
mod live_settings;
mod open;

mod placement;
mod pool_lock;
mod pools;
mod provider_capacity;
mod query;
mod record;
mod remove;
mod row;
mod stage;
mod submit_claims;
#[cfg(test)]
mod tests;
mod uploads;
mod user_commands;
mod writer;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::Connection;

use crate::domain::{JobId, JobState, Lease, Money, Outcome, PoolId, ProviderName, ProviderSignal};
use crate::failpoint::fail_point;

use super::{
    AttemptRecord, BillGrouping, BillLine, CancelResult, ClaimRequest, ClaimResponse,
    CounterMismatch, Decision, Health, JobFilter, JobRecord, LiveSetting, NewBatch, PoolRecord,
    Queue, QueueError, Result, Selection, SettingChange, Staging, Status, Step, UploadLease,
    UploadOutcome,
};
use pool_lock::PoolLock;
use provider_capacity::RateCache;
use writer::Writer;

/// A [`Queue`] in a SQLite file.
///
/// Any number of processes may use the file at the same time. Dropping the queue closes its
/// connections and releases the locks of its pools.
#[derive(Debug)]
pub struct SqliteQueue {
    path: PathBuf,
    writer: Writer,
    reader: Arc<Mutex<Connection>>,
    host: String,
    /// The locks of this process's pools; the system releases them when the process ends.
    locks: Mutex<HashMap<PoolId, PoolLock>>,
    /// The pools that the last [`Queue::take_over`] found expired. A machine that wakes from sleep
    /// finds every pool expired and must give the living ones time to renew. Only a pool that is
    /// still expired at the next takeover is removed.
    suspects: Mutex<HashSet<(PoolId, Timestamp)>>,
    rate_cache: Arc<RateCache>,
}

impl SqliteQueue {
    /// Opens an existing queue, and migrates it to this program's version.
    ///
    /// # Errors
    ///
    /// [`QueueError::Unusable`] if there is no file at `path`, or if it cannot be used as a queue.
    pub fn open(path: &Path) -> Result<Self> {
        open::ensure_exists(path)?;
        Self::open_or_create(path)
    }

    /// Opens an existing queue of this program's version or an older one, which is not migrated.
    /// Writes fail.
    ///
    /// # Errors
    ///
    /// [`QueueError::Unusable`] if there is no file at `path`, or if it cannot be used as a queue.
    pub fn open_read_only(path: &Path) -> Result<Self> {
        open::ensure_exists(path)?;
        let writer = Writer::spawn(open::open_read_only(path)?);
        Ok(Self::from_parts(
            path,
            writer,
            Arc::new(Mutex::new(open::open_read_only(path)?)),
        ))
    }

    /// Opens a queue and migrates it to this program's version, or creates an empty one.
    ///
    /// # Errors
    ///
    /// [`QueueError::Unusable`] if the file cannot be created, or cannot be used as a queue.
    pub fn open_or_create(path: &Path) -> Result<Self> {
        let writer = Writer::spawn(open::open_for_writing(path)?);
        Ok(Self::from_parts(
            path,
            writer,
            Arc::new(Mutex::new(open::open_for_reading(path)?)),
        ))
    }

    /// Removes the file of a queue that has no batch and no pool and that nothing else has open.
    /// Returns whether it was removed.
    ///
    /// # Errors
    ///
    /// [`QueueError::Unusable`] if there is no queue at `path`, or if the file cannot be removed.
    pub fn remove_unused(path: &Path) -> Result<bool> {
        remove::remove_unused(path)
    }

    /// Opens a queue for a rehearsal, for this process alone. Every operation runs on the caller's
    /// thread, because virtual time would advance while the caller waits for another thread. The
    /// file does not survive a crash, and no rows can be loaded into it.
    pub fn for_rehearsal(path: &Path) -> Result<Self> {
        let connection = Arc::new(Mutex::new(open::open_exclusive(path)?));
        Ok(Self::from_parts(
            path,
            Writer::inline(Arc::clone(&connection)),
            connection,
        ))
    }

    fn from_parts(path: &Path, writer: Writer, reader: Arc<Mutex<Connection>>) -> Self {
        Self {
            path: path.to_owned(),
            writer,
            reader,
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            locks: Mutex::default(),
            suspects: Mutex::default(),
            rate_cache: Arc::default(),
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let reader = Arc::clone(&self.reader);
        let path = self.path.clone();
        let read = move || {
            let connection = reader.lock().unwrap_or_else(PoisonError::into_inner);
            // One read transaction, so that the counts and sums of a result belong to one instant.
            let in_snapshot = || {
                let snapshot = connection.unchecked_transaction()?;
                let result = query(&connection);
                snapshot.finish()?;
                result
            };
            in_snapshot().map_err(|error| open::add_path(&path, error))
        };
        if self.writer.is_inline() {
            return read();
        }
        let result = tokio::task::spawn_blocking(read).await;
        result.map_err(|error| QueueError::Store(format!("the reader task failed: {error}")))?
    }
}

#[async_trait]
impl Queue for SqliteQueue {
    fn stage(&self, batch: NewBatch) -> Result<Box<dyn Staging>> {
        if self.writer.is_inline() {
            return Err(QueueError::Conflict(
                "cannot load rows into a queue that is open for a rehearsal".into(),
            ));
        }
        Ok(Box::new(stage::SqliteStaging::open(&self.path, batch)?))
    }

    async fn join(&self, pool: PoolId, now: Timestamp, expires_at: Timestamp) -> Result<()> {
        let lock = PoolLock::acquire(&self.path, &pool)?;
        let path = self.path.clone();
        let host = self.host.clone();
        let pool_id = pool.clone();
        let join = move |tx: &Connection| {
            if pools::list_active(tx, &path, &host, now)?.is_empty() {
                live_settings::clear(tx)?;
            }
            pools::join(tx, &pool_id, &host, now, expires_at)
        };
        self.writer.write(join).await?;
        fail_point!("join committed");
        self.locks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(pool, lock);
        Ok(())
    }

    async fn heartbeat(&self, pool: PoolId, now: Timestamp, expires_at: Timestamp) -> Result<()> {
        self.writer
            .write(move |tx| pools::heartbeat(tx, &pool, now, expires_at))
            .await
    }

    async fn record_clock_change(&self, now: Timestamp) -> Result<()> {
        self.writer
            .write(move |tx| clock::record_change(tx, now))
            .await
    }

    async fn last_clock_change(&self) -> Result<Option<Timestamp>> {
        self.read(clock::last_change).await
    }

    async fn leave(&self, pool: PoolId, now: Timestamp) -> Result<()> {
        let pool_id = pool.clone();
        self.writer
            .write(move |tx| pools::remove(tx, &pool_id, now))
            .await?;
        self.locks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&pool);
        Ok(())
    }

    async fn take_over(&self, now: Timestamp) -> Result<usize> {
        let path = self.path.clone();
        let host = self.host.clone();
        let mut dead_pools = self
            .read(move |connection| pools::find_dead(connection, &path, &host, now))
            .await?;
        {
            let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            dead_pools.retain(|pool| !locks.contains_key(&pool.pool_id));
            let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
            let suspect = |pool: &pools::DeadPool| (pool.pool_id.clone(), pool.expires_at);
            let previous_suspects =
                std::mem::replace(&mut *suspects, dead_pools.iter().map(suspect).collect());
            dead_pools
                .retain(|pool| pool.lock.is_some() || previous_suspects.contains(&suspect(pool)));
        }
        let mut released = 0;
        for pools::DeadPool { pool_id, lock, .. } in dead_pools {
            released += self
                .writer
                .write(move |tx| pools::remove(tx, &pool_id, now))
                .await?;
            fail_point!("takeover committed");
            // Until here, so that no other process takes the same pool over.
            drop(lock);
        }
        Ok(released)
    }

    async fn verify_counters(&self) -> Result<Vec<CounterMismatch>> {
        // Compare on the read connection first: that may take longer than other processes should
        // wait for the write lock.
        if self.read(counters::find_mismatches).await?.is_empty() {
            return Ok(Vec::new());
        }
        self.writer.write(counters::correct_mismatches).await
    }

    async fn health(&self, now: Timestamp) -> Result<Health> {
        let path = self.path.clone();
        let host = self.host.clone();
        self.read(move |connection| health::health(connection, &path, &host, now))
            .await
    }

    async fn reopen_providers(&self) -> Result<()> {
        self.writer.write(pools::reopen_providers).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<ClaimResponse> {
        let rate_cache = Arc::clone(&self.rate_cache);
        let response = self
            .writer
            .write(move |tx| claim::claim(tx, &request, &rate_cache))
            .await?;
        if response
            .claims
            .iter()
            .any(|claim| claim.step == Step::Submit)
        {
            fail_point!("Submit committed");
        }
        Ok(response)
    }

    async fn record_outcome(
        &self,
        lease: Lease,
        outcome: Outcome,
        signal: Option<(ProviderName, ProviderSignal)>,
        now: Timestamp,
    ) -> Result<JobState> {
        let event = outcome.event();
        let write = move |tx: &Connection| {
            let state = record::record_outcome(tx, &lease, &outcome, signal.as_ref(), now)?;
            fail_point!("{event:?} written");
            Ok(state)
        };
        let state = self.writer.write(write).await?;
        fail_point!("{event:?} committed");
        Ok(state)
    }

    async fn record_upload(
        &self,
        lease: UploadLease,
        outcome: UploadOutcome,
        signal: Option<(ProviderName, ProviderSignal)>,
    ) -> Result<()> {
        let write = move |tx: &Connection| {
            uploads::record_upload(tx, lease, &outcome)?;
            signal
                .iter()
                .try_for_each(|(provider, signal)| record::record_signal(tx, *provider, signal))
        };
        self.writer.write(write).await?;
        fail_point!("upload committed");
        Ok(())
    }

    async fn release(&self, lease: Lease, now: Timestamp) -> Result<()> {
        self.writer
            .write(move |tx| record::release(tx, &lease, now))
            .await
    }

    async fn owned_predictions(
        &self,
        provider: ProviderName,
        since: Timestamp,
    ) -> Result<Vec<String>> {
        self.read(move |connection| query::owned_predictions(connection, provider, since))
            .await
    }

    async fn processing_times(
        &self,
        provider: ProviderName,
        wire_model: String,
        limit: usize,
    ) -> Result<Vec<(Option<u32>, Duration)>> {
        self.read(move |connection| {
            query::processing_times(connection, provider, &wire_model, limit)
        })
        .await
    }

    async fn status(&self, batch: Option<String>) -> Result<Status> {
        let path = self.path.clone();
        let host = self.host.clone();
        self.read(move |connection| {
            let pools = pools::list_running(connection, &path, &host)?;
            Ok(Status {
                pools,
                ..query::status(connection, batch.as_deref())?
            })
        })
        .await
    }

    async fn bill(&self, by: BillGrouping, batch: Option<String>) -> Result<Vec<BillLine>> {
        self.read(move |connection| bill::bill(connection, by, batch.as_deref()))
            .await
    }

    async fn all_settled(&self, jobs: Vec<JobId>) -> Result<bool> {
        self.read(move |connection| query::all_settled(connection, &jobs))
            .await
    }

    async fn queued_estimate(&self, batch: Option<String>) -> Result<Money> {
        self.read(move |connection| query::queued_estimate(connection, batch.as_deref()))
            .await
    }

    async fn jobs(
        &self,
        filter: JobFilter,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<JobRecord>> {
        self.read(move |connection| query::jobs(connection, &filter, after, limit))
            .await
    }

    async fn latest(&self, batch: Option<String>, limit: usize) -> Result<Vec<JobRecord>> {
        self.read(move |connection| query::latest(connection, batch.as_deref(), limit))
            .await
    }

    async fn find(&self, job: String, batch: Option<String>) -> Result<JobRecord> {
        self.read(move |connection| query::find(connection, &job, batch.as_deref()))
            .await
    }

    async fn attempts(&self, job_id: JobId) -> Result<Vec<AttemptRecord>> {
        self.read(move |connection| query::attempts(connection, job_id))
            .await
    }

    async fn retry(&self, selection: Selection, now: Timestamp) -> Result<usize> {
        self.writer
            .write(move |tx| user_commands::retry(tx, &selection, now))
            .await
    }

    async fn requeue_downloads(&self, jobs: Vec<JobId>, now: Timestamp) -> Result<usize> {
        self.writer
            .write(move |tx| user_commands::requeue_downloads(tx, &jobs, now))
            .await
    }

    async fn cancel(&self, selection: Selection, now: Timestamp) -> Result<CancelResult> {
        self.writer
            .write(move |tx| user_commands::cancel(tx, &selection, now))
            .await
    }

    async fn resolve(&self, job_id: JobId, decision: Decision, now: Timestamp) -> Result<JobState> {
        self.writer
            .write(move |tx| user_commands::resolve(tx, job_id, &decision, now))
            .await
    }

    async fn set_live_settings(
        &self,
        settings: Vec<LiveSetting>,
        set_by: String,
        now: Timestamp,
    ) -> Result<Vec<PoolRecord>> {
        let path = self.path.clone();
        let host = self.host.clone();
        self.writer
            .write(move |tx| {
                let active_pools = pools::list_active(tx, &path, &host, now)?;
                if active_pools.is_empty() && settings.iter().any(LiveSetting::is_run_setting) {
                    return Err(QueueError::Conflict("no run is active".into()));
                }
                settings
                    .iter()
                    .try_for_each(|setting| live_settings::set(tx, setting, &set_by, now))?;
                Ok(active_pools)
            })
            .await
    }

    async fn live_settings(&self) -> Result<Vec<SettingChange>> {
        let path = self.path.clone();
        let host = self.host.clone();
        self.read(move |connection| {
            // The settings end with the last run that applies them. A killed run leaves them in the
            // table, so whether they are in force is decided here.
            if pools::list_running(connection, &path, &host)?.is_empty() {
                Ok(Vec::new())
            } else {
                live_settings::list(connection)
            }
        })
        .await
    }

    async fn set_budget(&self, batch: String, budget: Option<Money>) -> Result<()> {
        self.writer
            .write(move |tx| user_commands::set_budget(tx, &batch, budget))
            .await
    }
}
