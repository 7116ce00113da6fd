//! Opens connections to one server, and notices if another one answers in its place.

use std::sync::{Arc, OnceLock};

use tokio_postgres::Config;

use super::connection::Connection;
use crate::queue::{Result, StoreError, StoreErrorKind};

/// Opens the connections of a process to its queue's server.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    /// The server of the first connection, which all connectors of a process share.
    server: Arc<OnceLock<Option<String>>>,
}

impl Connector {
    /// The connectors that share `server` must be of the same database.
    pub(super) fn new(config: Config, server: Arc<OnceLock<Option<String>>>) -> Self {
        Self { config, server }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// [`StoreErrorKind::FailedOver`] if the server is not that of the first connection: a standby that was
    /// made the server may lack what was committed last.
    pub(super) fn connect(&self) -> Result<Connection> {
        let connection = Connection::open(&self.config)?;
        if self
            .server
            .get_or_init(|| connection.server().cloned())
            .as_ref()
            == connection.server()
        {
            return Ok(connection);
        }
        Err(StoreError::without_path(StoreErrorKind::FailedOver).into())
    }
}
