//! The queue in PostgreSQL, for several hosts: the schema `overnight` of one database.
//!
//! All SQL is in this folder. A write holds one lock until it is committed, which is taken before anything is
//! read: a write that counts slots, submissions of the minute or money then sees all writes before it.
//! The lock and the first read are two statements, because a statement sees what was committed when it began.

mod attempts;
mod bill;
mod change;
mod claim_reads;
mod clips;
mod connect;
mod connection;
mod connector;
mod copy;
mod database;
mod durability;
mod error;
mod gates;
mod job_row;
mod lane_heads;
mod lanes;
mod load_rows;
mod meta;
mod new_rows;
mod own_steps;
mod patience;
mod pool_locks;
mod pools;
mod posted;
mod progress;
mod query;
mod read_ahead;
mod row;
mod schema;
mod session;
mod silence;
mod snapshot;
mod stage;
mod tallies;
mod time;
mod transaction;
mod uploads;
mod usual_reads;
mod wake_up;
mod write;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::storage::{PoolLock, Process, ReadOperation, Storage, TurnReads, WriteOperation};
use super::{Loader, NewBatch, PoolRecord, QueueError, Result, Staging, UnsafePlace};
use crate::clock::{AdjustedClock, Clock};
use crate::domain::PoolId;
use connection::Connection;
use connector::Connector;
use patience::{Absence, Patience};
use pool_locks::PoolLocks;
use session::Session;
use stage::{IdleSession, PostgresStaging};
use time::Time;
use transaction::PostgresTransaction;
use wake_up::WakeUp;
use write::Written;

pub use copy::PostgresCopy;
pub use database::Database;

/// How long every operation is tried again: a connection may be lost and the server be there.
const MIN_PATIENCE: Duration = Duration::from_secs(5);

/// A [`Queue`](super::Queue) in a database of a PostgreSQL server.
///
/// Any number of processes on any number of hosts may use it at the same time. Dropping the queue closes its
/// connections.
pub struct PostgresQueue {
    database: Database,
    time: Time,
    connector: Connector,
    writer: Session,
    /// The name of this process among those that write.
    writer_name: String,
    has_written: AtomicBool,
    reader: Session,
    /// The connection of the last load, if it has ended.
    idle_load: IdleSession,
    /// Hears of the changes of other processes, once a pool has joined.
    wake_up: OnceLock<WakeUp>,
    /// What a dropped queue releases, so that other processes take its jobs over.
    locks: PoolLocks,
    host: String,
    absence: Absence,
    process: Process,
}

impl PostgresQueue {
    /// Opens the queue of a database, and sets the clock to the server's.
    ///
    /// # Errors
    /// [`QueueError::Store`] if the server cannot be reached, if the database has no queue, or if another version
    /// of the program has written it.
    pub fn open(database: Database, clock: Arc<AdjustedClock>) -> Result<Self> {
        let queue = Self::connect(database, Time::Server(clock), pool_locks::min_uptime());
        queue.run(schema::ensure_usable)?;
        Ok(queue)
    }

    /// As [`open`](Self::open), but creates the queue if the database has none.
    ///
    /// # Errors
    /// As [`open`](Self::open), or if this user may not create it.
    pub fn open_or_create(database: Database, clock: Arc<AdjustedClock>) -> Result<Self> {
        Self::create(database, Time::Server(clock), pool_locks::min_uptime())
    }

    /// As [`open_or_create`](Self::open_or_create), with a clock in place of the server's, for tests. The server
    /// may have been started just now.
    ///
    /// # Errors
    /// As [`open_or_create`](Self::open_or_create).
    pub fn with_clock(database: Database, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::create(database, Time::Clock(clock), Duration::ZERO)
    }

    /// Creates the queue of a database, or brings an older one to the version of this program. Returns the
    /// version before, which is 0 if there was none, and the one after.
    ///
    /// # Errors
    /// As [`open_or_create`](Self::open_or_create).
    pub fn migrate(database: Database) -> Result<(usize, usize)> {
        run_once(&database, schema::migrate)
    }

    /// Returns whether a database has a queue.
    ///
    /// # Errors
    /// [`QueueError::Store`] if the server cannot be reached.
    pub fn exists(database: Database) -> Result<bool> {
        run_once(&database, schema::exists)
    }

    /// Removes the queue of a database if it has no batch. Returns whether it was removed.
    ///
    /// # Errors
    /// [`QueueError::Store`] if the server cannot be reached.
    pub fn remove_unused(database: Database) -> Result<bool> {
        run_once(&database, schema::remove_unused)
    }

    /// Returns why the server may forget what it has committed; `None` if nothing is known against it.
    ///
    /// # Errors
    /// [`QueueError::Store`] if the server cannot be reached.
    pub fn find_unsafe_place(database: Database) -> Result<Option<UnsafePlace>> {
        run_once(&database, durability::find_unsafe_place)
    }

    fn create(database: Database, time: Time, min_uptime: Duration) -> Result<Self> {
        let queue = Self::connect(database, time, min_uptime);
        queue.run(|tx| {
            if !schema::exists(tx)? {
                schema::migrate(tx)?;
            }
            schema::ensure_usable(tx)
        })?;
        Ok(queue)
    }

    /// Nothing is connected before the first use.
    fn connect(database: Database, time: Time, min_uptime: Duration) -> Self {
        let server = Arc::new(OnceLock::new());
        let connector = Connector::new(database.config.clone(), Arc::clone(&server));
        let session = Connector::new(database.session.clone(), server);
        Self {
            time,
            writer: Session::spawn(connector.clone(), |_| Ok(())),
            writer_name: uuid::Uuid::new_v4().simple().to_string(),
            has_written: AtomicBool::new(false),
            reader: Session::spawn(connector.clone(), |_| Ok(())),
            idle_load: IdleSession::default(),
            wake_up: OnceLock::new(),
            locks: PoolLocks::new(session, min_uptime),
            connector,
            database,
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            absence: Absence::default(),
            process: Process::default(),
        }
    }

    /// Runs a command outside of the ports.
    fn run<T: Send + 'static>(
        &self,
        command: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let result = self.writer.run_blocking(command);
        result.map_err(|error| self.add_address(error))
    }

    fn add_address(&self, error: QueueError) -> QueueError {
        self.database.add_address(error)
    }

    /// Returns how long a lost operation is tried again: longer if there is a pool, which holds what was paid for.
    fn patience(&self) -> Patience<'_> {
        let has_pool = !self.process.locks().is_empty();
        let limit = if has_pool {
            self.database.patience
        } else {
            Duration::ZERO
        };
        Patience::new(&self.absence, limit.max(MIN_PATIENCE))
    }

    /// Runs a command, and runs it again while the server is away.
    async fn run_patiently<T: Send + 'static>(
        &self,
        session: &Session,
        command: impl Fn(&Connection) -> Result<T> + Send + Sync + 'static,
    ) -> Result<T> {
        let command = Arc::new(command);
        let mut patience = self.patience();
        loop {
            let run = Arc::clone(&command);
            match session.run(move |tx| run(tx)).await {
                Ok(result) => {
                    self.absence.end();
                    return Ok(result);
                }
                Err(error) => patience.wait(self.add_address(error)).await?,
            }
        }
    }

    /// Runs a write, which may take a turn.
    async fn write_for<T: Send + 'static>(
        &self,
        turn: Option<Arc<TurnReads>>,
        operation: impl WriteOperation<T>,
    ) -> Result<T> {
        self.has_written.store(true, Ordering::Relaxed);
        let operation = Arc::new(operation);
        loop {
            let time = self.time.clone();
            let writer = self.writer_name.clone();
            let run = Arc::clone(&operation);
            let turn = turn.clone();
            let write = self.run_patiently(&self.writer, move |tx| {
                write::write(tx, &time, &writer, turn.as_deref(), &*run)
            });
            match write.await? {
                Written::Committed {
                    result,
                    frees_slots,
                } => {
                    if let Some(wake_up) = self.wake_up.get().filter(|_| frees_slots) {
                        wake_up.notify();
                    }
                    return Ok(result);
                }
                Written::Unconfirmed { result, token } => {
                    if self.is_committed(token).await? {
                        return Ok(result);
                    }
                }
            }
        }
    }

    /// Returns whether the write with this token was committed.
    async fn is_committed(&self, token: i64) -> Result<bool> {
        let writer = self.writer_name.clone();
        self.run_patiently(&self.writer, move |tx| {
            write::is_committed(tx, &writer, token)
        })
        .await
    }
}

/// Runs a command on a connection of its own.
fn run_once<T: Send + 'static>(
    database: &Database,
    command: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
) -> Result<T> {
    let connector = Connector::new(database.config.clone(), Arc::default());
    let result = Session::spawn(connector, |_| Ok(())).run_blocking(command);
    result.map_err(|error| database.add_address(error))
}

impl Drop for PostgresQueue {
    fn drop(&mut self) {
        // One that has only read needs no connection for this.
        if self.has_written.load(Ordering::Relaxed) {
            let writer = self.writer_name.clone();
            self.writer.post(move |tx| write::forget(tx, &writer));
        }
    }
}

impl Storage for PostgresQueue {
    fn process(&self) -> &Process {
        &self.process
    }

    fn host(&self) -> String {
        self.host.clone()
    }

    fn lock_pool(&self, pool: &PoolId) -> Result<PoolLock> {
        let lock = self.locks.lock(pool);
        let lock = lock.map_err(|error| self.add_address(error))?;
        self.wake_up
            .get_or_init(|| WakeUp::spawn(self.database.session.clone(), self.writer_name.clone()));
        Ok(lock)
    }

    fn lock_dead_pool(&self, pool: &PoolId, _record: &PoolRecord) -> Option<PoolLock> {
        // Writes are made one after another, and a pool is removed once: nothing needs to be locked.
        let nothing: PoolLock = Box::new(());
        Some(nothing).filter(|_| self.locks.is_dead(pool))
    }

    async fn write<T: Send + 'static>(&self, operation: impl WriteOperation<T>) -> Result<T> {
        self.write_for(None, operation).await
    }

    async fn write_turn<T: Send + 'static>(
        &self,
        reads: TurnReads,
        operation: impl WriteOperation<T>,
    ) -> Result<T> {
        self.write_for(Some(Arc::new(reads)), operation).await
    }

    async fn wait_for_change(&self) {
        match self.wake_up.get() {
            Some(wake_up) => wake_up.wait().await,
            None => std::future::pending().await,
        }
    }

    async fn read<T: Send + 'static>(&self, operation: impl ReadOperation<T>) -> Result<T> {
        let time = self.time.clone();
        self.run_patiently(&self.reader, move |tx| {
            // One snapshot, so that the counts and sums of a result belong to one instant.
            let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
            let now = time.of_started(tx, &format!("{begin}; {}", schema::SEARCH_PATH));
            let result = now.and_then(|now| operation(&PostgresTransaction::new(tx), now));
            let _ = tx.roll_back();
            result
        })
        .await
    }
}

impl Loader for PostgresQueue {
    fn stage(&self, batch: NewBatch) -> Result<Box<dyn Staging>> {
        let time = self.time.clone();
        let staging = PostgresStaging::open(&self.connector, &self.idle_load, time, batch);
        Ok(Box::new(staging.map_err(|error| self.add_address(error))?))
    }
}
