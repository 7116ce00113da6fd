//! Waiting for a server that is away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::queue::{QueueError, Result};

/// The first wait before another try, which doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// The longest wait before another try: leases have to be renewed as soon as the server is back.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// How long one operation is tried again.
pub(super) struct Patience<'a> {
    /// Whether an operation of this process is waiting, which is said once.
    is_away: &'a AtomicBool,
    limit: Duration,
    /// When the operation first failed; `None` if it has not.
    since: Option<Instant>,
    wait: Duration,
}

impl<'a> Patience<'a> {
    pub(super) fn new(is_away: &'a AtomicBool, limit: Duration) -> Self {
        Self {
            is_away,
            limit,
            since: None,
            wait: FIRST_WAIT,
        }
    }

    /// Returns how long the operation is tried again.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Waits before the next try of an operation that failed.
    ///
    /// # Errors
    /// Returns the error if the connection was not lost, or if it has been tried long enough.
    pub(super) async fn wait(&mut self, error: QueueError) -> Result<()> {
        if !error.is_lost_store() {
            return Err(error);
        }
        if self.limit > MAX_WAIT && !self.is_away.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "{error}; what completes meanwhile is kept in memory, and the run goes on if the server is back \
                 within {} s",
                self.limit.as_secs()
            );
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() + self.wait > self.limit {
            return Err(error);
        }
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(MAX_WAIT);
        Ok(())
    }
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        if let Some(since) = self.since
            && self.is_away.swap(false, Ordering::Relaxed)
        {
            let seconds = since.elapsed().as_secs_f64();
            tracing::info!("waited {seconds:.1} s for the server of the queue");
        }
    }
}
