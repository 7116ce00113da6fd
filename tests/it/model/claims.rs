//! Whether what a claim gave, and what it said of the rest, is right.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use overnight::domain::{JobId, JobState, Money, ProviderName};
use overnight::queue::{Backlog, Capacity, ClaimRequest, ClaimResponse, Queue, Step};

use super::operation::{Ask, BATCHES};
use super::reference::{Job, Refusal, price};
use super::{World, refusal};

impl World {
    pub(super) async fn claim(&mut self, ask: Ask) {
        let Some((pool_id, process)) = self.pool(ask.pool) else {
            return;
        };
        let request = ClaimRequest {
            pool_id: pool_id.clone(),
            now: self.now,
            batch: ask.batch.map(|batch| BATCHES[batch].to_owned()),
            budget: ask.budget.map(Money::from_micros),
            capacity: ask.capacity,
            providers: ask.providers,
            catalog: Arc::clone(&self.catalog),
        };
        let claimed = refusal(self.queue(process).claim(request.clone()).await);
        if !self.model.pools.contains_key(&pool_id) {
            assert_eq!(claimed.err(), Some(Refusal::PoolLost));
            return;
        }
        self.check_claims(&request, &claimed.expect("a claim"));
    }

    /// Which jobs are claimed is up to the queue: each must be allowed, and none that is allowed held back.
    fn check_claims(&mut self, request: &ClaimRequest, claimed: &ClaimResponse) {
        let mut taken = Capacity::uniform(0);
        let looks_at = self.looks_at(request);
        for claim in &claimed.claims {
            let job_id = claim.lease.job_id;
            let allowed = self.allowed(request, looks_at, job_id, self.now);
            let provider = (claim.step == Step::Submit).then_some(claim.attempt.provider);
            assert_eq!(
                allowed,
                Some((claim.step, provider)),
                "{:?}",
                self.model.jobs[&job_id]
            );
            let lease = (claim.lease.token, request.pool_id.clone());
            self.model
                .jobs
                .get_mut(&job_id)
                .expect("a job of the model")
                .lease = Some(lease);
            if let Some(provider) = provider {
                self.model.submit(job_id, provider);
            }
            taken.steps += 1;
            *kind(&mut taken, claim.step) += 1;
            self.leases.push(claim.lease.clone());
        }
        let mut capacity = request.capacity;
        let is_full = |mut taken: Capacity, step| {
            *kind(&mut taken, step) == *kind(&mut request.capacity.clone(), step)
        };
        for step in [Step::Submit, Step::Poll, Step::Download] {
            assert!(
                *kind(&mut taken, step) <= *kind(&mut capacity, step),
                "{step:?}"
            );
        }
        assert!(taken.steps <= capacity.steps);
        assert_eq!(claimed.backlog.is_some(), taken.steps < capacity.steps);
        let Some(backlog) = &claimed.backlog else {
            return;
        };
        for job_id in self.model.jobs.keys() {
            let held_back = self.allowed(request, looks_at, *job_id, self.now);
            assert!(
                held_back.is_none_or(|(step, _)| is_full(taken, step)),
                "{job_id} was held back: {held_back:?}"
            );
        }
        let all_may_go_on = [Step::Submit, Step::Poll, Step::Download]
            .iter()
            .all(|step| !is_full(taken, *step));
        self.check_backlog(request, looks_at, backlog, all_may_go_on);
    }

    /// The batch whose predictions are looked at: while creates wait, every batch's, for the slots they may free.
    fn looks_at<'a>(&self, request: &'a ClaimRequest) -> Option<&'a str> {
        let only = request.batch.as_deref()?;
        let waits = |job: &Job| job.batch == only && job.state == JobState::Queued;
        (!self.model.jobs.values().any(waits)).then_some(only)
    }

    /// The step that may be claimed for a job, and where a create goes.
    fn allowed(
        &self,
        request: &ClaimRequest,
        looks_at: Option<&str>,
        job_id: JobId,
        now: Timestamp,
    ) -> Option<(Step, Option<ProviderName>)> {
        let (model, job) = (&self.model, &self.model.jobs[&job_id]);
        let is_asked_for = |batch: &str| request.batch.as_deref().is_none_or(|only| only == batch);
        let is_look = matches!(job.state, JobState::Running | JobState::InDoubt);
        let is_in_question = if is_look {
            looks_at.is_none_or(|only| only == job.batch)
        } else {
            is_asked_for(job.batch)
        };
        if job.lease.is_some() || !is_in_question || job.due_at? > now {
            return None;
        }
        let limits = |name: ProviderName| {
            request
                .providers
                .iter()
                .find(|limits| limits.provider == name)
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
                (model.looks_from(job)? <= now).then_some((step, None))
            }
            JobState::Queued => {
                // Jobs that the same providers may run go in their order: a dear one is not overtaken by a cheap one.
                let is_ahead = |(id, other): (&JobId, &Job)| {
                    other.state == JobState::Queued
                        && (other.batch, &other.row.providers) == (job.batch, &job.row.providers)
                        && (other.due_at, *id) < (job.due_at, job_id)
                };
                if model.jobs.iter().any(is_ahead) {
                    return None;
                }
                let run = model.batches.keys().filter(|batch| is_asked_for(batch));
                let run: i64 = run.map(|batch| model.committed(batch)).sum();
                let can_pay = |price: i64| {
                    model.batches[job.batch]
                        .is_none_or(|most| model.committed(job.batch) + price <= most)
                        && request
                            .budget
                            .is_none_or(|most| run + price <= most.micros())
                };
                let takes = |name: &&ProviderName| {
                    limits(**name).is_some_and(|limits| model.has_room(limits, now))
                        && can_pay(price(**name, job.row.seconds))
                };
                job.row
                    .providers
                    .iter()
                    .find(takes)
                    .map(|name| (Step::Submit, Some(*name)))
            }
            _ => None,
        }
    }

    /// A run ends when the queue says that nothing goes on by itself: then nothing may.
    fn check_backlog(
        &self,
        request: &ClaimRequest,
        looks_at: Option<&str>,
        backlog: &Backlog,
        all_may_go_on: bool,
    ) {
        let only = request.batch.as_deref();
        let jobs = || {
            self.model
                .jobs
                .values()
                .filter(|job| only.is_none_or(|only| only == job.batch))
        };
        let count = |is: &dyn Fn(&Job) -> bool| jobs().filter(|job| is(job)).count() as u64;
        let held = count(&|job| {
            job.state == JobState::InDoubt && job.due_at.is_none() && job.lease.is_none()
        });
        assert_eq!(backlog.queued, count(&|job| job.state == JobState::Queued));
        let leased = self.model.jobs.values().filter(|job| job.lease.is_some());
        let leased = leased.filter(|job| looks_at.is_none_or(|only| only == job.batch));
        assert_eq!(backlog.leased, leased.count() as u64);
        assert_eq!(backlog.held, held);
        assert_eq!(
            backlog.in_progress + held,
            count(&|job| !job.state.is_final() && job.state != JobState::Queued)
        );
        if !all_may_go_on {
            return;
        }
        for millis in [1, 1_000, 30_000, 60_000, 600_000] {
            let later = self.now + SignedDuration::from_millis(millis);
            for job_id in self.model.jobs.keys() {
                let allowed = |at| self.allowed(request, looks_at, *job_id, at);
                let step = allowed(later);
                let is_left = step.is_none() || allowed(self.now).is_some();
                assert!(
                    is_left || backlog.next_due.is_some_and(|due| due <= later),
                    "{job_id} can {step:?} at {later}, but the queue says {backlog:?}"
                );
            }
        }
    }
}

/// The part of a room that is for one kind of steps.
fn kind(capacity: &mut Capacity, step: Step) -> &mut usize {
    match step {
        Step::Submit => &mut capacity.submits,
        Step::Poll | Step::Reconcile => &mut capacity.polls,
        Step::Download => &mut capacity.downloads,
    }
}
