//! The time of a queue.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_postgres::Row;

use super::connection::Connection;
use super::posted::Values;
use crate::clock::{AdjustedClock, Clock};
use crate::queue::Result;
use crate::queue::stored_row::timestamp_from_millis;

/// The time of the server, in milliseconds, and whether the transaction has waited for a lock since it began.
const NOW: &str = "
    SELECT (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT,
           clock_timestamp() - transaction_timestamp() > INTERVAL '1 ms'";

/// How a transaction has started.
pub(super) struct Started {
    /// Its time, after the locks.
    pub(super) now: Timestamp,
    /// Whether it has waited for its locks.
    pub(super) has_waited: bool,
    /// The rows of each read that was made at once.
    pub(super) rows: Vec<Vec<Row>>,
}

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
    pub(super) fn of_started(&self, tx: &Connection, begin: &str) -> Result<Timestamp> {
        Ok(self.of_started_and_read(tx, begin, Vec::new())?.now)
    }

    /// As [`of_started`](Self::of_started), and makes [reads](Connection::begin) at once.
    pub(super) fn of_started_and_read(
        &self,
        tx: &Connection,
        begin: &str,
        reads: Vec<(&'static str, Values)>,
    ) -> Result<Started> {
        // A statement of its own: the one before it may have waited for a lock.
        let (last, rows) = tx.begin(&format!("{begin}; {NOW}"), reads)?;
        let mut last = last.into_iter();
        let millis = last.next().and_then(|millis| millis.parse().ok());
        let has_waited = last.next().as_deref() == Some("t");
        let now = match self {
            Self::Clock(clock) => clock.now(),
            Self::Server(host) => {
                let now = timestamp_from_millis(millis.unwrap_or(0))?;
                host.set(now);
                now
            }
        };
        Ok(Started {
            now,
            has_waited,
            rows,
        })
    }
}
