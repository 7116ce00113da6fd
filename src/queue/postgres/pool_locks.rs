//! The locks that show which pools live: a connection holds one for each pool of its process, and the server
//! releases them when the connection is gone.
//!
//! A lock that is free is evidence, not proof: it is also free after a restart of the server, and for as long
//! as a connection that was lost is not open again.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::connection::Connection;
use super::connector::Connector;
use super::row::params;
use super::session::Session;
use crate::domain::PoolId;
use crate::queue::shortened::unless_shortened;
use crate::queue::storage::PoolLock;
use crate::queue::{QueueError, Result};

/// The first number of each pool's lock; the second is that of the pool.
const CLASS: i32 = 1_870_032_501;

/// How long a lock must have been free, by what this process saw: longer than a connection takes to open again.
const MIN_FREE: Duration = Duration::from_secs(1);

/// Time after the start of the server in which free locks say nothing: the pools lock again.
const MIN_UPTIME: Duration = Duration::from_secs(15);

/// Returns the time after the start of the server in which free locks say nothing.
pub(super) fn min_uptime() -> Duration {
    unless_shortened(MIN_UPTIME, "OVERNIGHT_MIN_UPTIME_MS")
}

/// The locks of this process's pools, and what it saw of others.
pub(super) struct PoolLocks {
    session: Arc<Session>,
    /// The locks that this process holds, which are taken again when its connection is opened again.
    held: Arc<Mutex<BTreeSet<i32>>>,
    /// The pools whose locks were free, and since when.
    free_since: Mutex<HashMap<PoolId, Instant>>,
    /// Time after the start of the server in which free locks say nothing.
    min_uptime: Duration,
}

/// The lock of a pool, which dropping it releases.
struct PoolGuard {
    session: Arc<Session>,
    held: Arc<Mutex<BTreeSet<i32>>>,
    key: i32,
}

impl PoolLocks {
    /// Nothing is connected before the first lock.
    pub(super) fn new(connector: Connector, min_uptime: Duration) -> Self {
        let held: Arc<Mutex<BTreeSet<i32>>> = Arc::default();
        let to_restore = Arc::clone(&held);
        let restore = move |connection: &Connection| {
            // So that the server notices a host that is gone before its leases end.
            connection.batch(
                "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3",
            )?;
            let keys = to_restore.lock().unwrap_or_else(PoisonError::into_inner);
            keys.iter().try_for_each(|key| lock(connection, *key))
        };
        Self {
            session: Arc::new(Session::spawn(connector, restore)),
            held,
            free_since: Mutex::default(),
            min_uptime,
        }
    }

    /// Locks a new pool of this process until the returned guard is dropped.
    pub(super) fn lock(&self, pool: &PoolId) -> Result<PoolLock> {
        let key = key_of(pool);
        self.session.run_blocking(move |tx| lock(tx, key))?;
        let held = Arc::clone(&self.held);
        let mut keys = held.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key);
        drop(keys);
        Ok(Box::new(PoolGuard {
            session: Arc::clone(&self.session),
            held,
            key,
        }))
    }

    /// Returns whether the process of a pool is known to have ended: its lock was free at two checks. An error
    /// of the connection tells nothing.
    pub(super) fn is_dead(&self, pool: &PoolId) -> bool {
        let key = key_of(pool);
        let min_uptime = self.min_uptime;
        let is_free = self
            .session
            .run_blocking(move |tx| is_free(tx, key, min_uptime));
        let mut free_since = self
            .free_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !is_free.unwrap_or(false) {
            free_since.remove(pool);
            return false;
        }
        let since = free_since.entry(pool.clone()).or_insert_with(Instant::now);
        since.elapsed() >= MIN_FREE
    }
}

impl Drop for PoolGuard {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.remove(&self.key);
        drop(held);
        let key = self.key;
        self.session.post(move |tx| {
            let sql = "SELECT pg_advisory_unlock($1, $2)";
            tx.value::<bool>(sql, params![CLASS, key]).map(drop)
        });
    }
}

/// Returns the number of a pool's lock. Two pools share one with a chance of one in four billion; then the
/// leases of a dead one end later.
fn key_of(pool: &PoolId) -> i32 {
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(&pool.0));
    i32::from_be_bytes([a, b, c, d])
}

/// Takes a lock. Fails if the server has not noticed yet that the connection that held it is gone.
fn lock(tx: &Connection, key: i32) -> Result<()> {
    let sql = "SELECT pg_try_advisory_lock($1, $2)";
    match tx.value(sql, params![CLASS, key])? {
        Some(true) => Ok(()),
        _ => Err(QueueError::Fault(
            "the lock of a pool is held by a connection that was lost".into(),
        )),
    }
}

/// Returns whether the process of a pool seems to have ended, for what shows pools: its lock may be free for a
/// moment while its connection is opened again. An error tells nothing.
pub(super) fn seems_dead(tx: &Connection, pool: &PoolId) -> bool {
    is_free(tx, key_of(pool), min_uptime()).unwrap_or(false)
}

/// Returns whether nobody holds a lock, although the server has been up long enough for everybody to take it.
fn is_free(tx: &Connection, key: i32, min_uptime: Duration) -> Result<bool> {
    let is_free = tx.value(
        "SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::FLOAT8 >= $3
            AND NOT EXISTS (
                SELECT 1 FROM pg_locks
                WHERE locktype = 'advisory' AND objsubid = 2 AND granted
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND classid = $1::BIGINT::OID AND objid = (($2::BIGINT + 4294967296) % 4294967296)::OID)",
        params![i64::from(CLASS), i64::from(key), min_uptime.as_secs_f64()],
    )?;
    Ok(is_free.unwrap_or(false))
}
