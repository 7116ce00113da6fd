//! Checks the claims that the queue grants, and the backlog that it reports.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use overnight::domain::{JobId, JobState, Money, PoolId, ProviderName};
use overnight::queue::{Backlog, Capacity, ClaimRequest, ClaimResponse, Step, Turn, WorkQueue};

use super::operation::{BATCHES, ClaimParams};
use super::reference::{Job, ModelError, price};
use super::{Harness, to_model_error};

impl Harness {
    pub(super) async fn claim(&mut self, params: ClaimParams) {
        let Some((pool_id, process)) = self.pool(params.pool) else {
            return;
        };
        let request = ClaimRequest {
            batch: params.batch.map(|batch| BATCHES[batch].to_owned()),
            budget: params.budget.map(Money::from_micros),
            capacity: params.capacity,
            providers: params.providers,
            catalog: Arc::clone(&self.catalog),
        };
        let turn = Turn {
            pool_id: pool_id.clone(),
            completed: Vec::new(),
            holds_leases_at: Vec::new(),
            claim: Some(request.clone()),
        };
        let response = to_model_error(self.queue(process).turn(Arc::new(turn)).await);
        if !self.model.pools.contains_key(&pool_id) {
            assert_eq!(response.err(), Some(ModelError::PoolLost));
            return;
        }
        let response = response.expect("a claim").claimed;
        self.check_claims(&pool_id, &request, &response);
    }

    /// Checks that every claim is permitted and that no permitted claim is missing.
    ///
    /// Which of the permitted jobs are claimed is the queue's choice.
    fn check_claims(&mut self, pool_id: &PoolId, request: &ClaimRequest, response: &ClaimResponse) {
        let mut used = Capacity::uniform(0);
        let polled_batch = self.polled_batch(request);
        for claim in &response.claims {
            let job_id = claim.lease.job_id;
            let claimable = self.claimable_step(request, polled_batch, job_id, self.now);
            let provider = (claim.step == Step::Submit).then_some(claim.attempt.provider);
            let expected = claimable.and_then(|(_, provider)| provider);
            if expected == provider || !self.model.may_be_stopped(expected) {
                assert_eq!(
                    claimable,
                    Some((claim.step, provider)),
                    "{:?}",
                    self.model.jobs[&job_id]
                );
            }
            let lease = (claim.lease.token, pool_id.clone());
            self.model
                .jobs
                .get_mut(&job_id)
                .expect("a job of the model")
                .lease = Some(lease);
            if let Some(provider) = provider {
                self.model.submit(job_id, provider);
            }
            used.steps += 1;
            *step_capacity(&mut used, claim.step) += 1;
            self.claims.push(Arc::new(claim.clone()));
        }
        let mut capacity = request.capacity;
        let is_full = |mut used: Capacity, step| {
            *step_capacity(&mut used, step) == *step_capacity(&mut request.capacity.clone(), step)
        };
        for step in [Step::Submit, Step::Poll, Step::Download] {
            assert!(
                *step_capacity(&mut used, step) <= *step_capacity(&mut capacity, step),
                "{step:?}"
            );
        }
        assert!(used.steps <= capacity.steps);
        assert_eq!(response.backlog.is_some(), used.steps < capacity.steps);
        let Some(backlog) = &response.backlog else {
            return;
        };
        for job_id in self.model.jobs.keys() {
            let missed = self.claimable_step(request, polled_batch, *job_id, self.now);
            assert!(
                missed.is_none_or(|(step, provider)| {
                    is_full(used, step) || self.model.may_be_stopped(provider)
                }),
                "{job_id} was not claimed: {missed:?}"
            );
        }
        let has_capacity_left = [Step::Submit, Step::Poll, Step::Download]
            .iter()
            .all(|step| !is_full(used, *step));
        self.check_backlog(request, polled_batch, backlog, has_capacity_left);
    }

    /// Returns the batch whose jobs are polled and reconciled; `None` for all batches, as while
    /// requested jobs are queued, because polls may free the slots that they wait for.
    fn polled_batch<'a>(&self, request: &'a ClaimRequest) -> Option<&'a str> {
        let requested_batch = request.batch.as_deref()?;
        let is_queued = |job: &Job| job.batch == requested_batch && job.state == JobState::Queued;
        (!self.model.jobs.values().any(is_queued)).then_some(requested_batch)
    }

    /// Returns the step that may be claimed for a job, and for a submit the provider it goes to.
    fn claimable_step(
        &self,
        request: &ClaimRequest,
        polled_batch: Option<&str>,
        job_id: JobId,
        now: Timestamp,
    ) -> Option<(Step, Option<ProviderName>)> {
        let model = &self.model;
        let job = &self.model.jobs[&job_id];
        let is_requested = |batch: &str| request.batch.as_deref().is_none_or(|name| name == batch);
        let is_polled = matches!(job.state, JobState::Running | JobState::InDoubt);
        let is_included = if is_polled {
            polled_batch.is_none_or(|name| name == job.batch)
        } else {
            is_requested(job.batch)
        };
        if job.lease.is_some() || !is_included || job.due_at? > now {
            return None;
        }
        let limits = |provider: ProviderName| {
            request
                .providers
                .iter()
                .find(|limits| limits.provider == provider)
        };
        match job.state {
            JobState::Downloading => Some((Step::Download, None)),
            JobState::Running | JobState::InDoubt => {
                let step = if job.state == JobState::Running {
                    Step::Poll
                } else {
                    Step::Reconcile
                };
                limits(model.attempts[job.attempt?].provider)?;
                (model.poll_due_at(job)? <= now).then_some((step, None))
            }
            JobState::Queued => {
                // Jobs with the same provider list are submitted in order: a cheap job does not
                // overtake one that the budget does not cover.
                let is_ahead = |(id, other): (&JobId, &Job)| {
                    other.state == JobState::Queued
                        && (other.batch, &other.row.providers) == (job.batch, &job.row.providers)
                        && (other.due_at, *id) < (job.due_at, job_id)
                };
                if model.jobs.iter().any(is_ahead) {
                    return None;
                }
                let requested = model.batches.keys().filter(|batch| is_requested(batch));
                let run_committed: i64 = requested.map(|batch| model.committed(batch)).sum();
                let is_affordable = |price: i64| {
                    model.batches[job.batch]
                        .is_none_or(|budget| model.committed(job.batch) + price <= budget)
                        && request
                            .budget
                            .is_none_or(|budget| run_committed + price <= budget.micros())
                };
                let is_eligible = |provider: &&ProviderName| {
                    limits(**provider).is_some_and(|limits| model.can_submit(limits, now))
                        && is_affordable(price(**provider, job.row.seconds))
                };
                job.row
                    .providers
                    .iter()
                    .find(is_eligible)
                    .map(|provider| (Step::Submit, Some(*provider)))
            }
            _ => None,
        }
    }

    /// Checks the counts of a backlog, and that its next due time is not too late.
    ///
    /// A run ends when the backlog is idle, so a job that becomes claimable later without another
    /// step must be announced by the due time.
    fn check_backlog(
        &self,
        request: &ClaimRequest,
        polled_batch: Option<&str>,
        backlog: &Backlog,
        has_capacity_left: bool,
    ) {
        let requested_batch = request.batch.as_deref();
        let jobs = || {
            self.model
                .jobs
                .values()
                .filter(|job| requested_batch.is_none_or(|name| name == job.batch))
        };
        let count = |matches: &dyn Fn(&Job) -> bool| jobs().filter(|job| matches(job)).count();
        let held = count(&|job| {
            job.state == JobState::InDoubt && job.due_at.is_none() && job.lease.is_none()
        }) as u64;
        let queued = count(&|job| job.state == JobState::Queued) as u64;
        assert_eq!(backlog.queued, queued);
        let mut leased = self.model.jobs.values().filter(|job| job.lease.is_some());
        let is_leased = leased.any(|job| polled_batch.is_none_or(|name| name == job.batch));
        assert_eq!(backlog.has_leased, is_leased);
        assert_eq!(backlog.held, held);
        let in_progress =
            count(&|job| !job.state.is_final() && job.state != JobState::Queued) as u64;
        assert_eq!(backlog.in_progress + held, in_progress);
        if !has_capacity_left {
            return;
        }
        for millis in [1, 1_000, 30_000, 60_000, 600_000] {
            let later = self.now + SignedDuration::from_millis(millis);
            for job_id in self.model.jobs.keys() {
                let claimable = |at| self.claimable_step(request, polled_batch, *job_id, at);
                let step = claimable(later);
                let provider = step.and_then(|(_, provider)| provider);
                let needs_no_due_time = step.is_none()
                    || claimable(self.now).is_some()
                    || self.model.may_be_stopped(provider);
                assert!(
                    needs_no_due_time || backlog.next_due.is_some_and(|due| due <= later),
                    "{job_id} can {step:?} at {later}, but the queue reports {backlog:?}"
                );
            }
        }
    }
}

/// Returns the part of a capacity that bounds one kind of step.
fn step_capacity(capacity: &mut Capacity, step: Step) -> &mut usize {
    match step {
        Step::Submit => &mut capacity.submits,
        Step::Poll | Step::Reconcile => &mut capacity.polls,
        Step::Download => &mut capacity.downloads,
    }
}
