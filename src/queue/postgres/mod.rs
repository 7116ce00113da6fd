//! The queue in PostgreSQL, for several hosts: the schema `overnight` of one database.
//!
//! All SQL is in this folder. A write holds one lock until it is committed, which is taken before anything is
//! read: a write that counts slots, submissions of the minute or money then sees all writes before it.
//! The lock and the first read are two statements, because a statement sees what was committed when it began.

mod bill;
mod change;
mod claim_reads;
mod clips;
mod connection;
mod gates;
mod job_row;
mod lanes;
mod load_rows;
mod meta;
mod pool_locks;
mod pools;
mod progress;
mod query;
mod row;
mod schema;
mod session;
mod snapshot;
mod stage;
mod tallies;
mod time;
mod transaction;
mod uploads;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Config;

use super::storage::{PoolLock, Process, ReadOperation, Storage, WriteOperation};
use super::{Loader, NewBatch, PoolRecord, QueueError, Result, Staging};
use crate::clock::Clock;
use crate::domain::PoolId;
use pool_locks::PoolLocks;
use session::Session;
use stage::PostgresStaging;
use time::Time;
use transaction::PostgresTransaction;

/// A [`Queue`](super::Queue) in a database of a PostgreSQL server.
///
/// Any number of processes on any number of hosts may use it at the same time. Dropping the queue closes its
/// connections.
pub struct PostgresQueue {
    config: Config,
    /// The database as errors name it: without a password.
    address: String,
    time: Time,
    writer: Session,
    reader: Session,
    /// What a dropped queue releases, so that other processes take its jobs over.
    locks: PoolLocks,
    host: String,
    process: Process,
}

impl PostgresQueue {
    /// Opens the queue of a database by its URL, such as `postgres://user@host/database`. Creates it if there
    /// is none.
    ///
    /// # Errors
    ///
    /// [`QueueError::Store`] if the server cannot be reached, or if a newer version of the program has written
    /// the queue.
    pub fn open_or_create(url: &str) -> Result<Self> {
        Self::open(url, Time::Server, pool_locks::MIN_UPTIME)
    }

    /// As [`open_or_create`](Self::open_or_create), with a clock in place of the server's, for tests. The server
    /// may have been started just now.
    pub fn with_clock(url: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::open(url, Time::Clock(clock), Duration::ZERO)
    }

    fn open(url: &str, time: Time, min_uptime: Duration) -> Result<Self> {
        let config: Config = url.parse().map_err(connection::store_error)?;
        let queue = Self {
            address: describe(&config),
            time,
            writer: Session::spawn(config.clone(), |_| Ok(())),
            reader: Session::spawn(config.clone(), |_| Ok(())),
            locks: PoolLocks::new(config.clone(), min_uptime),
            config,
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            process: Process::default(),
        };
        let queue_id = uuid::Uuid::new_v4().simple().to_string();
        let created = queue
            .writer
            .run_blocking(move |tx| schema::create(tx, &queue_id));
        created.map_err(|error| queue.add_address(error))?;
        Ok(queue)
    }

    fn add_address(&self, error: QueueError) -> QueueError {
        match error {
            QueueError::Store(error) => error.at(Path::new(&self.address)).into(),
            other => other,
        }
    }
}

/// Returns a database as messages name it: without a password.
fn describe(config: &Config) -> String {
    use tokio_postgres::config::Host;
    let host = config.get_hosts().first().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    format!(
        "postgres://{}/{}",
        host.unwrap_or_default(),
        config.get_dbname().unwrap_or_default()
    )
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
        lock.map_err(|error| self.add_address(error))
    }

    fn lock_dead_pool(&self, pool: &PoolId, _record: &PoolRecord) -> Option<PoolLock> {
        // Writes are made one after another, and a pool is removed once: nothing needs to be locked.
        let nothing: PoolLock = Box::new(());
        Some(nothing).filter(|_| self.locks.is_dead(pool))
    }

    async fn write<T: Send + 'static>(&self, operation: impl WriteOperation<T>) -> Result<T> {
        let time = self.time.clone();
        let write = self.writer.run(move |tx| {
            tx.batch(&format!("BEGIN; {}; {}", schema::SEARCH_PATH, schema::LOCK))?;
            let run = || {
                let now = time.now(tx)?;
                let mut transaction = PostgresTransaction::new(tx);
                let result = operation(&mut transaction, now)?;
                transaction.finish()?;
                tx.batch("COMMIT")?;
                Ok(result)
            };
            run().inspect_err(|_| {
                // The error of what failed before is what matters.
                let _ = tx.batch("ROLLBACK");
            })
        });
        write.await.map_err(|error| self.add_address(error))
    }

    async fn read<T: Send + 'static>(&self, operation: impl ReadOperation<T>) -> Result<T> {
        let time = self.time.clone();
        let read = self.reader.run(move |tx| {
            // One snapshot, so that the counts and sums of a result belong to one instant.
            let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
            tx.batch(&format!("{begin}; {}", schema::SEARCH_PATH))?;
            let now = time.now(tx);
            let result = now.and_then(|now| operation(&PostgresTransaction::new(tx), now));
            let _ = tx.batch("ROLLBACK");
            result
        });
        read.await.map_err(|error| self.add_address(error))
    }
}

impl Loader for PostgresQueue {
    fn stage(&self, batch: NewBatch) -> Result<Box<dyn Staging>> {
        let session = Session::spawn(self.config.clone(), |_| Ok(()));
        let staging = PostgresStaging::open(session, self.time.clone(), batch);
        Ok(Box::new(staging.map_err(|error| self.add_address(error))?))
    }
}
