//! The HTTP surface: one listener on loopback for the three APIs, their storage and their clips.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use super::shared::{Connection, REDIRECT_TRAP_PATH, SharedState};
use super::world::World;
use super::{
    Faults, Ledger, Requests, SimulatorOptions, aimlapi, cdn, eachlabs, fal, fal_platform, storage,
};

/// Pause after a failure to accept a connection, for example because too many files are open.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(10);

/// A running simulator of the three APIs on loopback. Dropping it stops the server.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<SharedState>,
    server: JoinHandle<()>,
}

/// The base URLs of the simulated APIs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrls {
    /// Replaces each::labs's `https://api.eachlabs.ai/v1`.
    pub eachlabs: String,
    /// Replaces AI/ML API's `https://api.aimlapi.com`.
    pub aimlapi: String,
    /// Replaces fal.ai's queue, `https://queue.fal.run`.
    pub fal_queue: String,
    /// Replaces fal.ai's platform, `https://api.fal.ai/v1`.
    pub fal_api: String,
    /// Replaces fal.ai's storage, `https://rest.fal.ai`.
    pub fal_storage: String,
}

impl Simulator {
    /// Starts the three APIs. Fails if the port cannot be bound.
    pub async fn start(options: SimulatorOptions) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(SharedState::new(address, World::new(options)));
        let server = tokio::spawn(accept(listener, router(Arc::clone(&shared))));
        Ok(Self {
            address,
            shared,
            server,
        })
    }

    /// Returns the listening address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the base URLs of the three APIs.
    pub fn base_urls(&self) -> BaseUrls {
        let base = format!("http://{}", self.address);
        BaseUrls {
            eachlabs: format!("{base}/v1"),
            aimlapi: base.clone(),
            fal_api: format!("{base}/v1"),
            fal_storage: base.clone(),
            fal_queue: base,
        }
    }

    /// Returns the environment variables, with their values, that point Overnight here. They
    /// include keys.
    pub fn environment(&self) -> [(&'static str, String); 8] {
        let base_urls = self.base_urls();
        [
            ("OVERNIGHT_EACHLABS_URL", base_urls.eachlabs),
            ("OVERNIGHT_AIMLAPI_URL", base_urls.aimlapi),
            ("OVERNIGHT_FAL_QUEUE_URL", base_urls.fal_queue),
            ("OVERNIGHT_FAL_API_URL", base_urls.fal_api),
            ("OVERNIGHT_FAL_STORAGE_URL", base_urls.fal_storage),
            ("EACHLABS_API_KEY", "simulated-eachlabs-key".into()),
            ("AIML_API_KEY", "simulated-aimlapi-key".into()),
            ("FAL_KEY", "simulated:fal-key".into()),
        ]
    }

    /// Returns what was accepted, billed and refused so far.
    pub fn ledger(&self) -> Ledger {
        self.shared.world().ledger()
    }

    /// Returns the calls received and the faults injected so far.
    pub fn requests(&self) -> Requests {
        self.shared.world().requests()
    }

    /// Replaces the faults to inject from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.world().options_mut().faults = faults;
    }

    /// Changes any options from now on, except the port.
    pub fn update_options(&self, update: impl FnOnce(&mut SimulatorOptions)) {
        update(self.shared.world().options_mut());
    }

    /// Expires all clip links that were issued so far. The next poll returns a new one.
    pub fn expire_links(&self) {
        self.shared.world().expire_all_links();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Serves each connection on a task of its own. The set owns the tasks, so that they stop together
/// with the listener.
async fn accept(listener: TcpListener, router: Router) {
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
    let connection = Connection(Arc::clone(&close));
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

fn router(shared: Arc<SharedState>) -> Router {
    Router::new()
        .merge(eachlabs::routes())
        .merge(aimlapi::routes())
        .merge(fal::routes())
        .merge(fal_platform::routes())
        .merge(cdn::routes())
        .merge(storage::routes())
        .route("/_simulator/ledger", routing::get(ledger))
        .route("/_simulator/requests", routing::get(requests))
        .route(REDIRECT_TRAP_PATH, routing::any(redirect_trap))
        .with_state(shared)
}

async fn ledger(State(shared): State<Arc<SharedState>>) -> Response {
    axum::Json(shared.world().ledger()).into_response()
}

/// Counts the keys of clients that followed a redirect with their key.
async fn redirect_trap(State(shared): State<Arc<SharedState>>, headers: HeaderMap) -> StatusCode {
    if headers.contains_key(AUTHORIZATION) || headers.contains_key("x-api-key") {
        shared.world().increment(|ledger| &mut ledger.leaked_keys);
    }
    StatusCode::NOT_FOUND
}

async fn requests(State(shared): State<Arc<SharedState>>) -> Response {
    axum::Json(shared.world().requests()).into_response()
}
