//! The port of the pools.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::Connection;

use crate::domain::{JobId, Lease, PoolId, ProviderName};
use crate::failpoint::fail_point;
use crate::queue::{
    Completed, Gates, PoolLookups, Result, SettingChange, Step, Turn, TurnResult, WorkQueue, turn,
};

use super::pool_lock::PoolLock;
use super::transaction::SqliteTransaction;
use super::{SqliteQueue, clock_changes, gate, live_settings, pools, query};

#[async_trait]
impl WorkQueue for SqliteQueue {
    async fn join(&self, pool: PoolId) -> Result<()> {
        let lock = PoolLock::acquire(&self.path, &pool)?;
        let path = self.path.clone();
        let host = self.host.clone();
        let clock = Arc::clone(&self.clock);
        let pool_id = pool.clone();
        let join = move |tx: &Connection| {
            let now = clock.now();
            if pools::list_active(tx, &path, &host, now)?.is_empty() {
                live_settings::clear(tx)?;
            }
            pools::join(tx, &pool_id, &host, now)
        };
        self.writer.write(join).await?;
        fail_point!("join committed");
        self.locks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(pool, lock);
        Ok(())
    }

    async fn heartbeat(&self, pool: PoolId) -> Result<()> {
        let clock = Arc::clone(&self.clock);
        self.writer
            .write(move |tx| pools::heartbeat(tx, &pool, clock.now()))
            .await
    }

    async fn turn(&self, turn: Arc<Turn>) -> Result<TurnResult> {
        let clock = Arc::clone(&self.clock);
        let rate_counts = self.rate_counts().clone();
        let take = {
            let turn = Arc::clone(&turn);
            move |tx: &Connection| {
                let now = clock.now();
                let mut transaction = SqliteTransaction::new(tx, now, rate_counts.clone());
                let result = turn::take(&mut transaction, &turn, now)?;
                Ok((result, transaction.finish()?))
            }
        };
        let (result, rate_counts) = self.writer.write(take).await?;
        *self.rate_counts() = rate_counts;
        for completed in &turn.completed {
            match completed {
                Completed::Step { outcome, .. } => {
                    let event = outcome.event();
                    fail_point!("{event:?} committed");
                }
                Completed::Upload { .. } => fail_point!("upload committed"),
                Completed::NotStarted { .. } | Completed::Released { .. } => {}
            }
        }
        let claims = &result.claimed.claims;
        if claims.iter().any(|claim| claim.step == Step::Submit) {
            fail_point!("Submit committed");
        }
        Ok(result)
    }

    async fn leave(&self, pool: PoolId) -> Result<()> {
        let pool_id = pool.clone();
        let clock = Arc::clone(&self.clock);
        self.writer
            .write(move |tx| pools::remove(tx, &pool_id, clock.now()))
            .await?;
        self.locks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&pool);
        Ok(())
    }

    async fn take_over(&self) -> Result<usize> {
        let now = self.clock.now();
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

    async fn record_clock_change(&self) -> Result<()> {
        let clock = Arc::clone(&self.clock);
        self.writer
            .write(move |tx| clock_changes::record_change(tx, clock.now()))
            .await
    }
}

#[async_trait]
impl PoolLookups for SqliteQueue {
    async fn leases_unless(&self, pool: PoolId, expected: usize) -> Result<Option<Vec<Lease>>> {
        self.read(move |connection| pools::leases_unless(connection, &pool, expected))
            .await
    }

    async fn gates(&self) -> Result<Gates> {
        self.read(gate::read_all).await
    }

    async fn last_clock_change(&self) -> Result<Option<Timestamp>> {
        self.read(clock_changes::last_change).await
    }

    async fn owned_predictions(
        &self,
        provider: ProviderName,
        since: Timestamp,
    ) -> Result<Vec<String>> {
        self.read(move |connection| query::owned_predictions(connection, provider, since))
            .await
    }

    async fn all_settled(&self, jobs: Vec<JobId>) -> Result<bool> {
        self.read(move |connection| query::all_settled(connection, &jobs))
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
}
