//! Waiting for a server that is away.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::queue::{QueueError, Result};

/// The first wait before another try, which doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// The longest wait before another try: leases have to be renewed as soon as the server is back.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Since when the server has been away, for all operations of a process.
#[derive(Default)]
pub(super) struct Absence(Mutex<Option<Instant>>);

impl Absence {
    /// Notes that the server has answered.
    pub(super) fn end(&self) {
        let since = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(since) = since {
            let seconds = since.elapsed().as_secs_f64();
            tracing::info!("the server of the queue is back after {seconds:.1} s");
        }
    }
}

/// How long one operation is tried again.
pub(super) struct Patience<'a> {
    absence: &'a Absence,
    /// The longest absence that is waited for.
    limit: Duration,
    wait: Duration,
}

impl<'a> Patience<'a> {
    pub(super) fn new(absence: &'a Absence, limit: Duration) -> Self {
        Self {
            absence,
            limit,
            wait: FIRST_WAIT,
        }
    }

    /// Waits before the next try of an operation that failed.
    ///
    /// # Errors
    /// Returns the error if the connection was not lost, or if the server has been away for too long.
    pub(super) async fn wait(&mut self, error: QueueError) -> Result<()> {
        if !error.is_lost_store() {
            return Err(error);
        }
        let elapsed = {
            let since = &mut *self
                .absence
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if since.is_none() {
                tracing::warn!(
                    "{error}; what completes meanwhile is kept in memory, and the run goes on, or ends if it was \
                     asked to, when the server is back within {} s",
                    self.limit.as_secs()
                );
            }
            since.get_or_insert_with(Instant::now).elapsed()
        };
        if elapsed + self.wait > self.limit {
            return Err(error);
        }
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(MAX_WAIT);
        Ok(())
    }
}
