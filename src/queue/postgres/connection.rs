//! One connection to the server, driven by the thread that uses it.

use std::cell::RefCell;
use std::collections::HashMap;

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::FromSqlOwned;
use tokio_postgres::{Client, Config, NoTls, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::row::{Columns, Params};
use crate::queue::{QueueError, Result, StoreError, StoreErrorKind};
use crate::tls;

/// An open connection. Its methods wait for the server, and so may not be called by asynchronous code.
pub(super) struct Connection {
    /// Drives the connection while a method waits.
    runtime: Runtime,
    client: Client,
    /// The statements that were prepared, by their text.
    statements: RefCell<HashMap<String, Statement>>,
    /// The number of the server's process, which no other connection has.
    shard: i64,
}

impl Connection {
    /// Connects to the server: through TLS, unless it is this machine.
    pub(super) fn open(config: &Config) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| QueueError::Fault(error.to_string()))?;
        let client = runtime.block_on(async {
            if is_local(config) {
                let (client, connection) = config.connect(NoTls).await.map_err(store_error)?;
                tokio::spawn(connection);
                return Ok(client);
            }
            let tls = tls::client_config().map_err(QueueError::Fault)?;
            let connected = config.connect(MakeRustlsConnect::new(tls)).await;
            let (client, connection) = connected.map_err(store_error)?;
            tokio::spawn(connection);
            Ok::<_, QueueError>(client)
        })?;
        let mut connection = Self {
            runtime,
            client,
            statements: RefCell::default(),
            shard: 0,
        };
        let pid = connection.value("SELECT pg_backend_pid()::BIGINT", &[])?;
        connection.shard = pid.unwrap_or(0);
        Ok(connection)
    }

    /// Returns whether the server, or the network, has closed the connection.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Returns the number under which this connection keeps its part of the sums.
    pub(super) fn shard(&self) -> i64 {
        self.shard
    }

    /// Runs statements without parameters.
    pub(super) fn batch(&self, sql: &str) -> Result<()> {
        let run = self.runtime.block_on(self.client.batch_execute(sql));
        run.map_err(store_error)
    }

    /// Runs a query and returns its rows as mapped by `map`.
    pub(super) fn select<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        mut map: impl FnMut(&Columns<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let statement = self.prepare(sql)?;
        let rows = self.runtime.block_on(self.client.query(&statement, params));
        let rows = rows.map_err(store_error)?;
        rows.iter().map(|row| map(&Columns(row))).collect()
    }

    /// Runs a query and returns the first column of its first row; `None` if there is no row or the value is
    /// NULL.
    pub(super) fn value<T: FromSqlOwned>(
        &self,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Option<T>> {
        let statement = self.prepare(sql)?;
        let row = self
            .runtime
            .block_on(self.client.query_opt(&statement, params));
        let row = row.map_err(store_error)?;
        let value = row.map(|row| row.try_get::<_, Option<T>>(0));
        Ok(value.transpose().map_err(store_error)?.flatten())
    }

    /// Runs a statement and returns the number of rows that it changed.
    pub(super) fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64> {
        let statement = self.prepare(sql)?;
        let changed = self
            .runtime
            .block_on(self.client.execute(&statement, params));
        changed.map_err(store_error)
    }

    /// Runs a statement; returns whether it did not violate a uniqueness. The transaction goes on either way.
    pub(super) fn is_unique(&self, sql: &str, params: Params<'_>) -> Result<bool> {
        let statement = self.prepare(sql)?;
        self.batch("SAVEPOINT attempt")?;
        let changed = self
            .runtime
            .block_on(self.client.execute(&statement, params));
        match changed {
            Ok(_) => {
                self.batch("RELEASE SAVEPOINT attempt")?;
                Ok(true)
            }
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                self.batch("ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt")?;
                Ok(false)
            }
            Err(error) => Err(store_error(error)),
        }
    }

    fn prepare(&self, sql: &str) -> Result<Statement> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.runtime.block_on(self.client.prepare(sql));
        let statement = statement.map_err(store_error)?;
        let mut statements = self.statements.borrow_mut();
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// Returns whether a server is reached without a network.
fn is_local(config: &Config) -> bool {
    use tokio_postgres::config::Host;
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
    })
}

/// Converts an error of the server or of the connection.
pub(super) fn store_error(error: tokio_postgres::Error) -> QueueError {
    let kind = match error.code() {
        Some(code) if *code == SqlState::DISK_FULL => StoreErrorKind::DiskFull,
        Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => StoreErrorKind::ReadOnly,
        Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE => StoreErrorKind::Locked,
        _ => StoreErrorKind::Other,
    };
    StoreError {
        path: std::path::PathBuf::new(),
        kind,
        source: Some(std::sync::Arc::new(error)),
    }
    .into()
}
