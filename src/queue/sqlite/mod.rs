//! The queue in one SQLite file.
//!
//! The rule of this folder: SQL stands here and nowhere else, one file per operation, and one thread owns the
//! connection that writes. Whoever wrote is answered after the commit, so what was answered is on disk.

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
mod operator;
mod placement;
mod pool_lock;
mod pools;
mod provider_capacity;
mod query;
mod record;
mod row;
mod stage;
mod submit_claims;
#[cfg(test)]
mod tests;
mod uploads;
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
    AttemptRecord, BillBy, BillLine, CancelResult, ClaimRequest, ClaimResponse, CounterMismatch,
    Decision, Health, JobFilter, JobRecord, LiveSetting, NewBatch, PoolRecord, Queue, QueueError,
    Result, Selection, SettingChange, Staging, Status, Step, UploadLease, UploadOutcome,
};
use pool_lock::PoolLock;
use provider_capacity::RateCache;
use writer::Writer;

/// A queue in a SQLite file.
#[derive(Debug)]
pub struct SqliteQueue {
    path: PathBuf,
    writer: Writer,
    reader: Arc<Mutex<Connection>>,
    host: String,
    /// The locks of the pools of this process, which die with it.
    locks: Mutex<HashMap<PoolId, PoolLock>>,
    /// Pools whose expiry had passed at the last look. A machine that wakes from sleep finds every pool expired, and
    /// must give the living ones the time to renew: only what is still expired at the next look is gone.
    suspects: Mutex<HashSet<(PoolId, Timestamp)>>,
    rate_cache: Arc<RateCache>,
}

impl SqliteQueue {
    /// Opens a queue that exists.
    pub fn open(path: &Path) -> Result<Self> {
        open::must_exist(path)?;
        Self::open_or_create(path)
    }

    /// Opens a queue that exists, of any version up to this program's, to look at: it is changed in nothing.
    pub fn open_read_only(path: &Path) -> Result<Self> {
        open::must_exist(path)?;
        let writer = Writer::start(open::open_read_only(path)?);
        Ok(Self::with(
            path,
            writer,
            Arc::new(Mutex::new(open::open_read_only(path)?)),
        ))
    }

    /// Opens a queue, or makes an empty one.
    pub fn open_or_create(path: &Path) -> Result<Self> {
        let writer = Writer::start(open::open_for_writing(path)?);
        Ok(Self::with(
            path,
            writer,
            Arc::new(Mutex::new(open::open_for_reading(path)?)),
        ))
    }

    /// Opens a queue that nobody else uses, to do everything on its caller's thread and survive no crash: for a
    /// rehearsal, whose time must not go on while a thread is waited for.
    pub fn for_rehearsal(path: &Path) -> Result<Self> {
        let connection = Arc::new(Mutex::new(open::alone(path)?));
        Ok(Self::with(
            path,
            Writer::on_callers_thread(Arc::clone(&connection)),
            connection,
        ))
    }

    fn with(path: &Path, writer: Writer, reader: Arc<Mutex<Connection>>) -> Self {
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
        let (reader, path) = (Arc::clone(&self.reader), self.path.clone());
        let read = move || {
            let connection = reader.lock().unwrap_or_else(PoisonError::into_inner);
            // One read transaction, so that counts and sums of one answer belong to one instant.
            let read = || {
                let snapshot = connection.unchecked_transaction()?;
                let answer = query(&connection);
                snapshot.finish()?;
                answer
            };
            read().map_err(|error| open::at(&path, error))
        };
        if self.writer.is_on_callers_thread() {
            return read();
        }
        let result = tokio::task::spawn_blocking(read).await;
        result.map_err(|error| QueueError::Store(format!("the reader stopped: {error}")))?
    }
}

#[async_trait]
impl Queue for SqliteQueue {
    fn stage(&self, batch: NewBatch) -> Result<Box<dyn Staging>> {
        if self.writer.is_on_callers_thread() {
            return Err(QueueError::Conflict(
                "a rehearsal has begun; it takes no more rows".into(),
            ));
        }
        Ok(Box::new(stage::SqliteStaging::begin(&self.path, batch)?))
    }

    async fn join(&self, pool: PoolId, now: Timestamp, expires_at: Timestamp) -> Result<()> {
        let lock = PoolLock::take(&self.path, &pool)?;
        let (path, host, entered) = (self.path.clone(), self.host.clone(), pool.clone());
        let enter = move |tx: &Connection| {
            if pools::alive(tx, &path, &host, now)?.is_empty() {
                live_settings::clear(tx)?;
            }
            pools::join(tx, &entered, &host, now, expires_at)
        };
        self.writer.write(enter).await?;
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
        self.writer.write(move |tx| clock::was_set(tx, now)).await
    }

    async fn last_clock_change(&self) -> Result<Option<Timestamp>> {
        self.read(clock::set_at).await
    }

    async fn leave(&self, pool: PoolId, now: Timestamp) -> Result<()> {
        let left = pool.clone();
        self.writer
            .write(move |tx| pools::remove(tx, &left, now))
            .await?;
        self.locks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&pool);
        Ok(())
    }

    async fn take_over(&self, now: Timestamp) -> Result<usize> {
        let (path, host) = (self.path.clone(), self.host.clone());
        let mut gone = self
            .read(move |connection| pools::gone(connection, &path, &host, now))
            .await?;
        {
            let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            gone.retain(|gone| !locks.contains_key(&gone.pool_id));
            let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
            let expired = |gone: &pools::DeadPool| (gone.pool_id.clone(), gone.expires_at);
            let seen = std::mem::replace(&mut *suspects, gone.iter().map(expired).collect());
            gone.retain(|gone| gone.lock.is_some() || seen.contains(&expired(gone)));
        }
        let mut freed = 0;
        for pools::DeadPool { pool_id, lock, .. } in gone {
            freed += self
                .writer
                .write(move |tx| pools::remove(tx, &pool_id, now))
                .await?;
            fail_point!("takeover committed");
            drop(lock);
        }
        Ok(freed)
    }

    async fn verify_counters(&self) -> Result<Vec<CounterMismatch>> {
        // Only looked at first: the sums may take longer than other processes should wait for the right to write.
        if self.read(counters::counter_mismatches).await?.is_empty() {
            return Ok(Vec::new());
        }
        self.writer.write(counters::verify_counters).await
    }

    async fn health(&self, now: Timestamp) -> Result<Health> {
        let (path, host) = (self.path.clone(), self.host.clone());
        self.read(move |connection| health::health(connection, &path, &host, now))
            .await
    }

    async fn reopen_providers(&self) -> Result<()> {
        self.writer.write(pools::reopen_providers).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<ClaimResponse> {
        let rate_cache = Arc::clone(&self.rate_cache);
        let claimed = self
            .writer
            .write(move |tx| claim::claim(tx, &request, &rate_cache))
            .await?;
        if claimed
            .claims
            .iter()
            .any(|claim| claim.step == Step::Submit)
        {
            fail_point!("Submit committed");
        }
        Ok(claimed)
    }

    async fn record_outcome(
        &self,
        lease: Lease,
        outcome: Outcome,
        gate: Option<(ProviderName, ProviderSignal)>,
        now: Timestamp,
    ) -> Result<JobState> {
        let event = outcome.event();
        let write = move |tx: &Connection| {
            let state = record::record_outcome(tx, &lease, &outcome, gate.as_ref(), now)?;
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
        gate: Option<(ProviderName, ProviderSignal)>,
    ) -> Result<()> {
        let write = move |tx: &Connection| {
            uploads::record(tx, lease, &outcome)?;
            gate.iter()
                .try_for_each(|(provider, gate)| record::record_gate(tx, *provider, gate))
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
        most: usize,
    ) -> Result<Vec<(Option<u32>, Duration)>> {
        self.read(move |connection| {
            query::processing_times(connection, provider, &wire_model, most)
        })
        .await
    }

    async fn status(&self, batch: Option<String>) -> Result<Status> {
        let (path, host) = (self.path.clone(), self.host.clone());
        self.read(move |connection| {
            let pools = pools::running(connection, &path, &host)?;
            Ok(Status {
                pools,
                ..query::status(connection, batch.as_deref())?
            })
        })
        .await
    }

    async fn bill(&self, by: BillBy, batch: Option<String>) -> Result<Vec<BillLine>> {
        self.read(move |connection| bill::bill(connection, by, batch.as_deref()))
            .await
    }

    async fn all_settled(&self, jobs: Vec<JobId>) -> Result<bool> {
        self.read(move |connection| query::all_settled(connection, &jobs))
            .await
    }

    async fn queued_price(&self, batch: Option<String>) -> Result<Money> {
        self.read(move |connection| query::queued_price(connection, batch.as_deref()))
            .await
    }

    async fn jobs(
        &self,
        filter: JobFilter,
        after: Option<JobId>,
        most: usize,
    ) -> Result<Vec<JobRecord>> {
        self.read(move |connection| query::jobs(connection, &filter, after, most))
            .await
    }

    async fn latest(&self, batch: Option<String>, most: usize) -> Result<Vec<JobRecord>> {
        self.read(move |connection| query::latest(connection, batch.as_deref(), most))
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
            .write(move |tx| operator::retry(tx, &selection, now))
            .await
    }

    async fn requeue_downloads(&self, jobs: Vec<JobId>, now: Timestamp) -> Result<usize> {
        self.writer
            .write(move |tx| operator::requeue_downloads(tx, &jobs, now))
            .await
    }

    async fn cancel(&self, selection: Selection, now: Timestamp) -> Result<CancelResult> {
        self.writer
            .write(move |tx| operator::cancel(tx, &selection, now))
            .await
    }

    async fn resolve(&self, job_id: JobId, decision: Decision, now: Timestamp) -> Result<JobState> {
        self.writer
            .write(move |tx| operator::resolve(tx, job_id, &decision, now))
            .await
    }

    async fn set_live_settings(
        &self,
        settings: Vec<LiveSetting>,
        set_by: String,
        now: Timestamp,
    ) -> Result<Vec<PoolRecord>> {
        let (path, host) = (self.path.clone(), self.host.clone());
        self.writer
            .write(move |tx| {
                let alive = pools::alive(tx, &path, &host, now)?;
                if alive.is_empty() && settings.iter().any(LiveSetting::is_run_setting) {
                    return Err(QueueError::Conflict("no run is going on".into()));
                }
                settings
                    .iter()
                    .try_for_each(|setting| live_settings::set(tx, setting, &set_by, now))?;
                Ok(alive)
            })
            .await
    }

    async fn live_settings(&self) -> Result<Vec<SettingChange>> {
        let (path, host) = (self.path.clone(), self.host.clone());
        self.read(move |connection| {
            // They end with the last run that heeds them, which may have had no time to say so.
            let is_heeded = !pools::running(connection, &path, &host)?.is_empty();
            if is_heeded {
                live_settings::all(connection)
            } else {
                Ok(Vec::new())
            }
        })
        .await
    }

    async fn set_budget(&self, batch: String, budget: Option<Money>) -> Result<()> {
        self.writer
            .write(move |tx| operator::set_budget(tx, &batch, budget))
            .await
    }
}
