//! A pool: one run on a queue, from joining it to leaving it.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::domain::PoolId;
use crate::queue::{Gates, QueueError};

use super::StepContext;
use super::canary::CanaryGate;
use super::clock_check::ClockCheck;
use super::completed_step::CompletedStep;
use super::held::HeldJobs;
use super::lease_end::LeaseEnd;
use super::live_settings::LiveSettings;
use super::options::{PoolError, PoolExit, PoolOptions, StopSignal};
use super::slots::WorkerSlots;

/// A pool: one run's concurrent steps on one queue, at most [`PoolOptions::workers`] at a time.
pub struct Pool {
    pub(super) context: Arc<StepContext>,
    pub(super) options: PoolOptions,
    pub(super) settings: LiveSettings,
    pub(super) canary: CanaryGate,
    pub(super) pool_id: PoolId,
    pub(super) steps: JoinSet<CompletedStep>,
    pub(super) slots: WorkerSlots,
    /// Whether the last claim used up the workers for some kind of step, so that the next free one
    /// can make a difference.
    pub(super) is_short_of_workers: bool,
    /// The running jobs that this pool polls from memory.
    pub(super) held: HeldJobs,
    /// The gates of the providers as of the last turn or round of maintenance.
    pub(super) gates: Gates,
    pub(super) stop: StopSignal,
    /// When the leases end unless they are renewed.
    pub(super) leases_end: LeaseEnd,
    pub(super) clock_check: ClockCheck,
    /// When the histories were last searched for what is presumed absent.
    pub(super) presumed_searched_at: Option<Instant>,
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
        let clock_check = ClockCheck::new(context.clock.now());
        let (pool_id, leases_end) = join(&context).await?;
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
            presumed_searched_at: None,
        };
        let exit = loop {
            let worked = match pool.check_keys().await {
                Ok(()) => pool.work().await,
                Err(error) => Err(error),
            };
            match worked {
                Err(PoolError::Queue(QueueError::PoolLost(_))) => pool.join_anew().await?,
                exit => break exit,
            }
        };
        if let Err(error) = &exit {
            pool.end_steps_after(error).await;
        }
        let left = pool.context.queue.leave(pool.pool_id.clone()).await;
        let exit = exit?;
        left?;
        Ok(exit)
    }

    /// Returns an error if another run has noted another key since this one noted its own: from now on, it would
    /// find this pool active.
    async fn check_keys(&self) -> Result<(), PoolError> {
        for (provider, mark) in &self.context.key_marks {
            if !self
                .context
                .queue
                .is_key_known(*provider, mark.clone())
                .await?
            {
                return Err(PoolError::OtherKey(*provider));
            }
        }
        Ok(())
    }

    /// Joins the queue as a new pool, after the leases of this one have ended because it could not renew them:
    /// its machine slept, or the queue was away. What its steps learn yet is recorded: a submission that was
    /// accepted meanwhile finds its attempt.
    async fn join_anew(&mut self) -> Result<(), PoolError> {
        tracing::warn!(
            "the leases of this run ended before it renewed them; it joins the queue anew"
        );
        self.finish_steps(Vec::new()).await?;
        self.context.queue.leave(self.pool_id.clone()).await?;
        (self.pool_id, self.leases_end) = join(&self.context).await?;
        Ok(())
    }
}

/// Joins the queue as a new pool. Returns its id, and when its leases end.
async fn join(context: &StepContext) -> Result<(PoolId, LeaseEnd), PoolError> {
    let pool_id = new_pool_id();
    let leases_end = LeaseEnd::of_next();
    context.queue.join(pool_id.clone()).await?;
    Ok((pool_id, leases_end))
}

/// Draws the id of a new pool.
pub(super) fn new_pool_id() -> PoolId {
    PoolId(uuid::Uuid::new_v4().simple().to_string()[..12].to_owned())
}
