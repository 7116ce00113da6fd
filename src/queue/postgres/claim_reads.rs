//! What a claim is planned from.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::connection::Connection;
use super::row::params;
use super::transaction::PostgresTransaction;
use super::{gates, lanes, uploads};
use crate::domain::{Input, Money, ProviderName};
use crate::policy::claim::{
    BatchTotals, BatchView, DueQuery, DueStep, QueuedJob, UnresolvedRequest,
};
use crate::policy::tally::Tally;
use crate::policy::upload::{Upload, UploadKey, UploadProgress};
use crate::queue::Result;
use crate::queue::claim_reads::{
    ClaimReads, Lane, ProviderUse, RecentSubmits, RouteGates, WaitingLane,
};
use crate::queue::stored_row::StoredRow;
use crate::queue::stored_values::read_provider_gate;

impl ClaimReads for PostgresTransaction<'_> {
    fn batches(&self) -> Result<Vec<BatchView>> {
        read_batches(self.tx, &self.tally)
    }

    fn providers(&self) -> Result<BTreeMap<ProviderName, ProviderUse>> {
        let sql = "SELECT p.*, coalesce((SELECT sum(in_flight) FROM slots s WHERE s.provider = p.provider), 0)::BIGINT
                       AS in_flight
                   FROM providers p";
        let providers = self.tx.select(sql, &[], |columns| {
            let provider = columns.parse("provider")?;
            let in_flight: i64 = columns.get("in_flight")?;
            let used = ProviderUse {
                in_flight: u32::try_from(in_flight + self.tally.of_provider(provider)).unwrap_or(0),
                gate: read_provider_gate(columns)?,
            };
            Ok((provider, used))
        })?;
        Ok(providers.into_iter().collect())
    }

    fn routes(&self) -> Result<RouteGates> {
        gates::read_routes(self.tx)
    }

    fn due_steps(&self, queries: &[DueQuery<'_>]) -> Result<Vec<DueStep>> {
        lanes::find_due(self.tx, queries)
    }

    fn lanes(&self, batch: &BatchView) -> Result<Vec<WaitingLane>> {
        lanes::list(self.tx, batch.batch_id)
    }

    fn queued_jobs(&self, lane: Lane<'_>, now: Timestamp, limit: usize) -> Result<Vec<QueuedJob>> {
        lanes::queued_jobs(self.tx, lane, now, limit)
    }

    fn upcoming_inputs(&self, lane: Lane<'_>, limit: usize) -> Result<Vec<Input>> {
        lanes::upcoming_inputs(self.tx, lane, limit)
    }

    fn unresolved(&self) -> Result<Vec<UnresolvedRequest>> {
        self.tx.select(
            "SELECT a.provider, a.wire_model, a.request_digest,
                    j.state = 'in_doubt' AND j.due_at IS NULL AND j.lease_token IS NULL AS is_held
             FROM attempts a JOIN jobs j USING (job_id)
             WHERE a.finished_at IS NULL AND a.state IN ('submitting', 'in_doubt')",
            &[],
            |columns| {
                Ok(UnresolvedRequest {
                    provider: columns.parse("provider")?,
                    wire_model: columns.get("wire_model")?,
                    digest: columns.get("request_digest")?,
                    is_held: columns.get("is_held")?,
                })
            },
        )
    }

    fn last_attempt_id(&self) -> Result<i64> {
        let last = self.tx.value("SELECT max(attempt_id) FROM attempts", &[])?;
        Ok(last.unwrap_or(0))
    }

    fn recent_submits(&self, provider: ProviderName, since: Timestamp) -> Result<RecentSubmits> {
        let counted = self.tx.select(
            "SELECT (SELECT count(*) FROM attempts
                     WHERE finished_at IS NULL AND state = 'submitting' AND provider = $1)
                  + (SELECT count(*) FROM attempts WHERE provider = $1 AND answered_at >= $2)
                    AS submits,
                    (SELECT answered_at FROM attempts
                     WHERE provider = $1 AND answered_at >= $2 ORDER BY answered_at LIMIT 1)
                    AS oldest",
            params![provider.as_str(), since.as_millisecond()],
            |columns| Ok((columns.number("submits")?, columns.optional_time("oldest")?)),
        )?;
        Ok(counted.into_iter().next().unwrap_or_default())
    }

    fn uploads(&self, keys: &BTreeSet<UploadKey>) -> Result<BTreeMap<UploadKey, UploadProgress>> {
        uploads::find(self.tx, keys)
    }

    fn waiting_uploads(&self, provider: ProviderName, limit: usize) -> Result<Vec<(i64, Upload)>> {
        uploads::list_waiting(self.tx, provider, limit)
    }

    fn count_held(&self, batch: Option<&str>) -> Result<u64> {
        let count: Option<i64> = self.tx.value(
            "SELECT count(*) FROM jobs
             WHERE state = 'in_doubt' AND at_provider IS NOT NULL AND lease_token IS NULL
               AND due_at IS NULL
               AND ($1::TEXT IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = $1))",
            params![batch],
        )?;
        Ok(count
            .and_then(|count| u64::try_from(count).ok())
            .unwrap_or(0))
    }

    fn has_leased_job(&self, batch: Option<&str>) -> Result<bool> {
        let leased: Option<bool> = self.tx.value(
            "SELECT EXISTS (SELECT 1 FROM jobs WHERE lease_pool IS NOT NULL AND ($1::TEXT IS NULL
                OR batch_id = (SELECT batch_id FROM batches WHERE name = $1)))",
            params![batch],
        )?;
        Ok(leased.unwrap_or(false))
    }

    fn has_leased_upload(&self) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM uploads WHERE lease_pool IS NOT NULL)";
        Ok(self.tx.value(sql, &[])?.unwrap_or(false))
    }
}

/// Reads every batch, as it will be once a tally is written.
pub(super) fn read_batches(tx: &Connection, tally: &Tally) -> Result<Vec<BatchView>> {
    // Spent and reserved come from one statement: read apart, an attempt that ends in between would be missed
    // in both.
    tx.select(
        "SELECT b.*, t.* FROM batches b, LATERAL (
             SELECT coalesce(sum(spent), 0)::BIGINT AS spent,
                 coalesce(sum(reserved), 0)::BIGINT AS reserved,
                 coalesce(sum(at_risk), 0)::BIGINT AS at_risk,
                 coalesce(sum(queued), 0)::BIGINT AS queued,
                 coalesce(sum(submitting), 0)::BIGINT AS submitting,
                 coalesce(sum(in_doubt), 0)::BIGINT AS in_doubt,
                 coalesce(sum(running), 0)::BIGINT AS running,
                 coalesce(sum(downloading), 0)::BIGINT AS downloading,
                 coalesce(sum(succeeded), 0)::BIGINT AS succeeded,
                 coalesce(sum(failed), 0)::BIGINT AS failed,
                 coalesce(sum(cancelled), 0)::BIGINT AS cancelled
             FROM tallies WHERE tallies.batch_id = b.batch_id) AS t
         ORDER BY b.batch_id",
        &[],
        |columns| {
            let name: String = columns.get("name")?;
            let unwritten = tally.of_batch(&name);
            let budget: Option<i64> = columns.get("budget")?;
            Ok(BatchView {
                batch_id: columns.get("batch_id")?,
                name,
                model: columns.get("model")?,
                folder: columns.get("folder")?,
                budget: budget.map(Money::from_micros),
                has_local_images: columns.get("has_files")?,
                totals: BatchTotals {
                    spent: columns.money("spent")?,
                    reserved: columns.money("reserved")?,
                    at_risk: columns.money("at_risk")?,
                    jobs: columns.job_counts()?,
                }
                .after(&unwritten),
                lanes: None,
            })
        },
    )
}
