//! The pool: claims what is due, runs the steps, records what they found out, and stops cleanly.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};

use crate::domain::PoolId;
use crate::queue::{Backlog, Claim, Completed, Gates, LEASE_DURATION, UploadClaim};

use super::canary::CanaryGate;
use super::clock_check::ClockCheck;
use super::held::{HeldJob, HeldJobs};
use super::live_settings::LiveSettings;
use super::options::{PoolError, PoolExit, PoolOptions, StopSignal};
use super::slots::WorkerSlots;
use super::step::{self, CompletedStep, stopped};
use super::{PoolEvent, StepContext};

/// Time between two heartbeats. Several may fail before the leases expire.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

/// Longest time between two claims when nothing is due. The end of a step, or maintenance, causes
/// one long before.
const MAX_SLEEP: Duration = Duration::from_secs(3600);

/// A pool: one run's concurrent steps on one queue, at most [`PoolOptions::workers`] at a time.
pub struct Pool {
    pub(super) context: Arc<StepContext>,
    pub(super) options: PoolOptions,
    pub(super) settings: LiveSettings,
    pub(super) canary: CanaryGate,
    pub(super) pool_id: PoolId,
    steps: JoinSet<CompletedStep>,
    pub(super) slots: WorkerSlots,
    /// Whether the last claim used up the workers for some kind of step, so that the next free one
    /// can make a difference.
    pub(super) is_short_of_workers: bool,
    /// The running jobs that this pool polls from memory.
    pub(super) held: HeldJobs,
    /// The gates of the providers as of the last turn or round of maintenance.
    pub(super) gates: Gates,
    stop: StopSignal,
    /// When the leases end unless they are renewed, measured from before the last renewal was sent.
    pub(super) leases_end: Instant,
    pub(super) clock_check: ClockCheck,
}

impl Pool {
    /// Joins the queue and works until nothing is left to do, or until `stop` becomes `true`.
    ///
    /// # Errors
    /// Returns an error if the queue fails, the output folder cannot be written, or a step panics.
    pub async fn run(
        context: Arc<StepContext>,
        options: PoolOptions,
        stop: StopSignal,
    ) -> Result<PoolExit, PoolError> {
        let pool_id = PoolId(uuid::Uuid::new_v4().simple().to_string()[..12].to_owned());
        let clock_check = ClockCheck::new(context.clock.now());
        let leases_end = Instant::now() + LEASE_DURATION;
        context.queue.join(pool_id.clone()).await?;
        let mut pool = Self {
            context,
            settings: LiveSettings::new(options.workers, options.budget, options.limits.clone()),
            canary: CanaryGate::new(options.canary.clone()),
            options,
            pool_id,
            steps: JoinSet::new(),
            slots: WorkerSlots::default(),
            is_short_of_workers: false,
            held: HeldJobs::default(),
            gates: Gates::default(),
            stop,
            leases_end,
            clock_check,
        };
        let exit = pool.work().await;
        if let Err(error) = &exit {
            pool.end_steps_after(error).await;
        }
        let left = pool.context.queue.leave(pool.pool_id.clone()).await;
        let exit = exit?;
        left?;
        Ok(exit)
    }

    async fn work(&mut self) -> Result<PoolExit, PoolError> {
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
                if self.held.len() == 0 && backlog.is_idle() && !self.must_wait(backlog) {
                    return Ok(PoolExit::Drained(backlog.clone()));
                }
            }
            let until_due = self.time_until(backlog.as_ref().and_then(|backlog| backlog.next_due));
            let until_poll = self.time_until_held_poll();
            is_claim_due = true;
            // Whatever happens first, another claim follows, unless it cannot have made a
            // difference. The order is fixed rather than random, so that a rehearsal can be
            // repeated, and rare events come first, so that a steady stream of completed steps
            // cannot delay them.
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
                () = sleep(until_poll) => is_claim_due = false,
                () = sleep(until_due) => {}
            }
        }
    }

    /// Returns the number of steps in progress whose jobs are leased.
    pub(super) fn leased_steps(&self) -> usize {
        self.slots.job_steps()
    }

    /// Starts the polls of held jobs that are due, as far as there are free workers.
    fn start_held_polls(&mut self) {
        let limit = self.slots.capacity(self.settings.workers).polls;
        let now = self.context.clock.now();
        for job in self.held.take_due(limit, &self.gates, now) {
            self.start(job.claim, job.unrecorded_polls + 1);
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
            .spawn(async move { step::run_upload(&context, claim, stop).await });
    }

    /// Frees the workers of a step that has ended, and of all others that have ended as well, and
    /// returns these steps. Polls that found nothing are not among them: their jobs are held again.
    fn collect_completed(
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

    /// Records what has completed, then waits for the steps in progress and records them. Gives up
    /// the held jobs, so that another pool can poll them.
    async fn drain(&mut self, completed: Vec<CompletedStep>) -> Result<(), PoolError> {
        if !self.steps.is_empty() {
            (self.context.observer)(PoolEvent::Stopping {
                steps: self.steps.len(),
            });
        }
        self.record(completed).await?;
        while let Some(first) = self.steps.join_next().await {
            let completed = self.collect_completed(first)?;
            self.record(completed).await?;
        }
        Ok(())
    }

    /// Ends the steps in progress after an error that ends the run.
    async fn end_steps_after(&mut self, error: &PoolError) {
        if !error.is_storage_failure() {
            // Steps that are cut off are found under this pool's name when it leaves: submissions
            // become in doubt, everything else is due again.
            self.steps.shutdown().await;
        }
        // Otherwise let running submissions finish rather than leave them in doubt. If only the output
        // folder is full, the queue still records them; if the queue's disk is full, each at
        // least logs the prediction it could not record.
        while let Some(step) = self.steps.join_next().await {
            if let Ok(step) = step {
                // The run ends with the first error.
                let _ = self.record(vec![step]).await;
            }
        }
        // Held jobs are due again when their next poll is. If the queue cannot record that, they
        // are released with the pool.
        let _ = self.record(Vec::new()).await;
    }

    /// Returns whether the pool stays although nothing can be claimed: to watch for new jobs, for
    /// the user's approval of the canary, or for the end of a pause.
    fn must_wait(&self, backlog: &Backlog) -> bool {
        let is_paused = self.settings.paused && backlog.queued > 0;
        self.options.watch || self.canary.awaits_answer() || is_paused
    }

    /// Returns how long it takes until a held job can be polled. Without a free worker, the end of a
    /// step comes first.
    fn time_until_held_poll(&mut self) -> Duration {
        if self.slots.capacity(self.settings.workers).polls == 0 {
            return MAX_SLEEP;
        }
        let now = self.context.clock.now();
        let next = self.held.next_due(&self.gates, now);
        next.map_or(MAX_SLEEP, |due| {
            due.saturating_duration_since(Instant::now())
        })
    }

    fn time_until(&self, due: Option<Timestamp>) -> Duration {
        let Some(due) = due else { return MAX_SLEEP };
        let left = due.duration_since(self.context.clock.now());
        Duration::try_from(left)
            .unwrap_or(Duration::ZERO)
            .min(MAX_SLEEP)
    }
}

/// Returns a timer that ticks at once and then after each period. Missed ticks delay the later
/// ones.
fn ticks_every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
