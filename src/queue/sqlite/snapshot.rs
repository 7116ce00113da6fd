//! What is read of a queue as of one instant.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::{
    Attempt, JobId, KeptClip, Lease, Money, OwnedPrediction, PoolId, ProviderName,
};
use crate::policy::claim::BatchView;
use crate::queue::storage::{JobName, JobSet, ProcessingTimes, RouteName, Snapshot, StoredJob};
use crate::queue::{
    AbsentAttempt, BillGrouping, BillLine, Completion, CounterMismatch, JobFilter, JobRecord,
    Lineage, PoolRecord, Result, SettingChange,
};

use super::pool_lock::FileLock;
use super::transaction::SqliteTransaction;
use super::{
    bill, clips, clock_changes, counters, health, job_row, lineage, live_settings, pools, query,
};

impl Snapshot for SqliteTransaction<'_> {
    fn pools(&self) -> Result<Vec<(PoolId, PoolRecord)>> {
        pools::list(self.tx)
    }

    fn is_dead(&self, pool: &PoolId, record: &PoolRecord) -> bool {
        record.host == self.host && !FileLock::is_held(self.path, pool)
    }

    fn settings(&self) -> Result<Vec<SettingChange>> {
        live_settings::list(self.tx)
    }

    fn lineage(&self) -> Result<Lineage> {
        lineage::read(self.tx)
    }

    fn key_mark(&self, provider: ProviderName) -> Result<Option<(String, Option<Timestamp>)>> {
        lineage::key_mark(self.tx, provider)
    }

    fn run_setup(&self) -> Result<Option<String>> {
        lineage::run_setup(self.tx)
    }

    fn last_clock_change(&self) -> Result<Option<Timestamp>> {
        clock_changes::last_change(self.tx)
    }

    fn jobs_named(&self, name: JobName<'_>, batch: Option<&str>) -> Result<Vec<(JobId, String)>> {
        query::jobs_named(self.tx, name, batch)
    }

    fn row_keys(&self, batch: Option<&str>, limit: usize) -> Result<Vec<String>> {
        query::row_keys(self.tx, batch, limit)
    }

    fn stored_jobs(&self, set: JobSet<'_>) -> Result<Vec<StoredJob>> {
        job_row::stored_jobs(self.tx, set)
    }

    fn jobs(&self, filter: &JobFilter, after: JobId, limit: usize) -> Result<Vec<JobRecord>> {
        query::jobs(self.tx, filter, after, limit)
    }

    fn latest(&self, batch: Option<&str>, limit: usize) -> Result<Vec<JobRecord>> {
        query::latest(self.tx, batch, limit)
    }

    fn recent_completions(&self, batch: &BatchView, limit: usize) -> Result<Vec<Completion>> {
        query::recent_completions(self.tx, batch.batch_id, limit)
    }

    fn batch_clips(&self, batch: &BatchView) -> Result<Vec<KeptClip>> {
        clips::of_batch(self.tx, batch.batch_id)
    }

    fn absent_attempts(
        &self,
        provider: ProviderName,
        since: Timestamp,
    ) -> Result<Vec<AbsentAttempt>> {
        query::absent_attempts(self.tx, provider, since)
    }

    fn attempts(&self, job: JobId) -> Result<Vec<Attempt>> {
        query::attempts(self.tx, job)
    }

    fn bill(&self, by: BillGrouping, batch: Option<&str>) -> Result<Vec<BillLine>> {
        bill::bill(self.tx, by, batch)
    }

    fn queued_estimate(&self, batch: Option<&str>) -> Result<Money> {
        query::queued_estimate(self.tx, batch)
    }

    fn owned_predictions(
        &self,
        route: RouteName<'_>,
        since: Timestamp,
    ) -> Result<BTreeMap<String, OwnedPrediction>> {
        query::owned_predictions(self.tx, route, since)
    }

    fn processing_times(&self, route: RouteName<'_>, limit: usize) -> Result<ProcessingTimes> {
        query::processing_times(self.tx, route, limit)
    }

    fn leases_unless(&self, pool: &PoolId, expected: usize) -> Result<Option<Vec<Lease>>> {
        pools::leases_unless(self.tx, pool, expected)
    }

    fn check(&self) -> Result<(usize, usize)> {
        health::check(self.tx, self.path)
    }

    fn counter_mismatches(&self) -> Result<Vec<CounterMismatch>> {
        counters::find_mismatches(self.tx)
    }
}
