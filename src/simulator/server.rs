//! The HTTP surface: one listener on loopback for the three APIs and the clips they link to.

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

use super::shared::{Connection, Shared};
use super::world::World;
use super::{
    Faults, Ledger, Requests, SimulatorOptions, aimlapi, cdn, eachlabs, fal, fal_platform, storage,
};

/// How long to wait when no connection can be accepted, as with too many files open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// The three APIs on loopback. They stop when this is dropped.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// Where each API is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrls {
    /// each::labs, in place of `https://api.eachlabs.ai/v1`.
    pub eachlabs: String,
    /// AI/ML API, in place of `https://api.aimlapi.com`.
    pub aimlapi: String,
    /// fal.ai's queue, in place of `https://queue.fal.run`.
    pub fal_queue: String,
    /// fal.ai's platform, in place of `https://api.fal.ai/v1`.
    pub fal_api: String,
    /// fal.ai's storage, in place of `https://rest.fal.ai`.
    pub fal_storage: String,
}

impl Simulator {
    /// Starts the three APIs.
    pub async fn start(options: SimulatorOptions) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(address, World::new(options)));
        let server = tokio::spawn(accept(listener, router(Arc::clone(&shared))));
        Ok(Self {
            address,
            shared,
            server,
        })
    }

    /// Tells where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells where each API is served.
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

    /// Tells the environment that points a client here: variables and their values, keys among them.
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

    /// Tells what was taken and billed so far.
    pub fn ledger(&self) -> Ledger {
        self.shared.world().ledger()
    }

    /// Tells what was asked so far, and what went wrong on purpose.
    pub fn requests(&self) -> Requests {
        self.shared.world().requests()
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.world().options_mut().faults = faults;
    }

    /// Changes anything about the behaviour from now on.
    pub fn change(&self, change: impl FnOnce(&mut SimulatorOptions)) {
        change(self.shared.world().options_mut());
    }

    /// Lets every link that was given expire; a new look gives another.
    pub fn expire_links(&self) {
        self.shared.world().expire_all();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Serves each connection on a task of its own. The tasks belong to the set, so that all stop with the listener.
async fn accept(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(serve(stream, router.clone())); }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves a connection until it ends or a fault cuts it.
async fn serve(stream: TcpStream, router: Router) {
    let cut = Arc::new(Notify::new());
    let connection = Connection(Arc::clone(&cut));
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
        () = cut.notified() => {}
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .merge(eachlabs::routes())
        .merge(aimlapi::routes())
        .merge(fal::routes())
        .merge(fal_platform::routes())
        .merge(cdn::routes())
        .merge(storage::routes())
        .route("/_simulator/ledger", routing::get(ledger))
        .route("/_simulator/requests", routing::get(requests))
        .route("/_simulator/elsewhere", routing::any(elsewhere))
        .with_state(shared)
}

async fn ledger(State(shared): State<Arc<Shared>>) -> Response {
    axum::Json(shared.world().ledger()).into_response()
}

/// Counts the keys that a redirect has lured away.
async fn elsewhere(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> StatusCode {
    if headers.contains_key(AUTHORIZATION) || headers.contains_key("x-api-key") {
        shared.world().count(|ledger| &mut ledger.leaked_keys);
    }
    StatusCode::NOT_FOUND
}

async fn requests(State(shared): State<Arc<Shared>>) -> Response {
    axum::Json(shared.world().requests()).into_response()
}
