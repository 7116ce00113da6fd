//! The loop of a pool: claim what is due, start it, collect what has ended, record it with the next
//! claim.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::sleep;

use crate::queue::{Claim, Completed, UploadClaim};

use super::completed_step::CompletedStep;
use super::held::HeldJob;
use super::options::{PoolError, PoolExit, stopped};
use super::step;
use super::waiting::ticks_every;
use super::{Pool, upload};

/// Time between two heartbeats. Several may fail before the leases expire.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

impl Pool {
    /// Works until nothing is left to do, or until the pool is asked to stop.
    pub(super) async fn work(&mut self) -> Result<PoolExit, PoolError> {
        self.take_over().await?;
        self.apply_live_settings().await?;
        let mut heartbeat = ticks_every(HEARTBEAT_INTERVAL);
        let mut maintenance = ticks_every(self.options.maintenance_interval);
        let mut completed = Vec::new();
        // What is left to do after the last claim; `None` if that used up all workers.
        let mut backlog = None;
        let mut is_claim_due = true;
        loop {
            if *self.stop.borrow() {
                self.drain(completed).await?;
                return Ok(PoolExit::Interrupted);
            }
            self.start_held_polls();
            completed.extend(self.give_up_refused());
            if is_claim_due || !completed.is_empty() {
                backlog = self
                    .record_and_claim(std::mem::take(&mut completed))
                    .await?;
            }
            if self.steps.is_empty()
                && let Some(backlog) = &backlog
            {
                self.review_canary(backlog).await?;
                if self.held.len() == 0 && backlog.is_idle() {
                    let must_wait = self.must_wait(backlog);
                    if self.settle_presumed(must_wait).await? {
                        is_claim_due = true;
                        continue;
                    }
                    if !must_wait {
                        return Ok(PoolExit::Drained(backlog.clone()));
                    }
                }
            }
            let until_due = self.time_until(backlog.as_ref().and_then(|backlog| backlog.next_due));
            let until_poll = self.time_until_held_poll();
            is_claim_due = true;
            // Whatever happens first, another claim follows, unless it cannot make a difference. The
            // order is fixed, so that a rehearsal can be repeated, and rare events come first, so
            // that a steady stream of completed steps cannot delay them.
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => {}
                _ = heartbeat.tick() => {
                    self.heartbeat().await?;
                    is_claim_due = false;
                }
                _ = maintenance.tick() => {
                    self.check_clock().await?;
                    self.take_over().await?;
                    self.apply_live_settings().await?;
                    self.look_around().await?;
                }
                is_approved = self.canary.answer() => if !is_approved {
                    self.drain(completed).await?;
                    return Ok(PoolExit::CanaryDeclined);
                },
                Some(first) = self.steps.join_next() => {
                    completed = self.collect_completed(first)?;
                    is_claim_due = self.is_short_of_workers;
                }
                () = self.context.queue.wait_for_change(), if backlog.is_some() => {}
                () = sleep(until_poll) => is_claim_due = false,
                () = sleep(until_due) => {}
            }
        }
    }

    pub(super) fn start(&mut self, claim: Arc<Claim>, unrecorded_polls: u32) {
        let context = Arc::clone(&self.context);
        let leases_end = self.leases_end;
        let stop = self.stop.clone();
        self.slots.acquire(claim.step);
        self.canary.count(&claim);
        self.steps.spawn(async move {
            step::run(&context, claim, unrecorded_polls, leases_end, stop).await
        });
    }

    pub(super) fn start_upload(&mut self, claim: UploadClaim) {
        let context = Arc::clone(&self.context);
        let stop = self.stop.clone();
        self.slots.acquire_upload();
        self.steps
            .spawn(async move { upload::run(&context, claim, stop).await });
    }

    /// Frees the workers of a step that has ended, and of all others that have ended as well, and
    /// returns these steps. Polls that found nothing are not among them: their jobs are held again.
    pub(super) fn collect_completed(
        &mut self,
        first: Result<CompletedStep, JoinError>,
    ) -> Result<Vec<CompletedStep>, PoolError> {
        let mut completed = Vec::new();
        let mut next = Some(first);
        while let Some(step) = next {
            let step = step.map_err(|error| PoolError::Fault(format!("a step failed: {error}")))?;
            match &step.completed {
                Completed::Step { claim, .. }
                | Completed::NotStarted { claim }
                | Completed::Panicked { claim, .. }
                | Completed::Released { claim, .. } => self.slots.release(claim.step),
                Completed::Upload { .. } => self.slots.release_upload(),
            }
            if let Some((claim, event)) = step.event() {
                self.canary.remove(claim, event);
            }
            match HeldJob::try_from(step) {
                Ok(job) => self.held.hold(job, self.context.clock.now()),
                Err(step) => completed.push(step),
            }
            next = self.steps.try_join_next();
        }
        Ok(completed)
    }
}
