//! What remains after a claim, and when more can be claimed.

use jiff::Timestamp;
use rusqlite::params;

use crate::domain::{JobState, ProviderName};
use crate::queue::{Backlog, BudgetLimit, Result};

use super::claim::first_due;
use super::health::count_held;
use super::lanes::provider_orders;
use super::provider_capacity::ProviderCapacity;
use super::row::{self, query_value};
use super::submit_claims::SubmitClaims;

impl SubmitClaims<'_> {
    /// Returns the work that remains after the claim, and when more of it can be claimed.
    pub(super) fn backlog(self) -> Result<Backlog> {
        let mut backlog = Backlog {
            unroutable: self.unroutable.clone(),
            ..Backlog::default()
        };
        for batch in &self.batches {
            backlog.queued += batch.jobs.count(JobState::Queued);
            backlog.in_progress += JobState::ALL
                .into_iter()
                .filter(|state| state.is_in_progress())
                .map(|state| batch.jobs.count(state))
                .sum::<u64>();
        }
        backlog.exceeded_budgets = self
            .exceeded_budgets
            .iter()
            .filter_map(|batch| self.budget_limit(*batch))
            .collect();
        let requested_batch = self.request.batch.as_deref();
        if self.total_jobs.count(JobState::InDoubt) > 0 {
            backlog.held = count_held(self.tx, requested_batch)?;
        }
        backlog.in_progress -= backlog.held;
        backlog.leased = query_value(
            self.tx,
            "SELECT count(*) FROM jobs WHERE lease_pool IS NOT NULL
               AND (?1 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?1))",
            [self.polled_batch],
        )?
        .unwrap_or(0);
        backlog.leased += self.leased_uploads()?;
        let due_times = [
            self.next_in_progress()?,
            self.next_submit()?,
            self.next_upload()?,
        ];
        backlog.next_due = due_times.into_iter().flatten().min();
        Ok(backlog)
    }

    /// Returns the state of a budget: a batch's, or the request's own over all its batches if
    /// `batch` is `None`. `None` if there is no such budget.
    fn budget_limit(&self, batch: Option<usize>) -> Option<BudgetLimit> {
        let covered = batch.map_or(0..self.batches.len(), |batch| batch..batch + 1);
        let batches = &self.batches[covered];
        Some(BudgetLimit {
            batch: batch.map(|batch| self.batches[batch].name.clone()),
            budget: batch.map_or(self.request.budget, |batch| self.batches[batch].budget)?,
            spent: batches.iter().map(|batch| batch.spent).sum(),
            reserved: batches.iter().map(|batch| batch.reserved).sum(),
            queued: batches
                .iter()
                .map(|batch| batch.jobs.count(JobState::Queued))
                .sum(),
        })
    }

    /// Returns when the next poll, reconciliation or download becomes due.
    fn next_in_progress(&self) -> Result<Option<Timestamp>> {
        let mut next: Option<Timestamp> = None;
        let mut consider = |at: Option<Timestamp>| next = at.into_iter().chain(next).min();
        let now = self.request.now;
        for capacity in self
            .capacities
            .iter()
            .filter(|capacity| !capacity.refuses_polls)
        {
            for state in [JobState::Running, JobState::InDoubt] {
                // While the provider's calls are held, jobs that are due already wait as well.
                let after = if capacity.calls_held_until > now {
                    Timestamp::UNIX_EPOCH
                } else {
                    now
                };
                let at = self.first_due_after(
                    after,
                    state,
                    capacity.limits.provider,
                    self.polled_batch,
                )?;
                consider(at.map(|at| at.max(capacity.calls_held_until)));
            }
        }
        for provider in ProviderName::ALL {
            let batch = self.request.batch.as_deref();
            consider(self.first_due_after(now, JobState::Downloading, provider, batch)?);
        }
        Ok(next)
    }

    /// Returns the first due time after `after`.
    ///
    /// A job that is due already but was not claimed exceeded the capacity. It needs no time of its
    /// own: the pool claims again as soon as a step completes.
    fn first_due_after(
        &self,
        after: Timestamp,
        state: JobState,
        provider: ProviderName,
        batch: Option<&str>,
    ) -> Result<Option<Timestamp>> {
        if self.total_jobs.count(state) == 0 {
            return Ok(None);
        }
        let due = first_due(
            self.tx,
            state,
            provider,
            after.as_millisecond() + 1,
            i64::MAX,
            batch,
            1,
        )?;
        due.first()
            .map(|(due_at, _)| row::timestamp_from_millis(*due_at))
            .transpose()
    }

    /// Returns when a submission becomes possible that is not possible now: its job is due, and its
    /// provider's hold and rate permit it.
    ///
    /// A submission that waits for a slot or for money has no time of its own: the step that frees
    /// them wakes the pool.
    fn next_submit(&self) -> Result<Option<Timestamp>> {
        let mut next: Option<Timestamp> = None;
        let has_free_slot = |capacity: &&ProviderCapacity| {
            !capacity.is_suspended && capacity.in_flight < capacity.limits.in_flight
        };
        for capacity in self.capacities.iter().filter(has_free_slot) {
            let rate_available_at = capacity.rate_available_at(self.tx, self.request.now)?;
            let available_at = capacity
                .submits_allowed_from()
                .max(rate_available_at.unwrap_or(Timestamp::UNIX_EPOCH));
            for batch in self
                .batches
                .iter()
                .filter(|batch| batch.jobs.count(JobState::Queued) > 0)
            {
                for providers in provider_orders(self.tx, batch.batch_id)? {
                    if !providers
                        .split(',')
                        .any(|name| name == capacity.limits.provider.as_str())
                    {
                        continue;
                    }
                    let due: Option<i64> = query_value(
                        self.tx,
                        "SELECT due_at FROM jobs
                         WHERE state = 'queued' AND batch_id = ?1 AND providers = ?2
                         ORDER BY due_at LIMIT 1",
                        params![batch.batch_id, providers],
                    )?;
                    let Some(due) = due else { continue };
                    let at = row::timestamp_from_millis(due)?.max(available_at);
                    // A job that is due at an available provider waits for money or exceeded the
                    // capacity.
                    if at > self.request.now {
                        next = Some(next.map_or(at, |next| next.min(at)));
                    }
                }
            }
        }
        Ok(next)
    }
}
