//! The turns that a pool takes at the queue: what it records, and what it claims.

use std::sync::Arc;

use crate::domain::ProviderName;
use crate::queue::{Backlog, Capacity, ClaimRequest, ClaimResponse, Recorded, Step, Turn};

use super::completed_step::CompletedStep;
use super::held::HeldJob;
use super::{Pool, PoolError, PoolEvent};

impl Pool {
    /// Records completed steps, claims as many new ones as there are free workers, and starts them.
    /// Returns what is left to do, if the claim did not use up all workers.
    pub(super) async fn record_and_claim(
        &mut self,
        completed: Vec<CompletedStep>,
    ) -> Result<Option<Backlog>, PoolError> {
        // A run that is about to end pays for nothing more.
        let is_ending = completed.iter().any(|step| step.fatal.is_some());
        let claim = if is_ending {
            None
        } else {
            self.claim_request()
        };
        if completed.is_empty() && claim.is_none() {
            return Ok(None);
        }
        let capacity = claim.as_ref().map(|request| request.capacity);
        let holds_leases_at = self.context.providers.keys().copied().collect();
        let claimed = self.take_turn(completed, claim, holds_leases_at).await?;
        if let Some(capacity) = capacity {
            self.is_short_of_workers = is_used_up(capacity, &claimed);
        }
        let submits = claimed.claims.iter();
        let submits = submits.filter(|claim| claim.step == Step::Submit);
        if let Some(last_attempt) = submits.map(|claim| claim.attempt.attempt_id).max() {
            (self.context.observer)(PoolEvent::Submitting { last_attempt });
        }
        for claim in claimed.claims {
            self.start(Arc::new(claim), 0);
        }
        for upload in claimed.uploads {
            self.start_upload(upload);
        }
        Ok(claimed.backlog)
    }

    /// Takes a turn at the queue, and notes which jobs are held after it.
    async fn take_turn(
        &mut self,
        steps: Vec<CompletedStep>,
        claim: Option<ClaimRequest>,
        holds_leases_at: Vec<ProviderName>,
    ) -> Result<ClaimResponse, PoolError> {
        let mut fatal = None;
        let mut completed = Vec::with_capacity(steps.len());
        for step in steps {
            fatal = fatal.or(step.fatal);
            completed.push(step.completed);
        }
        let turn = Turn {
            pool_id: self.pool_id.clone(),
            completed,
            holds_leases_at,
            claim,
        };
        let result = match self.context.take_turn(turn).await {
            Ok(result) => result,
            Err(error) => return Err(fatal.unwrap_or(error.into())),
        };
        self.gates.extend(result.gates);
        let now = self.context.clock.now();
        for recorded in result.recorded {
            if let Recorded::Job {
                held: Some(claim), ..
            } = recorded
            {
                let due_at = claim.job.progress.due_at.unwrap_or(now);
                let job = HeldJob {
                    claim,
                    unrecorded_polls: 0,
                    due_at,
                };
                self.held.hold(job, now);
            }
        }
        fatal.map_or(Ok(result.claimed), Err)
    }

    /// Starts the polls of held jobs that are due, as far as there are free workers.
    pub(super) fn start_held_polls(&mut self) {
        let limit = self.slots.capacity(self.settings.workers).polls;
        let now = self.context.clock.now();
        for job in self.held.take_due(limit, &self.gates, now) {
            self.start(job.claim, job.unrecorded_polls + 1);
        }
    }

    /// Gives up the held jobs at providers that refuse polls.
    pub(super) fn give_up_refused(&mut self) -> Vec<CompletedStep> {
        let refused = self.held.take_refused(&self.gates);
        refused.into_iter().map(CompletedStep::from).collect()
    }

    /// Returns a request for as many steps as there are free workers; `None` if there is none.
    fn claim_request(&self) -> Option<ClaimRequest> {
        let capacity = self.capacity();
        (capacity.steps > 0).then(|| ClaimRequest {
            batch: self.options.batch.clone(),
            budget: self.settings.budget,
            capacity,
            providers: self.settings.limits.clone(),
            catalog: Arc::clone(&self.context.catalog),
        })
    }

    /// Returns how many steps of each kind may start now.
    fn capacity(&self) -> Capacity {
        let free = self.slots.capacity(self.settings.workers);
        let max_submits = if self.settings.paused {
            0
        } else {
            self.canary.remaining()
        };
        Capacity {
            submits: free.submits.min(max_submits),
            ..free
        }
    }

    /// Records what has completed, gives up what is held, and claims nothing.
    pub(super) async fn record(
        &mut self,
        mut completed: Vec<CompletedStep>,
    ) -> Result<(), PoolError> {
        let held = self.held.take_all();
        completed.extend(held.into_iter().map(CompletedStep::from));
        if completed.is_empty() {
            return Ok(());
        }
        self.take_turn(completed, None, Vec::new()).await.map(drop)
    }
}

/// Returns whether a claim used up the capacity for some kind of step.
fn is_used_up(capacity: Capacity, claimed: &ClaimResponse) -> bool {
    let count = |kinds: &[Step]| {
        let claims = claimed.claims.iter();
        claims.filter(|claim| kinds.contains(&claim.step)).count()
    };
    claimed.backlog.is_none()
        || count(&[Step::Poll, Step::Reconcile]) >= capacity.polls
        || count(&[Step::Submit]) >= capacity.submits
        || count(&[Step::Download]) >= capacity.downloads
        || claimed.uploads.len() >= capacity.uploads
}
