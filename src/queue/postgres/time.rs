//! The time of a queue.

use std::sync::Arc;

use jiff::Timestamp;

use super::connection::Connection;
use crate::clock::{AdjustedClock, Clock};
use crate::queue::Result;
use crate::queue::stored_row::timestamp_from_millis;

/// Whose clock a queue goes by.
#[derive(Clone)]
pub(super) enum Time {
    /// The server's, so that the clocks of its hosts do not matter. The host's is set to it.
    Server(Arc<AdjustedClock>),
    /// The caller's, for tests.
    Clock(Arc<dyn Clock>),
}

impl Time {
    /// Returns the time of an open transaction.
    pub(super) fn now(&self, tx: &Connection) -> Result<Timestamp> {
        match self {
            Self::Clock(clock) => Ok(clock.now()),
            Self::Server(host) => {
                let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT";
                let millis = tx.value(sql, &[])?;
                let now = timestamp_from_millis(millis.unwrap_or(0))?;
                host.set(now);
                Ok(now)
            }
        }
    }
}
