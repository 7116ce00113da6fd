//! What a pool does from time to time beside its steps: heartbeats, taking over dead pools,
//! applying live settings, checking the clock, and asking for approval of the canary.

use crate::queue::Backlog;

use super::lease_end::LeaseEnd;
use super::{Pool, PoolError, PoolEvent};

impl Pool {
    /// Extends all leases of this pool.
    pub(super) async fn heartbeat(&mut self) -> Result<(), PoolError> {
        let leases_end = LeaseEnd::of_next();
        self.context.queue.heartbeat(self.pool_id.clone()).await?;
        self.leases_end = leases_end;
        Ok(())
    }

    /// Notices that the machine's clock was changed: it has moved by more, or less, than time has
    /// elapsed.
    pub(super) async fn check_clock(&mut self) -> Result<(), PoolError> {
        let now = self.context.clock.now();
        if let Some(jump) = self.clock_check.jump(now) {
            tracing::warn!(
                "this machine's clock was changed by {} seconds",
                jump.as_secs()
            );
            self.context.queue.record_clock_change().await?;
            self.heartbeat().await?;
        }
        Ok(())
    }

    /// Frees the jobs of pools that are dead, so that this pool can claim them.
    pub(super) async fn take_over(&self) -> Result<(), PoolError> {
        let jobs = self.context.queue.take_over().await?;
        if jobs > 0 {
            tracing::info!(jobs, "took over the work of a pool that is gone");
            (self.context.observer)(PoolEvent::TookOver { jobs });
        }
        Ok(())
    }

    /// Applies what the user has changed with `overnight ctl` since the last call.
    pub(super) async fn apply_live_settings(&mut self) -> Result<(), PoolError> {
        let changes = self.context.queue.live_settings().await?;
        for change in self.settings.apply(changes) {
            tracing::warn!(by = %change.set_by, "{}", change.description);
            (self.context.observer)(PoolEvent::SettingsChanged);
        }
        Ok(())
    }

    /// Finds out what other processes have changed for this pool: the gates of the providers, and
    /// the leases of jobs that were cancelled.
    pub(super) async fn look_around(&mut self) -> Result<(), PoolError> {
        self.gates = self.context.queue.gates().await?;
        let expected = self.held.len() + self.slots.job_steps();
        let pool_id = self.pool_id.clone();
        let leases = self.context.queue.leases_unless(pool_id, expected).await?;
        if let Some(leases) = leases {
            self.held.retain_leased(&leases);
        }
        Ok(())
    }

    /// Asks for the user's approval once all canary jobs have ended and more are queued.
    pub(super) async fn review_canary(&mut self, backlog: &Backlog) -> Result<(), PoolError> {
        let Some(jobs) = self
            .canary
            .ready_for_review()
            .filter(|_| backlog.queued > 0)
        else {
            return Ok(());
        };
        if self.context.queue.all_settled(jobs.clone()).await? {
            self.canary.mark_in_review();
            (self.context.observer)(PoolEvent::CanaryReady { jobs });
        }
        Ok(())
    }
}
