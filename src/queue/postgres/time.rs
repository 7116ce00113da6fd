//! The time of a queue.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_postgres::Row;

use super::connection::Connection;
use super::posted::Values;
use crate::clock::{AdjustedClock, Clock};
use crate::queue::Result;
use crate::queue::stored_row::timestamp_from_millis;

/// The time of the server, in milliseconds.
const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT";

/// Whose clock a queue goes by.
#[derive(Clone)]
pub(super) enum Time {
    /// The server's, so that the clocks of its hosts do not matter. The host's is set to it.
    Server(Arc<AdjustedClock>),
    /// The caller's, for tests.
    Clock(Arc<dyn Clock>),
}

impl Time {
    /// Begins a transaction with a statement, and returns its time after that.
    pub(super) fn of_begun(&self, tx: &Connection, begin: &str) -> Result<Timestamp> {
        let (now, _) = self.of_begun_and_read(tx, begin, Vec::new())?;
        Ok(now)
    }

    /// As [`of_begun`](Self::of_begun), and makes [reads](Connection::begin) at once.
    pub(super) fn of_begun_and_read(
        &self,
        tx: &Connection,
        begin: &str,
        reads: Vec<(&'static str, Values)>,
    ) -> Result<(Timestamp, Vec<Vec<Row>>)> {
        match self {
            Self::Clock(clock) => {
                let (_, rows) = tx.begin(begin, reads)?;
                Ok((clock.now(), rows))
            }
            Self::Server(host) => {
                // A statement of its own: the one before it may have waited for a lock.
                let (millis, rows) = tx.begin(&format!("{begin}; {NOW}"), reads)?;
                let millis = millis.and_then(|millis| millis.parse().ok());
                let now = timestamp_from_millis(millis.unwrap_or(0))?;
                host.set(now);
                Ok((now, rows))
            }
        }
    }
}
