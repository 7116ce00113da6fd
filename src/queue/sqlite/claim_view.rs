//! Reads what a claim is planned from.

use jiff::Timestamp;
use rusqlite::Connection;

use crate::domain::{JobCounts, Money};
use crate::policy::claim::{
    BatchTotals, BatchView, ClaimRequest, ClaimView, Missing, ProviderLimits, ProviderView, Reads,
    UnresolvedRequest,
};
use crate::policy::tally::Tally;
use crate::queue::Result;

use super::due_steps::read_due_steps;
use super::gate;
use super::lanes;
use super::rate_counts::RateCounts;
use super::row::{query_value, read_job_counts, select};
use super::upload_views::{read_due_uploads, read_uploads};

/// Reads a view, first as far as the request needs it, then as far as a plan asks for more.
pub(super) struct ViewReader<'a> {
    tx: &'a Connection,
    reads: Reads,
    /// The highest attempt id of any provider before the claim.
    last_attempt: i64,
    /// Number of batches whose lanes are read when the next one is asked for.
    read_ahead: usize,
    rate_counts: RateCounts,
}

impl<'a> ViewReader<'a> {
    /// Reads batches, providers and due steps. The tally is what the transaction has changed so far
    /// and not yet written.
    pub(super) fn read(
        tx: &'a Connection,
        request: &ClaimRequest,
        now: Timestamp,
        rate_counts: RateCounts,
        tally: &Tally,
    ) -> Result<(Self, ClaimView)> {
        let mut batches = read_batches(tx, tally)?;
        let mut total_jobs = JobCounts::default();
        batches
            .iter()
            .for_each(|batch| total_jobs += batch.totals.jobs);
        let requested_batch = request.batch.as_deref();
        batches.retain(|batch| requested_batch.is_none_or(|name| batch.name == name));
        let providers = read_providers(tx, &request.providers, tally)?;
        let mut view = ClaimView::new(now, batches, total_jobs, providers);
        let mut reader = Self {
            tx,
            reads: Reads::default(),
            last_attempt: 0,
            read_ahead: 1,
            rate_counts,
        };
        if view.batches.iter().any(BatchView::has_queued_jobs) {
            reader.last_attempt =
                query_value(tx, "SELECT max(attempt_id) FROM attempts", [])?.unwrap_or(0);
            let last_attempt = reader.last_attempt;
            for provider in &mut view.providers {
                reader
                    .rate_counts
                    .bound_recent_submits(tx, provider, last_attempt, now)?;
            }
        }
        reader.reads = view.reads(request);
        read_due_steps(tx, &mut view, request, &reader.reads)?;
        if reader.reads.rows > 0 {
            view.unresolved = read_unresolved(tx)?;
        }
        if reader.reads.uploads > 0 {
            read_due_uploads(tx, &mut view, reader.reads.uploads)?;
        }
        Ok((reader, view))
    }

    /// Returns the rate counts for the next claim, which are valid once the transaction is
    /// committed.
    pub(super) fn into_rate_counts(self) -> RateCounts {
        self.rate_counts
    }

    /// Reads what a plan found missing.
    pub(super) fn read_missing(&mut self, view: &mut ClaimView, missing: Missing) -> Result<()> {
        match missing {
            Missing::RecentSubmits(provider) => self.rate_counts.count_recent_submits(
                self.tx,
                &mut view.providers[provider],
                self.last_attempt,
                view.now,
            ),
            Missing::Lanes(first) => {
                // The first batch usually fills a claim. Where it does not, because its budget is
                // used up or its jobs are not due, the next ones are read by twos, fours, eights.
                let last = view.batches.len().min(first + self.read_ahead);
                self.read_ahead *= 2;
                (first..last).try_for_each(|batch| self.read_lanes(view, batch))
            }
            Missing::Rows(batch, lane) => {
                lanes::extend_lane(self.tx, &mut view.batches[batch], lane, view.now)?;
                self.read_uploads(view, batch)
            }
        }
    }

    fn read_lanes(&self, view: &mut ClaimView, batch: usize) -> Result<()> {
        if view.batches[batch].lanes.is_some() {
            return Ok(());
        }
        lanes::read_lanes(self.tx, &mut view.batches[batch], view.now, &self.reads)?;
        self.read_uploads(view, batch)
    }

    fn read_uploads(&self, view: &mut ClaimView, batch: usize) -> Result<()> {
        if view.batches[batch].has_local_images {
            read_uploads(self.tx, view, batch)?;
        }
        Ok(())
    }
}

fn read_batches(tx: &Connection, tally: &Tally) -> Result<Vec<BatchView>> {
    select(
        tx,
        "SELECT * FROM batches ORDER BY batch_id",
        [],
        |columns| {
            let batch_id = columns.get("batch_id")?;
            let name: String = columns.get("name")?;
            let unwritten = tally.of_batch(&name);
            Ok(BatchView {
                batch_id,
                name,
                model: columns.get("model")?,
                folder: columns.get("folder")?,
                budget: columns
                    .get::<Option<i64>>("budget")?
                    .map(Money::from_micros),
                has_local_images: columns.get("has_files")?,
                totals: BatchTotals {
                    spent: columns.money("spent")?,
                    reserved: columns.money("reserved")?,
                    jobs: read_job_counts(columns)?,
                }
                .after(&unwritten),
                lanes: None,
            })
        },
    )
}

/// Reads the providers' slots and gates. A provider without a row has had no attempt and is unused.
fn read_providers(
    tx: &Connection,
    limits: &[ProviderLimits],
    tally: &Tally,
) -> Result<Vec<ProviderView>> {
    let unused = |limits: &ProviderLimits| ProviderView {
        limits: *limits,
        gate: Default::default(),
        in_flight: 0,
        recent_submits: 0,
        is_exact: false,
    };
    let mut providers: Vec<ProviderView> = limits.iter().map(unused).collect();
    select(tx, "SELECT * FROM providers", [], |columns| {
        let name: String = columns.get("provider")?;
        let stored = providers
            .iter_mut()
            .find(|provider| provider.limits.provider.as_str() == name);
        if let Some(provider) = stored {
            let unwritten = tally.of_provider(provider.limits.provider);
            let in_flight = columns.get::<i64>("in_flight")? + unwritten;
            provider.in_flight = u32::try_from(in_flight).unwrap_or(0);
            provider.gate = gate::from_columns(columns)?;
        }
        Ok(())
    })?;
    Ok(providers)
}

fn read_unresolved(tx: &Connection) -> Result<Vec<UnresolvedRequest>> {
    select(
        tx,
        "SELECT provider, wire_model, request_digest FROM attempts
         WHERE finished_at IS NULL AND state IN ('submitting', 'in_doubt')",
        [],
        |columns| {
            Ok(UnresolvedRequest {
                provider: columns.parse("provider")?,
                wire_model: columns.get("wire_model")?,
                digest: columns.get("request_digest")?,
            })
        },
    )
}
