//! What is left after a claim, and when something can be claimed that could not be now.

use jiff::Timestamp;
use rusqlite::params;

use crate::domain::{JobState, ProviderName};
use crate::queue::{Backlog, BudgetLimit, Result};

use super::claim::first_moving;
use super::health::held;
use super::lanes::words;
use super::provider_capacity::ProviderCapacity;
use super::row::{self, value};
use super::submit_claims::SubmitClaims;

impl SubmitClaims<'_> {
    /// Tells what is left, and when something can be claimed that could not be now.
    pub(super) fn backlog(self) -> Result<Backlog> {
        let mut backlog = Backlog {
            unroutable: self.unroutable.clone(),
            ..Backlog::default()
        };
        for batch in &self.batches {
            let is_moving = |state: &JobState| *state != JobState::Queued && !state.is_final();
            backlog.queued += batch.jobs.of(JobState::Queued);
            backlog.in_progress += JobState::ALL
                .into_iter()
                .filter(is_moving)
                .map(|state| batch.jobs.of(state))
                .sum::<u64>();
        }
        backlog.exceeded_budgets = self
            .exceeded_budgets
            .iter()
            .filter_map(|wall| self.wall(*wall))
            .collect();
        let batch = self.request.batch.as_deref();
        if self.in_all.of(JobState::InDoubt) > 0 {
            backlog.held = held(self.tx, batch)?;
        }
        backlog.in_progress -= backlog.held;
        backlog.leased = value(
            self.tx,
            "SELECT count(*) FROM jobs WHERE lease_pool IS NOT NULL
               AND (?1 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?1))",
            [self.looks_at],
        )?
        .unwrap_or(0);
        backlog.leased += self.uploads_leased()?;
        let due = [self.next_move()?, self.next_create()?, self.next_upload()?];
        backlog.next_due = due.into_iter().flatten().min();
        Ok(backlog)
    }

    /// Tells how a budget stands: a batch's, or the request's own over all its batches.
    fn wall(&self, wall: Option<usize>) -> Option<BudgetLimit> {
        let of = wall.map_or(0..self.batches.len(), |batch| batch..batch + 1);
        let batches = &self.batches[of];
        Some(BudgetLimit {
            batch: wall.map(|batch| self.batches[batch].name.clone()),
            budget: wall.map_or(self.request.budget, |batch| self.batches[batch].budget)?,
            spent: batches.iter().map(|batch| batch.spent).sum(),
            reserved: batches.iter().map(|batch| batch.reserved).sum(),
            queued: batches
                .iter()
                .map(|batch| batch.jobs.of(JobState::Queued))
                .sum(),
        })
    }

    /// When the next step of a job between create and clip is due.
    fn next_move(&self) -> Result<Option<Timestamp>> {
        let mut next: Option<Timestamp> = None;
        let mut consider = |at: Option<Timestamp>| next = at.into_iter().chain(next).min();
        let now = self.request.now;
        for pace in self.capacities.iter().filter(|pace| !pace.refuses_polls) {
            for state in [JobState::Running, JobState::InDoubt] {
                // A provider that said when to come back is left alone until then, with all that is due by then.
                let from = if pace.calls_from > now {
                    Timestamp::UNIX_EPOCH
                } else {
                    now
                };
                let at = self.first_due_after(from, state, pace.limits.provider, self.looks_at)?;
                consider(at.map(|at| at.max(pace.calls_from)));
            }
        }
        for provider in ProviderName::ALL {
            let batch = self.request.batch.as_deref();
            consider(self.first_due_after(now, JobState::Downloading, provider, batch)?);
        }
        Ok(next)
    }

    /// The first due time after another. What is due already was left for want of a worker, and a step's end is followed
    /// by another claim.
    fn first_due_after(
        &self,
        after: Timestamp,
        state: JobState,
        provider: ProviderName,
        batch: Option<&str>,
    ) -> Result<Option<Timestamp>> {
        if self.in_all.of(state) == 0 {
            return Ok(None);
        }
        let due = first_moving(
            self.tx,
            state,
            provider,
            after.as_millisecond() + 1,
            i64::MAX,
            batch,
            1,
        )?;
        due.first()
            .map(|(due_at, _)| row::time(*due_at))
            .transpose()
    }

    /// When a create will be possible that is not now: its job is due, its provider's gate opens, its rate allows it.
    /// A slot or money that must be freed first has no time; the step that frees it wakes the pool.
    fn next_create(&self) -> Result<Option<Timestamp>> {
        let mut next: Option<Timestamp> = None;
        let with_slots =
            |pace: &&ProviderCapacity| !pace.paused && pace.in_flight < pace.limits.in_flight;
        for pace in self.capacities.iter().filter(with_slots) {
            let rate_frees_at = pace.rate_frees_at(self.tx, self.request.now)?;
            let open = pace
                .creates_open_at()
                .max(rate_frees_at.unwrap_or(Timestamp::UNIX_EPOCH));
            for batch in self
                .batches
                .iter()
                .filter(|batch| batch.jobs.of(JobState::Queued) > 0)
            {
                for providers in words(self.tx, batch.batch_id)? {
                    if !providers
                        .split(',')
                        .any(|word| word == pace.limits.provider.as_str())
                    {
                        continue;
                    }
                    let due: Option<i64> = value(
                        self.tx,
                        "SELECT due_at FROM jobs WHERE state = 'queued' AND batch_id = ?1 AND providers = ?2
                         ORDER BY due_at LIMIT 1",
                        params![batch.batch_id, providers],
                    )?;
                    let Some(due) = due else { continue };
                    let at = row::time(due)?.max(open);
                    // What is due and open already was left for want of money or of a worker.
                    if at > self.request.now {
                        next = Some(next.map_or(at, |next| next.min(at)));
                    }
                }
            }
        }
        Ok(next)
    }
}
