//! The port of the user's commands.

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::{JobId, JobState};
use crate::policy::operator::Decision;
use crate::queue::{
    CancelResult, CounterMismatch, LiveSetting, Operator, PoolRecord, QueueError, Result, Selection,
};

use super::{SqliteQueue, commands, counters, live_settings, pools};

#[async_trait]
impl Operator for SqliteQueue {
    async fn verify_counters(&self) -> Result<Vec<CounterMismatch>> {
        // Compare on the read connection first: that may take longer than other processes should
        // wait for the write lock.
        if self.read(counters::find_mismatches).await?.is_empty() {
            return Ok(Vec::new());
        }
        self.writer.write(counters::correct_mismatches).await
    }

    async fn reopen_providers(&self) -> Result<()> {
        self.writer.write(pools::reopen_providers).await
    }

    async fn retry(&self, selection: Selection) -> Result<usize> {
        let clock = Arc::clone(&self.clock);
        self.writer
            .write(move |tx| commands::retry(tx, &selection, clock.now()))
            .await
    }

    async fn requeue_downloads(&self, jobs: Vec<JobId>) -> Result<usize> {
        let clock = Arc::clone(&self.clock);
        self.writer
            .write(move |tx| commands::requeue_downloads(tx, &jobs, clock.now()))
            .await
    }

    async fn cancel(&self, selection: Selection) -> Result<CancelResult> {
        let clock = Arc::clone(&self.clock);
        self.writer
            .write(move |tx| commands::cancel(tx, &selection, clock.now()))
            .await
    }

    async fn resolve(&self, job_id: JobId, decision: Decision) -> Result<JobState> {
        let clock = Arc::clone(&self.clock);
        self.writer
            .write(move |tx| commands::resolve(tx, job_id, &decision, clock.now()))
            .await
    }

    async fn set_live_settings(
        &self,
        settings: Vec<LiveSetting>,
        set_by: String,
    ) -> Result<Vec<PoolRecord>> {
        let clock = Arc::clone(&self.clock);
        let path = self.path.clone();
        let host = self.host.clone();
        self.writer
            .write(move |tx| {
                let now = clock.now();
                let active_pools = pools::list_active(tx, &path, &host, now)?;
                if active_pools.is_empty() && settings.iter().any(LiveSetting::is_run_setting) {
                    return Err(QueueError::NoActiveRun);
                }
                settings
                    .iter()
                    .try_for_each(|setting| live_settings::set(tx, setting, &set_by, now))?;
                Ok(active_pools)
            })
            .await
    }
}
