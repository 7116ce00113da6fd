//! What a claim is planned from.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{Input, ProviderName};
use crate::policy::claim::{BatchView, DueQuery, DueStep, QueuedJob, UnresolvedRequest};
use crate::policy::tally::Tally;
use crate::policy::upload::{Upload, UploadKey, UploadProgress};
use crate::queue::Result;
use crate::queue::claim_reads::{
    ClaimReads, Lane, ProviderUse, RecentSubmits, RouteGates, WaitingLane,
};
use crate::queue::stored_row::StoredRow;
use crate::queue::stored_values::{read_batch, read_provider_gate};

use super::row::{query_value, select};
use super::transaction::SqliteTransaction;
use super::{due_steps, health, lanes, routes, upload_views};

impl ClaimReads for SqliteTransaction<'_> {
    fn batches(&self) -> Result<Vec<BatchView>> {
        read_batches(self.tx, &self.tally)
    }

    fn providers(&self) -> Result<BTreeMap<ProviderName, ProviderUse>> {
        let providers = select(self.tx, "SELECT * FROM providers", [], |columns| {
            let provider = columns.parse("provider")?;
            let in_flight = columns.get::<i64>("in_flight")? + self.tally.of_provider(provider);
            let used = ProviderUse {
                in_flight: u32::try_from(in_flight).unwrap_or(0),
                gate: read_provider_gate(columns)?,
            };
            Ok((provider, used))
        })?;
        Ok(providers.into_iter().collect())
    }

    fn routes(&self) -> Result<RouteGates> {
        routes::read(self.tx)
    }

    fn due_steps(&self, queries: &[DueQuery<'_>]) -> Result<Vec<DueStep>> {
        let mut found = Vec::new();
        for query in queries {
            found.extend(due_steps::find_due(self.tx, query)?);
        }
        Ok(found)
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
        select(
            self.tx,
            "SELECT a.provider, a.wire_model, a.request_digest,
                    j.state = 'in_doubt' AND j.due_at IS NULL AND j.lease_token IS NULL AS is_held
             FROM attempts a JOIN jobs j USING (job_id)
             WHERE a.finished_at IS NULL AND a.state IN ('submitting', 'in_doubt')",
            [],
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
        let last = query_value(self.tx, "SELECT max(attempt_id) FROM attempts", [])?;
        Ok(last.unwrap_or(0))
    }

    fn recent_submits(&self, provider: ProviderName, since: Timestamp) -> Result<RecentSubmits> {
        let counted = select(
            self.tx,
            "SELECT (SELECT count(*) FROM attempts
                     WHERE finished_at IS NULL AND state = 'submitting' AND provider = ?1)
                  + (SELECT count(*) FROM attempts WHERE provider = ?1 AND answered_at >= ?2)
                    AS submits,
                    (SELECT answered_at FROM attempts
                     WHERE provider = ?1 AND answered_at >= ?2 ORDER BY answered_at LIMIT 1)
                    AS oldest",
            params![provider.as_str(), since.as_millisecond()],
            |columns| Ok((columns.get("submits")?, columns.optional_time("oldest")?)),
        )?;
        Ok(counted.into_iter().next().unwrap_or_default())
    }

    fn uploads(&self, keys: &BTreeSet<UploadKey>) -> Result<BTreeMap<UploadKey, UploadProgress>> {
        upload_views::find(self.tx, keys)
    }

    fn waiting_uploads(&self, provider: ProviderName, limit: usize) -> Result<Vec<(i64, Upload)>> {
        upload_views::list_waiting(self.tx, provider, limit)
    }

    fn count_held(&self, batch: Option<&str>) -> Result<u64> {
        health::count_held(self.tx, batch)
    }

    fn has_leased_job(&self, batch: Option<&str>) -> Result<bool> {
        let leased: Option<i64> = query_value(
            self.tx,
            "SELECT job_id FROM jobs WHERE lease_pool IS NOT NULL
               AND (?1 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?1)) LIMIT 1",
            [batch],
        )?;
        Ok(leased.is_some())
    }

    fn has_leased_upload(&self) -> Result<bool> {
        let sql = "SELECT upload_id FROM uploads WHERE lease_pool IS NOT NULL LIMIT 1";
        Ok(query_value::<i64>(self.tx, sql, [])?.is_some())
    }
}

/// Reads every batch, as it will be once a tally is written.
pub(super) fn read_batches(tx: &Connection, tally: &Tally) -> Result<Vec<BatchView>> {
    select(
        tx,
        "SELECT * FROM batches ORDER BY batch_id",
        [],
        |columns| read_batch(columns, tally),
    )
}
