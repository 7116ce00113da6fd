//! Opens a connection to a server.

use std::future::poll_fn;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::store_error;
use crate::queue::shortened::unless_shortened;
use crate::queue::{QueueError, Result, StoreError, StoreErrorKind};
use crate::tls;

/// Time without an answer after which a server is asked for a sign of life, and the time that it has for one.
const MAX_SILENCE: Duration = Duration::from_secs(15);

/// Returns [`MAX_SILENCE`], unless a test has shortened it.
pub(super) fn max_silence() -> Duration {
    unless_shortened(MAX_SILENCE, "OVERNIGHT_SILENCE_MS")
}

/// Connects to a server. What it says beside the answers to statements is passed to `hear`.
///
/// # Errors
/// An error of the server or of the network, also if the server does not answer.
pub(super) async fn connect(
    config: &Config,
    hear: impl FnMut(AsyncMessage) + Send + 'static,
) -> Result<Client> {
    let connected = timeout(max_silence(), connect_to(config, hear)).await;
    connected.map_err(|_| silent())?
}

async fn connect_to(
    config: &Config,
    hear: impl FnMut(AsyncMessage) + Send + 'static,
) -> Result<Client> {
    if config.get_ssl_mode() == SslMode::Disable {
        let (client, connection) = config.connect(NoTls).await.map_err(store_error)?;
        tokio::spawn(drive(connection, hear));
        return Ok(client);
    }
    let tls = tls::client_config().map_err(QueueError::Fault)?;
    let connected = config.connect(MakeRustlsConnect::new(tls)).await;
    let (client, connection) = connected.map_err(store_error)?;
    tokio::spawn(drive(connection, hear));
    Ok(client)
}

/// Moves messages between the client and the server, until one of them closes the connection.
async fn drive<S, T>(
    mut connection: tokio_postgres::Connection<S, T>,
    mut hear: impl FnMut(AsyncMessage),
) where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        hear(message);
    }
}

/// The identifier of the server, and its timeline.
const SERVER: &str = "
    SELECT system_identifier || '/' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
    FROM pg_control_system()";

/// Returns which server a connection is to, and its timeline, which a standby changes when it becomes the server;
/// `None` if it does not tell.
pub(super) async fn read_server(client: &Client) -> Result<Option<String>> {
    match client.query_opt(SERVER, &[]).await.map_err(store_error) {
        Ok(row) => {
            let server = row.map(|row| row.try_get(0)).transpose();
            Ok(server.map_err(store_error)?.flatten())
        }
        Err(error) if error.is_lost_store() => Err(error),
        // Not every hosted server tells.
        Err(_) => Ok(None),
    }
}

/// Returns the error about a server that does not answer.
pub(super) fn silent() -> QueueError {
    let message = format!("no answer for {} s", MAX_SILENCE.as_secs());
    let error = std::io::Error::new(std::io::ErrorKind::TimedOut, message);
    StoreError {
        source: Some(std::sync::Arc::new(error)),
        ..StoreError::without_path(StoreErrorKind::Unreachable)
    }
    .into()
}
