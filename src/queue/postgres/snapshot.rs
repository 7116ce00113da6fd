//! What is read of a queue as of one instant.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::progress::attempt_columns;
use super::row::params;
use super::transaction::PostgresTransaction;
use super::{bill, clips, job_row, meta, pool_locks, pools, query, schema, tallies};
use crate::domain::{
    Attempt, JobId, KeptClip, Lease, Money, OwnedPrediction, PoolId, ProviderName,
};
use crate::policy::claim::BatchView;
use crate::queue::storage::{JobName, JobSet, ProcessingTimes, RouteName, Snapshot, StoredJob};
use crate::queue::stored_values::read_attempt;
use crate::queue::{
    AbsentAttempt, BillGrouping, BillLine, CounterMismatch, JobFilter, JobRecord, Lineage,
    PoolRecord, Result, SettingChange,
};

impl Snapshot for PostgresTransaction<'_> {
    fn pools(&self) -> Result<Vec<(PoolId, PoolRecord)>> {
        pools::list(self.tx)
    }

    fn settings(&self) -> Result<Vec<SettingChange>> {
        pools::list_settings(self.tx)
    }

    fn lineage(&self) -> Result<Lineage> {
        meta::lineage(self.tx)
    }

    fn queue_id(&self) -> Result<String> {
        self.tx
            .queue_id(|| Ok(meta::text(self.tx, meta::QUEUE_ID)?.unwrap_or_default()))
    }

    fn is_dead(&self, pool: &PoolId, _record: &PoolRecord) -> bool {
        pool_locks::seems_dead(self.tx, pool)
    }

    fn key_mark(&self, provider: ProviderName) -> Result<Option<(String, Option<Timestamp>)>> {
        meta::key_mark(self.tx, provider)
    }

    fn run_setup(&self) -> Result<Option<String>> {
        meta::text(self.tx, meta::RUN_SETUP)
    }

    fn last_clock_change(&self) -> Result<Option<Timestamp>> {
        meta::time(self.tx, meta::CLOCK_CHANGE)
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

    fn batch_clips(&self, batch: &BatchView) -> Result<Vec<KeptClip>> {
        clips::of_batch(self.tx, batch.batch_id)
    }

    fn attempts(&self, job: JobId) -> Result<Vec<Attempt>> {
        self.tx.select(
            concat!(
                "SELECT ",
                attempt_columns!(),
                " FROM attempts a WHERE a.job_id = $1 ORDER BY a.number"
            ),
            params![job.0],
            |columns| read_attempt(columns),
        )
    }

    fn absent_attempts(
        &self,
        provider: ProviderName,
        since: Timestamp,
    ) -> Result<Vec<AbsentAttempt>> {
        query::absent_attempts(self.tx, provider, since)
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
        Ok((schema::version(self.tx)?, schema::VERSION))
    }

    fn counter_mismatches(&self) -> Result<Vec<CounterMismatch>> {
        tallies::find_mismatches(self.tx)
    }
}
