//! What is true of PostgreSQL alone.

use std::sync::Arc;

use overnight::clock::ManualClock;
use overnight::queue::Queue;
use overnight::queue::postgres::PostgresQueue;

use super::Store;
use crate::postgres_server;

/// A queue in a database of its own.
pub(crate) struct PostgresStore {
    url: String,
    clock: Arc<ManualClock>,
}

impl Store for PostgresStore {
    fn create(clock: Arc<ManualClock>) -> Self {
        Self {
            url: postgres_server::create_database(),
            clock,
        }
    }

    fn open(&self) -> Arc<dyn Queue> {
        let clock = Arc::clone(&self.clock) as _;
        Arc::new(PostgresQueue::with_clock(&self.url, clock).expect("a queue"))
    }
}
