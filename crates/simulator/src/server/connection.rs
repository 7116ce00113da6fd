//! The connections to the simulator: they are accepted, served, and closed by faults.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// Pause after a failure to accept a connection, for example because too many files are open.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(10);

/// The connection on which a request arrived. Each request has it as an extension.
#[derive(Clone, Debug, Default)]
pub(super) struct Connection {
    close: Arc<Notify>,
}

impl Connection {
    /// Returns the connection on which a request arrived.
    pub(super) fn of_request(request: &Request) -> Self {
        request.extensions().get().cloned().unwrap_or_default()
    }

    /// Closes the connection without a response. Never returns.
    pub(super) async fn close_without_response(&self) -> Response {
        self.close.notify_one();
        std::future::pending().await
    }
}

/// Serves each connection on a task of its own. The set owns the tasks, so that they stop together
/// with the listener.
pub(super) async fn accept(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(serve(stream, router.clone())); }
                Err(_) => tokio::time::sleep(ACCEPT_RETRY_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves a connection until it ends or a fault closes it.
async fn serve(stream: TcpStream, router: Router) {
    let close = Arc::new(Notify::new());
    let connection = Connection {
        close: Arc::clone(&close),
    };
    let router = router.layer(middleware::from_fn(
        move |mut request: Request, next: Next| {
            request.extensions_mut().insert(connection.clone());
            next.run(request)
        },
    ));
    let service = TowerToHyperService::new(router);
    let builder = auto::Builder::new(TokioExecutor::new());
    tokio::select! {
        _ = builder.serve_connection(TokioIo::new(stream), service) => {}
        () = close.notified() => {}
    }
}
