//! What the errors of a server mean.

use tokio_postgres::error::SqlState;

use crate::queue::{QueueError, StoreError, StoreErrorKind};

/// Converts an error of the server or of the connection.
pub(super) fn store_error(error: tokio_postgres::Error) -> QueueError {
    let kind = match error.code() {
        Some(code) if *code == SqlState::DISK_FULL => StoreErrorKind::DiskFull,
        Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => StoreErrorKind::ReadOnly,
        Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE => StoreErrorKind::Locked,
        Some(code)
            if [
                SqlState::DUPLICATE_PSTATEMENT,
                SqlState::INVALID_SQL_STATEMENT_NAME,
            ]
            .contains(code) =>
        {
            StoreErrorKind::Pooler
        }
        Some(code) if is_of_the_connection(code) => StoreErrorKind::Unreachable,
        None if error.is_closed() || is_io(&error) => StoreErrorKind::Unreachable,
        _ => StoreErrorKind::Other,
    };
    StoreError {
        path: std::path::PathBuf::new(),
        kind,
        source: Some(std::sync::Arc::new(error)),
    }
    .into()
}

/// Returns whether an error is an answer of the server.
pub(super) fn is_of_the_server(error: &QueueError) -> bool {
    let QueueError::Store(StoreError {
        source: Some(source),
        ..
    }) = error
    else {
        return false;
    };
    let source = source.downcast_ref::<tokio_postgres::Error>();
    source.is_some_and(|error| error.code().is_some())
}

/// Returns whether the server says that it ends the connection, or takes none now.
fn is_of_the_connection(code: &SqlState) -> bool {
    const CONNECTION_EXCEPTION: &str = "08";
    code.code().starts_with(CONNECTION_EXCEPTION)
        || [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ]
        .contains(code)
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}
