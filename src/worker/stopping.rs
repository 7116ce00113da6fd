//! How a pool ends: what is in progress is waited for and recorded, and what it holds is given up.

use super::completed_step::CompletedStep;
use super::{Pool, PoolError, PoolEvent};

impl Pool {
    /// Records what has completed, then waits for the steps in progress and records them. Gives up
    /// the held jobs, so that another pool can poll them.
    pub(super) async fn drain(&mut self, completed: Vec<CompletedStep>) -> Result<(), PoolError> {
        if !self.steps.is_empty() {
            (self.context.observer)(PoolEvent::Stopping {
                steps: self.steps.len(),
            });
        }
        self.finish_steps(completed).await
    }

    /// As [`drain`](Self::drain), without a word about it.
    pub(super) async fn finish_steps(
        &mut self,
        completed: Vec<CompletedStep>,
    ) -> Result<(), PoolError> {
        self.record(completed).await?;
        while let Some(first) = self.steps.join_next().await {
            let completed = self.collect_completed(first)?;
            self.record(completed).await?;
        }
        Ok(())
    }

    /// Ends the steps in progress after an error that ends the run.
    pub(super) async fn end_steps_after(&mut self, error: &PoolError) {
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
}
