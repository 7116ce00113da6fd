//! A server that does not answer, although the network does: one that is frozen, or a pooler that has lost it.

use std::pin::pin;

use tokio::time::timeout;
use tokio_postgres::Config;

use super::connect::{connect, max_silence, read_server, silent};
use super::error::is_of_the_server;
use crate::queue::Result;

/// Waits for the answer to a statement. It may take any time, because a statement may wait for a lock; but after
/// each [silence](max_silence) the server has to answer on another connection. `server` is [which](read_server) it is.
///
/// # Errors
/// [`StoreErrorKind::Unreachable`](crate::queue::StoreErrorKind::Unreachable) if it does not, or if another server
/// answers in its place.
pub(super) async fn wait_for_answer<T>(
    config: &Config,
    server: Option<&String>,
    answer: impl Future<Output = T>,
) -> Result<T> {
    let mut answer = pin!(answer);
    loop {
        if let Ok(answer) = timeout(max_silence(), &mut answer).await {
            return Ok(answer);
        }
        if !is_alive(config, server).await {
            return Err(silent());
        }
    }
}

/// Returns whether a server answers on a new connection.
async fn is_alive(config: &Config, server: Option<&String>) -> bool {
    let read = async {
        let client = connect(config, |_| ()).await?;
        read_server(&client).await
    };
    match timeout(max_silence(), read).await {
        Ok(Ok(found)) => server.is_none() || found.as_ref() == server,
        // It may have no connection left, and still be at work.
        Ok(Err(error)) => is_of_the_server(&error),
        Err(_) => false,
    }
}
