//! The paths of all hosts on the one address, and the simulator's own pages under `/_simulator`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing};

use super::state::{REDIRECT_TRAP_PATH, SharedState};
use super::{aimlapi, cdn, eachlabs, fal, fal_platform, uploads};

pub(super) fn router(shared: Arc<SharedState>) -> Router {
    Router::new()
        .merge(eachlabs::routes())
        .merge(aimlapi::routes())
        .merge(fal::routes())
        .merge(fal_platform::routes())
        .merge(cdn::routes())
        .merge(uploads::routes())
        .route("/_simulator/ledger", routing::get(ledger))
        .route("/_simulator/requests", routing::get(requests))
        .route(REDIRECT_TRAP_PATH, routing::any(redirect_trap))
        .with_state(shared)
}

async fn ledger(State(shared): State<Arc<SharedState>>) -> Response {
    axum::Json(shared.world().ledger()).into_response()
}

async fn requests(State(shared): State<Arc<SharedState>>) -> Response {
    axum::Json(shared.world().requests()).into_response()
}

/// Counts the keys of clients that followed a redirect with their key.
async fn redirect_trap(State(shared): State<Arc<SharedState>>, headers: HeaderMap) -> StatusCode {
    shared.record_leaked_key(&headers);
    StatusCode::NOT_FOUND
}
