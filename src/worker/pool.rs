//! The pool: claims what is due, runs the steps, and stops cleanly.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::domain::{Money, PoolId};
use crate::output::OutputError;
use crate::queue::{Backlog, Claim, ClaimRequest, ProviderLimits, QueueError, UploadClaim};

use super::canary::{Canary, CanaryGate};
use super::completed::{CompletedStep, record, record_all, stopped, take, upload};
use super::live_settings::{Change, LiveSettings};
use super::slots::WorkerSlots;
use super::{PoolEvent, StepContext};

/// How long a pool that stops renewing keeps its leases: a hung one's work is free within a minute.
const LEASE: SignedDuration = SignedDuration::from_secs(45);

/// How often leases are renewed; several renewals may fail before the leases end.
const RENEW: Duration = Duration::from_secs(10);

/// How often a pool looks around.
pub const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);

/// A clock that moves by so much more or less than time did was set, or the machine slept.
const CLOCK_JUMP: SignedDuration = SignedDuration::from_secs(2);

/// What a pool works on, and how much at once.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    /// Steps at once.
    pub workers: usize,
    /// Only this batch.
    pub batch: Option<String>,
    /// `spent + reserved` over the batches in question never passes this.
    pub budget: Option<Money>,
    /// How many jobs to make before it is told whether to go on; what is under way already goes on. `None` is all there
    /// are.
    pub canary: Option<Canary>,
    /// Whether to wait for more work for ever.
    pub watch: bool,
    /// How often to look for dead pools, and for work another process has loaded: [`MAINTENANCE_INTERVAL`], but where the queue is
    /// nobody else's.
    pub maintenance_interval: Duration,
    /// The providers that can be called, with their limits.
    pub limits: Vec<ProviderLimits>,
}

/// Tells a pool to stop: `true` once it shall.
pub type StopSignal = watch::Receiver<bool>;

/// Why a pool came to rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolExit {
    /// Nothing is left that can go on by itself.
    Drained(Backlog),
    /// It has made the first jobs, and was told not to go on.
    CanaryDeclined,
    /// It was told to stop; everything in hand is recorded or given back.
    Interrupted,
}

/// Why a pool could not go on. The queue is as it should be; a new run goes on.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Clips cannot be written.
    #[error(
        "{0}\nhint: free some space, or make the folder writable, and run again: nothing is lost"
    )]
    Output(OutputError),
    /// A fault in the program.
    #[error("{0}")]
    Fault(String),
}

/// One process's workers on one queue.
pub struct Pool {
    context: Arc<StepContext>,
    options: PoolOptions,
    live_settings: LiveSettings,
    canary: CanaryGate,
    pool_id: PoolId,
    steps: JoinSet<CompletedStep>,
    slots: WorkerSlots,
    stop: StopSignal,
    leases_end: Timestamp,
    /// What the clock said last, and when that was.
    clock_read: (Timestamp, Instant),
}

/// With nothing due the pool still looks up from time to time; a step's end or a new load wakes it long before.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

impl Pool {
    /// Works until nothing is left to do, or until it is told to stop.
    pub async fn run(
        context: Arc<StepContext>,
        options: PoolOptions,
        stop: StopSignal,
    ) -> Result<PoolExit, PoolError> {
        let pool_id = PoolId(uuid::Uuid::new_v4().simple().to_string()[..12].to_owned());
        let now = context.clock.now();
        let leases_end = now + LEASE;
        context.queue.join(pool_id.clone(), now, leases_end).await?;
        let (steps, slots) = (JoinSet::new(), WorkerSlots::default());
        let clock_read = (now, Instant::now());
        let (live_settings, canary) = (
            LiveSettings::new(&options),
            CanaryGate::new(options.canary.clone()),
        );
        let mut pool = Self {
            context,
            options,
            live_settings,
            canary,
            pool_id,
            steps,
            slots,
            stop,
            leases_end,
            clock_read,
        };
        let rest = pool.work().await;
        match &rest {
            // Let the creates in hand end, rather than leave them in doubt: with full clips' folders the queue still works,
            // with a full disk under the queue each tells at least which prediction it could not record.
            Err(PoolError::Output(_) | PoolError::Queue(QueueError::Unusable(_))) => {
                while let Some(completed) = pool.steps.join_next().await {
                    if let Ok(completed) = completed {
                        // The run ends with what came first.
                        let _ = record(&pool.context, completed).await;
                    }
                }
            }
            // What is cut off is found under this pool's name when it leaves: submitted is in doubt, the rest is due.
            Err(_) => pool.steps.shutdown().await,
            Ok(_) => {}
        }
        let left = pool
            .context
            .queue
            .leave(pool.pool_id.clone(), pool.context.clock.now())
            .await;
        let rest = rest?;
        left?;
        Ok(rest)
    }

    async fn work(&mut self) -> Result<PoolExit, PoolError> {
        self.take_over().await?;
        self.apply_live_settings().await?;
        let mut renewal = interval(RENEW);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut around = interval(self.options.maintenance_interval);
        around.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut completed = Vec::new();
        loop {
            if *self.stop.borrow() {
                return self.drain(completed).await;
            }
            let backlog = self
                .record_and_claim(std::mem::take(&mut completed))
                .await?;
            if self.steps.is_empty()
                && let Some(backlog) = &backlog
            {
                self.show_first(backlog).await?;
                let waits = self.options.watch
                    || self.canary.awaits_answer()
                    || self.is_kept_waiting(backlog);
                if backlog.is_idle() && !waits {
                    return Ok(PoolExit::Drained(backlog.clone()));
                }
            }
            let until_due = self.until(backlog.and_then(|backlog| backlog.next_due));
            // Whatever happens first is followed by another claim. In this order, not by chance, so that a rehearsal can be
            // repeated; what is rare comes first, so that no stream of steps that end holds it up.
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => {}
                _ = renewal.tick() => self.heartbeat().await?,
                _ = around.tick() => {
                    self.check_clock().await?;
                    self.take_over().await?;
                    self.apply_live_settings().await?;
                }
                goes_on = self.canary.answer() => if !goes_on {
                    return self.drain(completed).await.map(|_| PoolExit::CanaryDeclined);
                },
                Some(first) = self.steps.join_next() => completed = self.collect_completed(first)?,
                () = sleep(until_due) => {}
            }
        }
    }

    /// Records steps that ended, and claims as many as there is room for then. The records are with the queue before the
    /// claim is, so that it finds what they free, and one commit carries them all.
    async fn record_and_claim(
        &mut self,
        completed: Vec<CompletedStep>,
    ) -> Result<Option<Backlog>, PoolError> {
        let context = Arc::clone(&self.context);
        // A run that has to end pays for nothing more.
        if completed.iter().any(CompletedStep::is_the_end) {
            return record_all(&context, completed).await.map(|()| None);
        }
        let (recorded, backlog) =
            tokio::join!(biased; record_all(&context, completed), self.claim());
        recorded?;
        backlog
    }

    /// Claims as many steps as there is room for, and starts them. Tells how things stand, where there is room left.
    async fn claim(&mut self) -> Result<Option<Backlog>, PoolError> {
        let mut capacity = self.slots.capacity(self.live_settings.workers);
        capacity.submits = if self.live_settings.paused {
            0
        } else {
            capacity.submits.min(self.canary.remaining())
        };
        if capacity.steps == 0 {
            return Ok(None);
        }
        let request = ClaimRequest {
            pool_id: self.pool_id.clone(),
            now: self.context.clock.now(),
            batch: self.options.batch.clone(),
            budget: self.live_settings.budget,
            capacity,
            providers: self.live_settings.limits.clone(),
            catalog: Arc::clone(&self.context.catalog),
        };
        let claimed = self.context.queue.claim(request).await?;
        claimed
            .claims
            .into_iter()
            .for_each(|claim| self.start(claim));
        claimed
            .uploads
            .into_iter()
            .for_each(|upload| self.start_upload(upload));
        Ok(claimed.backlog)
    }

    fn start(&mut self, claim: Claim) {
        let context = Arc::clone(&self.context);
        let leases_end = self.leases_end;
        let stop = self.stop.clone();
        self.slots.acquire(claim.step);
        self.canary.count(&claim);
        self.steps
            .spawn(async move { take(&context, claim, leases_end, stop).await });
    }

    fn start_upload(&mut self, claim: UploadClaim) {
        let context = Arc::clone(&self.context);
        let stop = self.stop.clone();
        self.slots.acquire_upload();
        self.steps
            .spawn(async move { upload(&context, claim, stop).await });
    }

    /// Lets a step go that has ended, and those that have ended with it.
    fn collect_completed(
        &mut self,
        first: Result<CompletedStep, JoinError>,
    ) -> Result<Vec<CompletedStep>, PoolError> {
        let mut together = Vec::new();
        let mut next = Some(first);
        while let Some(completed) = next {
            let completed =
                completed.map_err(|error| PoolError::Fault(format!("a step failed: {error}")))?;
            match &completed {
                CompletedStep::Step { claim, end } => {
                    self.slots.release(claim.step);
                    if let Some(event) = end.event(claim.step) {
                        self.canary.remove(claim, event);
                    }
                }
                CompletedStep::Upload { .. } => self.slots.release_upload(),
            }
            together.push(completed);
            next = self.steps.try_join_next();
        }
        Ok(together)
    }

    /// Records what has ended, and waits for the steps in hand.
    async fn drain(&mut self, completed: Vec<CompletedStep>) -> Result<PoolExit, PoolError> {
        record_all(&self.context, completed).await?;
        if !self.steps.is_empty() {
            (self.context.observer)(PoolEvent::Stopping {
                steps: self.steps.len(),
            });
        }
        while let Some(first) = self.steps.join_next().await {
            let completed = self.collect_completed(first)?;
            record_all(&self.context, completed).await?;
        }
        Ok(PoolExit::Interrupted)
    }

    async fn heartbeat(&mut self) -> Result<(), PoolError> {
        let now = self.context.clock.now();
        let leases_end = now + LEASE;
        self.context
            .queue
            .heartbeat(self.pool_id.clone(), now, leases_end)
            .await?;
        self.leases_end = leases_end;
        Ok(())
    }

    /// Finds out whether the machine's clock was set while nobody slept: it moved by more than time did.
    async fn check_clock(&mut self) -> Result<(), PoolError> {
        let (wall, since) = self.clock_read;
        let now = self.context.clock.now();
        self.clock_read = (now, Instant::now());
        let moved = now.duration_since(wall)
            - SignedDuration::try_from(since.elapsed()).unwrap_or_default();
        if moved.abs() > CLOCK_JUMP {
            tracing::warn!(
                "this machine's clock was set by {} seconds",
                moved.as_secs()
            );
            self.context.queue.record_clock_change(now).await?;
            self.heartbeat().await?;
        }
        Ok(())
    }

    async fn take_over(&self) -> Result<(), PoolError> {
        let jobs = self
            .context
            .queue
            .take_over(self.context.clock.now())
            .await?;
        if jobs > 0 {
            tracing::info!(jobs, "took over the work of a pool that is gone");
            (self.context.observer)(PoolEvent::TookOver { jobs });
        }
        Ok(())
    }

    /// Takes over what a person changed of the runs that are going on.
    async fn apply_live_settings(&mut self) -> Result<(), PoolError> {
        for Change { what, by } in self
            .live_settings
            .apply(self.context.queue.live_settings().await?)
        {
            tracing::warn!(%by, "{what}");
            (self.context.observer)(PoolEvent::SettingsChanged);
        }
        Ok(())
    }

    /// Lets the first jobs be looked at, once they have come to an end and more are left.
    async fn show_first(&mut self, backlog: &Backlog) -> Result<(), PoolError> {
        let Some(jobs) = self
            .canary
            .ready_for_review()
            .filter(|_| backlog.queued > 0)
        else {
            return Ok(());
        };
        if self.context.queue.all_settled(jobs.clone()).await? {
            self.canary.mark_reviewed();
            (self.context.observer)(PoolEvent::CanaryReady { jobs });
        }
        Ok(())
    }

    /// Tells whether creates wait for the end of a pause, and for nothing else that is known.
    fn is_kept_waiting(&self, backlog: &Backlog) -> bool {
        self.live_settings.paused && backlog.queued > 0
    }

    fn until(&self, due: Option<Timestamp>) -> Duration {
        let Some(due) = due else { return LONGEST_SLEEP };
        let left = due.duration_since(self.context.clock.now());
        Duration::try_from(left)
            .unwrap_or(Duration::ZERO)
            .min(LONGEST_SLEEP)
    }
}
