//! The HTTP surface: one listener on loopback for the three APIs and the clips they link to.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::stream;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::calls::close;
use super::shared::{Connection, Shared};
use super::world::World;
use super::{Api, Call, Fault, Faults, Ledger, SimulatorOptions, aimlapi, clip, eachlabs, fal};

/// The three APIs on loopback. They stop when this is dropped.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Simulator {
    /// Starts the three APIs.
    pub async fn start(options: SimulatorOptions) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(address, World::new(options)));
        let server = tokio::spawn(accept(listener, router(Arc::clone(&shared))));
        Ok(Self { address, shared, server })
    }

    /// Tells where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells the environment that points a client here: variables and their values, keys among them.
    pub fn environment(&self) -> [(&'static str, String); 7] {
        let base = format!("http://{}", self.address);
        [
            ("OVERNIGHT_EACHLABS_URL", format!("{base}/v1")),
            ("OVERNIGHT_AIMLAPI_URL", base.clone()),
            ("OVERNIGHT_FAL_QUEUE_URL", base.clone()),
            ("OVERNIGHT_FAL_API_URL", format!("{base}/v1")),
            ("EACHLABS_API_KEY", "simulated-eachlabs-key".into()),
            ("AIML_API_KEY", "simulated-aimlapi-key".into()),
            ("FAL_KEY", "simulated:fal-key".into()),
        ]
    }

    /// Tells what was taken and billed so far.
    pub fn ledger(&self) -> Ledger {
        self.shared.world().ledger()
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.world().options_mut().faults = faults;
    }

    /// Changes anything about the behaviour from now on.
    pub fn change(&self, change: impl FnOnce(&mut SimulatorOptions)) {
        change(self.shared.world().options_mut());
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Serves each connection on a task of its own, until it ends or a fault cuts it.
async fn accept(listener: TcpListener, router: Router) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(serve(stream, router.clone()));
    }
}

async fn serve(stream: TcpStream, router: Router) {
    let cut = Arc::new(Notify::new());
    let connection = Connection(Arc::clone(&cut));
    let router = router.layer(middleware::from_fn(move |mut request: Request, next: Next| {
        request.extensions_mut().insert(connection.clone());
        next.run(request)
    }));
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
        .route("/cdn/{api}/{file}", get(download))
        .route("/_simulator/ledger", get(ledger))
        .with_state(shared)
}

async fn ledger(State(shared): State<Arc<Shared>>) -> Response {
    axum::Json(shared.world().ledger()).into_response()
}

#[derive(Deserialize)]
struct LinkQuery {
    serial: u32,
}

async fn download(
    State(shared): State<Arc<Shared>>,
    Path((api, file)): Path<(Api, String)>,
    Query(query): Query<LinkQuery>,
    headers: HeaderMap,
    connection: Option<Extension<Connection>>,
) -> Response {
    let now = shared.now();
    if headers.contains_key(AUTHORIZATION) || headers.contains_key("x-api-key") {
        shared.world().count(|ledger| &mut ledger.leaked_keys);
        return (StatusCode::BAD_REQUEST, "a key was sent to the media host").into_response();
    }
    let id = file.trim_end_matches(".mp4");
    let fault = shared.world().roll(None, Call::Download, now);
    if fault == Some(Fault::Expired) {
        shared.world().expire(api, id);
    }
    let found = shared.world().fetch(api, id).map(|known| (known.link == query.serial, known.is_open(now)));
    match (found, fault) {
        (None | Some((_, true)), _) => return (StatusCode::NOT_FOUND, "no such file").into_response(),
        (Some((false, _)), _) => return (StatusCode::FORBIDDEN, "the link has expired").into_response(),
        (_, Some(Fault::DropBefore | Fault::DropAfter)) => {
            return close(connection.map(|Extension(connection)| connection)).await;
        }
        (_, Some(Fault::ServerError | Fault::BadGateway)) => {
            return (StatusCode::BAD_GATEWAY, "<html>bad gateway</html>").into_response();
        }
        _ => {}
    }
    if fault == Some(Fault::Slow) {
        let slow_s = shared.world().options().faults.slow_s;
        tokio::time::sleep(std::time::Duration::from_secs_f64(slow_s)).await;
    }
    let clip = clip::of(id);
    let headers = [(CONTENT_TYPE, "video/mp4".to_owned()), (CONTENT_LENGTH, clip.len().to_string())];
    if fault == Some(Fault::Truncated) {
        let half = bytes::Bytes::copy_from_slice(&clip[..clip.len() / 2]);
        let cut = Err(io::Error::from(io::ErrorKind::ConnectionReset));
        return (headers, axum::body::Body::from_stream(stream::iter([Ok(half), cut]))).into_response();
    }
    (headers, clip).into_response()
}
