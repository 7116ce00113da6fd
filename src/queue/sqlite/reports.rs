//! The port of everything that is shown.

use async_trait::async_trait;

use crate::domain::{JobId, Money};
use crate::queue::{
    AttemptRecord, BillGrouping, BillLine, Health, JobFilter, JobRecord, PoolLookups, Reports,
    Result, SettingChange, Status,
};

use super::{SqliteQueue, bill, health, pools, query};

#[async_trait]
impl Reports for SqliteQueue {
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

    async fn health(&self) -> Result<Health> {
        let now = self.clock.now();
        let path = self.path.clone();
        let host = self.host.clone();
        self.read(move |connection| health::health(connection, &path, &host, now))
            .await
    }

    async fn settings(&self) -> Result<Vec<SettingChange>> {
        self.live_settings().await
    }
}
