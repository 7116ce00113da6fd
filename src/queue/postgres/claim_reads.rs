//! What a claim is planned from.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::row::{Columns, params};
use super::transaction::PostgresTransaction;
use super::usual_reads::Read;
use super::{gates, lanes, uploads};
use crate::domain::{AttemptState, Input, ProviderName};
use crate::policy::claim::{BatchView, DueQuery, DueStep, QueuedJob, UnresolvedRequest};
use crate::policy::upload::{Upload, UploadKey, UploadProgress};
use crate::queue::Result;
use crate::queue::claim_reads::{
    ClaimReads, Lane, ProviderUse, RecentSubmits, RouteGates, WaitingLane,
};
use crate::queue::stored_row::StoredRow;
use crate::queue::stored_values::{read_batch, read_provider_gate};

impl ClaimReads for PostgresTransaction<'_> {
    fn batches(&self) -> Result<Vec<BatchView>> {
        self.read(Read::Batches, |columns| read_batch(columns, &self.tally))
    }

    fn providers(&self) -> Result<BTreeMap<ProviderName, ProviderUse>> {
        let providers = self.read(Read::Providers, |columns| {
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
        let gates = self.read(Read::Routes, gates::read_route)?;
        Ok(gates.into_iter().collect())
    }

    fn due_steps(&self, queries: &[DueQuery<'_>]) -> Result<Vec<DueStep>> {
        lanes::find_due(self.tx, &self.ahead, queries)
    }

    fn lanes(&self, batch: &BatchView) -> Result<Vec<WaitingLane>> {
        let lanes = self.read(Read::Lanes(batch.batch_id), lanes::read_lane)?;
        Ok(lanes.into_iter().flatten().collect())
    }

    fn queued_jobs(&self, lane: Lane<'_>, now: Timestamp, limit: usize) -> Result<Vec<QueuedJob>> {
        // Those that are due come first.
        let jobs = self.read_some(Read::Queued(lane.lane_id), limit, |columns| {
            let job = lanes::read_queued(columns, lane)?;
            Ok(Some(job).filter(|queued| queued.job.progress.due_at.is_some_and(|at| at <= now)))
        })?;
        let due: Vec<QueuedJob> = jobs.into_iter().flatten().collect();
        if let Some(QueuedJob { job, .. }) = due.first()
            && let Some(due_at) = job.progress.due_at
        {
            let heads = &mut self.tx.usual().heads;
            heads.note(lane.lane_id, due_at, job.job_id);
        }
        Ok(due)
    }

    fn upcoming_inputs(&self, lane: Lane<'_>, limit: usize) -> Result<Vec<Input>> {
        lanes::upcoming_inputs(self.tx, lane, limit)
    }

    fn unresolved(&self) -> Result<Vec<UnresolvedRequest>> {
        let unresolved = self.read(Read::Unresolved, |columns| {
            let attempt: i64 = columns.get("attempt_id")?;
            let is_unresolved = |state: &AttemptState| {
                matches!(state, AttemptState::Submitting | AttemptState::InDoubt)
            };
            if !self.recorded.get(&attempt).is_none_or(is_unresolved) {
                return Ok(None);
            }
            Ok(Some(UnresolvedRequest {
                provider: columns.parse("provider")?,
                wire_model: columns.get("wire_model")?,
                digest: columns.get("request_digest")?,
                is_held: columns.get("is_held")?,
            }))
        })?;
        Ok(unresolved.into_iter().flatten().collect())
    }

    fn last_attempt_id(&self) -> Result<i64> {
        if let Some(last) = self.last_attempt.get() {
            return Ok(last);
        }
        let last = self.read(Read::LastAttempt, |columns| columns.get("last"))?;
        let last = last.into_iter().next().flatten().unwrap_or(0);
        self.last_attempt.set(Some(last));
        Ok(last)
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

impl PostgresTransaction<'_> {
    /// Makes a read without a limit.
    fn read<T>(&self, read: Read, map: impl FnMut(&Columns<'_>) -> Result<T>) -> Result<Vec<T>> {
        self.read_some(read, usize::MAX, map)
    }

    fn read_some<T>(
        &self,
        read: Read,
        limit: usize,
        map: impl FnMut(&Columns<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.ahead.read(self.tx, read, limit, map)
    }
}
